//! The records of the tasks of one submission: their states, stamps and outcomes.
//!
//! A batch is shared by the I/O thread, which writes it, and by the sets of tasks that users hold,
//! which read it. It lives while anything of it is pending or anybody holds it.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use bytes::Bytes;
use parking_lot::Mutex;

use super::bell::Countdown;
pub use super::rare::Written;
use super::rare::{Rare, Waiting};
pub use super::records::Record;
use super::records::Records;
use crate::wire::limits::OUTPUT_MAX;
use crate::wire::{EngineId, Parts, SessionId, Stamp, Status};

/// How a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// No outcome yet.
    Pending = 0,
    /// A value.
    Ok = 1,
    /// An exception.
    Error = 2,
    /// A chunk of which some items raised.
    Partial = 3,
    /// Cancelled before it ended.
    Cancelled = 4,
    /// Its engine ended.
    Lost = 5,
    /// Never given to an engine.
    Refused = 6,
    /// The controller went away or the client was closed before an outcome came.
    Gone = 7,
    /// It ran longer than it may.
    TimedOut = 8,
    /// Engines ended under it again and again.
    Poison = 9,
}

impl From<Status> for State {
    fn from(status: Status) -> Self {
        match status {
            Status::Ok => Self::Ok,
            Status::Error | Status::Again => Self::Error,
            Status::Partial => Self::Partial,
            Status::Cancelled => Self::Cancelled,
            Status::Lost => Self::Lost,
            Status::Refused => Self::Refused,
            Status::TimedOut => Self::TimedOut,
            Status::Poison => Self::Poison,
        }
    }
}

/// What changes while the tasks run.
pub struct Changing {
    /// One record for each task. Most calls are a batch of their own, so what few batches have must
    /// cost the others nothing.
    records: Records<Rare>,
}

impl Changing {
    fn rare(&mut self) -> &mut Rare {
        self.records.make_rare()
    }

    /// How many tasks there are.
    pub(crate) fn len(&self) -> u32 {
        self.records.len()
    }

    /// How many have an outcome.
    pub(crate) fn done(&self) -> u32 {
        self.records.done()
    }

    /// How a task stands.
    pub(crate) fn state(&self, index: u32) -> State {
        self.records.state(index)
    }

    /// What is known of a task.
    pub fn record(&self, index: u32) -> Record<'_> {
        let begun = |rare: &Rare| rare.begun.get(&index).copied();
        self.records.get(index, self.records.rare().and_then(begun).unwrap_or_default())
    }

    /// What a task gave, if that is a value of a single part that was not released.
    pub(crate) fn value(&self, index: u32) -> Option<Bytes> {
        self.records.value(index)
    }

    /// How many of these tasks have an outcome, up to the first that has none.
    pub(crate) fn done_in(&self, tasks: Range<usize>) -> usize {
        self.records.done_in(tasks)
    }

    /// The user wants a task forgotten, if it has ended.
    pub(crate) fn purge(&mut self, index: u32) {
        self.records.purge(index);
    }

    /// Forgets the outcomes of these tasks, not their records.
    pub(crate) fn release(&mut self, tasks: Range<u32>) {
        tasks.for_each(|index| self.records.release(index));
    }

    /// Holds that are not the first one's.
    pub(crate) fn found(&self) -> usize {
        self.records.rare().map_or(0, |rare| rare.found.len())
    }

    /// What the task wrote, if anything.
    pub fn written(&self, index: u32) -> Option<&Written> {
        self.records.rare()?.written.get(&index)
    }

    /// Grows with each piece of text.
    pub fn written_version(&self) -> u64 {
        self.records.rare().map_or(0, |rare| rare.written_version)
    }

    /// When the task was submitted, if others did it.
    pub fn submitted(&self, index: u32) -> Option<Stamp> {
        self.records.rare()?.submitted.get(&index).copied()
    }

    /// Others submitted the task, at that time.
    pub(crate) fn set_submitted(&mut self, index: u32, submitted: Stamp) {
        self.rare().submitted.insert(index, submitted);
    }
}

/// How a task ended, with what is known about it.
pub struct Ended {
    /// How.
    pub state: State,
    /// Where.
    pub engine: Option<EngineId>,
    /// See [`Record`].
    pub started: Stamp,
    /// See [`Record`].
    pub completed: Stamp,
    /// See [`Record`].
    pub received: Stamp,
    /// The outcome.
    pub parts: Parts,
}

/// The tasks of one submission.
pub struct Batch {
    /// Number of the first task; the others follow.
    pub first: u64,
    /// How many there are.
    pub len: u32,
    /// Sets that were made from the one which its submission gave.
    pub(crate) holders: AtomicU32,
    /// When they were submitted, by this process's clock.
    pub submitted: Stamp,
    /// Bytes of arguments, counted against the client's bound until the tasks end.
    pub bytes: u64,
    /// Not one plain item per task.
    shape: Option<Box<Shape>>,
    changing: Mutex<Changing>,
}

/// What distinguishes the tasks of a batch from one own item each.
#[derive(Default)]
pub(crate) struct Shape {
    /// Items in each task; `None` when each is one item.
    pub(crate) items: Option<Box<[u32]>>,
    /// The session and number of each task where these are not this client's own.
    pub(crate) foreign: Option<Box<[(SessionId, u64)]>>,
}

// A pending call has one of these; with the counts of its `Arc` it is one of the allocator's 96.
const _: () = assert!(size_of::<Batch>() <= 72);

impl Batch {
    pub(crate) fn new(first: u64, len: usize, submitted: Stamp, bytes: u64, shape: Shape) -> Self {
        let plain = shape.items.is_none() && shape.foreign.is_none();
        Self {
            first,
            len: len as u32,
            holders: AtomicU32::new(0),
            submitted,
            bytes,
            shape: (!plain).then(|| Box::new(shape)),
            changing: Mutex::new(Changing { records: Records::new(len) }),
        }
    }

    /// Looks at or changes the records.
    pub fn lock(&self) -> parking_lot::MutexGuard<'_, Changing> {
        self.changing.lock()
    }

    /// Items in each task; `None` when each is one item.
    pub fn items(&self) -> Option<&[u32]> {
        self.shape.as_ref()?.items.as_deref()
    }

    /// Items in task `index`.
    pub fn items_in(&self, index: u32) -> u64 {
        self.items().map_or(1, |items| u64::from(items[index as usize]))
    }

    /// The session and number of each task where these are not this client's own.
    pub fn foreign(&self) -> Option<&[(SessionId, u64)]> {
        self.shape.as_ref()?.foreign.as_deref()
    }

    /// Enters an outcome; the first one counts. Says how many tasks are still pending, or `None`
    /// when this one had an outcome already.
    pub(crate) fn end(&self, index: u32, mut ended: Ended) -> Option<u32> {
        let mut changing = self.changing.lock();
        let records = &mut changing.records;
        let failed = ended.state != State::Ok;
        if let Some(rare) = records.rare_mut()
            && !rare.begun.is_empty()
            && let Some(begun) = rare.begun.remove(&index)
            && ended.started == 0
        {
            ended.started = begun;
        }
        if !records.end(index, ended) {
            return None;
        }
        if let Some(rare) = records.rare_mut() {
            rare.ring(index, failed);
        }
        Some(records.len() - records.done())
    }

    /// Ends all pending tasks in the same way, as when the controller is gone.
    pub(crate) fn end_all(&self, state: State, reason: &str, now: Stamp) {
        let len = self.lock().len();
        let reason = Bytes::copy_from_slice(reason.as_bytes());
        for index in 0..len {
            let parts = Parts::from_elem(reason.clone(), 1);
            let ended =
                Ended { state, engine: None, started: 0, completed: 0, received: now, parts };
            self.end(index, ended);
        }
    }

    /// This client's numbers of those of these tasks that have no outcome yet.
    pub(crate) fn pending_numbers(&self, tasks: Range<u32>) -> Vec<u64> {
        let changing = self.changing.lock();
        let pending = tasks.filter(|index| changing.state(*index) == State::Pending);
        pending.map(|index| self.first + u64::from(index)).collect()
    }

    /// Enters where each task is bound for.
    pub(crate) fn place(&self, engines: &[EngineId]) {
        let mut changing = self.changing.lock();
        for (index, engine) in (0..).zip(engines) {
            changing.records.place(index, *engine);
        }
    }

    pub(crate) fn start(&self, index: u32, engine: EngineId, at: Stamp) {
        let mut changing = self.changing.lock();
        if changing.state(index) == State::Pending {
            changing.records.place(index, engine);
            changing.rare().begun.insert(index, at);
        }
    }

    pub(crate) fn progress(&self, index: u32, done: u32) {
        self.changing.lock().records.progress(index, done);
    }

    pub(crate) fn write(&self, index: u32, stream: u8, text: &str) {
        let mut changing = self.changing.lock();
        let rare = changing.rare();
        rare.written_version += 1;
        let written = rare.written.entry(index).or_default();
        let kept = if stream == 2 { &mut written.stderr } else { &mut written.stdout };
        // The engine bounds what it sends; this bound holds against an engine that does not.
        if kept.len() + text.len() <= 2 * OUTPUT_MAX {
            kept.push_str(text);
        }
    }

    /// Adds the pending ones of these tasks to a countdown; says how many there are.
    pub(crate) fn watch(
        &self,
        tasks: Range<u32>,
        failure: bool,
        countdown: &Arc<Countdown>,
    ) -> isize {
        let mut changing = self.changing.lock();
        let is_pending = |index: u32| changing.state(index) == State::Pending;
        if tasks.len() == 1 && !failure {
            let pending = is_pending(tasks.start);
            if pending {
                let waits = changing.rare().single.entry(tasks.start).or_default();
                waits.retain(|wait| wait.strong_count() > 0);
                waits.push(Arc::downgrade(countdown));
            }
            return isize::from(pending);
        }
        let pending = tasks.clone().filter(|index| is_pending(*index)).count();
        if pending > 0 {
            let waits = &mut changing.rare().waiting;
            waits.retain(|waiting| waiting.countdown.strong_count() > 0);
            waits.push(Waiting { tasks, failure, countdown: Arc::downgrade(countdown) });
        }
        pending as isize
    }
    /// A new family of sets of this batch, which was found in the books. As long as there is
    /// another, releasing outcomes of one family forgets none.
    pub(crate) fn found(&self) -> u32 {
        let mut changing = self.changing.lock();
        let rare = changing.rare();
        rare.families += 1;
        rare.found.insert(rare.families, 1);
        rare.families
    }

    /// Such a family has one more set, or one less.
    pub(crate) fn hold(&self, family: u32, more: bool) {
        let mut changing = self.changing.lock();
        let found = &mut changing.rare().found;
        let sets = found.entry(family).or_default();
        *sets = if more { *sets + 1 } else { sets.saturating_sub(1) };
        if *sets == 0 {
            found.remove(&family);
            if changing.rare().is_empty() {
                changing.records.drop_rare();
            }
        }
    }
}
