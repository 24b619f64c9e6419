//! What a journal says, one record per event, and how it is encoded.
//!
//! The head of a record is encoded with the wire's codec; its parts (pickles and buffers) are bytes
//! that nobody here looks into. The types of the wire stand in files that outlive a version, so
//! whoever changes how one of them is encoded changes [`FORMAT`](super::frame::FORMAT) too.
//!
//! What always holds: a task's number is used once, and numbers of clients and tasks never come
//! back, so what was forgotten stays forgotten. Functions may be put again.

use serde::{Deserialize, Serialize};

use crate::wire::{ClientId, EngineId, FuncId, SessionId, Stamp, Status, TaskId};

use super::submitted::Submitted;

/// One event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Record {
    /// A function; one part, its pickle.
    Function(FuncId),
    /// A client, in place of what was said of it before.
    Client {
        /// Its number.
        client: ClientId,
        /// Its process's session.
        session: SessionId,
        /// Nanoseconds its unfinished tasks run on without it.
        lease: u64,
        /// The lowest number its next task may have; the store raises it by what it has seen.
        next: u64,
    },
    /// New tasks; the parts are their arguments.
    Submitted(Submitted),
    /// The outcome of a task, which is then no longer pending; the parts are its value.
    Outcome(Outcome),
    /// A pending task was begun once more.
    Attempt {
        /// The task.
        id: TaskId,
        /// Which attempt it is, from 1.
        attempt: u16,
    },
    /// A pending task is no longer wanted; it may have been begun.
    Cancelled(TaskId),
    /// What nobody will ask for again.
    Forgotten(Forgotten),
}

/// How a task ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The task.
    pub id: TaskId,
    /// How it ended.
    pub status: Status,
    /// Where it ran, if it did.
    pub engine: Option<EngineId>,
    /// When it was submitted.
    pub submitted: Stamp,
    /// When it was begun.
    pub started: Stamp,
    /// When it ended.
    pub completed: Stamp,
}

/// What nobody will ask for again.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Forgotten {
    /// Tasks: client, first number, how many.
    pub tasks: Vec<(ClientId, u64, u64)>,
    /// Functions.
    pub funcs: Vec<FuncId>,
    /// Clients; their tasks are not meant.
    pub clients: Vec<ClientId>,
}

/// What a record says something about. Each has at most one record that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// A function.
    Function(FuncId),
    /// A client.
    Client(ClientId),
    /// A task without an outcome.
    Pending(TaskId),
    /// The latest attempt of a task without an outcome.
    Attempt(TaskId),
    /// That a task without an outcome is no longer wanted.
    Cancelled(TaskId),
    /// The outcome of a task.
    Outcome(TaskId),
}

/// Sort of a record, which its frame names too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Sort {
    /// [`Record::Function`]
    Function = 1,
    /// [`Record::Client`]
    Client = 2,
    /// [`Record::Submitted`]
    Submitted = 3,
    /// [`Record::Outcome`]
    Outcome = 4,
    /// [`Record::Attempt`]
    Attempt = 5,
    /// [`Record::Forgotten`]
    Forgotten = 6,
    /// [`Record::Cancelled`]
    Cancelled = 7,
}

impl Sort {
    /// The sort with this number.
    pub fn of(number: u8) -> Option<Self> {
        use Sort::{Attempt, Cancelled, Client, Forgotten, Function, Outcome, Submitted};
        let all = [Function, Client, Submitted, Outcome, Attempt, Forgotten, Cancelled];
        all.into_iter().find(|sort| *sort as u8 == number)
    }
}

impl Record {
    /// Its sort.
    pub fn sort(&self) -> Sort {
        match self {
            Self::Function(_) => Sort::Function,
            Self::Client { .. } => Sort::Client,
            Self::Submitted(_) => Sort::Submitted,
            Self::Outcome(_) => Sort::Outcome,
            Self::Attempt { .. } => Sort::Attempt,
            Self::Cancelled(_) => Sort::Cancelled,
            Self::Forgotten(_) => Sort::Forgotten,
        }
    }

    /// What the record is about if that is one thing.
    pub(super) fn key(&self) -> Option<Key> {
        match self {
            Self::Function(id) => Some(Key::Function(*id)),
            Self::Client { client, .. } => Some(Key::Client(*client)),
            Self::Outcome(outcome) => Some(Key::Outcome(outcome.id)),
            Self::Attempt { id, .. } => Some(Key::Attempt(*id)),
            Self::Cancelled(id) => Some(Key::Cancelled(*id)),
            Self::Submitted(_) | Self::Forgotten(_) => None,
        }
    }

    /// What is wrong with a record that has so many parts.
    pub(super) fn fault(&self, parts: usize) -> Option<String> {
        let wanted = match self {
            Self::Function(_) => 1,
            Self::Outcome(_) => parts,
            Self::Submitted(tasks) => match tasks.sum(parts) {
                Some(sum) => sum,
                None => return Some("tasks whose numbers and parts do not match".into()),
            },
            Self::Client { .. }
            | Self::Attempt { .. }
            | Self::Cancelled(_)
            | Self::Forgotten(_) => 0,
        };
        (wanted != parts).then(|| format!("a record of {parts} parts instead of {wanted}"))
    }
}
