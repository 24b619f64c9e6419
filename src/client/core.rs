//! The client's half of the protocol: what users submit goes out, what comes back is entered.
//!
//! Knows: the pending table, the engines there are, what may be in flight.
//! Never knows: pickles, scheduling, Python. `receive` is a pure step: a message and a clock in,
//! changed records out.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

use super::again::Again;
use super::batch::{Batch, Ended, Shape, State};
use super::bell::{Countdown, Ring, Tokens};
use super::functions::Functions;
use super::table::Table;
use super::tasks::{Tasks, Until};
use crate::transport::Drive;
use crate::wire::limits::INLINE_MAX;
use crate::wire::{
    EngineId, EngineInfo, FromClient, FuncId, Kind, Message, Parts, Reply, Request, Rules,
    SessionId, Stamp, Target, ToClient,
};

/// Where a client's messages go: an embedded controller's queue, or a session.
pub trait Uplink: Send + Sync {
    /// Queues a message; never waits, and wakes nobody: whoever drives next sees it. Fails with the reason if it exceeds a limit of the wire; if
    /// the session is over it is dropped, since that ends everything anyway.
    fn push(&self, message: Message<FromClient>) -> Result<(), String>;
    /// Whether submissions are better cut into pieces, as where packets have a size.
    fn wants_pieces(&self) -> bool;
    /// Whether another controller may follow this one, so that what was said is to be kept.
    fn keeps(&self) -> bool {
        false
    }
}

/// What is submitted at once.
pub struct Submission {
    /// The function of all tasks.
    pub func: FuncId,
    /// What the tasks' parts are.
    pub kind: Kind,
    /// The parts of each task.
    pub tasks: Vec<Parts>,
    /// Items in each task, if any is a chunk.
    pub items: Option<Box<[u32]>>,
    /// Outcomes of those that could not be made.
    pub failed: HashMap<usize, Parts>,
    /// What the tasks are allowed.
    pub rules: Rules,
}

#[derive(Default)]
struct Engines {
    list: Vec<EngineInfo>,
    version: u64,
    /// Sessions of all engines there ever were; results outlive their engines.
    sessions: HashMap<EngineId, SessionId>,
}

/// Tasks named in one message.
const IDS: usize = 10_000;

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
    table: Mutex<Table>,
    idle: Condvar,
    room: Condvar,
    engines: Mutex<Engines>,
    engines_changed: Condvar,
    pub(super) replies: Mutex<Replies>,
    pub(super) replied: Condvar,
    /// What is kept for another controller; none if none may follow.
    pub(super) again: Option<Mutex<Again>>,
    /// Whether there is no controller at the moment, and whether the user was told so.
    away: AtomicBool,
    told_away: AtomicBool,
    tokens: Arc<Tokens>,
    notices: Mutex<HashMap<u64, Arc<Countdown>>>,
    in_flight: AtomicU64,
    /// Bytes of arguments that may be in flight before submitting waits.
    bound: u64,
    gone: AtomicBool,
    why: Mutex<String>,
}

/// Ends a session when its I/O thread ends, whatever the reason: nobody may wait for it then.
pub struct Lifetime(pub Arc<Core>);

impl Drop for Lifetime {
    fn drop(&mut self) {
        self.0.end_session("the I/O thread ended", crate::clock::wall_clock());
    }
}

/// Something that was asked.
pub(super) struct Question {
    /// What was asked, if another controller may be asked the same.
    pub(super) again: Option<Request>,
    /// The answer when it has come.
    pub(super) answer: Option<Reply>,
}

#[derive(Default)]
pub(super) struct Replies {
    next: u64,
    pub(super) open: HashMap<u64, Question>,
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
    fn need(&self) {
        if let Some(drive) = self.drive() {
            drive.need();
        }
    }

    // --- submission

    /// Whether so many more bytes may be submitted now. One submission is always allowed.
    pub fn has_room(&self, bytes: u64) -> bool {
        let flying = self.in_flight.load(Ordering::Acquire);
        flying == 0 || flying + bytes <= self.bound
    }

    /// Waits until so many more bytes may be submitted, or the session ends.
    pub fn wait_room(&self, bytes: u64, until: Instant) -> bool {
        self.need();
        let mut table = self.table.lock();
        while !self.has_room(bytes) && !self.gone.load(Ordering::Acquire) {
            if self.room.wait_until(&mut table, until).timed_out() {
                return self.has_room(bytes);
            }
        }
        true
    }

    /// Has the controller know a function until [`unpin_function`](Self::unpin_function) was
    /// called as often. `body` is its pickle.
    pub fn pin_function(&self, func: FuncId, body: &[u8]) -> Result<(), String> {
        let mut functions = self.sending.lock();
        self.know(&mut functions, func, body)?;
        functions.pin(func);
        Ok(())
    }

    /// Tasks that name the function have been submitted, or never will be.
    pub fn unpin_function(&self, func: FuncId) {
        self.sending.lock().unpin(func);
    }

    /// The controller knows the function when it sees what is sent next.
    fn know(&self, functions: &mut Functions, func: FuncId, body: &[u8]) -> Result<(), String> {
        if functions.touch(func) {
            return Ok(());
        }
        let body = bytes::Bytes::copy_from_slice(body);
        let parts = Parts::from_elem(body.clone(), 1);
        self.uplink.push(Message { head: FromClient::Func(func), parts })?;
        for forgotten in functions.enter(func, &body) {
            // Short, so it always fits.
            let _ = self.uplink.push(Message::bare(FromClient::Forget(forgotten)));
        }
        Ok(())
    }

    fn enter(&self, len: usize, bytes: u64, now: Stamp, shape: Shape) -> Arc<Batch> {
        let mut table = self.table.lock();
        let first = table.reserve(len as u64, shape.foreign.is_some());
        let batch = Arc::new(Batch::new(first, len, now, bytes, shape));
        table.insert(&batch);
        self.in_flight.fetch_add(bytes, Ordering::AcqRel);
        batch
    }

    /// Ends the tasks that could not be made.
    fn fail(&self, batch: &Arc<Batch>, failed: HashMap<usize, Parts>, now: Stamp) {
        for (index, parts) in failed {
            let ended = Ended {
                state: State::Error,
                engine: None,
                started: 0,
                completed: 0,
                received: now,
                parts,
            };
            self.end(batch, index as u32, ended);
        }
    }

    /// Submits load-balanced tasks.
    pub fn submit(&self, what: Submission, target: Target, now: Stamp) -> Tasks {
        let Submission { func, kind, mut tasks, items, failed, rules } = what;
        let bytes = tasks.iter().flatten().map(|part| part.len() as u64).sum();
        let sending = self.sending.lock();
        let batch = self.enter(tasks.len(), bytes, now, Shape { items, foreign: None });
        let handle = Tasks::of(batch.clone());
        let mut start = 0;
        while start < tasks.len() {
            // A run ends before a failed task, or where a packet would overflow.
            let mut end = start;
            let mut size = 0;
            while end < tasks.len() && !failed.contains_key(&end) {
                size += tasks[end].iter().map(bytes::Bytes::len).sum::<usize>();
                let full = end - start >= 256 || size > INLINE_MAX / 2;
                if self.uplink.wants_pieces() && full && end > start {
                    break;
                }
                end += 1;
            }
            if end > start {
                let counts = tasks[start..end].iter().map(|parts| parts.len() as u32).collect();
                let mut parts = Parts::with_capacity(end - start);
                for task in &mut tasks[start..end] {
                    parts.extend(std::mem::take(task));
                }
                let first = batch.first + start as u64;
                let target = target.clone();
                let head = FromClient::Submit { first, func, kind, target, counts, rules };
                self.send(&sending, &batch, start..end, Message { head, parts }, now);
            }
            start = if failed.contains_key(&end) { end + 1 } else { end };
        }
        drop(sending);
        self.fail(&batch, failed, now);
        self.after_submit(&batch, now);
        handle
    }

    /// Submits one load-balanced call, with less ado than [`submit`](Self::submit). Its function
    /// need not be pinned; `body` is its pickle.
    pub fn submit_call(
        &self,
        (func, body): (FuncId, &[u8]),
        parts: Parts,
        target: Target,
        now: Stamp,
    ) -> Result<Tasks, String> {
        let bytes = parts.iter().map(|part| part.len() as u64).sum();
        let counts = vec![parts.len() as u32];
        let mut sending = self.sending.lock();
        self.know(&mut sending, func, body)?;
        let batch = self.enter(1, bytes, now, Shape::default());
        let handle = Tasks::one(batch.clone());
        let (first, kind, rules) = (batch.first, Kind::Apply, Rules::default());
        let head = FromClient::Submit { first, func, kind, target, counts, rules };
        self.send(&sending, &batch, 0..1, Message { head, parts }, now);
        drop(sending);
        self.after_submit(&batch, now);
        Ok(handle)
    }

    /// Submits the same task to each of these engines.
    pub fn submit_direct(
        &self,
        func: FuncId,
        kind: Kind,
        engines: Vec<EngineId>,
        parts: Parts,
        rules: Rules,
        now: Stamp,
    ) -> Tasks {
        let bytes =
            if engines.is_empty() { 0 } else { parts.iter().map(|part| part.len() as u64).sum() };
        let sending = self.sending.lock();
        let batch = self.enter(engines.len(), bytes, now, Shape::default());
        let handle = Tasks::of(batch.clone());
        batch.place(&engines);
        if !engines.is_empty() {
            let count = engines.len();
            let head = FromClient::Direct { first: batch.first, func, kind, engines, rules };
            self.send(&sending, &batch, 0..count, Message { head, parts }, now);
        }
        drop(sending);
        self.after_submit(&batch, now);
        handle
    }

    /// Submits one task to each of these engines.
    pub fn submit_each(&self, what: Submission, engines: &[EngineId], now: Stamp) -> Tasks {
        let Submission { func, kind, tasks, items, failed, rules } = what;
        let bytes = tasks.iter().flatten().map(|part| part.len() as u64).sum();
        let sending = self.sending.lock();
        let batch = self.enter(tasks.len(), bytes, now, Shape { items, foreign: None });
        let handle = Tasks::of(batch.clone());
        batch.place(engines);
        for (index, (parts, engine)) in tasks.into_iter().zip(engines).enumerate() {
            if !failed.contains_key(&index) {
                let first = batch.first + index as u64;
                let engines = vec![*engine];
                let head = FromClient::Direct { first, func, kind, engines, rules };
                self.send(&sending, &batch, index..index + 1, Message { head, parts }, now);
            }
        }
        drop(sending);
        self.fail(&batch, failed, now);
        self.after_submit(&batch, now);
        handle
    }

    /// Sends what is about these tasks of a batch; if it cannot be sent, they end for that reason.
    fn send(
        &self,
        functions: &Functions,
        batch: &Arc<Batch>,
        tasks: Range<usize>,
        message: Message<FromClient>,
        now: Stamp,
    ) {
        if let Some(again) = &self.again {
            again.lock().note(&message, |func| functions.body(func));
        }
        let Err(fault) = self.uplink.push(message) else { return };
        let parts = Parts::from_elem(fault.into(), 1);
        for index in tasks {
            let ended = Ended {
                state: State::Refused,
                engine: None,
                started: 0,
                completed: 0,
                received: now,
                parts: parts.clone(),
            };
            self.end(batch, index as u32, ended);
        }
    }

    /// A submission that raced with the end of the session must not stay pending for ever.
    fn after_submit(&self, batch: &Arc<Batch>, now: Stamp) {
        // Nobody is woken for more than that, however much it is: the thread that submits takes a
        // turn every now and then, and another would take a core from the engines that are to start.
        self.flush(false);
        if self.gone.load(Ordering::Acquire) {
            self.abandon(batch, now);
        }
    }

    /// Asks that the unfinished ones of these tasks never start, or are interrupted; one that takes
    /// no notice for `force` milliseconds has its engine ended.
    pub fn cancel(&self, tasks: &Tasks, force: Option<u32>) {
        for numbers in tasks.pending_numbers().chunks(IDS) {
            if let Some(again) = &self.again {
                again.lock().cancel(numbers, force);
            }
            // Short, so it always fits.
            let head = FromClient::Cancel { tasks: numbers.to_vec(), force };
            let _ = self.uplink.push(Message::bare(head));
        }
        self.flush(true);
    }

    /// Asks for the outcomes of tasks of any session.
    pub fn watch(&self, ids: Vec<(SessionId, u64)>, now: Stamp) -> Tasks {
        let shape = Shape { items: None, foreign: Some(ids.clone().into_boxed_slice()) };
        let sending = self.sending.lock();
        let batch = self.enter(ids.len(), 0, now, shape);
        let handle = Tasks::of(batch.clone());
        for (piece, ids) in ids.chunks(IDS).enumerate() {
            let start = piece * IDS;
            let first = batch.first + start as u64;
            let head = FromClient::Watch { first, tasks: ids.to_vec() };
            self.send(&sending, &batch, start..start + ids.len(), Message::bare(head), now);
        }
        drop(sending);
        self.after_submit(&batch, now);
        handle
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
                let mut engines = self.engines.lock();
                engines.sessions.extend(list.iter().map(|engine| (engine.id, engine.session)));
                engines.list = list;
                engines.list.sort_unstable_by_key(|engine| engine.id);
                engines.version += 1;
                self.engines_changed.notify_all();
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

    /// Whether there is no controller at the moment, and another is looked for.
    pub fn is_away(&self) -> bool {
        self.away.load(Ordering::Acquire)
    }

    /// Whether there has come to be no controller, or one again, since the last call.
    pub fn away_changed(&self) -> Option<bool> {
        let away = self.is_away() && self.gone().is_none();
        (self.told_away.swap(away, Ordering::AcqRel) != away).then_some(away)
    }

    pub(super) fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::Release);
    }

    fn pending(&self, seq: u64) -> Option<(Arc<Batch>, u32)> {
        self.table.lock().pending(seq).map(|(batch, index)| (batch.clone(), index))
    }

    fn end(&self, batch: &Arc<Batch>, index: u32, ended: Ended) {
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

    fn abandon(&self, batch: &Arc<Batch>, now: Stamp) {
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

    // --- engines

    /// The engines there are, by id.
    pub fn engines(&self) -> Vec<EngineInfo> {
        self.engines.lock().list.clone()
    }

    /// Their ids.
    pub fn engine_ids(&self) -> Vec<u32> {
        self.engines.lock().list.iter().map(|engine| engine.id.0).collect()
    }

    /// The session of an engine, also of one that is gone.
    pub fn engine_session(&self, engine: EngineId) -> Option<SessionId> {
        self.engines.lock().sessions.get(&engine).copied()
    }

    /// Grows with each change of the engines.
    pub fn engines_version(&self) -> u64 {
        self.engines.lock().version
    }

    /// Waits until `enough` says so of (number of engines, version), or the session or time ends.
    pub fn wait_engines(&self, until: Instant, enough: impl Fn(usize, u64) -> bool) -> bool {
        self.need();
        let mut engines = self.engines.lock();
        loop {
            if enough(engines.list.len(), engines.version) {
                return true;
            }
            if self.gone.load(Ordering::Acquire)
                || self.engines_changed.wait_until(&mut engines, until).timed_out()
            {
                return enough(engines.list.len(), engines.version);
            }
        }
    }

    // --- questions

    /// Asks; the answer is fetched by [`Core::answer`].
    pub fn ask(&self, body: Request) -> u64 {
        if let Some(again) = &self.again {
            again.lock().ask(&body);
        }
        let id = {
            let mut replies = self.replies.lock();
            replies.next += 1;
            let id = replies.next;
            let again = self.again.is_some() && body.can_be_asked_again();
            let again = again.then(|| body.clone());
            replies.open.insert(id, Question { again, answer: None });
            id
        };
        let head = FromClient::Request { id, body };
        if let Err(fault) = self.uplink.push(Message::bare(head))
            && let Some(question) = self.replies.lock().open.get_mut(&id)
        {
            question.answer = Some(Reply::Refused(fault));
        }
        self.flush(true);
        id
    }

    /// Waits for the answer; `None` if it has not come in time.
    pub fn answer(&self, id: u64, until: Instant) -> Option<Reply> {
        self.need();
        let mut replies = self.replies.lock();
        loop {
            if replies.open.get(&id).is_some_and(|question| question.answer.is_some()) {
                return replies.open.remove(&id).and_then(|question| question.answer);
            }
            if self.gone.load(Ordering::Acquire)
                || self.replied.wait_until(&mut replies, until).timed_out()
            {
                return None;
            }
        }
    }

    /// The answer is no longer wanted.
    pub fn forget_answer(&self, id: u64) {
        self.replies.lock().open.remove(&id);
    }

    // --- the books

    /// The task while its record is still held by anybody.
    pub fn known(&self, seq: u64) -> Option<Tasks> {
        let (batch, index) = self.table.lock().known(seq)?;
        Some(Tasks::found_one(batch, index))
    }

    /// All tasks whose records are still held.
    pub fn all_known(&self) -> Vec<Tasks> {
        let batches = self.table.lock().all_known();
        let own = batches.into_iter().filter(|batch| batch.foreign().is_none());
        own.map(|batch| Tasks::found(batch).not_purged()).collect()
    }

    /// Numbers of the tasks without an outcome.
    pub fn outstanding(&self) -> Vec<u64> {
        let batches = self.table.lock().all_pending();
        let tasks = batches.into_iter().filter(|batch| batch.foreign().is_none());
        tasks.flat_map(|batch| batch.pending_numbers(0..batch.len)).collect()
    }

    /// How many tasks were submitted; they are numbered from 0.
    pub fn submitted(&self) -> u64 {
        self.table.lock().next()
    }

    /// Waits until no task is pending; says whether that is so.
    pub fn wait_idle(&self, until: Instant) -> bool {
        self.need();
        let mut table = self.table.lock();
        while table.has_pending() {
            if self.idle.wait_until(&mut table, until).timed_out() {
                return !table.has_pending();
            }
        }
        true
    }

    /// Forgets these finished tasks, or all of them; who holds one keeps it.
    pub fn purge(&self, numbers: Option<&[u64]>) {
        if let Some(numbers) = numbers {
            for number in numbers {
                if let Some(tasks) = self.known(*number) {
                    tasks.purge(0);
                }
            }
            return;
        }
        self.table.lock().forget_finished();
    }

    // --- callbacks

    /// Queues `token` when the wait is over.
    pub fn notify(&self, tasks: &Tasks, until: Until, token: u64) {
        // Locked first, so that `next_tokens` cannot look for the notice before it is entered.
        let mut notices = self.notices.lock();
        let countdown = tasks.notify(until, Ring::Token(self.tokens.clone(), token));
        notices.insert(token, countdown);
        drop(notices);
        self.need();
    }

    /// A token is no longer wanted.
    pub fn forget_token(&self, token: u64) {
        self.notices.lock().remove(&token);
    }

    /// Takes the tokens there are, waiting for the first; `None` when the session is over.
    pub fn next_tokens(&self, until: Instant) -> Option<Vec<u64>> {
        let tokens = self.tokens.take(until)?;
        let mut notices = self.notices.lock();
        for token in &tokens {
            notices.remove(token);
        }
        Some(tokens)
    }
}
