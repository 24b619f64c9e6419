//! What is pending and who waits for it.
//!
//! Knows: records, stamps, outcomes as opaque bytes, and whom to wake.
//! Never knows: pickles, scheduling, sockets, Python.
//! Who talks to it: `bindings` from the user's threads, the I/O thread with what arrives.

mod again;
mod alarms;
pub mod batch;
pub mod bell;
mod books;
pub mod core;
mod functions;
#[cfg(test)]
mod leading;
mod log;
mod questions;
mod rare;
mod records;
pub mod remote;
mod segment;
mod submit;
mod table;
pub mod tasks;
#[cfg(test)]
mod testing;

pub use self::alarms::Alarm;
pub use self::batch::State;
pub use self::core::{Core, Lifetime, Uplink};
pub use self::log::Log;
pub use self::submit::Submission;
pub use self::tasks::{Tasks, Until, Wait};
