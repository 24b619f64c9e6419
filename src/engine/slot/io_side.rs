//! The I/O thread's side of the slot: what the controller says goes in, what the running task does
//! is reported, sessions come and go.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::running::Running;
use super::{Entry, Queued, Slot};
use crate::clock::wall_clock;
use crate::engine::ending::{Limit, Step};
use crate::memory::Tally;
use crate::wire::{FromEngine, Message, Parts, Status, TaskId, ToEngine, Underway};

/// How long a task runs before it is announced, so that short ones cost no message.
pub(crate) const ANNOUNCE_AFTER: Duration = Duration::from_millis(20);
/// How often output and progress of a running task are sent.
const REPORT_EVERY: Duration = Duration::from_millis(50);

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

impl Slot {
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
                    if let Some(tally) = &inner.tally {
                        for (_, ticket) in &back {
                            tally.give_back(*ticket);
                        }
                    }
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
                // Whoever keeps what was told, or knows the process, has seen to it.
                ToEngine::Settled(_) | ToEngine::Signal(_) => {}
                ToEngine::Shutdown => {
                    inner.entries.clear();
                    inner.ended = true;
                }
            }
        }
        self.wake(inner);
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
}

fn cancelled((id, ticket): (TaskId, u64)) -> Message<FromEngine> {
    let status = Status::Cancelled;
    Message::bare(FromEngine::Result { id, ticket, status, started: 0, completed: 0 })
}
