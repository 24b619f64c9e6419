//! Queues of load-balanced tasks, one per distinct set of engines they may run on.
//!
//! Lane [`ANY`] is for tasks that may run anywhere and always exists. Another lane exists as long
//! as an unfinished task names its set. The engines of a set only become fewer, because a number
//! is never given twice.

use crate::wire::EngineId;

use super::hash::Map;
use super::ranks::Ranks;
use super::slab::Slab;
use super::tasks::List;

/// The lane of tasks that may run on any engine.
pub(crate) const ANY: u32 = 0;

/// One queue.
pub(crate) struct Lane {
    /// The set as it was asked for, in order; empty for [`ANY`].
    pub(crate) asked: Box<[EngineId]>,
    /// Those of the set that live, in order; unused for [`ANY`].
    pub(crate) engines: Vec<EngineId>,
    /// The tasks that wait.
    pub(crate) queue: List,
    /// How many tasks of this lane may be taken back from which engine; in [`ANY`] as of the last
    /// `publish`.
    pub(crate) movable: Ranks,
    /// Unfinished tasks of this lane, queued or held.
    pub(crate) tasks: u64,
}

/// All lanes.
pub(crate) struct Lanes {
    slab: Slab<Lane>,
    index: Map<Box<[EngineId]>, u32>,
}

impl Default for Lanes {
    fn default() -> Self {
        let mut lanes = Self { slab: Slab::default(), index: Map::default() };
        lanes.slab.insert(Lane { movable: Ranks::most(), ..Lane::of(Box::default(), Vec::new()) });
        lanes
    }
}

impl Lane {
    fn of(asked: Box<[EngineId]>, engines: Vec<EngineId>) -> Self {
        Self { asked, engines, queue: List::default(), movable: Ranks::few(), tasks: 0 }
    }
}

impl Lanes {
    pub(crate) fn get(&self, lane: u32) -> &Lane {
        &self.slab[lane]
    }

    pub(crate) fn get_mut(&mut self, lane: u32) -> &mut Lane {
        &mut self.slab[lane]
    }

    /// Whether no task names a set of engines.
    pub(crate) fn is_only_any(&self) -> bool {
        self.slab.len() == 1
    }

    pub(crate) fn exists(&self, lane: u32) -> bool {
        self.slab.get(lane).is_some()
    }

    /// The lane of a set that is in order and without repetitions.
    pub(crate) fn find(&self, set: &[EngineId]) -> Option<u32> {
        self.index.get(set).copied()
    }

    /// Opens the lane of a set of which `engines` live.
    pub(crate) fn open(&mut self, set: Vec<EngineId>, engines: Vec<EngineId>) -> u32 {
        let set = set.into_boxed_slice();
        let lane = self.slab.insert(Lane::of(set.clone(), engines));
        self.index.insert(set, lane);
        lane
    }

    /// Closes a lane that no unfinished task names, and says whose it was.
    pub(crate) fn close(&mut self, lane: u32) -> Vec<EngineId> {
        let closed = self.slab.remove(lane);
        self.index.remove(&closed.asked);
        closed.engines
    }

    /// An engine joins that lanes were opened for before it came; says which.
    pub(crate) fn join(&mut self, engine: EngineId) -> Vec<u32> {
        let joined = self.asked_for(engine);
        for lane in &joined {
            let engines = &mut self.slab[*lane].engines;
            if let Err(place) = engines.binary_search(&engine) {
                engines.insert(place, engine);
            }
        }
        joined
    }

    /// The lanes for which this engine was asked.
    pub(crate) fn asked_for(&self, engine: EngineId) -> Vec<u32> {
        let asked = self.iter().filter(|(_, lane)| lane.asked.contains(&engine));
        asked.map(|(at, _)| at).collect()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Lane)> {
        self.slab.iter()
    }

    /// Tasks that wait for an engine.
    pub(crate) fn waiting(&self) -> u64 {
        self.iter().map(|(_, lane)| u64::from(lane.queue.len())).sum()
    }
}
