//! The client's half of the protocol: what users submit goes out, what comes back is entered.
//!
//! Knows: the pending table, the engines there are, what may be in flight.
//! Never knows: pickles, scheduling, Python. `receive` is a pure step: a message and a clock in,
//! changed records out. Its other parts: `submit` (what goes out), `questions`, `books` (what users
//! look up and wait for), `again` (what is kept for another controller).

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::{Condvar, Mutex};

use super::again::Again;
use super::alarms::{Alarm, Alarms};
use super::batch::{Batch, Ended, State};
use super::bell::{Countdown, Tokens};
use super::books::Engines;
use super::functions::Functions;
use super::questions::Replies;
use super::table::Table;
use crate::transport::Drive;
use crate::wire::{FromClient, Message, SessionId, Stamp, ToClient};

/// Where a client's messages go: an embedded controller's queue, or a session.
pub trait Uplink: Send + Sync {
    /// Queues a message; never waits, and wakes nobody: whoever drives next sees it. Fails with the
    /// reason if it exceeds a limit of the wire; if the session is over it is dropped, since that ends
    /// everything anyway.
    fn push(&self, message: Message<FromClient>) -> Result<(), String>;
    /// Whether submissions are better cut into pieces, as where packets have a size.
    fn wants_pieces(&self) -> bool;
    /// Whether another controller may follow this one, so that what was said is to be kept.
    fn keeps(&self) -> bool {
        false
    }
}

/// A client's session with a controller. Shared by the threads of its user and its I/O thread.
pub struct Core {
    /// Names this session.
    pub session: SessionId,
    pub(super) uplink: Box<dyn Uplink>,
    /// Who moves what is queued; none in tests without I/O.
    drive: OnceLock<Arc<Drive>>,
    /// Held from taking numbers to sending them: the controller wants them to grow. What it knows
    /// follows from what was sent.
    pub(super) sending: Mutex<Functions>,
    pub(super) table: Mutex<Table>,
    pub(super) idle: Condvar,
    pub(super) room: Condvar,
    pub(super) engines: Mutex<Engines>,
    pub(super) engines_changed: Condvar,
    pub(super) replies: Mutex<Replies>,
    pub(super) replied: Condvar,
    /// What is kept for another controller; none if none may follow.
    pub(super) again: Option<Mutex<Again>>,
    /// Whether there is no session at the moment, and whether the user was told so.
    away: AtomicBool,
    told_away: AtomicBool,
    pub(super) alarms: Alarms,
    pub(super) tokens: Arc<Tokens>,
    pub(super) notices: Mutex<HashMap<u64, Arc<Countdown>>>,
    pub(super) in_flight: AtomicU64,
    /// Bytes of arguments that may be in flight before submitting waits.
    pub(super) bound: u64,
    pub(super) gone: AtomicBool,
    why: Mutex<String>,
}

/// Ends a session when its I/O thread ends, whatever the reason: nobody may wait for it then.
pub struct Lifetime(pub Arc<Core>);

impl Drop for Lifetime {
    fn drop(&mut self) {
        self.0.end_session("the I/O thread ended", crate::clock::wall_clock());
    }
}

impl Core {
    /// A session whose messages go to `uplink`, with at most `bound` bytes of arguments in flight.
    pub fn new(session: SessionId, uplink: Box<dyn Uplink>, bound: u64) -> Self {
        let (functions, again) = if uplink.keeps() {
            (Functions::default().keeping(), Some(Mutex::default()))
        } else {
            (Functions::default(), None)
        };
        Self {
            session,
            uplink,
            drive: OnceLock::new(),
            sending: Mutex::new(functions),
            again,
            away: AtomicBool::new(false),
            told_away: AtomicBool::new(false),
            table: Mutex::default(),
            idle: Condvar::new(),
            room: Condvar::new(),
            engines: Mutex::default(),
            engines_changed: Condvar::new(),
            replies: Mutex::default(),
            replied: Condvar::new(),
            alarms: Alarms::default(),
            tokens: Arc::default(),
            notices: Mutex::default(),
            in_flight: AtomicU64::new(0),
            bound,
            gone: AtomicBool::new(false),
            why: Mutex::default(),
        }
    }

    // --- moving what is queued

    /// Its I/O is moved by `drive` from now on.
    pub(crate) fn driven_by(&self, drive: Arc<Drive>) {
        let _ = self.drive.set(drive);
    }

    pub(crate) fn drive(&self) -> Option<&Arc<Drive>> {
        self.drive.get()
    }

    /// Whether a submission would move its I/O on this thread, which takes some microseconds.
    pub fn is_due(&self) -> bool {
        self.drive().is_some_and(|drive| drive.is_due())
    }

    /// Has what was queued sent, at once or soon.
    pub(super) fn flush(&self, now: bool) {
        if let Some(drive) = self.drive() {
            drive.nudge(now);
        }
    }

    /// Somebody is about to wait without leading.
    pub(super) fn need(&self) {
        if let Some(drive) = self.drive() {
            drive.need();
        }
    }

    // --- what comes back

    /// Enters what the controller said; `now` is the time of its arrival.
    pub fn receive(&self, message: Message<ToClient>, now: Stamp) {
        match message.head {
            ToClient::Result { seq, status, engine, submitted, started, completed } => {
                if let Some(again) = &self.again {
                    again.lock().took(seq, &message.parts);
                }
                let Some((batch, index)) = self.pending(seq) else { return };
                if let Some(submitted) = submitted {
                    batch.lock().set_submitted(index, submitted);
                }
                let state = State::from(status);
                let parts = message.parts;
                let ended = Ended { state, engine, started, completed, received: now, parts };
                self.end(&batch, index, ended);
            }
            ToClient::Started { seq, engine, at } => {
                if let Some((batch, index)) = self.pending(seq) {
                    batch.start(index, engine, at);
                }
            }
            ToClient::Progress { seq, done } => {
                if let Some((batch, index)) = self.pending(seq) {
                    batch.progress(index, done);
                }
            }
            ToClient::Output { seq, stream } => {
                if let Some((batch, index)) = self.pending(seq)
                    && let Some(text) = message.parts.first()
                {
                    batch.write(index, stream, &String::from_utf8_lossy(text));
                }
            }
            ToClient::Engines(list) => {
                self.alarms.retain(&list);
                let mut engines = self.engines.lock();
                engines.sessions.extend(list.iter().map(|engine| (engine.id, engine.session)));
                engines.list = list;
                engines.list.sort_unstable_by_key(|engine| engine.id);
                engines.version += 1;
                self.engines_changed.notify_all();
            }
            ToClient::Memory { engine, scarce: false, .. } => self.alarms.relax(engine),
            ToClient::Memory { engine, used, allowed, .. } => {
                let engines = self.engines.lock();
                if let Some(engine) = engines.list.iter().find(|known| known.id == engine) {
                    self.alarms.enter(Alarm { engine: engine.clone(), used, allowed });
                }
            }
            ToClient::Reply { id, body } => {
                let mut replies = self.replies.lock();
                if let Some(question) = replies.open.get_mut(&id) {
                    question.answer = Some(body);
                    self.replied.notify_all();
                }
            }
        }
    }

    /// Whether a task has no outcome.
    pub(super) fn is_pending(&self, seq: u64) -> bool {
        self.pending(seq).is_some_and(|(batch, index)| batch.lock().state(index) == State::Pending)
    }

    /// Whether there is no session at the moment, and the controller or another is looked for.
    pub fn is_away(&self) -> bool {
        self.away.load(Ordering::Acquire)
    }

    /// Whether there has come to be no session, or one again, since the last call.
    pub fn away_changed(&self) -> Option<bool> {
        let away = self.is_away() && self.gone().is_none();
        (self.told_away.swap(away, Ordering::AcqRel) != away).then_some(away)
    }

    pub(crate) fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::Release);
    }

    fn pending(&self, seq: u64) -> Option<(Arc<Batch>, u32)> {
        self.table.lock().pending(seq).map(|(batch, index)| (batch.clone(), index))
    }

    pub(super) fn end(&self, batch: &Arc<Batch>, index: u32, ended: Ended) {
        let left = batch.end(index, ended);
        if let (Some(_), Some(again)) = (left, &self.again) {
            again.lock().end(batch.first + u64::from(index));
        }
        if left == Some(0) {
            let mut table = self.table.lock();
            table.finish(batch.first);
            self.in_flight.fetch_sub(batch.bytes, Ordering::AcqRel);
            self.room.notify_all();
            if !table.has_pending() {
                self.idle.notify_all();
            }
        }
    }

    /// The session is over: every pending task, question and wait ends, for this reason.
    pub fn end_session(&self, reason: &str, now: Stamp) {
        {
            let mut why = self.why.lock();
            if !self.gone.load(Ordering::Acquire) {
                reason.clone_into(&mut why);
                self.gone.store(true, Ordering::Release);
            }
        }
        let pending = self.table.lock().all_pending();
        for batch in pending {
            self.abandon(&batch, now);
        }
        // Each lock is taken once, so that nobody is between looking and waiting.
        drop(self.table.lock());
        self.idle.notify_all();
        self.room.notify_all();
        drop(self.engines.lock());
        self.engines_changed.notify_all();
        drop(self.replies.lock());
        self.replied.notify_all();
        self.tokens.close();
    }

    pub(super) fn abandon(&self, batch: &Arc<Batch>, now: Stamp) {
        let why = self.why.lock().clone();
        batch.end_all(State::Gone, &why, now);
        let mut table = self.table.lock();
        table.finish(batch.first);
        self.idle.notify_all();
    }

    /// Why the session is over, once it is.
    pub fn gone(&self) -> Option<String> {
        self.gone.load(Ordering::Acquire).then(|| self.why.lock().clone())
    }
}
