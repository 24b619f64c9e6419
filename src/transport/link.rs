//! What a lane is to a session: ordered pairs of frames, one half each way.
//!
//! The session's tasks are written against these traits, so that tests run them over memory.

use std::future::Future;

use bytes::Bytes;
use thiserror::Error;

use super::bridge::Carrying;

/// A lane that no longer works, and why.
#[derive(Debug, Error)]
#[error("{0}")]
pub(crate) struct LinkError(pub(crate) String);

/// One message on a lane.
pub(crate) type Frames = (Bytes, Bytes);

/// The half of a lane that sends.
pub(crate) trait Sender: Send + 'static {
    /// Queues two frames; pending for long means that the peer takes nothing.
    fn send(&mut self, frames: Frames) -> impl Future<Output = Result<(), LinkError>> + Send;
}

/// The half of a lane that receives.
pub(crate) trait Receiver: Send + 'static {
    /// The next two frames. Dropping the future loses nothing. A lane whose peer is gone may stay
    /// pending for ever: the lifeline tells.
    fn recv(&mut self) -> impl Future<Output = Result<Frames, LinkError>> + Send;
}

/// The lanes of one session.
pub(crate) struct Lanes<S, R> {
    /// Packets.
    pub(crate) ctl: (S, R),
    /// Chunks.
    pub(crate) bulk: (S, R),
    /// What carries their bytes further, if they are not the whole way.
    pub(crate) carrying: Vec<Carrying>,
}
