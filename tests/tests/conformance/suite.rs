//! Runs the cases, compares, and prints the table.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use futures::StreamExt as _;
use metalman_tests::apis::{Embedded, Endpoint, Reference, assets};

use crate::session::Session;
use crate::{cases, known};

type Run = Box<dyn Fn(Session) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// Cases that run at the same time.
const WIDTH: usize = 8;

/// A case: requests and what is wanted of the answers, the same for both servers.
pub(crate) struct Case {
    group: &'static str,
    title: &'static str,
    run: Run,
}

impl Case {
    pub(crate) fn new<F>(
        group: &'static str,
        title: &'static str,
        run: impl Fn(Session) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self {
            group,
            title,
            run: Box::new(move |session| Box::pin(run(session))),
        }
    }

    fn name(&self) -> String {
        format!("{}: {}", self.group, self.title)
    }

    /// The transcript, and what went wrong.
    async fn on(&self, endpoint: &Endpoint, http: &reqwest::Client, id: &str) -> Outcome {
        let session = Session::new(endpoint, http.clone(), id.to_owned());
        #[expect(
            clippy::disallowed_methods,
            reason = "a panic of the case shall not end the suite"
        )]
        let done = tokio::spawn((self.run)(session.clone())).await;
        let failure = done.err().map(|error| {
            let panic = error.into_panic();
            let text = panic.downcast_ref::<String>().cloned();
            text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string))
                .unwrap_or_default()
        });
        Outcome {
            failure,
            transcript: session.transcript(),
        }
    }
}

struct Outcome {
    failure: Option<String>,
    transcript: Vec<String>,
}

impl Outcome {
    fn word(&self) -> &'static str {
        if self.failure.is_none() {
            "ok"
        } else {
            "FAILED"
        }
    }
}

struct Row {
    name: String,
    embedded: Outcome,
    reference: Option<Outcome>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_embedded_api_answers_like_the_real_one() {
    let embedded = Embedded::start().await.unwrap();
    let reference = match assets() {
        Some(assets) => Some(Reference::start(&assets).await.unwrap()),
        None => None,
    };
    let embedded_http = embedded.endpoint.http().unwrap();
    let reference_http = reference
        .as_ref()
        .map(|server| server.endpoint.http().unwrap());
    let only = only();
    let cases: Vec<Arc<Case>> = cases::all()
        .into_iter()
        .filter(|case| only.as_ref().is_none_or(|part| case.name().contains(part)))
        .map(Arc::new)
        .collect();
    let names: BTreeSet<String> = cases.iter().map(|case| case.name()).collect();
    assert_eq!(names.len(), cases.len(), "two cases have the same name");
    let rows: Vec<Row> = futures::stream::iter(cases.iter().enumerate())
        .map(|(number, case)| {
            let (embedded, reference) = (&embedded, &reference);
            let (embedded_http, reference_http) = (&embedded_http, &reference_http);
            async move {
                let id = format!("c{number:03}");
                let ours = case.on(&embedded.endpoint, embedded_http, &id).await;
                let theirs = match (reference, reference_http) {
                    (Some(server), Some(http)) => Some(case.on(&server.endpoint, http, &id).await),
                    _ => None,
                };
                Row {
                    name: case.name(),
                    embedded: ours,
                    reference: theirs,
                }
            }
        })
        .buffered(WIDTH)
        .collect()
        .await;
    let bad = report(&rows, only.is_none());
    embedded.stop().await.unwrap();
    if let Some(server) = reference {
        server.stop().await.unwrap();
    }
    assert!(
        bad.is_empty(),
        "{} of {} cases are not as they should be:\n{}",
        bad.len(),
        rows.len(),
        bad.join("\n")
    );
}

/// Only cases whose name contains this, for work on one of them.
fn only() -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "the environment of the test run")]
    std::env::var("METALMAN_CONFORMANCE_CASE").ok()
}

/// Prints the table and gives what is wrong.
fn report(rows: &[Row], whole: bool) -> Vec<String> {
    let known = known::differences();
    let (mut table, mut bad) = (String::new(), Vec::new());
    let (mut same, mut explained, mut unexplained) = (0, 0, 0);
    for row in rows {
        let reason = known.get(&row.name);
        let verdict = match &row.reference {
            None => "not compared".to_owned(),
            Some(theirs) if theirs.transcript == row.embedded.transcript => {
                same += 1;
                if reason.is_some() {
                    bad.push(format!(
                        "{}: no longer differs, remove it from DIFFERENCES.md",
                        row.name
                    ));
                }
                "same".to_owned()
            }
            Some(theirs) => match reason {
                Some(reason) => {
                    explained += 1;
                    format!("different: {reason}")
                }
                None => {
                    unexplained += 1;
                    let difference = difference(&row.embedded.transcript, &theirs.transcript);
                    bad.push(format!(
                        "{}: differs (- real server, + embedded API)\n{difference}",
                        row.name
                    ));
                    "DIFFERENT".to_owned()
                }
            },
        };
        let reference = row.reference.as_ref();
        for (server, outcome) in [
            ("embedded API", Some(&row.embedded)),
            ("real server", reference),
        ] {
            // A known difference may be that an expectation does not hold on one side.
            if let Some(failure) = outcome.and_then(|o| o.failure.as_ref())
                && (server == "embedded API" || reason.is_none())
            {
                bad.push(format!("{} on the {server}: {failure}", row.name));
            }
        }
        let theirs = reference.map_or("-", Outcome::word);
        writeln!(
            table,
            "{:<64} {:<9} {theirs:<9} {verdict}",
            row.name,
            row.embedded.word()
        )
        .unwrap();
    }
    if whole {
        for name in known
            .keys()
            .filter(|name| !rows.iter().any(|row| row.name == **name))
        {
            bad.push(format!(
                "DIFFERENCES.md names a case that does not exist: {name}"
            ));
        }
    }
    eprintln!("{:<64} {:<9} {:<9} comparison", "case", "embedded", "real");
    eprintln!("{table}");
    eprintln!(
        "{} cases: {same} same, {explained} known differences, {unexplained} unknown differences",
        rows.len()
    );
    if rows.iter().all(|row| row.reference.is_none()) {
        eprintln!(
            "NOT COMPARED with a real server: KUBEBUILDER_ASSETS is not set. It names a directory with \
             etcd, kube-apiserver, apiext136 and kube-controller-manager."
        );
    }
    bad
}

/// Lines that are only on one side, with the request they answer.
fn difference(ours: &[String], theirs: &[String]) -> String {
    let (ours, theirs) = (ours.join("\n"), theirs.join("\n"));
    let diff = similar::TextDiff::from_lines(&theirs, &ours);
    let (mut text, mut request, mut shown) = (String::new(), "", "");
    for group in diff.grouped_ops(1) {
        for change in group
            .iter()
            .flat_map(|operation| diff.iter_changes(operation))
        {
            writeln!(text, "    {}{}", change.tag(), change.value().trim_end()).unwrap();
        }
        let first = group
            .first()
            .map_or(0, |operation| operation.old_range().start);
        let above = theirs
            .lines()
            .take(first + 2)
            .filter(|line| !line.starts_with([' ', '{']));
        request = above.last().unwrap_or(request);
        if request != shown {
            writeln!(text, "    ... of {request}").unwrap();
            shown = request;
        }
    }
    text
}
