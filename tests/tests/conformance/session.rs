//! What a case speaks through: requests to one server, each noted in a transcript.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use metalman_tests::apis::Endpoint;
use serde_json::{Value, json};

use crate::transcript::Transcript;

/// Group of the definition that is only for tests.
pub(crate) const WIDGETS: &str = "/apis/test.metalman.io/v1";
/// Our group.
pub(crate) const OURS: &str = "/apis/unbounded-cloud.io/v1alpha3";

/// A server as one case sees it.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    http: reqwest::Client,
    url: String,
    token: String,
    /// Unique among cases, the same on both servers: for names of objects.
    pub(crate) id: String,
    transcript: Arc<Mutex<Transcript>>,
}

/// A request that is being put together.
#[derive(Debug)]
pub(crate) struct Call<'s> {
    session: &'s Session,
    method: &'static str,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: String,
    token: Option<String>,
}

/// An answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) line: String,
    pub(crate) code: u16,
    pub(crate) warnings: Vec<String>,
    pub(crate) body: Value,
}

impl Session {
    pub(crate) fn new(endpoint: &Endpoint, http: reqwest::Client, id: String) -> Self {
        Self {
            http,
            url: endpoint.url.clone(),
            token: endpoint.token.clone(),
            id,
            transcript: Arc::default(),
        }
    }

    pub(crate) fn transcript(&self) -> Vec<String> {
        let transcript = self.transcript.lock();
        transcript.unwrap_or_else(PoisonError::into_inner).lines()
    }

    /// The same server with a transcript that nobody reads.
    pub(crate) fn clone_quiet(&self) -> Self {
        Self {
            transcript: Arc::default(),
            ..self.clone()
        }
    }

    /// Notes something that is no answer.
    pub(crate) fn note(&self, what: &str, value: &Value) {
        let mut transcript = self
            .transcript
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        transcript.note(what, value);
    }

    /// A name for the case's objects.
    pub(crate) fn name(&self, suffix: &str) -> String {
        format!("{}-{suffix}", self.id)
    }

    fn call(&self, method: &'static str, path: impl Into<String>) -> Call<'_> {
        Call {
            session: self,
            method,
            path: path.into(),
            headers: vec![("accept", "application/json".to_owned())],
            body: String::new(),
            token: Some(self.token.clone()),
        }
    }

    fn with_body(
        &self,
        method: &'static str,
        path: impl Into<String>,
        media: &str,
        body: &Value,
    ) -> Call<'_> {
        let mut call = self.call(method, path);
        call.headers.push(("content-type", media.to_owned()));
        call.body = body.to_string();
        call
    }

    pub(crate) fn get(&self, path: impl Into<String>) -> Call<'_> {
        self.call("GET", path)
    }

    pub(crate) fn delete(&self, path: impl Into<String>) -> Call<'_> {
        self.call("DELETE", path)
    }

    pub(crate) fn delete_with(&self, path: impl Into<String>, body: &Value) -> Call<'_> {
        self.with_body("DELETE", path, "application/json", body)
    }

    pub(crate) fn post(&self, path: impl Into<String>, body: &Value) -> Call<'_> {
        self.with_body("POST", path, "application/json", body)
    }

    pub(crate) fn put(&self, path: impl Into<String>, body: &Value) -> Call<'_> {
        self.with_body("PUT", path, "application/json", body)
    }

    pub(crate) fn merge(&self, path: impl Into<String>, body: &Value) -> Call<'_> {
        self.with_body("PATCH", path, "application/merge-patch+json", body)
    }

    pub(crate) fn json_patch(&self, path: impl Into<String>, body: &Value) -> Call<'_> {
        self.with_body("PATCH", path, "application/json-patch+json", body)
    }

    pub(crate) fn strategic(&self, path: impl Into<String>, body: &Value) -> Call<'_> {
        self.with_body(
            "PATCH",
            path,
            "application/strategic-merge-patch+json",
            body,
        )
    }

    /// Server-side apply by `manager`.
    pub(crate) fn apply(&self, path: &str, manager: &str, body: &Value) -> Call<'_> {
        let separator = if path.contains('?') { '&' } else { '?' };
        let path = format!("{path}{separator}fieldManager={manager}");
        self.with_body("PATCH", path, "application/apply-patch+yaml", body)
    }

    /// Makes the case's namespace and gives the path of `plural` in it.
    pub(crate) async fn namespaced(&self, root: &str, plural: &str) -> String {
        let path = format!("/api/v1/namespaces/{}", self.id);
        let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.id}});
        let code = self.post("/api/v1/namespaces", &body).quietly().await.code;
        assert!(matches!(code, 201 | 409), "cannot make {path}: {code}");
        format!("{root}/namespaces/{}/{plural}", self.id)
    }

    /// Widgets in the case's namespace.
    pub(crate) async fn widgets(&self) -> String {
        self.namespaced(WIDGETS, "widgets").await
    }

    /// Follows a watch until it has given `count` events or ended. The events are noted.
    pub(crate) async fn watch(&self, path: &str, count: usize) -> Vec<Value> {
        self.watch_as(path, count, "application/json").await
    }

    pub(crate) async fn watch_as(&self, path: &str, count: usize, accept: &str) -> Vec<Value> {
        let request = self
            .http
            .get(format!("{}{path}", self.url))
            .header("accept", accept)
            .bearer_auth(&self.token);
        let answer = request.send().await.unwrap();
        let code = answer.status().as_u16();
        let mut stream = answer.bytes_stream();
        let (mut events, mut rest) = (Vec::new(), Vec::new());
        let all = async {
            while let Some(Ok(chunk)) = stream.next().await {
                rest.extend_from_slice(&chunk);
                while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = rest.drain(..=end).collect();
                    events.push(serde_json::from_slice::<Value>(&line).unwrap());
                }
                if events.len() >= count {
                    return;
                }
            }
        };
        let ended = tokio::time::timeout(Duration::from_secs(20), all).await;
        assert!(
            ended.is_ok(),
            "{path}: {} of {count} events: {events:?}",
            events.len()
        );
        if let Ok(last) = serde_json::from_slice::<Value>(&rest) {
            events.push(last);
        }
        self.note(&format!("WATCH {path} {code}"), &json!(events));
        events
    }
}

impl Call<'_> {
    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.retain(|(known, _)| *known != name);
        self.headers.push((name, value.to_owned()));
        self
    }

    /// As somebody else, as `kubectl --as` does it.
    pub(crate) fn acting(mut self, (user, group): (&str, &str)) -> Self {
        self.headers.push(("impersonate-user", user.to_owned()));
        for group in [group, "system:authenticated"] {
            self.headers.push(("impersonate-group", group.to_owned()));
        }
        self
    }

    /// A body that is not JSON.
    pub(crate) fn text(mut self, body: &str) -> Self {
        body.clone_into(&mut self.body);
        self
    }

    /// With another token, or with none.
    pub(crate) fn token(mut self, token: Option<&str>) -> Self {
        self.token = token.map(str::to_owned);
        self
    }

    /// Sends without a note in the transcript.
    pub(crate) async fn quietly(self) -> Answer {
        let method = self.method.parse().unwrap();
        let url = format!("{}{}", self.session.url, self.path);
        let mut request = self.session.http.request(method, url).body(self.body);
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let answer = request.send().await.unwrap();
        let code = answer.status().as_u16();
        let warnings = answer.headers().get_all("warning").iter();
        let warnings = warnings
            .map(|value| value.to_str().unwrap_or_default().to_owned())
            .collect();
        let bytes = answer.bytes().await.unwrap();
        let body = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Value::from(String::from_utf8_lossy(&bytes).into_owned()));
        let line = format!("{} {}", self.method, self.path);
        Answer {
            line,
            code,
            warnings,
            body,
        }
    }

    /// Sends, and notes everything of the answer.
    pub(crate) async fn send(self) -> Answer {
        let session = self.session;
        let answer = self.quietly().await;
        let mut transcript = session
            .transcript
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        transcript.answer(&answer);
        answer
    }

    /// Sends, notes, and wants this code.
    pub(crate) async fn is(self, code: u16) -> Answer {
        let answer = self.send().await;
        assert_eq!(answer.code, code, "{}: {}", answer.line, answer.body);
        answer
    }

    /// Sends, notes only the code, and wants this one: for bodies that tell of the server's version.
    pub(crate) async fn only(self, code: u16) -> Answer {
        let session = self.session;
        let answer = self.quietly().await;
        session.note(&format!("{} {}", answer.line, answer.code), &Value::Null);
        assert_eq!(answer.code, code, "{}: {}", answer.line, answer.body);
        answer
    }
}

impl Answer {
    /// What is at a JSON pointer; null when there is nothing.
    pub(crate) fn at(&self, pointer: &str) -> Value {
        self.body.pointer(pointer).cloned().unwrap_or_default()
    }

    pub(crate) fn text(&self, pointer: &str) -> String {
        self.at(pointer).as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn version(&self) -> String {
        self.text("/metadata/resourceVersion")
    }

    /// Names of the items of a list.
    pub(crate) fn names(&self) -> Vec<String> {
        let items = self.at("/items");
        let name = |item: &Value| {
            item["metadata"]["name"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        items.as_array().into_iter().flatten().map(name).collect()
    }
}
