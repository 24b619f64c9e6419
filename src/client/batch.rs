//! The records of the tasks of one submission: their states, stamps and outcomes.
//!
//! A batch is shared by the I/O thread, which writes it, and by the sets of tasks that users hold,
//! which read it. It lives while anything of it is pending or anybody holds it.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::Mutex;
use smallvec::SmallVec;

use super::bell::Countdown;
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

/// Everything known of one task.
pub struct Record {
    /// How it stands.
    pub state: State,
    /// Where it runs or ran.
    pub engine: Option<EngineId>,
    /// Whether the user wants it forgotten though somebody still holds it.
    pub purged: bool,
    /// Items of a running chunk that are done.
    pub progress: u32,
    /// Its place among the finished tasks of the batch.
    pub rank: u32,
    /// Engine's clock; 0 when not begun.
    pub started: Stamp,
    /// Engine's clock; 0 when not ended.
    pub completed: Stamp,
    /// This process's clock, stamped by the I/O thread on arrival; 0 when not arrived.
    pub received: Stamp,
    /// The outcome, until released.
    pub parts: Option<Parts>,
}

impl Record {
    /// The value, if it is of a single part and was not released.
    pub(crate) fn value(&self) -> Option<Bytes> {
        match self.parts.as_deref() {
            Some([part]) if self.state == State::Ok => Some(part.clone()),
            _ => None,
        }
    }
}

const BLANK: Record = Record {
    state: State::Pending,
    engine: None,
    purged: false,
    progress: 0,
    rank: 0,
    started: 0,
    completed: 0,
    received: 0,
    parts: None,
};

/// What a task wrote.
#[derive(Default)]
pub struct Written {
    /// Its stdout.
    pub stdout: String,
    /// Its stderr.
    pub stderr: String,
}

/// What changes while the tasks run.
pub struct Changing {
    /// One record for each task.
    pub records: SmallVec<[Record; 1]>,
    /// Tasks with an outcome.
    pub done: u32,
    /// Most calls are a batch of their own, so what few batches have must cost the others little.
    rare: Option<Box<Rare>>,
}

/// What few batches have.
#[derive(Default)]
struct Rare {
    /// Text of those tasks that wrote any.
    written: HashMap<u32, Written>,
    /// Grows with each piece of text.
    written_version: u64,
    /// Stamps of tasks that others submitted.
    submitted: HashMap<u32, Stamp>,
    waiting: Vec<Waiting>,
    /// Waits for single tasks; there may be one for each.
    single: HashMap<u32, Vec<Weak<Countdown>>>,
}

impl Changing {
    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// What the task wrote, if anything.
    pub fn written(&self, index: u32) -> Option<&Written> {
        self.rare.as_ref()?.written.get(&index)
    }

    /// Grows with each piece of text.
    pub fn written_version(&self) -> u64 {
        self.rare.as_ref().map_or(0, |rare| rare.written_version)
    }

    /// When the task was submitted, if others did it.
    pub fn submitted(&self, index: u32) -> Option<Stamp> {
        self.rare.as_ref()?.submitted.get(&index).copied()
    }

    /// Others submitted the task, at that time.
    pub(crate) fn set_submitted(&mut self, index: u32, submitted: Stamp) {
        self.rare().submitted.insert(index, submitted);
    }
}

impl Rare {
    /// Tells who waits for the task that it ended.
    fn ring(&mut self, index: u32, failed: bool) {
        let single = self.single.remove(&index).into_iter().flatten();
        single.filter_map(|countdown| countdown.upgrade()).for_each(|countdown| countdown.one());
        self.waiting.retain(|waiting| {
            let Some(countdown) = waiting.countdown.upgrade() else { return false };
            if waiting.tasks.contains(&index) {
                if failed && waiting.failure {
                    countdown.all();
                } else {
                    countdown.one();
                }
            }
            true
        });
    }
}

struct Waiting {
    tasks: Range<u32>,
    /// Whether a single failure ends the wait.
    failure: bool,
    countdown: Weak<Countdown>,
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
    /// Holds that users have on this batch.
    pub holders: AtomicU32,
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
            changing: Mutex::new(Changing {
                records: std::iter::repeat_with(|| BLANK).take(len).collect(),
                done: 0,
                rare: None,
            }),
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
    pub(crate) fn end(&self, index: u32, ended: Ended) -> Option<u32> {
        let mut changing = self.changing.lock();
        let rank = changing.done;
        let record = &mut changing.records[index as usize];
        if record.state != State::Pending {
            return None;
        }
        record.state = ended.state;
        record.engine = ended.engine.or(record.engine);
        record.rank = rank;
        if ended.started != 0 {
            record.started = ended.started;
        }
        record.completed = ended.completed;
        record.received = ended.received;
        record.parts = Some(ended.parts);
        changing.done += 1;
        let failed = ended.state != State::Ok;
        if let Some(rare) = &mut changing.rare {
            rare.ring(index, failed);
        }
        Some(changing.records.len() as u32 - changing.done)
    }

    /// Ends all pending tasks in the same way, as when the controller is gone.
    pub(crate) fn end_all(&self, state: State, reason: &str, now: Stamp) {
        let len = self.lock().records.len() as u32;
        let reason = Bytes::copy_from_slice(reason.as_bytes());
        for index in 0..len {
            let parts = Parts::from_elem(reason.clone(), 1);
            let ended =
                Ended { state, engine: None, started: 0, completed: 0, received: now, parts };
            self.end(index, ended);
        }
    }

    /// Enters where each task is bound for.
    pub(crate) fn place(&self, engines: &[EngineId]) {
        let mut changing = self.changing.lock();
        for (record, engine) in changing.records.iter_mut().zip(engines) {
            record.engine = Some(*engine);
        }
    }

    pub(crate) fn start(&self, index: u32, engine: EngineId, at: Stamp) {
        let mut changing = self.changing.lock();
        let record = &mut changing.records[index as usize];
        record.engine = Some(engine);
        record.started = at;
    }

    pub(crate) fn progress(&self, index: u32, done: u32) {
        self.changing.lock().records[index as usize].progress = done;
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
        let records = &changing.records[tasks.start as usize..tasks.end as usize];
        if tasks.len() == 1 && !failure {
            let pending = records[0].state == State::Pending;
            if pending {
                let waits = changing.rare().single.entry(tasks.start).or_default();
                waits.retain(|wait| wait.strong_count() > 0);
                waits.push(Arc::downgrade(countdown));
            }
            return isize::from(pending);
        }
        let pending = records.iter().filter(|record| record.state == State::Pending).count();
        if pending > 0 {
            let waits = &mut changing.rare().waiting;
            waits.retain(|waiting| waiting.countdown.strong_count() > 0);
            waits.push(Waiting { tasks, failure, countdown: Arc::downgrade(countdown) });
        }
        pending as isize
    }
}
