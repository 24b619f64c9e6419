//! What the roles say to each other: one enum per direction, no behaviour.
//!
//! A message is a small head, which is encoded, and parts, which are opaque bytes (pickles and
//! buffers) that are never copied into the head. Which part means what is said at each variant.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::compact::{Reader, Writer};
use super::ids::{ClientId, EngineId, FuncId, SessionId, TaskId};
use super::loan::Sign;

/// Opaque bytes: first a pickle, then the buffers it refers to.
pub type Parts = SmallVec<[Bytes; 1]>;

/// Nanoseconds since 1970 (UTC) by the clock of the process that took the stamp.
pub type Stamp = i64;

/// A head and the parts that belong to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Message<H> {
    /// What is said.
    pub head: H,
    /// The bytes it is said about.
    pub parts: Parts,
}

impl<H> Message<H> {
    /// A message without parts.
    pub fn bare(head: H) -> Self {
        Self { head, parts: Parts::new() }
    }
}

/// How a head behaves on the way.
pub trait Head: Serialize + for<'de> Deserialize<'de> + Send + Sized + 'static {
    /// Whether the message must not overtake others that are in order.
    fn in_order(&self) -> bool;

    /// Writes the head in its short form; `false`, and nothing written, if it has none. See
    /// [`compact`](super::compact).
    fn write_short(&self, _out: &mut Writer) -> bool {
        false
    }

    /// The head whose short form has this code; `None` if there is none or it is broken.
    fn read_short(_code: u8, _bytes: &mut Reader) -> Option<Self> {
        None
    }
}

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
    /// I came back from the controller before this one, and have submitted again what I still
    /// want.
    Back,
    /// A question that [`ToClient::Reply`] answers under the same number.
    Request {
        /// Number of the question.
        id: u64,
        /// The question.
        body: Request,
    },
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
}

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
        /// See [`Rules`].
        timeout: u32,
        /// See [`Rules`].
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
}

/// What a peer says first, over the door, before anything else of it is read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// The cluster's secret.
    #[serde(with = "serde_bytes")]
    pub token: Vec<u8>,
    /// What it wants to be.
    pub role: Role,
    /// Its session.
    pub session: SessionId,
    /// Its process.
    pub pid: u32,
    /// Its host.
    pub host: String,
    /// `major.minor` of its Python, empty if it has none.
    pub python: String,
    /// Nanoseconds a client's unfinished tasks run on when it is gone; `u64::MAX` for as long as they
    /// take.
    pub lease: u64,
    /// An engine's tally of the tasks it begins, by their tickets.
    pub tally: Option<Sign>,
    /// What it was to the controller it comes back from.
    pub before: Option<Before>,
}

/// What a peer was to a controller that has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    /// That controller's session.
    pub controller: SessionId,
    /// The number the peer had.
    pub number: u32,
    /// The highest ticket an engine was given.
    pub ticket: u64,
    /// The task an engine runs.
    pub running: Option<Underway>,
}

/// A task that an engine has begun and not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Underway {
    /// The task.
    pub id: TaskId,
    /// The attempt, as it was given.
    pub ticket: u64,
    /// Which attempt to run it this is, from 1.
    pub attempt: u16,
    /// When it began, by the engine's clock.
    pub started: Stamp,
}

/// What a peer is to the controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// It submits tasks.
    Client,
    /// It runs them.
    Engine,
}

/// The controller's answer to a [`Hello`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Welcome {
    /// Come in.
    Accepted {
        /// File names, in the cluster's directory, of the sockets made for this session.
        ctl: String,
        /// See `ctl`.
        bulk: String,
        /// The number given: an engine's or a client's.
        number: u32,
        /// The controller's own session.
        controller: SessionId,
        /// The controller's process.
        pid: u32,
        /// Milliseconds after which it wants a sign of life again.
        beat: u32,
        /// Milliseconds for which the peer is to look for another controller when this one ends
        /// without a goodbye; until then it keeps what that one would need. 0 if none will come.
        lease: u32,
        /// Whether the peer is taken for what it says it was [`Before`].
        resumed: bool,
    },
    /// Stay out, and why; asking again is useless.
    Refused(String),
}

/// Watched tasks are told under numbers from here on; below are the numbers of a client's own.
pub const WATCHED: u64 = 1 << 63;

/// The client of an embedded controller.
pub const EMBEDDED: ClientId = ClientId(0);
