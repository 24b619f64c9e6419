//! What clients and the controller say to each other.

use serde::{Deserialize, Serialize};

use super::{Kind, Reply, Request, Rules, Stamp, Status, Target};
use crate::wire::ids::{ClientId, EngineId, FuncId, SessionId};

/// Watched tasks are told under numbers from here on; below are the numbers of a client's own.
pub const WATCHED: u64 = 1 << 63;

/// The client of an embedded controller.
pub const EMBEDDED: ClientId = ClientId(0);

/// One engine as clients see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineInfo {
    /// Its number.
    pub id: EngineId,
    /// Its process's session.
    pub session: SessionId,
    /// Its process.
    pub pid: u32,
    /// Its host.
    pub host: String,
}

/// From a client to the controller.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum FromClient {
    /// A function that later tasks name; one part, its pickle.
    Func(FuncId),
    /// No later task will name this function.
    Forget(FuncId),
    /// Load-balanced tasks with consecutive numbers.
    Submit {
        /// Number of the first task.
        first: u64,
        /// The function of all of them.
        func: FuncId,
        /// What each task's parts are.
        kind: Kind,
        /// Where they may run.
        target: Target,
        /// How many of the parts belong to each task, in order.
        counts: Vec<u32>,
        /// What they are allowed.
        rules: Rules,
    },
    /// One task on each of these engines, numbered in their order; the parts belong to each.
    Direct {
        /// Number of the first task.
        first: u64,
        /// The function of all of them.
        func: FuncId,
        /// What each task's parts are.
        kind: Kind,
        /// The engines, in order.
        engines: Vec<EngineId>,
        /// What they are allowed.
        rules: Rules,
    },
    /// The client no longer wants these tasks of its own.
    Cancel {
        /// Their numbers.
        tasks: Vec<u64>,
        /// Milliseconds a task that runs is given to take notice before its engine is ended;
        /// `None` if the engine is to live.
        force: Option<u32>,
    },
    /// Tell the outcome of these tasks of any session as if they were tasks `first..` of mine.
    Watch {
        /// Number under which the first outcome is to be told.
        first: u64,
        /// Session and number of each task.
        tasks: Vec<(SessionId, u64)>,
    },
    /// These outcomes have arrived, of my own tasks or of those I watch: runs of first number and
    /// how many.
    Took(Vec<(u64, u64)>),
    /// I came back, to this controller or from the one before it, and have submitted again what I
    /// still want.
    Back,
    /// A question that [`ToClient::Reply`] answers under the same number.
    Request {
        /// Number of the question.
        id: u64,
        /// The question.
        body: Request,
    },
}

/// From the controller to a client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToClient {
    /// All engines there are now; sent at the start and after each change.
    Engines(Vec<EngineInfo>),
    /// A task was started and still runs.
    Started {
        /// The task.
        seq: u64,
        /// Where.
        engine: EngineId,
        /// When, by the engine's clock.
        at: Stamp,
    },
    /// So many items of a running chunk are done.
    Progress {
        /// The task.
        seq: u64,
        /// Items done.
        done: u32,
    },
    /// Text a task wrote; one part, UTF-8.
    Output {
        /// The task.
        seq: u64,
        /// 1 for stdout, 2 for stderr.
        stream: u8,
    },
    /// A task ended; parts by [`Status`].
    Result {
        /// The task.
        seq: u64,
        /// How.
        status: Status,
        /// Where it ran, if it was given to an engine.
        engine: Option<EngineId>,
        /// When it was submitted, for watched tasks of other sessions.
        submitted: Option<Stamp>,
        /// When it began and ended, by the engine's clock; 0 if it never began.
        started: Stamp,
        /// See `started`.
        completed: Stamp,
    },
    /// The answer to a request.
    Reply {
        /// Number of the question.
        id: u64,
        /// The answer.
        body: Reply,
    },
    /// An engine has come near the memory that it may have, or is no longer near it; the former is
    /// told at the start too.
    Memory {
        /// The engine.
        engine: EngineId,
        /// As the engine said, see [`FromEngine::Memory`](super::FromEngine::Memory).
        used: u64,
        /// See `used`.
        allowed: u64,
        /// See `used`.
        scarce: bool,
    },
}
