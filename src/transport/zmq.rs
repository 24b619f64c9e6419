//! Lanes over `zeromq` DEALER pairs: the one file that knows the crate.
//!
//! Every connection is a socket of its own with a fresh identity and exactly one peer, so the
//! crate's table of peers is never shared: what one peer does cannot hold up or take over another.
//! Its parser allocates whatever a frame header announces, so only Unix sockets in the cluster's
//! directory are used, under names that were told to an authenticated peer and are gone as soon
//! as that peer has come. It has no linger, limits or heartbeat: sessions bring their own.

use std::os::unix::net::UnixListener;
use std::path::Path;

use bytes::Bytes;
use zeromq::{
    DealerRecvHalf, DealerSendHalf, DealerSocket, Socket, SocketRecv, SocketSend, ZmqMessage,
};

use super::link::{Frames, LinkError, Receiver, Sender};

/// The first message in each direction; proves that the lane works.
const GREETING: &[u8] = b"oarlock lane";

/// Second frame of the greeting of a peer that can map the memory of the other.
const READS: &[u8] = b"reads";

/// A lane before its peer has said anything.
pub(crate) struct Lane(DealerSocket);

impl Lane {
    /// Waits at `listener`, which must have one peer to come.
    pub(crate) async fn listen(listener: UnixListener) -> Result<Self, LinkError> {
        let mut socket = DealerSocket::new();
        socket.bind_listener(listener).await.map_err(text)?;
        Ok(Self(socket))
    }

    /// Connects to the socket at `path`.
    pub(crate) async fn dial(path: &Path) -> Result<Self, LinkError> {
        let path = path.to_str().ok_or_else(|| {
            LinkError(format!("the path {} of a socket is not UTF-8", path.display()))
        })?;
        let mut socket = DealerSocket::new();
        socket.connect(&format!("ipc://{path}")).await.map_err(text)?;
        Ok(Self(socket))
    }

    /// Sends our greeting, and whether we can map the peer's memory.
    pub(crate) async fn greet(&mut self, reads: bool) -> Result<(), LinkError> {
        let reads = Bytes::from_static(if reads { READS } else { b"" });
        self.0.send(message((Bytes::from_static(GREETING), reads))).await.map_err(text)
    }

    /// Waits for the peer's greeting, after which nobody else is let in. Says whether the peer can
    /// map our memory.
    pub(crate) async fn greeted(&mut self) -> Result<bool, LinkError> {
        let (greeting, reads) = frames(self.0.recv().await.map_err(text)?)?;
        if greeting != GREETING {
            return Err(LinkError("the lane does not begin with a greeting".into()));
        }
        // The files are unlinked by their owner; that they are missing here is no fault.
        self.0.unbind_all().await;
        Ok(reads == READS)
    }

    /// The two halves of a working lane.
    pub(crate) fn split(self) -> (ZmqSender, ZmqReceiver) {
        let (sender, receiver) = self.0.split();
        (ZmqSender(sender), ZmqReceiver(receiver))
    }
}

/// The half of a lane that sends.
pub(crate) struct ZmqSender(DealerSendHalf);

/// The half of a lane that receives.
pub(crate) struct ZmqReceiver(DealerRecvHalf);

impl Sender for ZmqSender {
    async fn send(&mut self, frames: Frames) -> Result<(), LinkError> {
        self.0.send(message(frames)).await.map_err(text)
    }
}

impl Receiver for ZmqReceiver {
    async fn recv(&mut self) -> Result<Frames, LinkError> {
        frames(self.0.recv().await.map_err(text)?)
    }
}

fn message((first, second): Frames) -> ZmqMessage {
    let mut message = ZmqMessage::from(first);
    message.push_back(second);
    message
}

fn frames(message: ZmqMessage) -> Result<Frames, LinkError> {
    let mut frames = message.into_vecdeque();
    match (frames.pop_front(), frames.pop_front(), frames.len()) {
        (Some(first), Some(second), 0) => Ok((first, second)),
        _ => Err(LinkError("a message that does not consist of two frames".into())),
    }
}

fn text(error: zeromq::ZmqError) -> LinkError {
    LinkError(error.to_string())
}
