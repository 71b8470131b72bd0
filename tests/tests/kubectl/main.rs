//! Every kubectl command that people use, against the embedded API and a real server; what kubectl
//! prints must be the same but for uids, versions, times and addresses. `tests/kubectl/run` brings
//! an old and a current kubectl; without it the one on the PATH is used.

#[cfg(test)]
mod normal;
#[cfg(test)]
mod transcript;
