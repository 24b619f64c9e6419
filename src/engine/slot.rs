//! The engine's one slot of work, between the I/O thread that fills it and the main thread that
//! runs what is in it.
//!
//! Invariants: at most one task runs; tasks start in the order they came; a task that was given
//! back or cancelled before its start never starts; every task ends with exactly one message.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::sync::Notify;

use super::output::Output;
use crate::clock::wall_clock;
use crate::transport::{Drive, Led, Stay};
use crate::wire::{FromEngine, FuncId, Kind, Message, Parts, Stamp, Status, TaskId, ToEngine};

/// Something for the main thread to do.
pub enum Work {
    /// Keep this pickled function under its name.
    Func(FuncId, Bytes),
    /// Drop it.
    Forget(FuncId),
    /// Run a task; it counts as started.
    Task {
        /// Its function.
        func: FuncId,
        /// What its parts are.
        kind: Kind,
        /// Arguments.
        parts: Parts,
    },
    /// End.
    End,
}

struct Queued {
    id: TaskId,
    func: FuncId,
    kind: Kind,
    parts: Parts,
}

enum Entry {
    Func(FuncId, Bytes),
    Forget(FuncId),
    Task(Queued),
}

struct Running {
    id: TaskId,
    started: Stamp,
    announced: bool,
    cancelled: bool,
    /// Whether it has felt the interrupt, and how often it was sent.
    felt: bool,
    interrupts: u8,
    progress: u32,
    progress_sent: u32,
    streams: [Output; 2],
}

#[derive(Default)]
struct Inner {
    entries: VecDeque<Entry>,
    running: Option<Running>,
    ended: bool,
    waiting: bool,
    /// What the main thread waits beside, if it would rather lead.
    parked: Option<Arc<Drive>>,
    /// Whether a signal was sent to the main thread for the task that runs.
    signalled: bool,
    /// Tasks whose cancellation overtook them, oldest first. Some had ended before; these are
    /// never seen again, hence the bound.
    doomed: VecDeque<TaskId>,
}

/// See the head of this file.
#[derive(Default)]
pub struct Slot {
    inner: Mutex<Inner>,
    /// Wakes the main thread where it parks.
    filled: Condvar,
    /// Wakes the main thread where it leads.
    led: Notify,
}

/// How long a task runs before it is announced, so that short ones cost no message.
pub(super) const ANNOUNCE_AFTER: Duration = Duration::from_millis(20);
/// How often a cancelled task that feels no interrupt is interrupted; one may catch the signal in
/// a way of its own.
const INTERRUPTS: u8 = 5;
/// How often output and progress of a running task are sent.
pub(super) const REPORT_EVERY: Duration = Duration::from_millis(50);

impl Slot {
    // --- the I/O thread's side

    /// Takes in what the controller said; what is to be answered at once goes to `reply`.
    /// `interrupt` must make the main thread's running call stop; it is called with the slot
    /// locked, so that the task cannot end in between.
    pub(crate) fn receive(
        &self,
        messages: Vec<Message<ToEngine>>,
        mut reply: impl FnMut(Message<FromEngine>),
        interrupt: impl Fn(),
    ) {
        let mut inner = self.inner.lock();
        for message in messages {
            match message.head {
                ToEngine::Func(func) => {
                    let body = message.parts.into_iter().next().unwrap_or_default();
                    inner.entries.push_back(Entry::Func(func, body));
                }
                ToEngine::Forget(func) => inner.entries.push_back(Entry::Forget(func)),
                ToEngine::Task { id, .. } if inner.take_doomed(id) => reply(cancelled(id)),
                ToEngine::Task { id, func, kind } => {
                    let parts = message.parts;
                    inner.entries.push_back(Entry::Task(Queued { id, func, kind, parts }));
                }
                ToEngine::Recall(ids) => {
                    let back = inner.remove(&ids);
                    reply(Message::bare(FromEngine::Returned(back)));
                }
                ToEngine::Cancel(ids) => {
                    let removed = inner.remove(&ids);
                    inner.doom(&ids, &removed);
                    for id in removed {
                        reply(cancelled(id));
                    }
                    if let Some(running) = &mut inner.running
                        && !running.cancelled
                        && ids.contains(&running.id)
                    {
                        running.cancelled = true;
                        running.interrupts = 1;
                        inner.signalled = true;
                        interrupt();
                    }
                }
                ToEngine::Shutdown => {
                    inner.entries.clear();
                    inner.ended = true;
                }
            }
        }
        self.wake(inner);
    }

    /// Wakes the main thread if it waits and there is something for it.
    fn wake(&self, mut inner: MutexGuard<'_, Inner>) {
        if !inner.has_work() {
            return;
        }
        if !inner.waiting {
            return self.led.notify_one();
        }
        let parked = inner.parked.take();
        drop(inner);
        self.filled.notify_one();
        if let Some(drive) = parked {
            drive.unpark(true);
        }
    }

    /// What the running task wrote and did since the last report. Says whether anything runs or
    /// waits, so that there will be more to report.
    ///
    /// An interrupt that came just before the call went to sleep in the system does not wake it;
    /// so one that was not felt is sent again.
    pub(crate) fn report(
        &self,
        mut send: impl FnMut(Message<FromEngine>),
        interrupt: impl Fn(),
    ) -> bool {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        let more = !inner.entries.is_empty();
        let Some(running) = &mut inner.running else { return more };
        if running.cancelled && !running.felt && running.interrupts < INTERRUPTS {
            running.interrupts += 1;
            inner.signalled = true;
            interrupt();
        }
        if !running.announced && running.has_run_for(ANNOUNCE_AFTER) {
            running.announced = true;
            let (id, at) = (running.id, running.started);
            send(Message::bare(FromEngine::Started { id, at }));
        }
        if running.progress != running.progress_sent {
            running.progress_sent = running.progress;
            let (id, done) = (running.id, running.progress);
            send(Message::bare(FromEngine::Progress { id, done }));
        }
        running.flush(send);
        true
    }

    /// Ends the main thread's loop when its task is done; drops what was not started.
    pub(crate) fn end(&self) {
        let mut inner = self.inner.lock();
        inner.entries.clear();
        inner.ended = true;
        self.wake(inner);
    }

    /// The session with the controller is lost: what it sent is void.
    pub(crate) fn clear(&self) {
        let mut inner = self.inner.lock();
        inner.entries.clear();
        inner.doomed.clear();
    }

    // --- the main thread's side

    /// The next thing to do, if there is any.
    pub fn try_next(&self) -> Option<Work> {
        self.inner.lock().take(wall_clock)
    }

    /// Waits for the next thing to do; leads `drive` meanwhile, if there is one and nobody else
    /// does.
    pub fn next(&self, drive: Option<&Arc<Drive>>) -> Work {
        loop {
            if let Some(work) = self.try_next() {
                return work;
            }
            let led = drive.map_or(Led::Not, |drive| drive.lead(Stay::Whole, self.led()));
            if !matches!(led, Led::Done(())) {
                self.park(drive);
            }
        }
    }

    async fn led(&self) -> Option<()> {
        self.led.notified().await;
        Some(())
    }

    fn park(&self, drive: Option<&Arc<Drive>>) {
        let mut inner = self.inner.lock();
        if inner.has_work() {
            return;
        }
        if let Some(drive) = drive {
            drive.park();
        }
        inner.waiting = true;
        inner.parked = drive.cloned();
        self.filled.wait(&mut inner);
        inner.waiting = false;
        if let Some(drive) = inner.parked.take() {
            drive.unpark(false);
        }
    }

    /// The running task ended. Says whether it had been interrupted, so that a signal that came
    /// too late can be taken back.
    pub fn done(
        &self,
        status: Status,
        parts: Parts,
        send: impl FnMut(Message<FromEngine>),
    ) -> bool {
        let completed = wall_clock();
        let mut inner = self.inner.lock();
        let (ended, signalled) = (inner.running.take(), std::mem::take(&mut inner.signalled));
        drop(inner);
        if let Some(ended) = ended {
            ended.tell(status, completed, parts, send);
        }
        signalled
    }

    /// As [`done`](Self::done) and [`try_next`](Self::try_next) in one.
    pub fn turn(
        &self,
        status: Status,
        parts: Parts,
        send: impl FnMut(Message<FromEngine>),
    ) -> (bool, Option<Work>) {
        let completed = wall_clock();
        let mut inner = self.inner.lock();
        let (ended, signalled) = (inner.running.take(), std::mem::take(&mut inner.signalled));
        let next = inner.take(|| completed);
        drop(inner);
        if let Some(ended) = ended {
            ended.tell(status, completed, parts, send);
        }
        (signalled, next)
    }

    /// Text the running task wrote; says whether one runs.
    pub fn write(&self, stream: u8, text: &str, send: impl FnMut(Message<FromEngine>)) -> bool {
        let mut inner = self.inner.lock();
        let Some(running) = &mut inner.running else { return false };
        if running.streams[usize::from(stream == 2)].write(text) {
            running.flush(send);
        }
        true
    }

    /// Items of the running chunk that are done.
    pub fn progress(&self, items: u32) {
        if let Some(running) = &mut self.inner.lock().running {
            running.progress = items;
        }
    }

    /// The running task has felt an interrupt.
    pub fn felt(&self) {
        if let Some(running) = &mut self.inner.lock().running {
            running.felt = true;
        }
    }

    /// Whether the running task was asked to stop.
    pub fn cancelled(&self) -> bool {
        self.inner.lock().running.as_ref().is_some_and(|running| running.cancelled)
    }
}

/// Cancellations remembered for tasks that may still be on their way.
const DOOMED: usize = 10_000;

fn cancelled(id: TaskId) -> Message<FromEngine> {
    let status = Status::Cancelled;
    Message::bare(FromEngine::Result { id, status, started: 0, completed: 0 })
}

impl Inner {
    fn has_work(&self) -> bool {
        self.ended || !self.entries.is_empty()
    }

    fn take(&mut self, now: impl FnOnce() -> Stamp) -> Option<Work> {
        if self.ended {
            return Some(Work::End);
        }
        Some(match self.entries.pop_front()? {
            Entry::Func(func, body) => Work::Func(func, body),
            Entry::Forget(func) => Work::Forget(func),
            Entry::Task(Queued { id, func, kind, parts }) => {
                self.running = Some(Running::new(id, now()));
                Work::Task { func, kind, parts }
            }
        })
    }

    /// Remembers those of these tasks that are neither here nor running.
    fn doom(&mut self, ids: &[TaskId], removed: &[TaskId]) {
        let removed: HashSet<_> = removed.iter().collect();
        let running = self.running.as_ref().map(|running| running.id);
        let unknown = ids.iter().filter(|id| !removed.contains(id) && Some(**id) != running);
        self.doomed.extend(unknown);
        let surplus = self.doomed.len().saturating_sub(DOOMED);
        self.doomed.drain(..surplus);
    }

    fn take_doomed(&mut self, id: TaskId) -> bool {
        let place = self.doomed.iter().position(|doomed| *doomed == id);
        place.is_some_and(|place| self.doomed.remove(place).is_some())
    }

    /// Takes out those of these tasks that have not been started.
    fn remove(&mut self, ids: &[TaskId]) -> Vec<TaskId> {
        let wanted: HashSet<_> = ids.iter().copied().collect();
        let mut removed = Vec::new();
        self.entries.retain(|entry| match entry {
            Entry::Task(task) if wanted.contains(&task.id) => {
                removed.push(task.id);
                false
            }
            _ => true,
        });
        removed
    }
}

impl Running {
    fn new(id: TaskId, started: Stamp) -> Self {
        Self {
            id,
            started,
            announced: false,
            cancelled: false,
            felt: false,
            interrupts: 0,
            progress: 0,
            progress_sent: 0,
            streams: Default::default(),
        }
    }

    fn flush(&mut self, mut send: impl FnMut(Message<FromEngine>)) {
        let id = self.id;
        for (stream, output) in (1..).zip(&mut self.streams) {
            output.flush(|text| send(written(id, stream, text)));
        }
    }

    /// By the clock on the wall, which was read anyway; if it jumps, that is taken for a long time.
    fn has_run_for(&self, time: Duration) -> bool {
        u128::from((wall_clock() - self.started).unsigned_abs()) >= time.as_nanos()
    }

    /// Sends what is left of its output, then its outcome.
    fn tell(
        mut self,
        status: Status,
        completed: Stamp,
        parts: Parts,
        mut send: impl FnMut(Message<FromEngine>),
    ) {
        for (stream, output) in (1..).zip(&mut self.streams) {
            output.finish(|text| send(written(self.id, stream, text)));
        }
        let (id, started) = (self.id, self.started);
        send(Message { head: FromEngine::Result { id, status, started, completed }, parts });
    }
}

fn written(id: TaskId, stream: u8, text: Bytes) -> Message<FromEngine> {
    Message { head: FromEngine::Output { id, stream }, parts: Parts::from_elem(text, 1) }
}
