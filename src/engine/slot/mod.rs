//! The engine's one slot of work, between the I/O thread that fills it and the main thread that
//! runs what is in it.
//!
//! Invariants: at most one task runs; tasks start in the order they came; a task that was given
//! back or cancelled before its start never starts; every task ends with exactly one message.

mod io_side;
mod main_side;
mod running;

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::sync::Notify;

use super::ending::Limit;
use crate::memory::Tally;
use crate::transport::Drive;
use crate::wire::{FromEngine, FuncId, Kind, Message, Parts, Stamp, Status, TaskId};

pub(crate) use io_side::{ANNOUNCE_AFTER, Look};
use running::Running;

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

/// See the head of this file.
#[derive(Default)]
pub struct Slot {
    inner: Mutex<Inner>,
    /// Wakes the main thread where it parks.
    filled: Condvar,
    /// Wakes the main thread where it leads.
    led: Notify,
}

/// Cancellations remembered for tasks that may still be on their way.
const DOOMED: usize = 10_000;

impl Slot {
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

    /// The running task ended; as [`Slot::done`]. Whoever asks what runs waits until its outcome is
    /// told, so that no controller hears that it does not run before there is an outcome to tell.
    fn end(
        &mut self,
        status: Status,
        completed: Stamp,
        parts: Parts,
        send: impl FnMut(Message<FromEngine>),
    ) -> bool {
        if let Some(ended) = self.running.take() {
            ended.tell(status, completed, parts, send);
        }
        std::mem::take(&mut self.signalled)
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
