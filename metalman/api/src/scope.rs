//! Which objects belong to which appliance.
//!
//! Invariant: an appliance never writes to an object that another site owns.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

use crate::machine::{Machine, SITE_LABEL};

/// Whether the appliance of `site` owns a machine with these labels. The appliance without a
/// site owns machines without the label.
pub fn owns_labels(site: &str, labels: Option<&BTreeMap<String, String>>) -> bool {
    let label = labels.and_then(|labels| labels.get(SITE_LABEL));
    owns_label(site, label.map(String::as_str))
}

/// Whether the appliance of `site` owns a machine whose site label has this value.
pub fn owns_label(site: &str, label: Option<&str>) -> bool {
    match (site, label) {
        ("", None) => true,
        ("", Some(_)) | (_, None) => false,
        (site, Some(label)) => site == label,
    }
}

/// Whether the appliance of `site` owns this machine and drives it through a BMC or netboot.
pub fn owns(site: &str, machine: &Machine) -> bool {
    owns_labels(site, machine.metadata.labels.as_ref())
        && machine.spec.provider.is_none()
        && machine
            .spec
            .provider_id
            .as_deref()
            .is_none_or(str::is_empty)
}

/// What a selector says about sites.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SelectorScope {
    /// Pinned to exactly this site.
    Site(String),
    /// Not pinned to one site.
    Unpinned,
}

/// Reads the site a selector is pinned to: `matchLabels`, or `In` with a single value.
pub fn selector_scope(selector: &LabelSelector) -> SelectorScope {
    let by_label = selector
        .match_labels
        .as_ref()
        .and_then(|labels| labels.get(SITE_LABEL));
    let by_expression = selector
        .match_expressions
        .iter()
        .flatten()
        .filter(|requirement| requirement.key == SITE_LABEL && requirement.operator == "In")
        .find_map(|requirement| match requirement.values.as_deref() {
            Some([only]) => Some(only),
            Some(_) | None => None,
        });
    match by_label.or(by_expression) {
        Some(site) => SelectorScope::Site(site.clone()),
        None => SelectorScope::Unpinned,
    }
}

/// Whether labels satisfy a selector (Kubernetes label selector semantics).
pub fn matches(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    let by_labels = selector
        .match_labels
        .iter()
        .flatten()
        .all(|(key, value)| labels.get(key) == Some(value));
    by_labels
        && selector
            .match_expressions
            .iter()
            .flatten()
            .all(|r| satisfies(r, labels))
}

fn satisfies(requirement: &LabelSelectorRequirement, labels: &BTreeMap<String, String>) -> bool {
    let value = labels.get(&requirement.key);
    let listed = |value: &String| requirement.values.iter().flatten().any(|v| v == value);
    match requirement.operator.as_str() {
        "In" => value.is_some_and(listed),
        "NotIn" => !value.is_some_and(listed),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    fn requirement(key: &str, operator: &str, values: &[&str]) -> LabelSelectorRequirement {
        LabelSelectorRequirement {
            key: key.into(),
            operator: operator.into(),
            values: Some(values.iter().map(|v| (*v).to_owned()).collect()),
        }
    }

    #[test]
    fn a_site_owns_what_carries_its_label_and_nothing_else() {
        let rack_a = labels(&[(SITE_LABEL, "rack-a")]);
        assert!(owns_labels("rack-a", Some(&rack_a)));
        assert!(!owns_labels("rack-b", Some(&rack_a)));
        assert!(!owns_labels("rack-a", None));
        assert!(owns_labels("", None));
        assert!(!owns_labels("", Some(&rack_a)));
    }

    #[test]
    fn a_cloud_machine_is_nobodys_here() {
        let mut machine = Machine::default();
        assert!(owns("", &machine));
        machine.spec.provider = Some("AzureVM".into());
        assert!(!owns("", &machine));
    }

    #[test]
    fn a_selector_is_pinned_by_label_or_single_in() {
        let by_label = LabelSelector {
            match_labels: Some(labels(&[(SITE_LABEL, "rack-a")])),
            ..LabelSelector::default()
        };
        assert_eq!(
            selector_scope(&by_label),
            SelectorScope::Site("rack-a".into())
        );
        let by_in = LabelSelector {
            match_expressions: Some(vec![requirement(SITE_LABEL, "In", &["rack-a"])]),
            ..LabelSelector::default()
        };
        assert_eq!(selector_scope(&by_in), SelectorScope::Site("rack-a".into()));
        let by_two = LabelSelector {
            match_expressions: Some(vec![requirement(SITE_LABEL, "In", &["a", "b"])]),
            ..LabelSelector::default()
        };
        assert_eq!(selector_scope(&by_two), SelectorScope::Unpinned);
    }

    #[test]
    fn expressions_follow_kubernetes() {
        let have = labels(&[("role", "worker")]);
        for (operator, values, want) in [
            ("In", &["worker"][..], true),
            ("In", &["control"], false),
            ("NotIn", &["control"], true),
            ("NotIn", &["worker"], false),
            ("Exists", &[], true),
            ("DoesNotExist", &[], false),
            ("Bogus", &[], false),
        ] {
            let selector = LabelSelector {
                match_expressions: Some(vec![requirement("role", operator, values)]),
                ..LabelSelector::default()
            };
            assert_eq!(matches(&selector, &have), want, "{operator} {values:?}");
        }
    }
}
