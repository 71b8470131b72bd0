//! What kubectl printed, without what may differ. Pure.

use regex::Regex;

/// Patterns and what takes their place, in order.
const RULES: [(&str, &str); 12] = [
    (
        r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
        "<uid>",
    ),
    (
        r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?( ?Z| [+-]\d{4})?",
        "<time>",
    ),
    (r#"(resourceVersion"?: ?)"\d+""#, "$1<version>"),
    (r"https?://127\.0\.0\.1:\d+", "<server>"),
    (r"127\.0\.0\.1:\d+", "<server>"),
    (r"/tmp/[A-Za-z]+-\d+/", "<directory>/"),
    (r"/tmp/kubectl-edit-[a-zA-Z0-9]+\.yaml", "<file>"),
    (r"(Resource Version: +)\d+", "$1<version>"),
    (r"\bagain-[a-z0-9]{5}\b", "<generated>"),
    (r"(^|\s)(\d+[smh])+(\s|$)", "$1<age>$3"),
    (r"[ \t]+", " "),
    (r"(?m) +$", ""),
];

/// The text as it is compared.
pub(crate) fn normal(text: &str) -> String {
    let mut text = text.to_owned();
    for (pattern, replacement) in RULES {
        let pattern = Regex::new(&format!("(?m){pattern}")).unwrap();
        text = pattern.replace_all(&text, replacement).into_owned();
    }
    text
}

#[test]
fn what_differs_from_run_to_run_is_gone() {
    let table = "NAME    AGE\nagain-x2b4c   3s\n";
    assert_eq!(normal(table), "NAME AGE\n<generated> <age>\n");
    let yaml = "  resourceVersion: \"12\"\n  uid: 01234567-89ab-cdef-0123-456789abcdef\n";
    assert_eq!(normal(yaml), " resourceVersion: <version>\n uid: <uid>\n");
}
