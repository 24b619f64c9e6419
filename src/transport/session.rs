//! One session: two lanes, a lifeline, a reader and a writer.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncRead;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::bridge::Carrying;
use super::link::{Lanes, Receiver, Sender};
use super::outbox::Shared;
use super::reader::Reader;
use super::writer::{TICKS_OF_SILENCE, Writer};
use crate::memory::Presence;
use crate::wire::limits::{FAR_GOODBYE, GOODBYE, HEARTBEAT, SEND_STALL, SILENCE, SUSPECT};
use crate::wire::{Head, Message};

/// Why a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseReason {
    /// One side closed it and everything was delivered.
    Goodbye,
    /// This side aborted it, or nobody takes its events any more.
    Aborted,
    /// The peer's connection ended without a goodbye: its process has ended or gave up on us.
    Vanished,
    /// The peer gave no sign of life for so long.
    Silent(Duration),
    /// The peer takes nothing.
    Stalled(String),
    /// The peer broke a rule of the protocol.
    Protocol(String),
    /// The connection failed.
    Failed(String),
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Goodbye => f.write_str("the session was closed"),
            Self::Aborted => f.write_str("the session was aborted on this side"),
            Self::Vanished => f.write_str("the connection ended without a goodbye"),
            Self::Silent(time) => write!(f, "no sign of life for {} s", time.as_secs_f64()),
            Self::Stalled(text) => write!(f, "the peer takes nothing: {text}"),
            Self::Protocol(text) => write!(f, "the peer broke the protocol: {text}"),
            Self::Failed(text) => write!(f, "the connection failed: {text}"),
        }
    }
}

/// What a session tells its caller.
#[derive(Debug)]
pub enum Event<In> {
    /// Messages arrived, in order where order matters; never empty.
    Messages(Vec<Message<In>>),
    /// The session has ended; the last event, told once.
    Closed(CloseReason),
}

/// Where the events of a session go: a bounded channel of the caller, in the caller's own words.
/// As long as the channel is full, nothing more is taken from the peer.
pub struct Sink<In, T> {
    pub(crate) sender: mpsc::Sender<T>,
    pub(crate) map: Box<dyn Fn(Event<In>) -> T + Send + Sync>,
}

impl<In, T> Sink<In, T> {
    /// Events go to `sender` after `map` made them the caller's.
    pub fn new(
        sender: mpsc::Sender<T>,
        map: impl Fn(Event<In>) -> T + Send + Sync + 'static,
    ) -> Self {
        Self { sender, map: Box::new(map) }
    }

    /// Tells the last event.
    pub(crate) async fn closed(&self, reason: CloseReason) {
        // A caller that dropped its receiver does not want to know.
        let _ = self.sender.send((self.map)(Event::Closed(reason))).await;
    }
}

impl<In, T> fmt::Debug for Sink<In, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sink").finish_non_exhaustive()
    }
}

/// How long the silence of a peer may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// After so long it is shown.
    pub suspect: Duration,
    /// After so long the peer is lost.
    pub lost: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { suspect: SUSPECT, lost: SILENCE }
    }
}

impl Patience {
    /// How often the peer has to give a sign of life, so that none is suspected without reason.
    pub(crate) fn beat(self) -> Duration {
        HEARTBEAT.min(self.lost / TICKS_OF_SILENCE).min(self.suspect / 3)
    }
}

/// The signs of life of a session as one side gives and counts them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pulse {
    /// A peer silent for this long is lost; `None` trusts the connection alone.
    pub(crate) silence: Option<Duration>,
    /// How often this side gives one if it counts none.
    pub(crate) beat: Duration,
    /// Whether both sides count, since a network may fall silent without an end.
    pub(crate) mutual: bool,
}

/// What the two processes of a session can do with each other's memory.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Kinship {
    /// The peer, if we can map its memory.
    pub(crate) peer: Option<u32>,
    /// Whether the peer can map ours.
    pub(crate) reads_us: bool,
}

/// Waits until all that was said here has been carried further, where others do that. If one of them
/// ends before the session does, a connection broke and nobody else would notice: the lifeline may be
/// whole, and a lane on which nothing is said tells nothing.
async fn carried(carrying: Vec<Carrying>, shared: Arc<Shared>) {
    let mut carrying = JoinSet::from_iter(carrying);
    while carrying.join_next().await.is_some() {
        if !shared.is_ended() {
            // If it is the end of the peer, the lifeline says so, and what the peer said before counts.
            sleep(SEND_STALL).await;
            shared.end(CloseReason::Vanished);
        }
    }
}

/// Runs a session until it ends and tells so. Sockets are closed before the caller is told, so a
/// caller that is slow to take the news keeps nothing open.
pub(crate) async fn run<In, T, S, R, L>(
    shared: Arc<Shared>,
    stop: oneshot::Receiver<()>,
    lanes: Lanes<S, R>,
    (lifeline, beat): (L, impl FnMut() + Send + 'static),
    sink: Sink<In, T>,
    pulse: Pulse,
    kinship: Kinship,
) where
    In: Head,
    T: Send + 'static,
    S: Sender,
    R: Receiver,
    L: AsyncRead + Unpin + Send,
{
    let presence = kinship.reads_us.then(Presence::new);
    if presence.is_some() {
        shared.flow.lock().may_lend();
    }
    let Lanes { ctl: (ctl_out, ctl_in), bulk: (bulk_out, bulk_in), carrying } = lanes;
    let carried = tokio::spawn(carried(carrying, Arc::clone(&shared)));
    let writer = Writer::new(Arc::clone(&shared), ctl_out, bulk_out, beat, pulse);
    let writer = tokio::spawn(writer.run());
    let reader =
        Reader::new(Arc::clone(&shared), stop, ctl_in, bulk_in, lifeline, &sink, kinship.peer);
    let undelivered = reader.run().await;
    writer.abort();
    // Its end is what is waited for; that it was aborted is known.
    let _ = writer.await;
    let reason = shared.shut();
    drop(presence);
    // What was said last may be underway still.
    let parting = if pulse.mutual { FAR_GOODBYE } else { GOODBYE };
    let _ = timeout(parting, carried).await;
    if let Some(event) = undelivered {
        let _ = sink.sender.send(event).await;
    }
    sink.closed(reason).await;
}
