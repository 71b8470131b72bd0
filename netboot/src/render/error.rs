//! Why a template was not rendered, with the place to look at.
//!
//! Invariant: the text names template, line and variable where they are known, and never a value.

use std::path::PathBuf;

use thiserror::Error;

/// Failure to load or render a template.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RenderError {
    /// Neither the image nor the built-in defaults have it.
    #[error("there is no template {template}")]
    Missing {
        /// Path below the image's root, with `.j2`.
        template: String,
    },
    /// The template itself is wrong, or it uses a value that is not there or cannot be quoted.
    #[error("template {template}{}: {problem}{}", at(*line), of(variable.as_deref()))]
    Template {
        /// Path below the image's root, with `.j2`.
        template: String,
        /// Line counted from 1, when known.
        line: Option<usize>,
        /// Expression at fault, when known.
        variable: Option<String>,
        /// What is wrong.
        problem: String,
    },
    /// The image's templates could not be read.
    #[error("templates below {root} could not be read: {problem}")]
    Unreadable {
        /// Root of the image.
        root: PathBuf,
        /// What went wrong.
        problem: String,
    },
}

fn at(line: Option<usize>) -> String {
    line.map(|line| format!(" line {line}")).unwrap_or_default()
}

fn of(variable: Option<&str>) -> String {
    variable
        .map(|variable| format!(" ({variable})"))
        .unwrap_or_default()
}

impl RenderError {
    /// Bounded word for conditions and metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "TemplateMissing",
            Self::Template { .. } => "TemplateFailed",
            Self::Unreadable { .. } => "TemplatesUnreadable",
        }
    }

    /// Name of the template at fault; empty when it is not about one.
    pub fn template(&self) -> &str {
        match self {
            Self::Missing { template } | Self::Template { template, .. } => template,
            Self::Unreadable { .. } => "",
        }
    }

    /// Line counted from 1, when known.
    pub fn line(&self) -> Option<usize> {
        match self {
            Self::Template { line, .. } => *line,
            Self::Missing { .. } | Self::Unreadable { .. } => None,
        }
    }

    /// Expression at fault, when known.
    pub fn variable(&self) -> Option<&str> {
        match self {
            Self::Template { variable, .. } => variable.as_deref(),
            Self::Missing { .. } | Self::Unreadable { .. } => None,
        }
    }

    /// Sorts an error of the engine into place, name and text.
    pub(crate) fn from_engine(template: &str, error: &minijinja::Error) -> Self {
        let variable = error
            .template_source()
            .zip(error.range())
            .and_then(|(source, range)| expression_around(source, range.end));
        let kind = error.kind().to_string();
        let problem = match error.detail() {
            Some(detail) => format!("{kind}: {detail}"),
            None => kind,
        };
        Self::Template {
            template: error.name().unwrap_or(template).to_owned(),
            line: error.line(),
            variable,
            problem,
        }
    }
}

/// The expression or statement that covers the byte `at`, without its filters: the engine itself
/// points at the filter that refused a value, not at the value.
fn expression_around(source: &str, at: usize) -> Option<String> {
    let (before, after) = (source.get(..at)?, source.get(at..)?);
    let start = before.rfind("{{").max(before.rfind("{%"))? + 2;
    let end = after.find("}}").into_iter().chain(after.find("%}")).min()?;
    let text = source.get(start..at + end)?.trim_matches(['-', '+', ' ']);
    let expression = text
        .rsplit_once('|')
        .map_or(text, |(value, _filter)| value)
        .trim();
    let fits = !expression.is_empty() && !expression.contains('\n');
    fits.then(|| expression.chars().take(120).collect())
}
