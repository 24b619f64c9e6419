//! What clients ask the controller, and how it answers.

use serde::{Deserialize, Serialize};

use super::Run;
use crate::wire::ids::EngineId;

/// A question of a client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// Per engine: direct tasks waiting, load-balanced tasks assigned, tasks completed.
    QueueStatus,
    /// Numbers of all tasks the controller still knows, by session, in order of submission.
    History,
    /// Forget the kept outcomes of these tasks; `None` for all.
    Purge(Option<Vec<Run>>),
    /// End the process of these engines.
    Shutdown(Vec<EngineId>),
    /// Send this signal to the processes of these engines.
    Signal(Vec<EngineId>, i32),
    /// End the controller and everything it started.
    Stop,
    /// Whether engines are alive and what keeps them busy.
    EngineStatus,
    /// As [`Request::Shutdown`], and start another process in place of each.
    Restart(Vec<EngineId>),
    /// While no engine is there, let my tasks wait for one for so many nanoseconds; `u64::MAX` for
    /// ever.
    Patience(u64),
}

impl Request {
    /// Whether asking twice does what asking once does.
    pub fn can_be_asked_again(&self) -> bool {
        match self {
            Self::QueueStatus
            | Self::History
            | Self::Purge(_)
            | Self::EngineStatus
            | Self::Patience(_) => true,
            Self::Shutdown(_) | Self::Signal(..) | Self::Stop | Self::Restart(_) => false,
        }
    }
}

/// How one engine is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// The engine.
    pub id: EngineId,
    /// Seconds since its last sign of life.
    pub silent: f64,
    /// Whether that is too long.
    pub suspect: bool,
    /// Seconds its present task has been running; `None` without one.
    pub busy: Option<f64>,
    /// Bytes of its process that are in memory; `None` if nobody knows.
    pub memory: Option<u64>,
    /// Bytes that it and others in its control groups may use.
    pub memory_limit: Option<u64>,
    /// Whether it said that this is near.
    pub scarce: bool,
}

/// The answer to a [`Request`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    /// Done, nothing to tell.
    Done,
    /// Tasks waiting for an engine, then per engine `(id, queue, tasks, completed)`.
    QueueStatus(u64, Vec<(EngineId, u64, u64, u64)>),
    /// The tasks, in order of submission.
    History(Vec<Run>),
    /// Not done, and why.
    Refused(String),
    /// How the engines are, and why processes that were started did not become engines.
    EngineStatus(Vec<Health>, Vec<String>),
}
