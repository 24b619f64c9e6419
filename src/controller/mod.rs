//! Who runs what, where, and what became of it.
//!
//! Knows: tasks, functions, engines, clients, in which order and where tasks run, and the outcomes
//! that are kept. Never knows: sockets, clocks, processes, what the bytes of a task mean, Python.
//! Who talks to it: a shell, which turns what arrives into [`Event`]s, hands each to
//! [`Reactor::handle`] with the time, and carries out the [`Effect`]s in their order.
//!
//! - `event`: what may happen, and what may be done about it.
//! - `reactor`, `submit`, `report`, `request`, `scarce`: one function per event.
//! - `schedule`, `lanes`, `ranks`: which engine gets which task, and what is taken back.
//! - `resume`, `comeback`, `receipts`, `spent`: what lets a controller go on where one that was killed ended.
//! - `gone`, `returning`: clients that are gone, and those that come back.
//! - `record`, `restore`: what a store is to hold, and beginning with what it holds.
//! - `settle`, `outcomes`: the end of a task, told once and kept for a while.
//! - `deserted`: what waits while no engine is there.
//! - `run`, `incoming`, `inbox`, `admit`, `visits`, `send`, `losses`, `stop`, `embedded`, `standalone`: the
//!   shell; `ledger`, `notes`, `inherit`, `keep`, `reopen`: what it leaves to one that follows it; `processes`, `spawn`,
//!   `memory_kills`: the processes behind engines. The only files here with I/O.
//! - `revive`: whether and when an engine process that ended is replaced.
//! - `tasks`, `engines`, `clients`, `funcs`: the books; `state` holds them, `check` audits them.
//! - `slab`, `span`, `index`, `hash`: what the books are made of.

mod admit;
mod attempts;
mod check;
mod clients;
mod comeback;
mod deserted;
mod elsewhere;
mod embedded;
mod engines;
mod event;
mod farewell;
mod funcs;
mod gone;
mod hash;
mod inbox;
mod incoming;
mod index;
mod inherit;
pub(crate) mod keep;
mod lanes;
mod ledger;
mod losses;
mod memory_kills;
mod moved;
mod notes;
mod outcomes;
mod parked;
pub(crate) mod places;
mod processes;
mod ranks;
mod reactor;
mod receipts;
mod record;
mod reopen;
mod report;
mod request;
mod restore;
mod resume;
mod returning;
mod revive;
mod run;
mod scarce;
mod schedule;
mod send;
mod settle;
mod slab;
mod span;
mod spawn;
mod spent;
mod standalone;
mod state;
mod stop;
mod submit;
mod tasks;
mod texts;
mod visits;

#[cfg(test)]
mod tests;

pub use crate::transport::Listen;
pub use embedded::Embedded;
pub use event::{Begun, Effect, Event, Inherited, Now, Restored};
pub use keep::Keeping;
pub use reactor::Reactor;
pub use record::Admitted;
pub use returning::Piece;
pub use revive::Care;
pub use spawn::Recipe;
pub use standalone::serve;
pub use state::Limits;
