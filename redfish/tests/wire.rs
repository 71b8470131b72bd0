//! Connections that misbehave: dropped, trickled, silent, and callers that go away.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use redfish::{Client, ClientConfig, Error, ResetType, Timeouts, TlsTrust};
use secrecy::SecretString;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

/// What the server does with a request.
#[derive(Debug, Clone)]
enum Step {
    /// A whole answer: status, more header lines, body.
    Answer(u16, &'static str, &'static str),
    /// The same, and the connection is closed without saying so.
    AnswerAndClose(u16, &'static str, &'static str),
    /// Close without an answer.
    Drop,
    /// One byte every 20 ms, for ever.
    Trickle,
    /// The first half of an answer, then the end.
    Half,
    /// An answer after this time.
    Late(Duration, u16, &'static str, &'static str),
}

const ROOT: Step = Step::Answer(
    200,
    "",
    r#"{"Systems":{"@odata.id":"/redfish/v1/Systems"}}"#,
);
const LIST: &str = r#"{"Members":[{"@odata.id":"/redfish/v1/Systems/1"}]}"#;
const SYSTEM: &str = r#"{"@odata.id":"/redfish/v1/Systems/1","Id":"1","PowerState":"Off","Boot":{"BootSourceOverrideTarget":"None"}}"#;

/// The well-behaved answer.
fn good(line: &str) -> Step {
    match line {
        "GET /redfish/v1/" => ROOT,
        "GET /redfish/v1/Systems" => Step::Answer(200, "", LIST),
        "GET /redfish/v1/Systems/1" => Step::Answer(200, "", SYSTEM),
        _ => Step::Answer(204, "", ""),
    }
}

type Script = Arc<dyn Fn(usize, &str) -> Step + Send + Sync>;

struct Server {
    url: String,
    /// `connection: method path` of every request.
    log: Arc<Mutex<Vec<(usize, String)>>>,
}

impl Server {
    /// `script` gets the number of the request (from 0, over all connections) and its line.
    async fn new(script: impl Fn(usize, &str) -> Step + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let log: Arc<Mutex<Vec<(usize, String)>>> = Arc::default();
        let (script, written): (Script, _) = (Arc::new(script), Arc::clone(&log));
        #[expect(clippy::disallowed_methods, reason = "ends with the test's runtime")]
        tokio::spawn(async move {
            let mut connections = 0;
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(talk(
                    stream,
                    connections,
                    Arc::clone(&script),
                    Arc::clone(&written),
                ));
                connections += 1;
            }
        });
        Self { url, log }
    }

    fn client(&self) -> Client {
        Client::new(ClientConfig {
            base: self.url.parse().unwrap(),
            username: "admin".into(),
            password: SecretString::from("right"),
            system_id: None,
            trust: TlsTrust::Plaintext,
            timeouts: Timeouts {
                request: Duration::from_millis(400),
                ..Timeouts::default()
            },
        })
        .unwrap()
    }

    fn log(&self) -> Vec<(usize, String)> {
        self.log.lock().unwrap().clone()
    }

    fn count(&self, line: &str) -> usize {
        self.log().iter().filter(|(_, seen)| seen == line).count()
    }
}

async fn talk(
    mut stream: TcpStream,
    connection: usize,
    script: Script,
    log: Arc<Mutex<Vec<(usize, String)>>>,
) {
    while let Some(line) = request_line(&mut stream).await {
        let number = {
            let mut log = log.lock().unwrap();
            log.push((connection, line.clone()));
            log.len() - 1
        };
        let text = |status: u16, headers: &str, body: &str| {
            format!(
                "HTTP/1.1 {status} X\r\n{headers}Content-Length: {}\r\n\r\n{body}",
                body.len()
            )
        };
        let text = match script(number, &line) {
            Step::Answer(status, headers, body) => text(status, headers, body),
            Step::AnswerAndClose(status, headers, body) => {
                let text = text(status, headers, body);
                stream.write_all(text.as_bytes()).await.ok();
                return;
            }
            Step::Drop => return,
            Step::Trickle => {
                for byte in text(200, "", SYSTEM).bytes().cycle() {
                    if stream.write_all(&[byte]).await.is_err() {
                        return;
                    }
                    sleep(Duration::from_millis(20)).await;
                }
                return;
            }
            Step::Half => {
                let text = text(200, "", SYSTEM);
                let (half, _) = text.split_at(text.len() - 20);
                stream.write_all(half.as_bytes()).await.ok();
                return;
            }
            Step::Late(delay, status, headers, body) => {
                sleep(delay).await;
                text(status, headers, body)
            }
        };
        if stream.write_all(text.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Reads one request with its body; `None` at the end of the connection.
async fn request_line(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head
        .lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map_or(0, |(_, value)| value.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    let (line, _) = head.split_once(" HTTP/1.1").unwrap();
    Some(line.to_owned())
}

#[tokio::test]
async fn one_connection_serves_all() {
    let server = Server::new(|_, line| good(line)).await;
    let client = server.client();
    for _ in 0..3 {
        client.system().await.unwrap();
    }
    client.reset(ResetType::On).await.unwrap();
    assert!(server.log().iter().all(|(connection, _)| *connection == 0));
}

#[tokio::test]
async fn idle_connection_that_was_closed_is_replaced_unnoticed() {
    let server = Server::new(|_, line| {
        let Step::Answer(status, headers, body) = good(line) else {
            return Step::Drop;
        };
        Step::AnswerAndClose(status, headers, body)
    })
    .await;
    let client = server.client();
    client.system().await.unwrap();
    client.reset(ResetType::On).await.unwrap();
    assert_eq!(
        server.count("POST /redfish/v1/Systems/1/Actions/ComputerSystem.Reset"),
        1
    );
}

#[tokio::test]
async fn read_on_a_dying_connection_is_asked_again_and_a_write_is_not() {
    // Request 3 is the second read of the system, on a connection that served before.
    let server =
        Server::new(|number, line| if number == 3 { Step::Drop } else { good(line) }).await;
    let client = server.client();
    client.system().await.unwrap();
    client.system().await.unwrap();
    assert_eq!(server.log().len(), 6);

    let server = Server::new(|_, line| {
        if line.starts_with("POST") {
            Step::Drop
        } else {
            good(line)
        }
    })
    .await;
    let error = server.client().reset(ResetType::On).await.unwrap_err();
    assert!(matches!(error, Error::ConnectionLost { .. }), "{error:?}");
    assert!(error.may_have_acted());
    let posts = server
        .log()
        .iter()
        .filter(|(_, line)| line.starts_with("POST"))
        .count();
    assert_eq!(posts, 1);
}

#[tokio::test]
async fn fresh_connection_that_dies_is_not_tried_for_ever() {
    let server = Server::new(|_, _| Step::Drop).await;
    let error = server.client().system().await.unwrap_err();
    assert!(matches!(error, Error::ConnectionLost { .. }) && error.is_transient());
    assert_eq!(server.log().len(), 1);
}

#[tokio::test]
async fn trickle_ends_at_the_deadline() {
    let server = Server::new(|number, line| {
        if number == 2 {
            Step::Trickle
        } else {
            good(line)
        }
    })
    .await;
    let client = server.client();
    let error = client.system().await.unwrap_err();
    assert!(matches!(error, Error::TimedOut { .. }), "{error:?}");
    // The connection with half an answer on it is gone; the next call is undisturbed.
    client.system().await.unwrap();
}

#[tokio::test]
async fn half_an_answer_is_a_lost_connection() {
    let server =
        Server::new(|number, line| if number == 2 { Step::Half } else { good(line) }).await;
    let client = server.client();
    let error = client.system().await.unwrap_err();
    assert!(matches!(error, Error::ConnectionLost { .. }), "{error:?}");
    client.system().await.unwrap();
}

const LOGIN: &str = "POST /redfish/v1/SessionService/Sessions";
const SESSION: &str = "X-Auth-Token: t\r\nLocation: /redfish/v1/SessionService/Sessions/7\r\n";

fn with_sessions(_: usize, line: &str) -> Step {
    match line {
        "GET /redfish/v1/" => Step::Answer(
            200,
            "",
            r#"{"Systems":{"@odata.id":"/redfish/v1/Systems"},"Links":{"Sessions":{"@odata.id":"/redfish/v1/SessionService/Sessions"}}}"#,
        ),
        LOGIN => Step::Late(Duration::from_millis(150), 201, SESSION, "{}"),
        other => good(other),
    }
}

/// Makes a call and goes away while its login is on the way.
async fn abandon(client: &Client, server: &Server) {
    let login_is_on_the_way = async {
        let mut tick = tokio::time::interval(Duration::from_millis(1));
        while server.count(LOGIN) == 0 {
            tick.tick().await;
        }
    };
    tokio::select! {
        _ = client.system() => panic!("the login takes longer"),
        () = login_is_on_the_way => {}
    }
}

#[tokio::test]
async fn login_of_a_caller_that_went_away_is_used_by_the_next() {
    let server = Server::new(with_sessions).await;
    let client = server.client();
    abandon(&client, &server).await;
    client.system().await.unwrap();
    assert_eq!(server.count(LOGIN), 1);
}

#[tokio::test]
async fn login_of_a_caller_that_went_away_is_ended_by_close() {
    let server = Server::new(with_sessions).await;
    let client = server.client();
    abandon(&client, &server).await;
    client.close().await.unwrap();
    assert_eq!(
        server.count("DELETE /redfish/v1/SessionService/Sessions/7"),
        1
    );
}
