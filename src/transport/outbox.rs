//! The caller's end of a session, and what it shares with the session's tasks.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use thiserror::Error;
use tokio::sync::{Notify, oneshot};

use super::flow::Flow;
use super::session::CloseReason;
use crate::wire::codec::Unsendable;
use crate::wire::{Head, Message};

/// Why a message was not queued.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum PushError {
    /// The session is closed or closing; its [`Event::Closed`](super::Event::Closed) says why.
    #[error("the session is closed")]
    Closed,
    /// The message exceeds a limit of the wire; the session goes on.
    #[error(transparent)]
    Unsendable(Unsendable),
}

/// Sends messages to the peer of one session, from any thread. Clones share the session; dropping
/// them does not close it.
pub struct Outbox<Out> {
    shared: Arc<Shared>,
    heads: PhantomData<fn(Out)>,
}

impl<Out: Head> Outbox<Out> {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, heads: PhantomData }
    }

    /// Queues a message, without ever waiting; what is queued before [`close`](Self::close) is
    /// delivered unless the session breaks. The caller bounds the queue by
    /// [`queued_bytes`](Self::queued_bytes).
    ///
    /// # Errors
    /// If the session is closed or the message exceeds a limit.
    pub fn push(&self, message: Message<Out>) -> Result<(), PushError> {
        self.push_quietly(message)?;
        self.poke();
        Ok(())
    }

    /// As [`push`](Self::push), but leaves it to [`poke`](Self::poke) to wake the session, which
    /// takes a system call from outside its runtime.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn push_quietly(&self, message: Message<Out>) -> Result<(), PushError> {
        self.shared.flow.lock().push(message)
    }

    /// Wakes the session to send what was queued.
    pub fn poke(&self) {
        self.shared.wake.notify_one();
    }

    /// Bytes queued here and not yet handed to the socket.
    pub fn queued_bytes(&self) -> usize {
        self.shared.flow.lock().queued()
    }

    /// Waits until at most `limit` bytes are queued; the end of the session leaves none. Blocks its
    /// thread, so not for the one that runs the session.
    pub fn wait_queued(&self, limit: usize) {
        let mut flow = self.shared.flow.lock();
        while flow.queued() > limit {
            self.shared.drained.wait(&mut flow);
        }
    }

    /// Ends the session once everything queued has arrived; further pushes fail.
    pub fn close(&self) {
        self.shared.flow.lock().leave();
        self.shared.wake.notify_one();
    }

    /// Ends the session at once; what is queued is lost.
    pub fn abort(&self) {
        self.shared.end(CloseReason::Aborted);
    }

    /// For how long the peer has given no sign of life.
    pub fn silence(&self) -> Duration {
        self.shared.silence()
    }

    /// Waits for the next beat of the session, given or not: something small can be done now and then
    /// without a wake-up of its own. For one at a time; may be dropped and called again.
    pub async fn tick(&self) {
        self.shared.tick.notified().await;
    }

    /// Whether the session has ended.
    pub fn is_closed(&self) -> bool {
        self.shared.is_ended()
    }
}

impl<Out> Clone for Outbox<Out> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), heads: PhantomData }
    }
}

impl<Out> fmt::Debug for Outbox<Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").finish_non_exhaustive()
    }
}

/// What the caller, the reader and the writer of a session have in common. No lock is held across
/// an await.
pub(crate) struct Shared {
    pub(crate) flow: Mutex<Flow>,
    /// Wakes the writer.
    pub(crate) wake: Notify,
    /// Wakes who has something to do at each beat.
    pub(crate) tick: Notify,
    /// Wakes who waits for room in the queue.
    pub(crate) drained: Condvar,
    /// Whether anything arrived since the last tick.
    pub(crate) heard: AtomicBool,
    /// Whether the reader waits for the caller, so that silence is our own.
    pub(crate) busy: AtomicBool,
    /// When anything last arrived, in nanoseconds since `born`.
    heard_at: AtomicU64,
    /// How long the silence may be by the ticks of this process; it does not count time in which
    /// it was stopped itself.
    silence_most: AtomicU64,
    born: Instant,
    ending: Mutex<Ending>,
}

struct Ending {
    reason: Option<CloseReason>,
    stop: Option<oneshot::Sender<()>>,
}

impl Shared {
    /// New books, and the signal that the session has to end.
    pub(crate) fn new() -> (Arc<Self>, oneshot::Receiver<()>) {
        let (stop, stopped) = oneshot::channel();
        let shared = Self {
            flow: Mutex::default(),
            wake: Notify::new(),
            tick: Notify::new(),
            drained: Condvar::new(),
            heard: AtomicBool::new(false),
            busy: AtomicBool::new(false),
            heard_at: AtomicU64::new(0),
            silence_most: AtomicU64::new(u64::MAX),
            born: Instant::now(),
            ending: Mutex::new(Ending { reason: None, stop: Some(stop) }),
        };
        (Arc::new(shared), stopped)
    }

    /// Ends the session; the first reason counts.
    pub(crate) fn end(&self, reason: CloseReason) {
        let mut ending = self.ending.lock();
        ending.reason.get_or_insert(reason);
        if let Some(stop) = ending.stop.take() {
            // Nobody listens any more if the session has just ended by itself.
            let _ = stop.send(());
        }
    }

    /// Whether it has ended.
    pub(crate) fn is_ended(&self) -> bool {
        self.ending.lock().reason.is_some()
    }

    /// Ends the session if the goodbye is complete.
    pub(crate) fn settle(&self) {
        if self.flow.lock().is_over() {
            self.end(CloseReason::Goodbye);
        }
    }

    /// Forgets what is queued and tells why the session ended.
    pub(crate) fn shut(&self) -> CloseReason {
        self.flow.lock().shut();
        self.drained.notify_all();
        self.ending.lock().reason.clone().unwrap_or(CloseReason::Aborted)
    }

    /// Something arrived.
    pub(crate) fn hear(&self) {
        self.heard.store(true, Ordering::Relaxed);
        self.heard_at.store(self.born.elapsed().as_nanos() as u64, Ordering::Relaxed);
    }

    /// The silence is at most so long.
    pub(crate) fn bound_silence(&self, most: Duration) {
        self.silence_most.store(most.as_nanos() as u64, Ordering::Relaxed);
    }

    fn silence(&self) -> Duration {
        if self.busy.load(Ordering::Relaxed) {
            return Duration::ZERO;
        }
        let heard = Duration::from_nanos(self.heard_at.load(Ordering::Relaxed));
        let most = Duration::from_nanos(self.silence_most.load(Ordering::Relaxed));
        self.born.elapsed().saturating_sub(heard).min(most)
    }

    pub(crate) fn was_heard(&self) -> bool {
        self.heard.swap(false, Ordering::Relaxed) || self.busy.load(Ordering::Relaxed)
    }
}
