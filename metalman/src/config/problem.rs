//! Mistakes in the configuration, collected. Invariant: a problem never shows a secret; values that
//! may hold one are passed as `(hidden)`.

use std::fmt;

use thiserror::Error;

/// One mistake: where, what is written there, what is wrong, how to mend it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Key path in the file, such as `dhcp.port`.
    pub key: &'static str,
    /// The value as written; empty when the mistake is that there is none.
    pub value: String,
    /// What is wrong with it.
    pub wrong: String,
    /// What to write instead.
    pub cure: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flag = super::wire::flag_of(self.key);
        write!(f, "{}", self.key)?;
        if !self.value.is_empty() {
            write!(f, " = {:?}", self.value)?;
        }
        write!(f, ": {}; {} ({flag})", self.wrong, self.cure)
    }
}

/// Every mistake of one configuration; never empty when returned as an error.
#[derive(Debug, Default, Error)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        write!(
            f,
            "{count} problem{} in the configuration:",
            if count == 1 { "" } else { "s" }
        )?;
        for problem in &self.0 {
            write!(f, "\n  {problem}")?;
        }
        Ok(())
    }
}

impl Problems {
    /// Notes a mistake.
    pub(super) fn add(
        &mut self,
        key: &'static str,
        value: impl Into<String>,
        wrong: impl Into<String>,
        cure: impl Into<String>,
    ) {
        let (value, wrong, cure) = (value.into(), wrong.into(), cure.into());
        self.0.push(Problem {
            key,
            value,
            wrong,
            cure,
        });
    }
}
