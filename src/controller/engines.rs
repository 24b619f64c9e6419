//! The engines there are, what each holds, and how fast it has been.

use crate::memory::Usage;
use crate::wire::{EngineId, EngineInfo};

use super::hash::Set;
use super::lanes::ANY;
use super::ranks::RANK_MAX;
use super::span::Span;
use super::state::Limits;
use super::tasks::{List, TaskKey, Tasks};

/// Part of a new observation in the mean: one in four. An engine that turns slow is noticed with
/// its first slow task; one long task among many short ones is forgotten after a few.
const WEIGHT: f32 = 0.25;

/// One engine: what every task touches, in one line of the processor's cache. All of them lie side by
/// side; a thousand are no more than a near cache holds.
#[repr(C, align(64))]
pub(crate) struct Engine {
    /// Load-balanced tasks it holds, in the order it got them.
    pub(crate) balanced: List,
    /// The oldest task it holds: the one that may be running.
    pub(crate) front: TaskKey,
    /// Since when `front` is the oldest, on the monotonic clock.
    pub(crate) front_since: u64,
    /// Tasks it has ended.
    pub(crate) completed: u64,
    /// Tasks it was ever given.
    pub(crate) given: u64,
    /// What few tasks touch.
    pub(crate) cold: Box<Cold>,
    /// Held tasks of the common lane that may be taken back, and the oldest if only that is in the
    /// way.
    movable: u32,
    /// Mean run time of its tasks in nanoseconds; 0 until one has ended.
    mean: f32,
    /// What it was last published with.
    pub(crate) ranked: Ranked,
    /// How many tasks it may be given ahead, by that mean.
    ahead: u16,
    recent: u8,
    flags: u8,
}

const _: () = assert!(size_of::<Option<Engine>>() == 64);

/// What an engine is ranked by: by what it holds, if it has room, and by what is movable.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ranked {
    room: u16,
    movable: u16,
}

impl Ranked {
    const NO_ROOM: u16 = u16::MAX;

    /// Ranks above the highest there is count as that.
    pub(crate) fn new(room: Option<u32>, movable: u32) -> Self {
        let clipped = |rank: u32| rank.min(RANK_MAX) as u16;
        Self { room: room.map_or(Self::NO_ROOM, clipped), movable: clipped(movable) }
    }

    pub(crate) fn room(self) -> Option<u32> {
        (self.room != Self::NO_ROOM).then_some(self.room.into())
    }

    pub(crate) fn movable(self) -> Option<u32> {
        (self.movable > 0).then_some(self.movable.into())
    }
}

/// The rest of an engine.
pub(crate) struct Cold {
    /// Direct tasks it holds, in the order it got them.
    direct: List,
    /// Held tasks it was asked to give back.
    pub(crate) recalled: u32,
    /// The engine that was asked to give something back for this one, which holds nothing then.
    asked: Option<EngineId>,
    /// The engines for which this one was asked.
    pub(crate) thieves: Vec<EngineId>,
    /// Lanes other than the common one that name it.
    pub(crate) lanes: Vec<u32>,
    /// Functions it was sent.
    pub(crate) funcs: Set<u32>,
    /// The highest ticket it was given by a controller before this one.
    pub(crate) before: u64,
    /// What it said when it came near the memory that it may have; none if it is not near.
    pub(crate) scarce: Option<Usage>,
    pub(crate) info: EngineInfo,
}

/// It holds direct tasks.
const DIRECT: u8 = 1;
/// Something was taken back from it since it last ended a task: it gets nothing ahead.
const STALLED: u8 = 2;
/// It was asked to shut down: it gets nothing more.
const DRAINING: u8 = 4;
/// It was asked to give something back for another, and nobody has looked since whether it has.
const ROBBED: u8 = 8;
/// The oldest is among those in `movable`.
const FRONT: u8 = 16;
/// Another was asked to give something back for it.
const ASKING: u8 = 32;

/// In [`Engine::recent`]: a function too many to be remembered, or none.
const NONE: u8 = u8::MAX;

impl Engine {
    pub(crate) fn new(info: EngineInfo) -> Self {
        let cold = Cold {
            direct: List::default(),
            recalled: 0,
            asked: None,
            thieves: Vec::new(),
            lanes: Vec::new(),
            funcs: Set::default(),
            before: 0,
            scarce: None,
            info,
        };
        Self {
            balanced: List::default(),
            front: TaskKey::NONE,
            front_since: 0,
            completed: 0,
            given: 0,
            cold: Box::new(cold),
            movable: 0,
            mean: 0.0,
            ranked: Ranked::new(None, 0),
            ahead: 1,
            recent: NONE,
            flags: 0,
        }
    }

    fn is(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    fn set(&mut self, flag: u8, on: bool) {
        self.flags = if on { self.flags | flag } else { self.flags & !flag };
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.is(DRAINING)
    }

    /// It is to shut down; says whether it was already.
    pub(crate) fn drain(&mut self) -> bool {
        let before = self.is(DRAINING);
        self.set(DRAINING, true);
        before
    }

    /// It was asked to give something back for another. That is for others, until it has shown that
    /// it gets on.
    pub(crate) fn rob(&mut self, thief: EngineId) {
        self.cold.thieves.push(thief);
        self.set(STALLED | ROBBED, true);
    }

    /// Another was asked to give something back for it.
    pub(crate) fn ask(&mut self, victim: EngineId) {
        self.cold.asked = Some(victim);
        self.set(ASKING, true);
    }

    /// The engine that was asked to give something back for it.
    pub(crate) fn asked(&self) -> Option<EngineId> {
        if self.is(ASKING) { self.cold.asked } else { None }
    }

    /// It waits for nothing from the engine that was asked, which this says if one was.
    pub(crate) fn stop_asking(&mut self) -> Option<EngineId> {
        let asked = self.asked();
        self.set(ASKING, false);
        asked
    }

    /// The engines for which it was asked, and which wait no longer.
    pub(crate) fn take_thieves(&mut self) -> Vec<EngineId> {
        self.set(ROBBED, false);
        std::mem::take(&mut self.cold.thieves)
    }

    /// Whether it has given back everything it was asked for, and somebody waits for that.
    pub(crate) fn has_answered(&self) -> bool {
        self.is(ROBBED) && self.cold.recalled == 0 && !self.cold.thieves.is_empty()
    }

    /// Takes note that a task of it ended.
    pub(crate) fn complete(&mut self) {
        self.completed += 1;
        self.set(STALLED, false);
    }

    /// Takes note of the function it is sent a task of. `false` if it was sent one of the same
    /// before this; `true` may mean anything.
    pub(crate) fn changes_func(&mut self, func: u32) -> bool {
        let short = u8::try_from(func).unwrap_or(NONE);
        std::mem::replace(&mut self.recent, short) != short || short == NONE
    }

    /// It was told to forget a function.
    pub(crate) fn forget_func(&mut self, func: u32) {
        self.cold.funcs.remove(&func);
        if u32::from(self.recent) == func {
            self.recent = NONE;
        }
    }

    /// The function it is guessed to know without a look at `funcs`.
    pub(crate) fn recent_func(&self) -> Option<u32> {
        (self.recent != NONE).then_some(self.recent.into())
    }

    /// Direct tasks it holds, in the order it got them.
    pub(crate) fn direct(&self) -> List {
        if self.is(DIRECT) { self.cold.direct } else { List::default() }
    }

    /// Held tasks of the common lane that may be taken back.
    pub(crate) fn movable(&self) -> u32 {
        self.movable - u32::from(self.is(FRONT))
    }

    /// Counts or uncounts a held task of the common lane that might be taken back.
    pub(crate) fn count_movable(&mut self, key: TaskKey, movable: bool) {
        self.movable = if movable { self.movable + 1 } else { self.movable - 1 };
        if self.front == key {
            self.set(FRONT, movable);
        }
    }

    /// Another task is the oldest now. Whether it is counted is looked up only if not all are: it may
    /// be far away in memory.
    pub(crate) fn set_front(&mut self, front: TaskKey, mono: u64, tasks: &Tasks) {
        (self.front, self.front_since) = (front, mono);
        let counted = |key| tasks.get(key).movable && tasks.get(key).lane() == Some(ANY);
        let counted = self.movable == self.held() || front.some().is_some_and(counted);
        self.set(FRONT, self.movable > 0 && counted);
    }

    /// Whether all it holds are of the common lane and might be taken back.
    pub(crate) fn holds_only_movable(&self) -> bool {
        self.movable == self.held()
    }

    /// How many tasks it holds.
    pub(crate) fn held(&self) -> u32 {
        self.direct().len() + self.balanced.len()
    }

    /// It holds a task behind all others.
    pub(crate) fn push_back(&mut self, tasks: &mut Tasks, key: TaskKey) {
        if tasks.get(key).is_direct() {
            self.cold.direct.push_back(tasks, key);
            self.set(DIRECT, true);
        } else {
            self.balanced.push_back(tasks, key);
        }
    }

    /// It holds a task before all others.
    pub(crate) fn push_front(&mut self, tasks: &mut Tasks, key: TaskKey) {
        if tasks.get(key).is_direct() {
            self.cold.direct.push_front(tasks, key);
            self.set(DIRECT, true);
        } else {
            self.balanced.push_front(tasks, key);
        }
    }

    /// It no longer holds a task that it held.
    pub(crate) fn drop_task(&mut self, tasks: &mut Tasks, key: TaskKey) {
        if tasks.get(key).is_direct() {
            self.cold.direct.remove(tasks, key);
            self.set(DIRECT, !self.cold.direct.is_empty());
        } else {
            self.balanced.remove(tasks, key);
        }
    }

    /// How many tasks it may hold beyond the one that runs.
    fn ahead(&self) -> u32 {
        if self.is(STALLED) { 0 } else { self.ahead.into() }
    }

    /// Whether it may be given a load-balanced task.
    pub(crate) fn has_room(&self) -> bool {
        !self.is(DRAINING) && self.held() <= self.ahead()
    }

    /// Takes note of a task that ran for so many nanoseconds.
    pub(crate) fn observe(&mut self, took: u64, limits: &Limits) {
        let took = took.max(1) as f32;
        self.mean = if self.mean == 0.0 { took } else { self.mean + (took - self.mean) * WEIGHT };
        let fit = limits.ahead as f32 / self.mean;
        self.ahead = if fit < 1.0 { 0 } else { fit.min(limits.ahead_max as f32) as u16 };
    }

    /// The oldest task it holds, whichever list it stands in.
    pub(crate) fn oldest(&self, tasks: &Tasks) -> TaskKey {
        match (self.direct().front(), self.balanced.front()) {
            (Some(direct), Some(balanced)) => {
                if tasks.get(direct).ticket < tasks.get(balanced).ticket {
                    direct
                } else {
                    balanced
                }
            }
            (one, other) => one.or(other).unwrap_or(TaskKey::NONE),
        }
    }

    /// Everything it holds, in the order it got it.
    pub(crate) fn holds(&self, tasks: &Tasks) -> Vec<TaskKey> {
        let mut held: Vec<_> = self.direct().iter(tasks).chain(self.balanced.iter(tasks)).collect();
        held.sort_unstable_by_key(|key| tasks.get(*key).ticket);
        held
    }
}

/// All engines.
#[derive(Default)]
pub(crate) struct Engines {
    map: Span<Engine>,
    /// What clients are told, by number.
    list: Vec<EngineInfo>,
}

impl Engines {
    pub(crate) fn insert(&mut self, info: EngineInfo) {
        let at = self.list.partition_point(|other| other.id < info.id);
        self.list.insert(at, info.clone());
        self.map.insert(info.id, Engine::new(info));
    }

    pub(crate) fn remove(&mut self, id: EngineId) -> Option<Engine> {
        let engine = self.map.remove(id)?;
        if let Ok(at) = self.list.binary_search_by_key(&id, |info| info.id) {
            self.list.remove(at);
        }
        Some(engine)
    }

    pub(crate) fn get(&self, id: EngineId) -> Option<&Engine> {
        self.map.get(id)
    }

    pub(crate) fn get_mut(&mut self, id: EngineId) -> Option<&mut Engine> {
        self.map.get_mut(id)
    }

    /// An engine that is known to live, because a task or another engine refers to it.
    pub(crate) fn live(&mut self, id: EngineId) -> &mut Engine {
        self.get_mut(id).expect("whatever refers to an engine is cleared when it is lost")
    }

    /// The engines by number.
    pub(crate) fn list(&self) -> &[EngineInfo] {
        &self.list
    }

    /// The engines by number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Engine> {
        self.list.iter().filter_map(|info| self.get(info.id))
    }
}
