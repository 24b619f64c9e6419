//! What the controller and engines say to each other.

use serde::{Deserialize, Serialize};

use super::{Kind, Stamp, Status};
use crate::wire::ids::{FuncId, TaskId};

/// From the controller to an engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToEngine {
    /// A function that later tasks name; one part, its pickle.
    Func(FuncId),
    /// No later task names this function.
    Forget(FuncId),
    /// Something to run after what was sent before.
    Task {
        /// The task.
        id: TaskId,
        /// Its function.
        func: FuncId,
        /// What its parts are.
        kind: Kind,
        /// Number of this attempt among all that this engine is given; it grows.
        ticket: u64,
        /// Which attempt to run it this is, from 1.
        attempt: u16,
        /// See [`Rules`](super::Rules).
        timeout: u32,
        /// See [`Rules`](super::Rules).
        force: bool,
    },
    /// Give back those of these tasks that have not been started.
    Recall(Vec<TaskId>),
    /// Do not start these tasks, interrupt the one that runs.
    Cancel {
        /// The tasks.
        tasks: Vec<TaskId>,
        /// Milliseconds the one that runs is given before the engine has to end; `None` if it is
        /// to live.
        force: Option<u32>,
    },
    /// The outcomes under these tickets have arrived where they are wanted, and need not be kept.
    Settled(Vec<u64>),
    /// End the process when the running task is done; send nothing more.
    Shutdown,
    /// Send this signal to your own process, which is out of reach from here.
    Signal(i32),
}

/// From an engine to the controller.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum FromEngine {
    /// A task was started and still runs.
    Started {
        /// The task.
        id: TaskId,
        /// The attempt, as it was given.
        ticket: u64,
        /// When.
        at: Stamp,
    },
    /// So many items of a running chunk are done.
    Progress {
        /// The task.
        id: TaskId,
        /// Items done.
        done: u32,
    },
    /// Text a task wrote; one part, UTF-8.
    Output {
        /// The task.
        id: TaskId,
        /// 1 for stdout, 2 for stderr.
        stream: u8,
    },
    /// A task ended; parts by [`Status`].
    Result {
        /// The task.
        id: TaskId,
        /// The attempt, as it was given.
        ticket: u64,
        /// How.
        status: Status,
        /// When it began; 0 if it never did.
        started: Stamp,
        /// When it ended.
        completed: Stamp,
    },
    /// Recalled tasks, with their tickets, that were not started and never will be here.
    Returned(Vec<(TaskId, u64)>),
    /// I came back from the controller before this one, and tell again how these tasks ended, which
    /// it may not have passed on; of what else it gave me nothing was begun.
    Back(Vec<TaskId>),
    /// My process has come near the memory that it may have, or is no longer near it.
    Memory {
        /// Bytes of it that are in memory.
        used: u64,
        /// Bytes that it and others in its control groups may use.
        allowed: u64,
        /// Whether that is near.
        scarce: bool,
    },
}
