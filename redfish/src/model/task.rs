//! `Task` and task monitors: is it over, and how did it end.

use serde_json::Value;

use super::json::text;
use super::message::Messages;

/// What an answer of a task monitor means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TaskOutcome {
    /// Still going; the last state told.
    Running { state: String },
    /// Not begun; the last state told.
    Waiting { state: String },
    /// Ended well.
    Done,
    /// Ended badly.
    Failed { state: String, message: String },
}

/// Judges one poll. A monitor answers 202 while it runs and the action's own answer afterwards;
/// a Task resource answers 200 all the time and says its state in the body. A monitor that is gone
/// (404, 410) was removed after its end: how it ended is left to the read-back.
pub(crate) fn task_outcome(status: u16, body: &Value) -> TaskOutcome {
    // iDRAC answers some changes with a Dell job instead of a task.
    let state = text(body, "TaskState").or_else(|| text(body, "JobState"));
    let Some(state) = state else {
        return if status == 202 {
            TaskOutcome::Running {
                state: "Running".to_owned(),
            }
        } else {
            TaskOutcome::Done
        };
    };
    match state.as_str() {
        "Completed" => {
            let task_status = text(body, "TaskStatus").unwrap_or_default();
            if task_status == "Critical" {
                TaskOutcome::Failed {
                    state,
                    message: Messages::parse(body).text,
                }
            } else {
                TaskOutcome::Done
            }
        }
        "Pending" | "New" | "Scheduled" | "Suspended" => TaskOutcome::Waiting { state },
        "Exception"
        | "Killed"
        | "Cancelled"
        | "Interrupted"
        | "Failed"
        | "CompletedWithErrors"
        | "RebootFailed" => TaskOutcome::Failed {
            state,
            message: Messages::parse(body).text,
        },
        _ => TaskOutcome::Running { state },
    }
}
