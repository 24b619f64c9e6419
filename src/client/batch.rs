//! The records of the tasks of one submission: their states, stamps and outcomes.
//!
//! A batch is shared by the I/O thread, which writes it, and by the sets of tasks that users hold,
//! which read it. It lives while anything of it is pending or anybody holds it.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::bell::Countdown;
use crate::wire::limits::OUTPUT_MAX;
use crate::wire::{EngineId, Parts, Stamp, Status};

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
    pub records: Vec<Record>,
    /// Tasks with an outcome.
    pub done: u32,
    /// Text of those tasks that wrote any.
    pub written: HashMap<u32, Written>,
    /// Grows with each piece of text.
    pub written_version: u64,
    /// Stamps of tasks that others submitted.
    pub submitted: HashMap<u32, Stamp>,
    waiting: Vec<Waiting>,
    /// Waits for single tasks; there may be one for each.
    single: HashMap<u32, Vec<Weak<Countdown>>>,
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
    pub len: usize,
    /// When they were submitted, by this process's clock.
    pub submitted: Stamp,
    /// Items in each task; `None` when each is one item.
    pub items: Option<Box<[u32]>>,
    /// Bytes of arguments, counted against the client's bound until the tasks end.
    pub bytes: u64,
    /// The session and number of each task where these are not this client's own.
    pub foreign: Option<Box<[(crate::wire::SessionId, u64)]>>,
    /// Holds that users have on this batch.
    pub holders: AtomicUsize,
    changing: Mutex<Changing>,
}

impl Batch {
    pub(crate) fn new(
        first: u64,
        len: usize,
        submitted: Stamp,
        items: Option<Box<[u32]>>,
        bytes: u64,
    ) -> Self {
        Self {
            first,
            len,
            submitted,
            items,
            bytes,
            foreign: None,
            holders: AtomicUsize::new(0),
            changing: Mutex::new(Changing {
                records: std::iter::repeat_with(|| BLANK).take(len).collect(),
                done: 0,
                written: HashMap::new(),
                written_version: 0,
                submitted: HashMap::new(),
                waiting: Vec::new(),
                single: HashMap::new(),
            }),
        }
    }

    /// Looks at or changes the records.
    pub fn lock(&self) -> parking_lot::MutexGuard<'_, Changing> {
        self.changing.lock()
    }

    /// Items in task `index`.
    pub fn items_in(&self, index: u32) -> u64 {
        self.items.as_ref().map_or(1, |items| u64::from(items[index as usize]))
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
        let single = changing.single.remove(&index).into_iter().flatten();
        single.filter_map(|countdown| countdown.upgrade()).for_each(|countdown| countdown.one());
        if !changing.waiting.is_empty() {
            changing.waiting.retain(|waiting| {
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
        Some(changing.records.len() as u32 - changing.done)
    }

    /// Ends all pending tasks in the same way, as when the controller is gone.
    pub(crate) fn end_all(&self, state: State, reason: &str, now: Stamp) {
        let len = self.lock().records.len() as u32;
        let reason = bytes::Bytes::copy_from_slice(reason.as_bytes());
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
        changing.written_version += 1;
        let written = changing.written.entry(index).or_default();
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
                let waits = changing.single.entry(tasks.start).or_default();
                waits.retain(|wait| wait.strong_count() > 0);
                waits.push(Arc::downgrade(countdown));
            }
            return isize::from(pending);
        }
        let pending = records.iter().filter(|record| record.state == State::Pending).count();
        if pending > 0 {
            changing.waiting.retain(|waiting| waiting.countdown.strong_count() > 0);
            changing.waiting.push(Waiting { tasks, failure, countdown: Arc::downgrade(countdown) });
        }
        pending as isize
    }
}
