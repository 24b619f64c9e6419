//! The engines there are, what each holds, and how fast it has been.

use crate::wire::{EngineId, EngineInfo};

use super::hash::Set;
use super::span::Span;
use super::state::Limits;
use super::tasks::{List, TaskKey, Tasks};

/// Part of a new observation in the mean: one in four. An engine that turns slow is noticed with
/// its first slow task; one long task among many short ones is forgotten after a few.
const WEIGHT: u64 = 4;

/// One engine; what every task touches comes first, in two lines of the processor's cache.
#[repr(C, align(64))]
pub(crate) struct Engine {
    /// Direct tasks it holds, in the order it got them.
    pub(crate) direct: List,
    /// Load-balanced tasks it holds, in the order it got them.
    pub(crate) balanced: List,
    /// The oldest task it holds: the one that may be running.
    pub(crate) front: TaskKey,
    /// Held tasks it was asked to give back.
    pub(crate) recalled: u32,
    /// Since when `front` is the oldest, on the monotonic clock.
    pub(crate) front_since: u64,
    /// Tasks it has ended.
    pub(crate) completed: u64,
    /// Tasks it was ever given.
    pub(crate) given: u64,
    /// Mean run time of its tasks in nanoseconds; 0 until one has ended.
    mean: u64,
    /// How many tasks it may be given ahead, by that mean.
    ahead: u32,
    /// Held tasks of the common lane that may be taken back.
    pub(crate) movable: u32,
    /// The ranks it was last published with: by what it holds, and by what is movable.
    pub(crate) ranked: (Option<u32>, u32),
    /// The function it was last sent a task of, or none: a guess worth making before `funcs`.
    pub(crate) recent: Option<u32>,
    /// The engine that was asked to give something back for this one.
    pub(crate) asked: Option<EngineId>,
    /// Something was taken back from it since it last ended a task: it gets nothing ahead.
    pub(crate) stalled: bool,
    /// It was asked to shut down: it gets nothing more.
    pub(crate) draining: bool,
    /// The engines for which this one was asked.
    pub(crate) thieves: Vec<EngineId>,
    /// Lanes other than the common one that name it.
    pub(crate) lanes: Vec<u32>,
    /// Functions it was sent.
    pub(crate) funcs: Set<u32>,
    /// The highest ticket it was given by a controller before this one.
    pub(crate) before: u64,
    pub(crate) info: EngineInfo,
}

const _: () = assert!(std::mem::offset_of!(Engine, lanes) <= 128);

impl Engine {
    pub(crate) fn new(info: EngineInfo) -> Self {
        Self {
            info,
            direct: List::default(),
            balanced: List::default(),
            front: TaskKey::NONE,
            front_since: 0,
            mean: 0,
            ahead: 1,
            movable: 0,
            ranked: (None, 0),
            recent: None,
            stalled: false,
            draining: false,
            funcs: Set::default(),
            lanes: Vec::new(),
            recalled: 0,
            asked: None,
            thieves: Vec::new(),
            completed: 0,
            given: 0,
            before: 0,
        }
    }

    /// How many tasks it holds.
    pub(crate) fn held(&self) -> u32 {
        self.direct.len() + self.balanced.len()
    }

    /// How many tasks it may hold beyond the one that runs.
    fn ahead(&self) -> u32 {
        if self.stalled { 0 } else { self.ahead }
    }

    /// Whether it may be given a load-balanced task.
    pub(crate) fn has_room(&self) -> bool {
        !self.draining && self.held() <= self.ahead()
    }

    /// Takes note of a task that ran for so many nanoseconds.
    pub(crate) fn observe(&mut self, took: u64, limits: &Limits) {
        let mean = match self.mean {
            0 => took.max(1),
            mean => (mean - mean / WEIGHT + took / WEIGHT).max(1),
        };
        self.mean = mean;
        self.ahead = if mean > limits.ahead {
            0
        } else {
            (limits.ahead / mean).clamp(1, u64::from(limits.ahead_max)) as u32
        };
    }

    /// The oldest task it holds, whichever list it stands in.
    pub(crate) fn oldest(&self, tasks: &Tasks) -> TaskKey {
        match (self.direct.front(), self.balanced.front()) {
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
        let mut held: Vec<_> = self.direct.iter(tasks).chain(self.balanced.iter(tasks)).collect();
        held.sort_unstable_by_key(|key| tasks.get(*key).ticket);
        held
    }
}

/// All engines.
#[derive(Default)]
pub(crate) struct Engines {
    map: Span<Box<Engine>>,
    /// What clients are told, by number.
    list: Vec<EngineInfo>,
}

impl Engines {
    pub(crate) fn insert(&mut self, info: EngineInfo) {
        let at = self.list.partition_point(|other| other.id < info.id);
        self.list.insert(at, info.clone());
        self.map.insert(info.id, Box::new(Engine::new(info)));
    }

    pub(crate) fn remove(&mut self, id: EngineId) -> Option<Box<Engine>> {
        let engine = self.map.remove(id)?;
        if let Ok(at) = self.list.binary_search_by_key(&id, |info| info.id) {
            self.list.remove(at);
        }
        Some(engine)
    }

    pub(crate) fn get(&self, id: EngineId) -> Option<&Engine> {
        self.map.get(id).map(Box::as_ref)
    }

    pub(crate) fn get_mut(&mut self, id: EngineId) -> Option<&mut Engine> {
        self.map.get_mut(id).map(Box::as_mut)
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
