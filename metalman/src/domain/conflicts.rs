//! Which operations must wait for which: never two host operations on one machine, or on one BMC
//! system, at one time. Older ones go first.

use std::collections::BTreeSet;

use jiff::Timestamp;

/// One unfinished host operation, as far as ordering cares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contender {
    /// Operation name.
    pub name: String,
    /// Creation time of the object.
    pub created_at: Timestamp,
    /// What it occupies, see [`keys`].
    pub keys: BTreeSet<String>,
}

/// What an operation on a machine occupies: the machine, and the system behind its BMC.
pub fn keys(machine: &str, bmc: Option<(&str, Option<&str>)>) -> Vec<String> {
    let mut keys = vec![format!("machine:{machine}")];
    if let Some((url, system)) = bmc {
        let url = url.trim_end_matches('/').to_ascii_lowercase();
        keys.push(format!("bmc:{url}#{}", system.unwrap_or_default()));
    }
    keys
}

/// The older operation that `name` has to wait for, if any.
pub fn waits_for<'a>(name: &str, all: &'a [Contender]) -> Option<&'a str> {
    let me = all.iter().find(|contender| contender.name == name)?;
    all.iter()
        .filter(|other| {
            (other.created_at, other.name.as_str()) < (me.created_at, me.name.as_str())
                && !other.keys.is_disjoint(&me.keys)
        })
        .min_by_key(|other| (other.created_at, other.name.clone()))
        .map(|other| other.name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contender(name: &str, second: i64, keys: &[&str]) -> Contender {
        Contender {
            name: name.into(),
            created_at: Timestamp::from_second(second).unwrap(),
            keys: keys.iter().map(|k| (*k).to_owned()).collect(),
        }
    }

    #[test]
    fn the_older_one_goes_first_and_ties_go_by_name() {
        let all = [
            contender("b", 1, &["m"]),
            contender("a", 1, &["m"]),
            contender("c", 0, &["x"]),
        ];
        assert_eq!(waits_for("b", &all), Some("a"));
        assert_eq!(waits_for("a", &all), None);
        assert_eq!(waits_for("c", &all), None);
    }

    #[test]
    fn two_systems_behind_one_bmc_do_not_wait_for_each_other() {
        let one: BTreeSet<_> = keys("n1", Some(("https://bmc/", Some("1"))))
            .into_iter()
            .collect();
        let two: BTreeSet<_> = keys("n2", Some(("https://BMC", Some("2"))))
            .into_iter()
            .collect();
        let same: BTreeSet<_> = keys("n3", Some(("https://bmc", Some("1"))))
            .into_iter()
            .collect();
        assert!(one.is_disjoint(&two));
        assert!(!one.is_disjoint(&same));
    }
}
