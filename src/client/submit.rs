//! What users submit, on its way out: numbers, records, and the messages that say it.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::batch::{Batch, Ended, Shape, State};
use super::core::Core;
use super::functions::Functions;
use super::tasks::Tasks;
use crate::wire::limits::INLINE_MAX;
use crate::wire::{
    EngineId, FromClient, FuncId, Kind, Message, Parts, Rules, SessionId, Stamp, Target,
};

/// Tasks named in one message.
pub(super) const IDS: usize = 10_000;

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

impl Core {
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
}
