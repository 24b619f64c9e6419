//! One slot of work: takes tasks one at a time, runs them in order, reports.
//!
//! Knows: one task at a time, its output, its progress, its interruption.
//! Never knows: scheduling, other engines, Python (the main thread's calls come from `bindings`).
//! Who talks to it: the I/O thread with what the controller says, the main thread for work.

mod ending;
mod home;
mod kept;
mod output;
mod run;
mod session;
mod slot;
#[cfg(test)]
mod testing;

#[cfg(test)]
pub(crate) use kept::Kept;
pub use run::{Engine, Process};
#[cfg(test)]
pub(crate) use slot::{ANNOUNCE_AFTER, Look};
pub use slot::{Slot, Work};
