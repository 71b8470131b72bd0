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

/// Of an operation whose machines are not known yet: any machine of the site may be among them.
pub const ANY_MACHINE: &str = "any machine";

/// Who occupies what: first those that have begun, then the oldest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Order {
    holders: HashMap<String, BTreeSet<(Turn, Timestamp, String)>>,
}

/// Whether an operation is at work on what it occupies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Turn {
    /// It goes on, whatever is older: it may have been seen, or named, in another order.
    Begun,
    /// It has not begun.
    Waits,
}

impl Order {
    /// Takes in an unfinished operation, its creation time, and what one of its targets occupies.
    pub fn add(&mut self, name: &str, created_at: Timestamp, turn: Turn, keys: Vec<String>) {
        for key in keys {
            let holders = self.holders.entry(key).or_default();
            holders.insert((turn, created_at, name.to_owned()));
        }
    }

    /// The other operation that a target of `name` with these keys, which has not begun, has to wait
    /// for, if any: the first in order.
    pub fn waits_for(&self, name: &str, created_at: Timestamp, keys: &[String]) -> Option<&str> {
        let own = (Turn::Waits, created_at, name);
        let first = |key: &str| {
            let holders = self.holders.get(key)?.iter();
            let mut holders = holders.map(|(turn, at, other)| (*turn, *at, other.as_str()));
            holders.find(|(_, _, other)| *other != name)
        };
        keys.iter()
            .map(String::as_str)
            .chain([ANY_MACHINE])
            .filter_map(first)
            .filter(|other| *other < own)
            .min()
            .map(|(_, _, other)| other)
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
        order.add("b", at(1), Turn::Waits, key());
        order.add("a", at(1), Turn::Waits, key());
        order.add("c", at(0), Turn::Waits, vec!["x".into()]);
        assert_eq!(order.waits_for("b", at(1), &key()), Some("a"));
        assert_eq!(order.waits_for("a", at(1), &key()), None);
        assert_eq!(order.waits_for("c", at(0), &["x".into()]), None);
        order.add("z", at(0), Turn::Waits, key());
        assert_eq!(order.waits_for("b", at(1), &key()), Some("z"));
    }

    #[test]
    fn one_that_has_begun_is_waited_for_though_it_is_younger() {
        let key = || vec!["m".to_owned()];
        let mut order = Order::default();
        // Created in the same second, seen and begun before the other.
        order.add("replace", at(1), Turn::Begun, key());
        order.add("on", at(1), Turn::Waits, key());
        assert_eq!(order.waits_for("on", at(1), &key()), Some("replace"));
        order.add("late", at(0), Turn::Waits, key());
        assert_eq!(order.waits_for("late", at(0), &key()), Some("replace"));
    }

    #[test]
    fn one_whose_machines_are_not_known_goes_before_what_is_younger() {
        let mut order = Order::default();
        order.add("all", at(1), Turn::Waits, vec![ANY_MACHINE.into()]);
        let keys = ["m".to_owned()];
        assert_eq!(order.waits_for("younger", at(2), &keys), Some("all"));
        assert_eq!(order.waits_for("older", at(0), &keys), None);
        assert_eq!(order.waits_for("all", at(1), &keys), None);
    }

    #[test]
    fn two_systems_behind_one_bmc_do_not_wait_for_each_other() {
        let mut order = Order::default();
        order.add(
            "one",
            at(0),
            Turn::Waits,
            keys("n1", Some(("https://bmc/", Some("1")))),
        );
        let two = keys("n2", Some(("https://BMC", Some("2"))));
        assert_eq!(order.waits_for("two", at(1), &two), None);
        let same = keys("n3", Some(("https://BMC", Some("1"))));
        assert_eq!(order.waits_for("same", at(1), &same), Some("one"));
    }
}
