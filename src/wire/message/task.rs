//! What is said of a task, whoever says it.

use serde::{Deserialize, Serialize};

use crate::wire::ids::{EngineId, SessionId};

/// Where a task may run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// On any engine.
    Any,
    /// On any of these.
    Among(Vec<EngineId>),
}

/// What an engine does with the parts of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// One call: the first part is the pickle of `(args, kwargs)`.
    Apply,
    /// One call per item: the first part is the pickle of a list of argument tuples.
    Chunk,
}

/// What a client allows a task beside running once to its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// How often it may be run again after an attempt that failed.
    pub retries: u16,
    /// Milliseconds one attempt may run, less than 2^31; 0 for as long as it takes.
    pub timeout: u32,
    /// Whether its engine may be ended if it takes no notice of an interrupt after that time.
    pub force: bool,
}

/// How a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// A value: the first part is its pickle.
    Ok,
    /// An exception: the first part is the pickle of its description.
    Error,
    /// A chunk of which some items raised: as `Ok`, with descriptions in their places.
    Partial,
    /// Cancelled before it ended; no parts.
    Cancelled,
    /// Its engine ended; the first part is a [`Loss`] as msgpack.
    Lost,
    /// Never given to an engine; the first part is the reason as UTF-8 text.
    Refused,
    /// It ran longer than it may and was interrupted; no parts.
    TimedOut,
    /// Engines ended under it again and again; the first part is the last [`Loss`].
    Poison,
    /// From an engine only: as `Error`, and the task may be run again for it.
    Again,
}

/// Why and how a task was lost.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Loss {
    /// The engine that held the task.
    pub engine: u32,
    /// Its process.
    pub pid: u32,
    /// Its host.
    pub host: String,
    /// For instance `killed by SIGKILL`, `exit code 3`, `no sign of life for 10 s`.
    pub cause: String,
    /// Whether the task had been started, as far as is known.
    pub started: bool,
    /// Whether nobody knows that.
    pub unknown: bool,
    /// Which attempt to run it this was, from 1.
    pub attempt: u16,
    /// Seconds it had been running.
    pub ran_for: f64,
    /// The end of what the engine wrote to its log.
    pub output: String,
}

/// Tasks of one session with consecutive numbers: session, first number, how many.
pub type Run = (SessionId, u64, u64);

/// Writes tasks as runs, in the same order.
pub fn runs(tasks: impl IntoIterator<Item = (SessionId, u64)>) -> Vec<Run> {
    let mut runs = Vec::<Run>::new();
    for (session, seq) in tasks {
        match runs.last_mut() {
            Some((last, first, count))
                if *last == session && first.checked_add(*count) == Some(seq) =>
            {
                *count += 1;
            }
            _ => runs.push((session, seq, 1)),
        }
    }
    runs
}
