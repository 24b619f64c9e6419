//! The tasks that have no outcome yet, and the lists they stand in.
//!
//! A task stands in exactly one [`List`]: the queue of its lane, or one of the two lists of the
//! engine that holds it. The links are in the task itself, so that any task leaves any list at
//! once and a pending task costs one record of bounded size.

use crate::wire::{ClientId, EngineId, Kind, Parts, Rules, Stamp, TaskId};

use super::index::Index;
use super::slab::Slab;

/// Number of an unfinished task's record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TaskKey(u32);

impl TaskKey {
    /// No task.
    pub(crate) const NONE: Self = Self(u32::MAX);

    /// The key, unless it is [`TaskKey::NONE`].
    pub(crate) fn some(self) -> Option<Self> {
        (self != Self::NONE).then_some(self)
    }
}

/// A client that is told the outcome of a task under a number of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Watcher {
    pub(crate) client: ClientId,
    pub(crate) seq: u64,
}

/// What is known of few tasks.
#[derive(Default)]
pub(crate) struct Rare {
    /// Whom to tell beside the owner.
    pub(crate) watchers: Vec<Watcher>,
    /// Engines on which an attempt failed and which went on.
    pub(crate) failed_on: Vec<EngineId>,
    /// Engines that ended while they ran it.
    pub(crate) deaths: u16,
}

/// In a limit: the engine may be ended after it.
const FORCE: u32 = 1 << 31;

/// No engine, no lane.
const NONE: u32 = u32::MAX;
/// No engine, and none is to have it.
const PARKED: u32 = u32::MAX - 1;
/// No engine known; one that was given it before is to tell.
const WAITING: u32 = u32::MAX - 2;

/// One unfinished task: two lines of the processor's cache, the first of which is all that moving
/// its neighbours in a list looks at.
#[repr(C, align(64))]
pub(crate) struct Task {
    prev: TaskKey,
    next: TaskKey,
    engine: u32,
    lane: u32,
    /// Number of its function.
    pub(crate) func: u32,
    pub(crate) kind: Kind,
    /// Its owner no longer wants it.
    pub(crate) cancelled: bool,
    /// The engine was asked to give it back and has not answered.
    pub(crate) recalled: bool,
    /// Counted among what may be taken back from its engine; in the common lane even if it is the
    /// oldest there, which may not.
    pub(crate) movable: bool,
    /// Milliseconds one attempt may run, 0 for any time, and [`FORCE`].
    limit: u32,
    /// How often it may still be run again.
    pub(crate) retries: u16,
    /// Attempts to run it so far, the present one included.
    pub(crate) attempt: u16,
    /// When it started, by the engine's clock; 0 as long as the engine has not said so.
    pub(crate) started: Stamp,
    /// Position among all tasks ever submitted.
    pub(crate) order: u64,
    /// Its number among all that its engine was ever given.
    pub(crate) ticket: u64,
    /// What most tasks have none of: one word in each of a million records.
    pub(crate) rare: Option<Box<Rare>>,
    pub(crate) id: TaskId,
    /// What it is called with; empty once it cannot be needed again.
    pub(crate) parts: Parts,
    /// When it was submitted, by the controller's clock.
    pub(crate) submitted: Stamp,
}

impl Task {
    /// A task that stands in no list yet.
    pub(crate) fn new(
        id: TaskId,
        (func, kind, rules): (u32, Kind, Rules),
        lane: Option<u32>,
        parts: Parts,
        order: u64,
        submitted: Stamp,
    ) -> Self {
        Self {
            id,
            parts,
            submitted,
            order,
            ticket: 0,
            started: 0,
            rare: None,
            func,
            lane: lane.unwrap_or(NONE),
            engine: NONE,
            kind,
            attempt: 1,
            retries: rules.retries,
            limit: rules.timeout & !FORCE | if rules.force { FORCE } else { 0 },
            cancelled: false,
            recalled: false,
            movable: false,
            prev: TaskKey::NONE,
            next: TaskKey::NONE,
        }
    }

    /// The engine that holds it; `None` while it is queued.
    pub(crate) fn engine(&self) -> Option<EngineId> {
        (self.engine < WAITING).then_some(EngineId(self.engine))
    }

    /// Sets who holds it; gives who did.
    pub(crate) fn set_engine(&mut self, engine: Option<EngineId>) -> Option<EngineId> {
        let before = self.engine();
        self.engine = engine.map_or(NONE, |engine| engine.0);
        before
    }

    /// Whether it waits beside its lane's queue, see [`parked`](super::parked).
    pub(crate) fn is_parked(&self) -> bool {
        self.engine == PARKED
    }

    /// Notes of a task that no engine holds whether it is parked.
    pub(crate) fn set_parked(&mut self, parked: bool) {
        self.engine = if parked { PARKED } else { NONE };
    }

    /// Whether it waits for an engine of before to tell what became of it, see
    /// [`resume`](super::resume).
    pub(crate) fn is_waiting(&self) -> bool {
        self.engine == WAITING
    }

    /// Notes of a task that no engine holds whether it waits so.
    pub(crate) fn set_waiting(&mut self, waiting: bool) {
        self.engine = if waiting { WAITING } else { NONE };
    }

    /// It was at this attempt when a controller before this one ended.
    pub(crate) fn resume_at(&mut self, attempt: u16) {
        let more = attempt.saturating_sub(self.attempt);
        self.attempt += more;
        self.retries = self.retries.saturating_sub(more);
    }

    /// The lane it may be queued in; `None` for a direct task.
    pub(crate) fn lane(&self) -> Option<u32> {
        (self.lane != NONE).then_some(self.lane)
    }

    /// It is with no engine any more, and stands in none of its lists.
    pub(crate) fn detach(&mut self) {
        (self.engine, self.recalled, self.movable) = (NONE, false, false);
    }

    /// Counts another attempt; `false` if its owner allows none.
    pub(crate) fn try_again(&mut self) -> bool {
        let Some(left) = self.retries.checked_sub(1) else { return false };
        (self.retries, self.attempt, self.started) = (left, self.attempt + 1, 0);
        true
    }

    /// Whether its engine may be asked to give it back: one that failed elsewhere was put where it
    /// is on purpose.
    pub(crate) fn is_free(&self) -> bool {
        let placed = self.rare.as_ref().is_some_and(|rare| !rare.failed_on.is_empty());
        !self.cancelled && !self.recalled && !self.has_started() && !placed
    }

    /// Engines that ended while they ran it.
    pub(crate) fn deaths(&self) -> u16 {
        self.rare.as_ref().map_or(0, |rare| rare.deaths)
    }

    /// Milliseconds one attempt may run, and whether its engine may be ended for it.
    pub(crate) fn limit(&self) -> (u32, bool) {
        (self.limit & !FORCE, self.limit & FORCE != 0)
    }

    /// Whether its engine said that it was started.
    pub(crate) fn has_started(&self) -> bool {
        self.started != 0
    }

    /// Whether it was sent to one named engine, where it stays.
    pub(crate) fn is_direct(&self) -> bool {
        self.lane == NONE
    }
}

const _: () = assert!(size_of::<Option<Task>>() == 128);

/// All unfinished tasks, by key and by id.
#[derive(Default)]
pub(crate) struct Tasks {
    slab: Slab<Task>,
    index: Index,
}

impl Tasks {
    pub(crate) fn insert(&mut self, task: Task) -> TaskKey {
        let id = task.id;
        let key = self.slab.insert(task);
        self.index.insert(id, key);
        TaskKey(key)
    }

    pub(crate) fn remove(&mut self, key: TaskKey) -> Task {
        let task = self.slab.remove(key.0);
        self.index.remove(task.id);
        task
    }

    pub(crate) fn find(&self, id: TaskId) -> Option<TaskKey> {
        self.index.get(id).map(TaskKey)
    }

    pub(crate) fn get(&self, key: TaskKey) -> &Task {
        &self.slab[key.0]
    }

    pub(crate) fn get_mut(&mut self, key: TaskKey) -> &mut Task {
        &mut self.slab[key.0]
    }

    pub(crate) fn len(&self) -> usize {
        self.slab.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (TaskKey, &Task)> {
        self.slab.iter().map(|(key, task)| (TaskKey(key), task))
    }
}

/// A first-in-first-out list of tasks from which any may leave. What stands before its first means
/// nothing.
#[derive(Clone, Copy)]
pub(crate) struct List {
    head: TaskKey,
    tail: TaskKey,
    len: u32,
}

impl Default for List {
    fn default() -> Self {
        Self { head: TaskKey::NONE, tail: TaskKey::NONE, len: 0 }
    }
}

impl List {
    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn front(&self) -> Option<TaskKey> {
        self.head.some()
    }

    pub(crate) fn push_back(&mut self, tasks: &mut Tasks, key: TaskKey) {
        self.link(tasks, self.tail, key, TaskKey::NONE);
    }

    pub(crate) fn push_front(&mut self, tasks: &mut Tasks, key: TaskKey) {
        self.link(tasks, TaskKey::NONE, key, self.head);
    }

    fn link(&mut self, tasks: &mut Tasks, prev: TaskKey, key: TaskKey, next: TaskKey) {
        let task = tasks.get_mut(key);
        (task.prev, task.next) = (prev, next);
        self.point(tasks, prev, next, key, key);
        self.len += 1;
    }

    /// Takes out a task that stands in this list.
    pub(crate) fn remove(&mut self, tasks: &mut Tasks, key: TaskKey) {
        let task = tasks.get_mut(key);
        let (prev, next) = (task.prev, task.next);
        (task.prev, task.next) = (TaskKey::NONE, TaskKey::NONE);
        if self.head == key {
            // What is first now is far away in memory, and is not told.
            self.head = next;
            if next == TaskKey::NONE {
                self.tail = next;
            }
        } else {
            self.point(tasks, prev, next, next, prev);
        }
        self.len -= 1;
    }

    /// Lets what follows `prev` be `after`, and what precedes `next` be `before`.
    fn point(
        &mut self,
        tasks: &mut Tasks,
        prev: TaskKey,
        next: TaskKey,
        after: TaskKey,
        before: TaskKey,
    ) {
        match prev.some() {
            Some(prev) => tasks.get_mut(prev).next = after,
            None => self.head = after,
        }
        match next.some() {
            Some(next) => tasks.get_mut(next).prev = before,
            None => self.tail = before,
        }
    }

    /// From the oldest to the newest.
    pub(crate) fn iter<'a>(&self, tasks: &'a Tasks) -> impl Iterator<Item = TaskKey> + use<'a> {
        std::iter::successors(self.head.some(), |key| tasks.get(*key).next.some())
    }

    /// From the newest to the oldest.
    pub(crate) fn iter_back<'a>(
        &self,
        tasks: &'a Tasks,
    ) -> impl Iterator<Item = TaskKey> + use<'a> {
        let head = self.head;
        let before = move |key: &TaskKey| tasks.get(*key).prev.some().filter(|_| *key != head);
        std::iter::successors(self.tail.some(), before)
    }
}
