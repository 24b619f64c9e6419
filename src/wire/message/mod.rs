//! What the roles say to each other: one enum per direction, no behaviour.
//!
//! A message is a small head, which is encoded, and parts, which are opaque bytes (pickles and
//! buffers) that are never copied into the head. Which part means what is said at each variant.

mod client;
mod engine;
mod hello;
mod question;
mod task;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

pub use client::{EMBEDDED, EngineInfo, FromClient, ToClient, WATCHED};
pub use engine::{FromEngine, ToEngine};
pub use hello::{Before, Hello, Role, Underway, Welcome};
pub use question::{Health, Reply, Request};
pub use task::{Kind, Loss, Rules, Run, Status, Target, runs};

use super::compact::{Reader, Writer};

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
