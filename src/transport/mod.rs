//! The only sockets.
//!
//! Knows: the cluster's directory, sockets, tokio, `zeromq`; how a session begins, flows and ends.
//! Never knows: what a message means, who may do what (the shell that listens decides).
//! Who talks to it: the controller's shell (a [`Door`]), engines and clients ([`connect`]).
//!
//! A peer knocks at the *door*, a plain Unix socket in a directory of ours alone, and says one
//! bounded, authenticated hello. Only then does it get a *session*: two lanes (a DEALER pair for
//! packets, one for chunks of large parts) under names that nobody else knows, and the connection
//! at the door as its lifeline, whose end is the session's end. Nobody who was not let in reaches
//! a `zeromq` parser, and sessions share nothing, so none can harm another. From the outside in:
//!
//! - [`Door`], [`Arrival`], [`connect`]: how sessions begin (`directory`, `handshake`, `accept`,
//!   `waiting`, `door`, `arrival`, `dial`), and who was turned away (`refusals`);
//! - [`Outbox`], [`Event`], [`Sink`]: what the caller holds of one;
//! - `session`, `reader`, `writer`, `ticks`: its tasks; `flow` and `inbox`: its books, without any I/O;
//! - [`place`]: the cluster's directory and its connection file;
//! - [`Drive`]: which thread runs all this;
//! - large parts that the peer can map are lent by `flow` and mapped by `reader` (see `memory`);
//! - `lifeline`: the connection at the door once a session is open;
//! - [`Gate`] lets peers over a network come to the same door and lanes, encrypted and proved (`tls`,
//!   `call`, `proof`, `card`, `pace`); `bridge` is the other side of it, `pump` what carries between (past a `guard`), `vigil`
//!   says for how long its peers look for another, and `site` says
//!   which way it is to a cluster;
//! - `link`: what a lane is to the tasks; `zmq`: the one file that knows `zeromq`.

mod accept;
mod arrival;
mod bridge;
mod call;
mod card;
mod dial;
mod directory;
mod door;
mod drive;
mod flow;
mod gate;
mod guard;
mod handshake;
mod inbox;
mod lifeline;
mod link;
mod outbox;
mod pace;
pub mod place;
mod proof;
mod pump;
mod reader;
mod refusals;
mod session;
mod site;
mod ticks;
mod tls;
mod vigil;
mod waiting;
mod writer;
mod zmq;

pub use arrival::Arrival;
pub(crate) use dial::jittered;
pub use dial::{Accepted, ConnectError, connect, connect_with_retry};
pub use directory::DOOR;
pub use door::{Door, DoorError, Keeper};
pub use drive::{Drive, Led, Stay};
pub use gate::{Gate, Listen};
pub use outbox::{Outbox, PushError};
pub use session::{CloseReason, Event, Patience, Sink};

/// The runtime of an I/O thread: one thread, and nothing that outlives it.
///
/// # Errors
/// If the system gives no descriptors.
pub fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_name("oarlock-aside")
        .thread_keep_alive(std::time::Duration::from_millis(10))
        .build()
}

#[cfg(test)]
mod tests;
