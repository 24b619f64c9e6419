//! What is said at the door: who a peer is, what it was, and whether it may come in.

use serde::{Deserialize, Serialize};

use super::Stamp;
use crate::wire::ids::{SessionId, TaskId};
use crate::wire::loan::Sign;

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
    /// What it was in the session before, to this controller or another.
    pub before: Option<Before>,
}

/// What a peer was in a session that has ended without a goodbye.
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
