//! Bytes and messages.
//!
//! Knows: identities, messages, limits, and how a message becomes frames.
//! Never knows: sockets, clocks, what a task is for, Python.
//! Who talks to it: every other room.

pub mod codec;
pub mod compact;
pub mod ids;
pub mod limits;
pub mod loan;
pub mod message;
mod pieces;

pub use ids::{ClientId, EngineId, FuncId, SessionId, TaskId};
pub use loan::{Loan, Sign};
pub use message::{
    Before, EngineInfo, FromClient, FromEngine, Head, Health, Hello, Kind, Loss, Message, Parts,
    Reply, Request, Role, Rules, Stamp, Status, Target, ToClient, ToEngine, Underway, Welcome,
};
