//! Which engine gets which task, and what is taken back.
//!
//! Three moves keep the engines busy, each in constant time per task moved:
//!
//! - `spread` after tasks came or came back: the lane's oldest task goes to the engine with room
//!   that holds least, until the queue or the room ends. A lane of some engines looks at each of
//!   them for that, as the message that named them did.
//! - `feed` after an engine got room: it takes the oldest task of the lanes it serves.
//! - `steal` when that found nothing and the engine holds nothing: half of what another engine
//!   holds and may not have started is called back into the queue.
//!
//! Between events no task is queued that an engine with room might run, and no engine is idle
//! while another holds something for it, unless that was called back.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::wire::{EngineId, Message, Parts, TaskId, ToEngine};

use super::engines::{Engine, Ranked};
use super::lanes::ANY;
use super::state::{State, Turn};
use super::tasks::TaskKey;

impl State {
    /// Ranks an engine by what it holds and by what may be taken back from it. Every change of
    /// these is followed by this before somebody chooses among engines, once for all that an event
    /// changes, so an engine that ends one task and gets another keeps its places.
    pub(crate) fn publish(&mut self, id: EngineId) {
        let Some(engine) = self.engines.get_mut(id) else { return };
        let ranked = Ranked::new(engine.has_room().then(|| engine.held()), engine.movable());
        if engine.ranked == ranked {
            return;
        }
        engine.ranked = ranked;
        self.ready.set(id, ranked.room());
        self.lanes.get_mut(ANY).movable.set(id, ranked.movable());
    }

    /// Looks whether a task may be taken back; its engine is then to be published. The oldest of an
    /// engine never is: it may be running.
    pub(crate) fn refresh(&mut self, key: TaskKey) {
        let task = self.tasks.get(key);
        let Some(id) = task.engine() else { return };
        let common = task.lane() == Some(ANY);
        let movable =
            task.is_free() && !task.is_direct() && (common || self.engines.live(id).front != key);
        self.mark(key, movable);
    }

    /// Counts or uncounts a held task as one that may be taken back.
    fn mark(&mut self, key: TaskKey, movable: bool) {
        let task = self.tasks.get_mut(key);
        let (Some(id), Some(lane)) = (task.engine(), task.lane()) else { return };
        if movable == task.movable {
            return;
        }
        task.movable = movable;
        if lane == ANY {
            self.engines.live(id).count_movable(key, movable);
            return;
        }
        let ranks = &mut self.lanes.get_mut(lane).movable;
        let count = ranks.get(id).unwrap_or(0);
        let count = if movable { count + 1 } else { count - 1 };
        ranks.set(id, (count > 0).then_some(count));
    }

    /// Looks which task of an engine is the oldest now.
    pub(crate) fn refront(&mut self, id: EngineId, mono: u64) {
        let engine = self.engines.live(id);
        let front = engine.oldest(&self.tasks);
        if front == engine.front {
            return;
        }
        engine.set_front(front, mono, &self.tasks);
        // In the common lane nothing is noted in the task.
        if let Some(front) = front.some()
            && !engine.holds_only_movable()
        {
            self.refresh(front);
        }
    }

    /// The lane with the oldest task that an engine may run.
    fn oldest_lane(&self, id: EngineId) -> Option<u32> {
        if self.lanes.is_only_any() {
            return (!self.lanes.get(ANY).queue.is_empty()).then_some(ANY);
        }
        let lanes = &self.engines.get(id)?.cold.lanes;
        let head = |lane: u32| {
            let front = self.lanes.get(lane).queue.front()?;
            Some((self.tasks.get(front).order, lane))
        };
        std::iter::once(ANY).chain(lanes.iter().copied()).filter_map(head).min().map(|(_, at)| at)
    }

    fn has_room(&self, id: EngineId) -> bool {
        self.engines.get(id).is_some_and(Engine::has_room)
    }
}

impl Turn<'_> {
    /// Hands the queued tasks of a lane to whoever has room for them.
    pub(crate) fn spread(&mut self, lane: u32) {
        if lane == ANY {
            while let Some(engine) = self.state.ready.first() {
                if !self.take(lane, engine) {
                    return;
                }
                self.state.publish(engine);
            }
            return;
        }
        let ready = &self.state.ready;
        let load = |id: &EngineId| Some(Reverse((ready.get(*id)?, *id)));
        let mut engines: BinaryHeap<_> =
            self.state.lanes.get(lane).engines.iter().filter_map(load).collect();
        while let Some(Reverse((_, engine))) = engines.pop() {
            if !self.take(lane, engine) {
                return;
            }
            self.state.publish(engine);
            if let Some(load) = self.state.ready.get(engine) {
                engines.push(Reverse((load, engine)));
            }
        }
    }

    /// Hands queued tasks to one engine as far as it has room; if there are none and it has
    /// nothing to do, asks for some of another's.
    pub(crate) fn feed(&mut self, engine: EngineId) {
        while self.state.has_room(engine) {
            let Some(lane) = self.state.oldest_lane(engine) else {
                self.state.publish(engine);
                return self.steal(engine);
            };
            self.take(lane, engine);
        }
        self.state.publish(engine);
    }

    /// Gives the oldest queued task of a lane to an engine, which is then to be published; `false`
    /// if there is none.
    fn take(&mut self, lane: u32, engine: EngineId) -> bool {
        let state = &mut *self.state;
        loop {
            let queue = &mut state.lanes.get_mut(lane).queue;
            let Some(key) = queue.front() else { return false };
            queue.remove(&mut state.tasks, key);
            if state.parked.is_empty() || !state.park(key) {
                self.give(key, engine);
                return true;
            }
        }
    }

    /// Gives a task that stands in no list to a living engine, which is then to be published.
    pub(crate) fn give(&mut self, key: TaskKey, id: EngineId) {
        let state = &mut *self.state;
        let engine = state.engines.live(id);
        engine.given += 1;
        let task = state.tasks.get_mut(key);
        task.ticket = engine.given;
        task.set_engine(Some(id));
        // Only one that holds nothing has asked for anything.
        let idle = engine.held() == 0;
        engine.push_back(&mut state.tasks, key);
        if idle && let Some(victim) = engine.stop_asking() {
            state.engines.live(victim).cold.thieves.retain(|thief| *thief != id);
        }
        state.refront(id, self.now.mono);
        state.refresh(key);
        self.send(key, id);
    }

    /// Sends a task, and before it its function if this engine does not have it.
    fn send(&mut self, key: TaskKey, id: EngineId) {
        let state = &mut *self.state;
        let task = state.tasks.get_mut(key);
        // A direct task never goes anywhere else, so its bytes need not stay here.
        let parts =
            if task.is_direct() { std::mem::take(&mut task.parts) } else { task.parts.clone() };
        let (number, kind, ticket) = (task.id, task.kind, task.ticket);
        let (attempt, (timeout, force)) = (task.attempt, task.limit());
        let func = state.funcs.get_mut(task.func);
        let name = func.id;
        let engine = state.engines.live(id);
        if engine.changes_func(task.func) && func.known.insert(id) {
            engine.cold.funcs.insert(task.func);
            let parts = Parts::from_buf([func.body.clone()]);
            self.tell_engine(id, Message { head: ToEngine::Func(name), parts });
        }
        let head = ToEngine::Task { id: number, func: name, kind, ticket, attempt, timeout, force };
        self.tell_engine(id, Message { head, parts });
    }

    /// Takes a task from the engine that holds it, if one does; it is then to be published.
    pub(crate) fn release(&mut self, key: TaskKey) {
        let state = &mut *self.state;
        state.mark(key, false);
        let task = state.tasks.get_mut(key);
        let Some(id) = task.set_engine(None) else { return };
        let recalled = std::mem::take(&mut task.recalled);
        let engine = state.engines.live(id);
        if recalled {
            engine.cold.recalled -= 1;
        }
        engine.drop_task(&mut state.tasks, key);
        state.refront(id, self.now.mono);
    }

    /// Asks the engine that holds most for half of what it may not have started, the newest.
    fn steal(&mut self, thief: EngineId) {
        let Some(engine) = self.state.engines.get(thief) else { return };
        if engine.held() > 0 || engine.is_draining() || engine.asked().is_some() {
            return;
        }
        let loaded = |lane: u32| Some((lane, self.state.lanes.get(lane).movable.last()?));
        let others = || {
            // Looked up only if there are any: it lies elsewhere in memory.
            let named = !self.state.lanes.is_only_any();
            named.then(|| engine.cold.lanes.iter().copied().find_map(loaded)).flatten()
        };
        let Some((lane, victim)) = loaded(ANY).or_else(others) else { return };
        let count = self.state.lanes.get(lane).movable.get(victim).unwrap_or(0).div_ceil(2);
        self.recall(victim, |task_lane| task_lane == lane, count as usize);
        self.state.engines.live(thief).ask(victim);
        self.state.engines.live(victim).rob(thief);
        self.state.publish(victim);
    }

    /// Asks an engine to give back up to `count` of the newest tasks of certain lanes.
    pub(crate) fn recall(&mut self, id: EngineId, lanes: impl Fn(u32) -> bool, count: usize) {
        let state = &mut *self.state;
        let engine = state.engines.live(id);
        let wanted = |key: &TaskKey| {
            let task = state.tasks.get(*key);
            task.movable && *key != engine.front && task.lane().is_some_and(&lanes)
        };
        let mut keys: Vec<_> =
            engine.balanced.iter_back(&state.tasks).filter(wanted).take(count).collect();
        if keys.is_empty() {
            return;
        }
        keys.reverse();
        engine.cold.recalled += keys.len() as u32;
        let ids: Vec<TaskId> = keys.iter().map(|key| state.tasks.get(*key).id).collect();
        for key in keys {
            state.tasks.get_mut(key).recalled = true;
            state.refresh(key);
        }
        state.publish(id);
        self.tell_engine(id, Message::bare(ToEngine::Recall(ids)));
    }

    /// Lets the engines for which this one was asked look again.
    pub(crate) fn feed_thieves(&mut self, victim: EngineId) {
        let Some(engine) = self.state.engines.get_mut(victim) else { return };
        let thieves = engine.take_thieves();
        self.feed_all(&thieves);
    }

    /// Feeds engines that wait for no answer any more.
    pub(crate) fn feed_all(&mut self, thieves: &[EngineId]) {
        for thief in thieves {
            self.state.engines.live(*thief).stop_asking();
        }
        for thief in thieves {
            self.feed(*thief);
        }
    }
}
