//! Text that may be printed, and the rule that no other text is.
//!
//! The engine's own mark for safe text is made for HTML: it survives `first` or `reverse`, which
//! would cut a quoted word open. So quoted text is an object of ours, which no filter of the engine
//! can take apart. Invariant: what a template prints is its own text, numbers, truth values, quoted
//! text, and blocks and macros of these. (A filter put on a whole block or macro works on text that
//! is printed already: that is its author's own act.)

use std::fmt;
use std::sync::Arc;

use minijinja::value::{Object, ObjectRepr, Value, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Output, State};

/// A value that a quoting filter has made fit for its language.
#[derive(Debug)]
pub(crate) struct Quoted(String);

impl Quoted {
    pub(crate) fn value(text: String) -> Value {
        Value::from_object(Self(text))
    }

    /// The same between marks that say which filter it came from, for [`super::placed`].
    pub(crate) fn marked(filter: Filter, text: &str) -> Value {
        Self::value(format!("{}{text}{END}", filter.mark()))
    }
}

/// Closes a marked text. Marks are noncharacters (Unicode 17, 23.7), which no text contains.
pub(crate) const END: char = '\u{fdd0}';

/// The quoting filters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filter {
    Grub,
    Shell,
    Yaml,
    Comment,
    Verbatim,
}

impl Filter {
    const ALL: [Self; 5] = [
        Self::Grub,
        Self::Shell,
        Self::Yaml,
        Self::Comment,
        Self::Verbatim,
    ];

    /// As templates write it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Grub => "grub",
            Self::Shell => "shell",
            Self::Yaml => "yaml",
            Self::Comment => "comment",
            Self::Verbatim => "verbatim",
        }
    }

    const fn mark(self) -> char {
        match self {
            Self::Grub => '\u{fdd1}',
            Self::Shell => '\u{fdd2}',
            Self::Yaml => '\u{fdd3}',
            Self::Comment => '\u{fdd4}',
            Self::Verbatim => '\u{fdd5}',
        }
    }

    /// The filter that a mark stands for.
    pub(crate) fn of(mark: char) -> Option<Self> {
        Self::ALL.into_iter().find(|filter| filter.mark() == mark)
    }
}

impl Object for Quoted {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Makes the engine print quoted text only, and takes away the filters that call text safe.
pub(crate) fn require(environment: &mut Environment<'static>) {
    // With an escape mode of its own the engine marks what macros and blocks printed as safe.
    environment.set_auto_escape_callback(|_| AutoEscape::Custom("quoted".into()));
    environment.set_formatter(print);
    for filter in ["safe", "escape", "e"] {
        environment.remove_filter(filter);
    }
}

fn print(out: &mut Output<'_>, _state: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    if let Some(quoted) = value.downcast_object_ref::<Quoted>() {
        out.write_str(&quoted.0)?;
        return Ok(());
    }
    let kind = value.kind();
    if value.is_undefined() {
        return Err(Error::from(ErrorKind::UndefinedError));
    }
    if kind == ValueKind::String && !value.is_safe() {
        return Err(refused(
            "text is not quoted; end the expression with | grub, | shell, | yaml, | comment or | verbatim",
        ));
    }
    if !matches!(
        kind,
        ValueKind::String | ValueKind::Number | ValueKind::Bool
    ) {
        return Err(refused(&format!(
            "{kind} cannot be printed; use one of its fields, a loop, or | yaml"
        )));
    }
    write!(out, "{value}").map_err(Error::from)
}

fn refused(problem: &str) -> Error {
    Error::new(ErrorKind::InvalidOperation, problem.to_owned())
}
