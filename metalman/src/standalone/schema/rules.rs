//! `x-kubernetes-validations`: CEL rules on a schema node, including transition rules. Pure.
//!
//! Dates stay strings and there is no cost limit: the rules are our own, bodies are bounded.
//! Invariant: a rule that fails to run refuses the object; it never passes silently.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use cel::objects::{Key, Map};
use cel::{Context, Env, Program};
use serde_json::Value;

use super::{Schema, matches};
use crate::standalone::status::FieldError;

/// One compiled rule.
#[derive(Clone)]
pub struct Rule {
    source: String,
    program: Arc<Program>,
    message: Option<String>,
    message_program: Option<Arc<Program>>,
    reason: &'static str,
    field_path: Option<String>,
    transition: bool,
    optional_old: bool,
}

impl std::fmt::Debug for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rule")
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

/// The standard library plus the strings and lists extensions that Kubernetes has, and `matches`.
static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut env = Env::stdlib();
    for extension in [
        cel::extensions::strings,
        cel::extensions::lists,
        matches::library,
    ] {
        // They are disjoint; a rule that misses one fails to run and says so.
        if let Err(error) = env.add_extension(extension) {
            tracing::error!(%error, "cannot load a CEL library");
        }
    }
    Arc::new(env)
});

pub(super) fn parse(list: Option<&Value>) -> Result<Vec<Rule>, String> {
    list.and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(parse_rule)
        .collect()
}

fn parse_rule(raw: &Value) -> Result<Rule, String> {
    let text = |key: &str| {
        raw.get(key)
            .and_then(Value::as_str)
            .filter(|t| !t.is_empty())
    };
    let compile = |source: &str| {
        ENV.compile(source)
            .map(Arc::new)
            .map_err(|e| format!("rule {source:?}: {e}"))
    };
    let source = text("rule").ok_or("rule is missing")?;
    let program = compile(source)?;
    let reason = match text("reason") {
        Some("FieldValueForbidden") => "FieldValueForbidden",
        Some("FieldValueRequired") => "FieldValueRequired",
        Some("FieldValueDuplicate") => "FieldValueDuplicate",
        Some(_) | None => "FieldValueInvalid",
    };
    let transition = program.references().has_variable("oldSelf");
    Ok(Rule {
        source: source.to_owned(),
        program,
        message: text("message").map(|m| m.trim().to_owned()),
        message_program: text("messageExpression").map(compile).transpose()?,
        reason,
        field_path: text("fieldPath").map(str::to_owned),
        transition,
        optional_old: raw
            .get("optionalOldSelf")
            .and_then(Value::as_bool)
            .unwrap_or(false),
    })
}

/// Runs the rules of this node.
pub(super) fn check(
    schema: &Schema,
    path: &str,
    value: &Value,
    old: Option<&Value>,
    errors: &mut Vec<FieldError>,
) {
    if schema.rules.is_empty() {
        return;
    }
    let me = to_cel(schema, value);
    for rule in &schema.rules {
        if rule.transition && old.is_none() && !rule.optional_old {
            continue;
        }
        let mut context = Context::with_env(Arc::clone(&ENV));
        context.add_variable_from_value("self", me.clone());
        if let Some(old) = old {
            context.add_variable_from_value("oldSelf", to_cel(schema, old));
        }
        if let Some(text) = rule.refusal(&context) {
            errors.push(rule.error(path, value, &text));
        }
    }
}

impl Rule {
    /// `None` when the rule holds.
    fn refusal(&self, context: &Context<'_, '_>) -> Option<String> {
        match self.program.execute(context) {
            Ok(cel::Value::Bool(true)) => None,
            Ok(_) => Some(self.text(context)),
            Err(error) => Some(format!("rule evaluation error: {error}: {}", self.source)),
        }
    }

    fn text(&self, context: &Context<'_, '_>) -> String {
        let computed = self
            .message_program
            .as_ref()
            .and_then(|p| p.execute(context).ok());
        match (computed, &self.message) {
            (Some(cel::Value::String(text)), _) if !text.trim().is_empty() => text.to_string(),
            (_, Some(text)) => text.clone(),
            (_, None) => format!("failed rule: {}", self.source),
        }
    }

    fn error(&self, path: &str, value: &Value, text: &str) -> FieldError {
        let suffix = self.field_path.as_deref().unwrap_or_default();
        let field = format!("{path}{suffix}");
        let field = field.strip_prefix('.').unwrap_or(&field);
        let field = if field.is_empty() { "<nil>" } else { field };
        // Only scalars are shown.
        let shown = match value {
            Value::Object(_) | Value::Array(_) | Value::Null => String::new(),
            Value::Bool(_) | Value::Number(_) | Value::String(_) => format!("{value}: "),
        };
        let message = match self.reason {
            "FieldValueForbidden" => format!("Forbidden: {text}"),
            "FieldValueRequired" => format!("Required value: {text}"),
            "FieldValueDuplicate" => format!("Duplicate value: {shown}{text}"),
            _ => format!("Invalid value: {shown}{text}"),
        };
        FieldError::new(self.reason, field, message)
    }
}

/// JSON to CEL: whole numbers are `int`, unless the schema says `number`; field names that CEL
/// cannot spell are escaped as Kubernetes does.
fn to_cel(schema: &Schema, value: &Value) -> cel::Value {
    match value {
        Value::Null => cel::Value::Null,
        Value::Bool(flag) => cel::Value::Bool(*flag),
        Value::String(text) => cel::Value::String(Arc::new(text.clone())),
        Value::Number(number) => match number.as_i64() {
            Some(whole) if schema.kind != Some(super::Kind::Number) => cel::Value::Int(whole),
            Some(_) | None => cel::Value::Float(number.as_f64().unwrap_or_default()),
        },
        Value::Array(items) => {
            let any = Schema::default();
            let item_schema = schema.items.as_deref().unwrap_or(&any);
            let items = items.iter().map(|item| to_cel(item_schema, item)).collect();
            cel::Value::List(Arc::new(items))
        }
        Value::Object(map) => {
            let any = Schema::default();
            let entries: HashMap<Key, cel::Value> = map
                .iter()
                .map(|(name, child)| {
                    let declared = schema.properties.contains_key(name);
                    let key = if declared { escape(name) } else { name.clone() };
                    (
                        Key::from(key),
                        to_cel(schema.field(name).unwrap_or(&any), child),
                    )
                })
                .collect();
            cel::Value::Map(Map {
                map: Arc::new(entries),
            })
        }
    }
}

fn escape(name: &str) -> String {
    const RESERVED: [&str; 21] = [
        "true",
        "false",
        "null",
        "in",
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
        "var",
        "void",
        "while",
    ];
    if RESERVED.contains(&name) {
        return format!("__{name}__");
    }
    name.replace("__", "__underscores__")
        .replace('.', "__dot__")
        .replace('-', "__dash__")
        .replace('/', "__slash__")
}
