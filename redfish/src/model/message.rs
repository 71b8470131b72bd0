//! `@Message.ExtendedInfo`: what the BMC says went wrong, as readable text.
//!
//! The text is bounded and free of control characters, since it ends in conditions and logs.

use serde_json::Value;

use super::json::text;

const ANNOTATION: &str = "@Message.ExtendedInfo";
/// Messages kept of one answer.
const MESSAGE_LIMIT: usize = 3;
/// Length of the joined text, in characters.
const TEXT_LIMIT: usize = 400;

/// The messages of an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Messages {
    /// Readable text; empty if the BMC said nothing.
    pub(crate) text: String,
    ids: Vec<String>,
    /// Arguments of a demanded password change: the path of the account.
    pub(crate) account: Option<String>,
}

impl Messages {
    /// Collects the messages of an error body, of a task, or of a good answer.
    pub(crate) fn parse(body: &Value) -> Self {
        let error = body.get("error");
        let lists = [
            error.and_then(|error| error.get("@Message.ExtendedInfo")),
            body.get("@Message.ExtendedInfo"),
            body.get("Messages"),
        ];
        let about_members = error
            .into_iter()
            .chain([body])
            .filter_map(Value::as_object)
            .flatten()
            .filter(|(name, _)| name.len() > ANNOTATION.len() && name.ends_with(ANNOTATION));
        let lists = lists
            .into_iter()
            .flatten()
            .chain(about_members.map(|(_, list)| list));
        let mut account = None;
        let mut ids = Vec::new();
        let mut texts: Vec<String> = Vec::new();
        for message in lists.flat_map(as_list) {
            let id = text(message, "MessageId");
            if id.as_deref().is_some_and(is_password_change) {
                account = first_argument(message);
            }
            ids.extend(id);
            let said = text(message, "Message")
                .map(|said| filled(&said, message))
                .or_else(|| text(message, "MessageId"));
            if let Some(said) = said.filter(|said| !texts.contains(said)) {
                texts.push(match text(message, "Resolution") {
                    Some(cure) if !cure.eq_ignore_ascii_case("none") && cure != "None." => {
                        format!("{said} ({cure})")
                    }
                    Some(_) | None => said,
                });
            }
        }
        if let Some(error) = error {
            ids.extend(text(error, "code"));
            if texts.is_empty() {
                texts.extend(text(error, "message").or_else(|| text(error, "code")));
            }
        }
        texts.truncate(MESSAGE_LIMIT);
        Self {
            text: bounded(&texts.join(" ")),
            ids,
            account,
        }
    }

    /// Whether any message has this key, whatever registry and version it comes from.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.ids
            .iter()
            .any(|id| id.rsplit('.').next().is_some_and(|last| last == key))
    }
}

fn is_password_change(id: &str) -> bool {
    id.rsplit('.').next() == Some("PasswordChangeRequired")
}

fn first_argument(message: &Value) -> Option<String> {
    let first = message.get("MessageArgs")?.as_array()?.first()?.as_str()?;
    first.starts_with('/').then(|| first.to_owned())
}

/// Puts `MessageArgs` where a BMC left the placeholders of its registry in the text.
fn filled(said: &str, message: &Value) -> String {
    let arguments = message.get("MessageArgs").and_then(Value::as_array);
    let mut text: String = said.chars().take(TEXT_LIMIT).collect();
    for (index, argument) in arguments.into_iter().flatten().enumerate().take(9) {
        let place = format!("%{}", index.saturating_add(1));
        if let Some(argument) = argument.as_str()
            && text.contains(&place)
        {
            let argument: String = argument.chars().take(TEXT_LIMIT).collect();
            text = text.replace(&place, &argument);
            // Arguments may hold placeholders themselves.
            text = text.chars().take(TEXT_LIMIT).collect();
        }
    }
    text
}

/// The text of an error that hides behind a good status: an `error` object whose messages are not
/// all of success.
pub(crate) fn error_in_success(body: &Value) -> Option<String> {
    let error = body.get("error")?.as_object()?;
    let messages = Messages::parse(body);
    let harmless = ["Success", "Accepted", "NoOperation", "Created"];
    let listed = error
        .get("@Message.ExtendedInfo")
        .map(|list| as_list(list).collect::<Vec<_>>());
    let severities: Vec<String> = listed
        .unwrap_or_default()
        .into_iter()
        .filter_map(|message| {
            text(message, "MessageSeverity").or_else(|| text(message, "Severity"))
        })
        .collect();
    let fine = harmless.iter().any(|key| messages.has(key))
        || (!severities.is_empty() && severities.iter().all(|severity| severity == "OK"));
    (!fine).then_some(messages.text)
}

fn as_list(value: &Value) -> impl Iterator<Item = &Value> {
    let one = value.is_object().then_some(value);
    value.as_array().into_iter().flatten().chain(one)
}

fn bounded(text: &str) -> String {
    let clean: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(TEXT_LIMIT)
        .collect();
    clean.trim().trim_end_matches('.').to_owned()
}
