//! The CEL function `matches`, with each pattern compiled once. The one of the crate compiles it at
//! every call, which took more time than all the rest of a write.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use cel::common::types::{CelBool, CelString};
use cel::{DeclarationError, Env, ExecutionError};
use regex::Regex;

/// Compiled patterns kept. The rules of our own resources have a handful; one that computes its
/// pattern from the object must not fill the memory.
const KEPT: usize = 64;

static COMPILED: LazyLock<Mutex<HashMap<String, Arc<Regex>>>> = LazyLock::new(Mutex::default);

/// `matches(text, pattern)` and `text.matches(pattern)`.
pub(super) fn library(env: &mut Env) -> Result<(), DeclarationError> {
    cel::add_overload!(env, fn matches: (CelString, CelString) -> Result<CelBool>, id = "matches")?;
    cel::add_member_overload!(env, fn matches: (CelString, CelString) -> Result<CelBool>)
}

fn matches(text: &CelString<'_>, pattern: &CelString<'_>) -> Result<CelBool, ExecutionError> {
    let pattern = compiled(pattern.inner())?;
    Ok(CelBool::from(pattern.is_match(text.inner())))
}

fn compiled(pattern: &str) -> Result<Arc<Regex>, ExecutionError> {
    let kept = || COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(found) = kept().get(pattern) {
        return Ok(Arc::clone(found));
    }
    let made = Regex::new(pattern).map_err(|error| ExecutionError::FunctionError {
        function: "matches".to_owned(),
        message: format!("'{pattern}' not a valid regex:\n{error}"),
    })?;
    let made = Arc::new(made);
    let mut kept = kept();
    if kept.len() >= KEPT {
        kept.clear();
    }
    kept.insert(pattern.to_owned(), Arc::clone(&made));
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_found_anywhere_in_the_text_and_compiled_once() {
        let matches = |text: &str, pattern: &str| {
            let found = matches(&CelString::from(text), &CelString::from(pattern));
            found.map(|found| *found.inner())
        };
        assert_eq!(matches("unbounded", "bound"), Ok(true));
        assert_eq!(matches("unbounded", "^bound"), Ok(false));
        assert!(Arc::ptr_eq(
            &compiled("^bound").unwrap(),
            &compiled("^bound").unwrap()
        ));
        let refused = matches("x", "(").unwrap_err().to_string();
        assert!(refused.contains("not a valid regex"), "{refused}");
        // Patterns that rules compute do not pile up.
        for n in 0..3 * KEPT {
            compiled(&format!("a{n}")).unwrap();
        }
        assert!(COMPILED.lock().unwrap().len() <= KEPT);
    }
}
