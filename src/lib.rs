//! The compiled core of oarlock: interactive parallel computing for Python.
//!
//! The rooms, in the order the data flows:
//!
//! - [`wire`]: bytes and messages. Identities, limits, codec; no sockets, no clocks.
//! - [`memory`]: large bytes that stay where they are and are mapped by who needs them.
//! - [`transport`]: the only sockets. Door, sessions, credit, chunks, heartbeats.
//! - [`controller`]: who runs what, where, and what became of it: a pure reactor and its shell.
//! - [`engine`]: runs one task at a time and reports.
//! - [`client`]: what is pending and who waits for it.
//! - [`store`]: the journal of a controller. Files, records, checksums.
//! - [`clock`]: the clock on the wall, for stamps.
//! - `sim`: tests only: all of these but the sockets, in one thread, under chance.
//! - `bindings`: the only room that knows Python.

#[cfg(feature = "python")]
mod bindings;
pub mod client;
pub mod clock;
pub mod controller;
pub mod engine;
pub mod memory;
#[cfg(test)]
mod sim;
pub mod store;
pub mod transport;
pub mod wire;
