//! The quoting functions as template filters.
//!
//! Adapters only. Invariant: undefined, none and containers are refused where one word is wanted,
//! so that a missing value never renders as an empty one; and only what a filter quoted for good
//! is [`Quoted`]. `kernel_arg` checks, and leaves the quoting to the filter after it.

use minijinja::value::{Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind};

use super::quote;
use super::quoted::{Filter, Quoted};

/// Adds `grub`, `shell`, `yaml`, `kernel_arg`, `comment` and `verbatim`; with `marks`, quoted text
/// says which filter it came from.
pub(crate) fn register(environment: &mut Environment<'static>, marks: bool) {
    let quoted = move |filter, text: String| {
        if marks {
            Quoted::marked(filter, &text)
        } else {
            Quoted::value(text)
        }
    };
    environment.add_filter("kernel_arg", |value: &Value| word(value, quote::kernel_arg));
    environment.add_filter("grub", move |value: &Value| {
        word(value, quote::grub).map(|text| quoted(Filter::Grub, text))
    });
    environment.add_filter("shell", move |value: &Value| {
        word(value, quote::shell).map(|text| quoted(Filter::Shell, text))
    });
    environment.add_filter("comment", move |value: &Value| {
        word(value, quote::comment).map(|text| quoted(Filter::Comment, text))
    });
    environment.add_filter("verbatim", move |value: &Value| {
        let text = word(value, |text| Ok(text.to_owned()));
        text.map(|text| quoted(Filter::Verbatim, text))
    });
    environment.add_filter("yaml", move |value: &Value| {
        yaml(value, 0).map(|text| quoted(Filter::Yaml, text))
    });
}

fn word(
    value: &Value,
    quote: impl Fn(&str) -> Result<String, &'static str>,
) -> Result<String, Error> {
    if value.is_undefined() {
        return Err(Error::from(ErrorKind::UndefinedError));
    }
    let kind = value.kind();
    if !matches!(
        kind,
        ValueKind::String | ValueKind::Number | ValueKind::Bool
    ) {
        return Err(refused(format!("{kind} is not a single word")));
    }
    quote(&value.to_string()).map_err(|problem| refused(format!("the value {problem}")))
}

/// YAML in flow style: strings in double quotes, lists and maps in brackets.
fn yaml(value: &Value, depth: usize) -> Result<String, Error> {
    if depth > 32 {
        return Err(refused("the value is nested too deeply".to_owned()));
    }
    Ok(match value.kind() {
        ValueKind::Undefined => return Err(Error::from(ErrorKind::UndefinedError)),
        ValueKind::None => "null".to_owned(),
        ValueKind::Bool | ValueKind::Number => value.to_string(),
        ValueKind::String => quote::yaml_string(value.as_str().unwrap_or_default()),
        ValueKind::Seq | ValueKind::Iterable => {
            let items: Result<Vec<_>, _> = value
                .try_iter()?
                .map(|item| yaml(&item, depth + 1))
                .collect();
            format!("[{}]", items?.join(", "))
        }
        ValueKind::Map => {
            let mut items = Vec::new();
            for key in value.try_iter()? {
                let item = yaml(&value.get_item(&key)?, depth + 1)?;
                items.push(format!("{}: {item}", quote::yaml_string(&key.to_string())));
            }
            format!("{{{}}}", items.join(", "))
        }
        ValueKind::Bytes | ValueKind::Plain | ValueKind::Invalid | _ => {
            return Err(refused(format!("{} has no YAML form", value.kind())));
        }
    })
}

fn refused(problem: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, problem)
}
