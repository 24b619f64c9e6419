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
use tokio::time::Instant;

use super::ending::{Ending, Limit, Step};
use super::output::Output;
use crate::clock::wall_clock;
use crate::memory::Tally;
use crate::transport::{Drive, Led, Stay};
use crate::wire::{
    FromEngine, FuncId, Kind, Message, Parts, Stamp, Status, TaskId, ToEngine, Underway,
};

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
    ticket: u64,
    attempt: u16,
    limit: Limit,
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
    ticket: u64,
    attempt: u16,
    ending: Ending,
    started: Stamp,
    announced: bool,
    /// Its session is over. Nothing is said of it in another: tickets begin anew there, and one of
    /// the same task may be the same.
    void: bool,
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
    /// Where the controller sees what is begun, and can forbid it.
    tally: Option<Tally>,
    /// The highest ticket that came, and the last that was begun.
    given: u64,
    begun: u64,
    /// Functions that came and were not forgotten.
    known: HashSet<FuncId>,
}

/// When the running task is to be looked at again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// Nothing runs or waits.
    Never,
    /// At this moment.
    At(Instant),
    /// It takes no notice of anything; the engine has to end.
    GiveUp,
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
pub(crate) const ANNOUNCE_AFTER: Duration = Duration::from_millis(20);
/// How often output and progress of a running task are sent.
const REPORT_EVERY: Duration = Duration::from_millis(50);

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
                    inner.known.insert(func);
                    inner.entries.push_back(Entry::Func(func, body));
                }
                ToEngine::Forget(func) => {
                    inner.known.remove(&func);
                    inner.entries.push_back(Entry::Forget(func));
                }
                ToEngine::Task { id, ticket, .. } if inner.take_doomed(id) => {
                    inner.given = inner.given.max(ticket);
                    reply(cancelled((id, ticket)));
                }
                ToEngine::Task { id, func, kind, ticket, attempt, timeout, force } => {
                    let parts = message.parts;
                    let limit = Limit { timeout, force };
                    inner.given = inner.given.max(ticket);
                    let task = Queued { id, ticket, attempt, limit, func, kind, parts };
                    inner.entries.push_back(Entry::Task(task));
                }
                ToEngine::Recall(ids) => {
                    let back = inner.remove(&ids);
                    reply(Message::bare(FromEngine::Returned(back)));
                }
                ToEngine::Cancel { tasks, force } => {
                    let removed = inner.remove(&tasks);
                    inner.doom(&tasks, &removed);
                    for task in removed {
                        reply(cancelled(task));
                    }
                    if let Some(running) = &mut inner.running
                        && tasks.contains(&running.id)
                        && running.ending.cancel(force)
                    {
                        inner.signalled = true;
                        interrupt();
                    }
                }
                // Whoever keeps what was told has seen to it.
                ToEngine::Settled(_) => {}
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

    /// What the running task wrote and did since the last report. Says when to look again, if
    /// anything runs or waits, so that there will be more to report.
    pub(crate) fn report(
        &self,
        mut send: impl FnMut(Message<FromEngine>),
        interrupt: impl Fn(),
    ) -> Look {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        let soon = Instant::now() + REPORT_EVERY;
        let Some(running) = &mut inner.running else {
            return if inner.entries.is_empty() { Look::Never } else { Look::At(soon) };
        };
        match running.ending.step() {
            Step::Wait => {}
            Step::Interrupt => {
                inner.signalled = true;
                interrupt();
            }
            Step::GiveUp => return Look::GiveUp,
        }
        if !running.announced && !running.void && running.has_run_for(ANNOUNCE_AFTER) {
            running.announced = true;
            let (id, ticket, at) = (running.id, running.ticket, running.started);
            send(Message::bare(FromEngine::Started { id, ticket, at }));
        }
        if running.progress != running.progress_sent && !running.void {
            running.progress_sent = running.progress;
            let (id, done) = (running.id, running.progress);
            send(Message::bare(FromEngine::Progress { id, done }));
        }
        running.flush(send);
        Look::At(running.ending.next().map_or(soon, |next| next.min(soon)))
    }

    /// The running task takes no notice: it is told as ended, and nothing is begun any more.
    pub(crate) fn give_up(&self, send: impl FnMut(Message<FromEngine>)) {
        let mut inner = self.inner.lock();
        inner.entries.clear();
        inner.ended = true;
        if let Some(ended) = inner.running.take() {
            let text = Bytes::from_static(b"its engine was ended: it took no notice of interrupts");
            ended.tell(Status::Cancelled, wall_clock(), Parts::from_elem(text, 1), send);
        }
    }

    /// Ends the main thread's loop when its task is done; drops what was not started.
    pub(crate) fn end(&self) {
        let mut inner = self.inner.lock();
        inner.entries.clear();
        inner.ended = true;
        self.wake(inner);
    }

    /// There is a new session with a controller, which sees what is begun in `tally`: what came in
    /// the one before is void.
    pub(crate) fn renew(&self, tally: Option<Tally>) {
        let mut inner = self.inner.lock();
        inner.entries.clear();
        inner.doomed.clear();
        inner.tally = tally;
        (inner.given, inner.begun) = (0, 0);
        if let Some(running) = &mut inner.running {
            running.void = true;
        }
    }

    /// The controller was killed: what it gave and was not begun never will be.
    pub(crate) fn suspend(&self) {
        let mut inner = self.inner.lock();
        inner.entries.retain(|entry| !matches!(entry, Entry::Task(_)));
        inner.doomed.clear();
    }

    /// The highest ticket that came, and the task that runs, for the controller that follows.
    pub(crate) fn before(&self) -> (u64, Option<Underway>) {
        let inner = self.inner.lock();
        let running = inner.running.as_ref().filter(|running| !running.void);
        let underway = running.map(|running| {
            let Running { id, ticket, attempt, started, .. } = *running;
            Underway { id, ticket, attempt, started }
        });
        (inner.given, underway)
    }

    /// There is a session with the controller that follows the one before, which goes on with the
    /// task that runs. It sends anew what functions it needs.
    pub(crate) fn resume(&self, tally: Option<Tally>) {
        let mut inner = self.inner.lock();
        let known = std::mem::take(&mut inner.known);
        inner.entries.extend(known.into_iter().map(Entry::Forget));
        // What was begun stays begun; the first step of a new tally cannot fail.
        if let Some(tally) = &tally {
            let _ = tally.begin(inner.begun);
        }
        inner.tally = tally;
        self.wake(inner);
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
            running.ending.felt();
        }
    }

    /// Which attempt to run its task runs, from 1; 0 while nothing runs.
    pub fn attempt(&self) -> u16 {
        self.inner.lock().running.as_ref().map_or(0, |running| running.attempt)
    }

    /// Whether the running task was asked to stop.
    pub fn cancelled(&self) -> bool {
        self.inner.lock().running.as_ref().is_some_and(|running| running.ending.is_asked())
    }
}

/// Cancellations remembered for tasks that may still be on their way.
const DOOMED: usize = 10_000;

fn cancelled((id, ticket): (TaskId, u64)) -> Message<FromEngine> {
    let status = Status::Cancelled;
    Message::bare(FromEngine::Result { id, ticket, status, started: 0, completed: 0 })
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
            Entry::Task(task) => {
                if self.tally.as_ref().is_some_and(|tally| !tally.begin(task.ticket)) {
                    // The controller has given up this engine, and its tasks to others.
                    self.entries.retain(|entry| !matches!(entry, Entry::Task(_)));
                    return self.take(now);
                }
                self.begun = task.ticket;
                self.running = Some(Running::new(&task, now()));
                let Queued { func, kind, parts, .. } = task;
                Work::Task { func, kind, parts }
            }
        })
    }

    /// Remembers those of these tasks that are neither here nor running.
    fn doom(&mut self, ids: &[TaskId], removed: &[(TaskId, u64)]) {
        let removed: HashSet<_> = removed.iter().map(|(id, _)| id).collect();
        // One of the session before may be on its way here anew.
        let running = self.running.as_ref().filter(|running| !running.void);
        let running = running.map(|running| running.id);
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
    fn remove(&mut self, ids: &[TaskId]) -> Vec<(TaskId, u64)> {
        let wanted: HashSet<_> = ids.iter().copied().collect();
        let mut removed = Vec::new();
        self.entries.retain(|entry| match entry {
            Entry::Task(task) if wanted.contains(&task.id) => {
                removed.push((task.id, task.ticket));
                false
            }
            _ => true,
        });
        removed
    }
}

impl Running {
    fn new(task: &Queued, started: Stamp) -> Self {
        Self {
            id: task.id,
            ticket: task.ticket,
            attempt: task.attempt,
            ending: Ending::new(task.limit),
            started,
            announced: false,
            void: false,
            progress: 0,
            progress_sent: 0,
            streams: Default::default(),
        }
    }

    fn flush(&mut self, mut send: impl FnMut(Message<FromEngine>)) {
        let id = self.id;
        for (stream, output) in (1..).zip(&mut self.streams) {
            output.flush(|text| {
                if !self.void {
                    send(written(id, stream, text));
                }
            });
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
        if self.void {
            return;
        }
        for (stream, output) in (1..).zip(&mut self.streams) {
            output.finish(|text| send(written(self.id, stream, text)));
        }
        let (id, ticket, started) = (self.id, self.ticket, self.started);
        let status = self.ending.status(status);
        let head = FromEngine::Result { id, ticket, status, started, completed };
        send(Message { head, parts });
    }
}

fn written(id: TaskId, stream: u8, text: Bytes) -> Message<FromEngine> {
    Message { head: FromEngine::Output { id, stream }, parts: Parts::from_elem(text, 1) }
}
