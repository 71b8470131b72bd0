use std::sync::Arc;

use anyhow::bail;
use futures::{channel::mpsc, stream};
use tokio::sync::Notify;

use super::*;

const LIMIT: Duration = Duration::from_secs(5);

fn quiet() -> impl Stream<Item = Signal> + Unpin {
    stream::pending()
}

#[tokio::test]
async fn a_signal_stops_work_before_foundation() {
    let (order, seen) = mpsc::unbounded();
    let mut supervisor = Supervisor::new(LIMIT);
    for (name, stop, foundation) in [
        ("api", supervisor.foundation_stop_token(), true),
        ("dhcp", supervisor.stop_token(), false),
    ] {
        let order = order.clone();
        let task = async move {
            stop.cancelled().await;
            order.unbounded_send(name)?;
            Ok(())
        };
        if foundation {
            supervisor.start_foundation(name, task);
        } else {
            supervisor.start(name, task);
        }
    }
    drop(order);
    supervisor
        .run(Box::pin(stream::iter([Signal::Reload, Signal::Terminate])))
        .await
        .unwrap();
    assert_eq!(seen.collect::<Vec<_>>().await, ["dhcp", "api"]);
}

#[tokio::test]
async fn a_failing_task_ends_the_process_with_its_name_and_cause() {
    let mut supervisor = Supervisor::new(LIMIT);
    let stop = supervisor.stop_token();
    supervisor.start("web", async move {
        stop.cancelled().await;
        Ok(())
    });
    supervisor.start("tftp", async { bail!("socket closed") });
    let error = supervisor.run(quiet()).await.unwrap_err();
    assert_eq!(chain(&error), "task tftp failed: socket closed");
}

#[tokio::test]
async fn a_panicking_task_ends_the_process_with_its_name_and_text() {
    let mut supervisor = Supervisor::new(LIMIT);
    supervisor.start("driver", async { panic!("row {} is odd", 7) });
    let error = supervisor.run(quiet()).await.unwrap_err();
    assert_eq!(error.to_string(), "task driver panicked: row 7 is odd");
}

#[tokio::test]
async fn a_task_that_returns_uncalled_is_a_failure() {
    let mut supervisor = Supervisor::new(LIMIT);
    supervisor.start_foundation("api", async { Ok(()) });
    let error = supervisor.run(quiet()).await.unwrap_err();
    assert!(
        matches!(error, SupervisorError::Ended { name: "api" }),
        "{error}"
    );
}

#[tokio::test]
async fn a_task_that_ignores_the_stop_is_named_and_dropped_at_the_limit() {
    let mut supervisor = Supervisor::new(Duration::from_millis(10));
    supervisor.start("deaf", std::future::pending());
    let error = supervisor.run(Box::pin(stream::iter([Signal::Terminate]).chain(quiet())));
    let error = error.await.unwrap_err();
    assert_eq!(error.to_string(), "did not stop within 10ms: deaf");
}

#[tokio::test]
async fn a_second_signal_stops_at_once() {
    let mut supervisor = Supervisor::new(Duration::from_hours(1));
    let asked = Arc::new(Notify::new());
    let (told, stop) = (asked.clone(), supervisor.stop_token());
    supervisor.start("slow", async move {
        stop.cancelled().await;
        told.notify_one();
        std::future::pending().await
    });
    let after = stream::once(async move {
        asked.notified().await;
        Signal::Terminate
    });
    let signals = Box::pin(stream::iter([Signal::Terminate]).chain(after));
    let error = supervisor.run(signals).await.unwrap_err();
    assert!(matches!(error, SupervisorError::Hurried { ref names } if names == &["slow"]));
}
