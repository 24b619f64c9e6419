//! What becomes of a task when an attempt to run it failed: the engine ended, or an exception came
//! that its owner named.
//!
//! Rules: an attempt that was never begun does not count, whatever the retries; a task is begun at
//! most once more often than it has retries, each time on another engine where there is one; a
//! task under which engines end again and again is not tried on yet another.

use bytes::Bytes;

use crate::store::Record;
use crate::wire::{EngineId, EngineInfo, Loss, Parts, Stamp, Status};

use super::engines::Engine;
use super::event::{Begun, Effect};
use super::lanes::{ANY, Lane};
use super::outcomes::Outcome;
use super::state::{State, Turn};
use super::tasks::TaskKey;
use super::texts;

/// Engines that may end under one task before it is blamed.
const DEATHS: u16 = 3;

/// How far an engine that ended had come with a task.
pub(crate) enum Reached {
    /// It did not begin it.
    Nothing,
    /// It may have begun it; nobody knows.
    Unknown,
    /// It had begun it, so many seconds ago.
    Running(f64),
}

impl State {
    /// Whether the tasks of a lane may run on no engine that is there or may come back.
    fn is_deserted(&self, lane: u32) -> bool {
        let Lane { engines, asked, .. } = self.lanes.get(lane);
        lane != ANY && engines.is_empty() && !asked.iter().any(|engine| self.awaits(*engine))
    }
}

impl Turn<'_> {
    pub(crate) fn on_engine_lost(
        &mut self,
        id: EngineId,
        begun: Option<Begun>,
        cause: String,
        output: String,
    ) {
        let state = &mut *self.state;
        let Some(engine) = state.engines.remove(id) else { return };
        state.ready.set(id, None);
        if let Some(victim) = engine.asked() {
            state.engines.live(victim).cold.thieves.retain(|thief| *thief != id);
        }
        for func in &engine.cold.funcs {
            state.funcs.get_mut(*func).known.remove(&id);
        }
        for lane in std::iter::once(ANY).chain(engine.cold.lanes.iter().copied()) {
            let lane = state.lanes.get_mut(lane);
            lane.movable.set(id, None);
            lane.engines.retain(|other| *other != id);
        }
        // Whoever hears of a loss finds the engine gone from the list.
        self.tell_engines();
        let EngineInfo { pid, host, .. } = engine.cold.info.clone();
        let loss = Loss { engine: id.0, pid, host, cause, output, ..Loss::default() };
        self.spend_told(&loss);
        let mut back = Vec::new();
        for key in engine.holds(&self.state.tasks) {
            let reached = self.reached(key, &engine, begun.as_ref());
            self.spend_reached(key, id, &reached);
            self.state.tasks.get_mut(key).detach();
            if self.survives(key, &reached) {
                back.push(key);
            } else {
                self.lose(key, &loss, &reached);
            }
        }
        // Nobody waits for an answer of this engine any more.
        for thief in &engine.cold.thieves {
            self.state.engines.live(*thief).stop_asking();
        }
        self.put_back(&back);
        for lane in engine.cold.lanes.iter().copied() {
            self.end_lane(lane);
        }
        self.out.push(Effect::EndEngine(id));
        self.spread_all(&back);
        self.feed_all(&engine.cold.thieves);
        self.lose_again(id, loss);
    }

    fn reached(&self, key: TaskKey, engine: &Engine, begun: Option<&Begun>) -> Reached {
        let task = self.state.tasks.get(key);
        let since = |nanoseconds: Stamp| Reached::Running(nanoseconds.max(0) as f64 / 1e9);
        let waited = || self.now.mono.saturating_sub(engine.front_since) as Stamp;
        match begun {
            _ if task.has_started() => since(self.now.wall - task.started),
            Some(begun) if task.ticket > begun.last => Reached::Nothing,
            // The word on that did not come.
            Some(begun) if begun.returned.contains(&task.ticket) => Reached::Nothing,
            // The one it was at: the ones before it have ended, though it could not tell.
            Some(begun) if task.ticket == begun.last && key == engine.front => since(waited()),
            Some(_) => Reached::Running(0.0),
            None if key == engine.front => since(waited()),
            None => Reached::Unknown,
        }
    }

    /// Whether a task whose engine ended is to be queued again; then it is counted as another
    /// attempt, if the last one may have begun.
    pub(crate) fn survives(&mut self, key: TaskKey, reached: &Reached) -> bool {
        let Some(lane) = self.state.tasks.get(key).lane() else { return false };
        let deserted = self.state.is_deserted(lane);
        let task = self.state.tasks.get_mut(key);
        if task.cancelled || deserted {
            return false;
        }
        if matches!(reached, Reached::Nothing) {
            return true;
        }
        if let Reached::Running(_) = reached {
            task.rare.get_or_insert_default().deaths += 1;
        }
        task.deaths() < DEATHS && self.try_again(key)
    }

    /// Counts another attempt; `false` if its owner allows none.
    fn try_again(&mut self, key: TaskKey) -> bool {
        let task = self.state.tasks.get_mut(key);
        if !task.try_again() {
            return false;
        }
        let (id, attempt) = (task.id, task.attempt);
        self.keep(Record::Attempt { id, attempt }, Parts::new());
        true
    }

    /// Ends a task whose engine ended.
    pub(crate) fn lose(&mut self, key: TaskKey, loss: &Loss, reached: &Reached) {
        let task = self.state.tasks.get(key);
        let poison = task.deaths() >= DEATHS;
        let mut loss = Loss { attempt: task.attempt, ..loss.clone() };
        match reached {
            Reached::Nothing => {}
            Reached::Unknown => loss.unknown = true,
            Reached::Running(ran_for) => (loss.started, loss.ran_for) = (true, *ran_for),
        }
        let status = match task.cancelled {
            true => Status::Cancelled,
            false if poison => Status::Poison,
            false => Status::Lost,
        };
        let text = match status {
            Status::Cancelled => Bytes::from(texts::ended(&loss.cause)),
            _ => encode(&loss),
        };
        let outcome = Outcome {
            parts: Parts::from_buf([text]),
            started: task.started,
            ..Outcome::bare(status, Some(EngineId(loss.engine)))
        };
        self.finish(key, outcome);
    }

    /// An attempt ended with an exception for which its owner wants another; `false` if there is
    /// none left. The task stands in no list.
    pub(crate) fn try_elsewhere(&mut self, key: TaskKey, engine: EngineId) -> bool {
        let task = self.state.tasks.get_mut(key);
        let Some(lane) = task.lane() else { return false };
        if task.cancelled || !self.try_again(key) {
            return false;
        }
        let task = self.state.tasks.get_mut(key);
        let (id, spent) = (task.id, task.attempt - 1);
        let failed_on = &mut task.rare.get_or_insert_default().failed_on;
        failed_on.push(engine);
        let failed_on = failed_on.clone();
        self.spend(id, engine, spent);
        let others = |other: &&Engine| {
            let id = &other.cold.info.id;
            !other.is_draining()
                && !failed_on.contains(id)
                && (lane == ANY || other.cold.lanes.contains(&lane))
        };
        let least = self.state.engines.iter().filter(others).min_by_key(|other| other.held());
        if let Some(other) = least.map(|other| other.cold.info.id) {
            self.give(key, other);
            self.state.publish(other);
        } else {
            // There is no other: better here than never.
            self.state.tasks.get_mut(key).rare.get_or_insert_default().failed_on.clear();
            self.put_back(&[key]);
            self.spread_all(&[key]);
        }
        true
    }

    /// Puts tasks that stand in no list, oldest first, at the front of their queues.
    pub(crate) fn put_back(&mut self, tasks: &[TaskKey]) {
        let mut back: Vec<_> = tasks.to_vec();
        back.sort_unstable_by_key(|key| self.state.tasks.get(*key).order);
        for key in back.into_iter().rev() {
            let state = &mut *self.state;
            if let Some(lane) = state.tasks.get(key).lane() {
                state.lanes.get_mut(lane).queue.push_front(&mut state.tasks, key);
            }
        }
    }

    /// Hands out what waits in the lanes of these tasks, which are pending.
    pub(crate) fn spread_all(&mut self, tasks: &[TaskKey]) {
        let lane = |key: &TaskKey| self.state.tasks.get(*key).lane();
        let mut lanes: Vec<_> = tasks.iter().filter_map(lane).collect();
        lanes.sort_unstable();
        lanes.dedup();
        for lane in lanes {
            self.spread(lane);
        }
    }

    /// Refuses what waits in a lane of which no engine lives any more.
    pub(crate) fn end_lane(&mut self, lane: u32) {
        let lanes = &self.state.lanes;
        if !lanes.exists(lane) || !self.state.is_deserted(lane) {
            return;
        }
        let text = texts::no_engine_of(&lanes.get(lane).asked, self.state.engines.list());
        self.refuse_waiting(lane, &Bytes::from(text));
    }
}

fn encode(loss: &Loss) -> Bytes {
    // Strings and numbers cannot fail to encode into memory.
    rmp_serde::to_vec_named(loss).map_or_else(|_| Bytes::new(), Bytes::from)
}
