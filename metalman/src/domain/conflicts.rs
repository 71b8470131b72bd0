//! Which operations must wait for which: never two host operations on one machine, or on one BMC
//! system, at one time. Older ones go first.

use std::collections::{BTreeSet, HashMap};

use jiff::Timestamp;

/// What an operation on a machine occupies: the machine, and the system behind its BMC.
pub fn keys(machine: &str, bmc: Option<(&str, Option<&str>)>) -> Vec<String> {
    let mut keys = vec![format!("machine:{machine}")];
    if let Some((url, system)) = bmc {
        let url = url.trim_end_matches('/').to_ascii_lowercase();
        keys.push(format!("bmc:{url}#{}", system.unwrap_or_default()));
    }
    keys
}

/// Who occupies what, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Order {
    holders: HashMap<String, BTreeSet<(Timestamp, String)>>,
}

impl Order {
    /// Takes in an unfinished operation, its creation time, and what one of its targets occupies.
    pub fn add(&mut self, name: &str, created_at: Timestamp, keys: Vec<String>) {
        for key in keys {
            let holders = self.holders.entry(key).or_default();
            holders.insert((created_at, name.to_owned()));
        }
    }

    /// The oldest other operation that a target of `name` with these keys has to wait for, if any.
    pub fn waits_for(&self, name: &str, created_at: Timestamp, keys: &[String]) -> Option<&str> {
        keys.iter()
            .filter_map(|key| self.holders.get(key)?.first())
            .filter(|(at, other)| (*at, other.as_str()) < (created_at, name))
            .min()
            .map(|(_, other)| other.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_older_one_goes_first_and_ties_go_by_name() {
        let key = || vec!["m".to_owned()];
        let mut order = Order::default();
        order.add("b", at(1), key());
        order.add("a", at(1), key());
        order.add("c", at(0), vec!["x".into()]);
        assert_eq!(order.waits_for("b", at(1), &key()), Some("a"));
        assert_eq!(order.waits_for("a", at(1), &key()), None);
        assert_eq!(order.waits_for("c", at(0), &["x".into()]), None);
        order.add("z", at(0), key());
        assert_eq!(order.waits_for("b", at(1), &key()), Some("z"));
    }

    #[test]
    fn two_systems_behind_one_bmc_do_not_wait_for_each_other() {
        let mut order = Order::default();
        order.add("one", at(0), keys("n1", Some(("https://bmc/", Some("1")))));
        let two = keys("n2", Some(("https://BMC", Some("2"))));
        assert_eq!(order.waits_for("two", at(1), &two), None);
        let same = keys("n3", Some(("https://BMC", Some("1"))));
        assert_eq!(order.waits_for("same", at(1), &same), Some("one"));
    }
}
