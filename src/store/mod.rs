//! The journal of a controller: what must be known again after it was killed.
//!
//! Knows: files, records, positions, checksums.
//! Never knows: sockets, Python, scheduling, what the bytes of a task are.
//! Who talks to it: a standalone controller that was started with a store.
//!
//! A store is a directory with a lock, a reserve and files of records, of which only the last is
//! written to. Records are never changed in place. What was said to be appended survives the end of
//! this process; what was synced survives a loss of power. When most of the bytes are of records that
//! no longer count, the oldest file is read, what still counts in it is appended anew, and the file
//! is removed. Going round like this needs no more than twice the space of what counts and two files
//! beside, and it makes forgetting simple: what a record forgets lies before it, so it has gone when
//! that record comes to be read.

mod clean;
mod directory;
pub mod disk;
mod ends;
mod error;
pub mod frame;
mod index;
mod journal;
mod limits;
mod place;
mod read;
mod record;
mod recover;
mod reserve;
pub mod scan;
mod short;
#[cfg(test)]
pub(crate) mod simulated;
mod submitted;
mod tail;
#[cfg(test)]
mod tests;

pub use error::{Damage, StoreError, Torn};
pub use journal::{Class, Position, Store};
pub use limits::Limits;
pub use record::{Forgotten, Key, Outcome, Record, Sort};
pub use recover::Recovered;
pub use submitted::{Spread, Submitted};
