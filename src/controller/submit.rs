//! What clients say about functions and tasks.

use bytes::Bytes;
use smallvec::SmallVec;

use crate::store::Record;
use crate::wire::message::WATCHED;
use crate::wire::{
    ClientId, EngineId, FromClient, FuncId, Kind, Message, Parts, Rules, SessionId, Stamp, Status,
    Target, TaskId, ToClient, ToEngine,
};

use super::hash::Map;
use super::lanes::ANY;
use super::outcomes::Outcome;
use super::state::Turn;
use super::tasks::{Task, TaskKey, Watcher};
use super::texts;

/// Whose tasks are entered, and how they came.
#[derive(Clone, Copy)]
pub(crate) struct Origin {
    pub(crate) client: ClientId,
    /// When they were submitted.
    pub(crate) at: Stamp,
    /// They come from the store.
    pub(crate) restored: bool,
}

impl Turn<'_> {
    pub(crate) fn on_func(&mut self, client: ClientId, id: FuncId, parts: &Parts) {
        let state = &mut *self.state;
        let Some(owner) = state.clients.alive(client) else { return };
        let [body] = parts.as_slice() else {
            state.ignored += 1;
            return;
        };
        let key = state.funcs.enter(id, body.clone());
        if owner.funcs.insert(key) {
            state.funcs.get_mut(key).owners += 1;
        }
    }

    pub(crate) fn on_forget(&mut self, client: ClientId, id: FuncId) {
        let state = &mut *self.state;
        let Some(key) = state.funcs.find(id) else { return };
        if state.clients.alive(client).is_some_and(|owner| owner.funcs.remove(&key)) {
            state.funcs.get_mut(key).owners -= 1;
            self.drop_func(key);
        }
    }

    /// Tasks come that nobody knows, unless their client has come back.
    pub(crate) fn on_submitted(&mut self, client: ClientId, message: Message<FromClient>) {
        if self.state.is_returning(client) {
            self.on_submitted_again(client, message);
        } else {
            self.on_new(client, message);
        }
    }

    /// Tasks come that nobody knows.
    pub(crate) fn on_new(&mut self, client: ClientId, message: Message<FromClient>) {
        let Some((first, count)) = message.head.numbers() else { return };
        let Some(seqs) = self.numbers(client, first, count as usize) else { return };
        let origin = Origin { client, at: self.now.wall, restored: false };
        match message.head {
            FromClient::Submit { func, kind, target, counts, rules, .. } => {
                let what = (func, kind, rules);
                self.submit_all(origin, seqs, what, (target, &counts), message.parts);
            }
            FromClient::Direct { func, kind, engines, rules, .. } => {
                self.direct_all(origin, seqs, (func, kind, rules), &engines, &message.parts);
            }
            _ => {}
        }
    }

    /// Enters tasks with numbers that are theirs, or refuses them.
    pub(crate) fn submit_all(
        &mut self,
        Origin { client, at, restored }: Origin,
        seqs: impl Iterator<Item = u64>,
        (func, kind, rules): (FuncId, Kind, Rules),
        (target, counts): (Target, &[u32]),
        parts: Parts,
    ) {
        if counts.is_empty() {
            return;
        }
        let said: u64 = counts.iter().copied().map(u64::from).sum();
        if said != parts.len() as u64 {
            self.state.ignored += 1;
            return self.refuse(client, seqs, texts::miscounted(said, parts.len()), restored);
        }
        let Some(func) = self.state.funcs.find(func) else {
            return self.refuse(client, seqs, texts::no_func(func), restored);
        };
        let lane = match self.lane(client, target) {
            Ok(lane) => lane,
            Err(text) => return self.refuse(client, seqs, text, true),
        };
        let mut parts = parts.into_iter();
        self.expect(client, func, counts.len());
        self.state.lanes.get_mut(lane).tasks += counts.len() as u64;
        for (seq, count) in seqs.zip(counts) {
            // The usual case, in a third of the time of the general one.
            let own = match count {
                1 => parts.next().map(|part| Parts::from_buf([part])).unwrap_or_default(),
                _ => parts.by_ref().take(*count as usize).collect(),
            };
            let key =
                self.enter((TaskId { client, seq }, at), (func, kind, rules), Some(lane), own);
            if self.state.resume.is_some() && self.reclaim(key, None) {
                continue;
            }
            let state = &mut *self.state;
            state.lanes.get_mut(lane).queue.push_back(&mut state.tasks, key);
        }
        if self.state.resume.is_some() {
            self.end_lane(lane);
        }
        // All may have ended already.
        if self.state.lanes.exists(lane) {
            self.spread(lane);
        }
    }

    /// As [`Turn::submit_all`], one task for each engine.
    pub(crate) fn direct_all(
        &mut self,
        Origin { client, at, restored }: Origin,
        seqs: impl Iterator<Item = u64>,
        (func, kind, rules): (FuncId, Kind, Rules),
        engines: &[EngineId],
        parts: &Parts,
    ) {
        let Some(func) = self.state.funcs.find(func) else {
            return self.refuse(client, seqs, texts::no_func(func), restored);
        };
        for (seq, engine) in seqs.zip(engines) {
            let there = self.state.engines.get(*engine);
            let text = match there {
                Some(there) if there.is_draining() => texts::draining(*engine),
                None if !self.may_be_of_before(client, *engine) => {
                    texts::no_engine(*engine, self.state.engines.list())
                }
                _ => {
                    self.expect(client, func, 1);
                    let what = (func, kind, rules);
                    let id = TaskId { client, seq };
                    let key = self.enter((id, at), what, None, parts.clone());
                    if !self.reclaim(key, Some(*engine)) {
                        self.give(key, *engine);
                        self.state.publish(*engine);
                    }
                    continue;
                }
            };
            self.refuse(client, std::iter::once(seq), text, true);
        }
    }

    /// Whether a task for an engine that is not there is one of before, or has to wait for the
    /// engine to come back.
    fn may_be_of_before(&self, client: ClientId, engine: EngineId) -> bool {
        let state = &*self.state;
        state.awaits(engine) || (state.is_returning(client) && state.missing(engine).is_some())
    }

    /// The numbers of new tasks, unless they make no sense or were used before.
    pub(crate) fn numbers(
        &mut self,
        client: ClientId,
        first: u64,
        count: usize,
    ) -> Option<std::ops::Range<u64>> {
        if !self.state.accepts(client, first, count as u64) {
            self.state.ignored += u64::from(self.state.clients.is_alive(client));
            return None;
        }
        let owner = self.state.clients.alive(client)?;
        let end = first + count as u64;
        if first >= WATCHED {
            owner.next_watched = end;
        } else {
            owner.next = end;
            if let Some(back) = &mut owner.returning {
                back.ask(first..end);
            }
        }
        Some(first..end)
    }

    /// Counts tasks that are about to be entered.
    fn expect(&mut self, client: ClientId, func: u32, count: usize) {
        self.state.funcs.get_mut(func).tasks += count as u64;
        self.state.clients.learn(client, count as u64);
    }

    /// Enters a task that was counted and stands in no list yet.
    fn enter(
        &mut self,
        (id, at): (TaskId, Stamp),
        (func, kind, rules): (u32, Kind, Rules),
        lane: Option<u32>,
        parts: Parts,
    ) -> TaskKey {
        let order = self.next_order();
        let task = Task::new(id, (func, kind, rules), lane, parts, order, at);
        self.state.tasks.insert(task)
    }

    /// The lane of a target, or why there is none.
    fn lane(&mut self, client: ClientId, target: Target) -> Result<u32, String> {
        let Target::Among(mut set) = target else { return Ok(ANY) };
        set.sort_unstable();
        set.dedup();
        let state = &mut *self.state;
        if let Some(lane) = state.lanes.find(&set) {
            return Ok(lane);
        }
        let lives = |id: &EngineId| state.engines.get(*id).is_some();
        let engines: Vec<_> = set.iter().copied().filter(lives).collect();
        if engines.is_empty() && !set.iter().any(|id| self.may_be_of_before(client, *id)) {
            return Err(texts::no_engine_of(&set, self.state.engines.list()));
        }
        let state = &mut *self.state;
        let lane = state.lanes.open(set, engines.clone());
        for engine in engines {
            state.engines.live(engine).cold.lanes.push(lane);
        }
        Ok(lane)
    }

    pub(crate) fn on_cancel(&mut self, client: ClientId, seqs: &[u64], force: Option<u32>) {
        let mut asked: Vec<(EngineId, Vec<TaskId>)> = Vec::new();
        let mut places: Map<EngineId, usize> = Map::default();
        for seq in seqs {
            let id = TaskId { client, seq: *seq };
            let state = &mut *self.state;
            let Some(key) = state.tasks.find(id) else { continue };
            let task = state.tasks.get_mut(key);
            let (engine, lane) = (task.engine(), task.lane());
            let stays = task.is_waiting() || engine.is_some();
            if stays && !std::mem::replace(&mut task.cancelled, true) {
                // Whoever restores it is not to begin it.
                self.keep(Record::Cancelled(id), Parts::new());
            }
            let state = &mut *self.state;
            if state.tasks.get(key).is_waiting() {
                // Its engine may have begun it; what it tells decides.
            } else if let Some(engine) = engine {
                state.refresh(key);
                state.publish(engine);
                let place = *places.entry(engine).or_insert_with(|| {
                    asked.push((engine, Vec::new()));
                    asked.len() - 1
                });
                asked[place].1.push(id);
            } else if lane.is_some() {
                state.withdraw(key);
                self.finish(key, Outcome::bare(Status::Cancelled, None));
            }
        }
        for (engine, tasks) in asked {
            self.tell_engine(engine, Message::bare(ToEngine::Cancel { tasks, force }));
        }
    }

    pub(crate) fn on_watch(&mut self, client: ClientId, first: u64, tasks: &[(SessionId, u64)]) {
        let Some(seqs) = self.numbers(client, first, tasks.len()) else { return };
        for (seq, (session, wanted)) in seqs.zip(tasks) {
            if !self.watch(Watcher { client, seq }, *session, *wanted) {
                let text = Bytes::from_static(texts::UNKNOWN_TASK.as_bytes());
                self.tell_client(client, Outcome::refused(&text).message(seq, None));
            }
        }
    }

    /// Tells the outcome of a task now or when it has one; `false` if the task is not known.
    fn watch(&mut self, watcher: Watcher, session: SessionId, seq: u64) -> bool {
        let owners: SmallVec<[ClientId; 4]> = self.state.clients.of_session(session).collect();
        for client in owners {
            let id = TaskId { client, seq };
            if let Some(kept) = self.state.outcomes.get(id) {
                let message = kept.outcome.clone().message(watcher.seq, Some(kept.submitted));
                let stored = kept.stored.then_some(id);
                if stored.is_some() {
                    self.state.lend(watcher, id);
                }
                self.tell_kept(watcher.client, message, stored);
                return true;
            }
            if let Some(key) = self.state.tasks.find(id) {
                let task = self.state.tasks.get_mut(key);
                let watchers = &mut task.rare.get_or_insert_default().watchers;
                // One that comes back watches it already.
                if !watchers.contains(&watcher) {
                    watchers.push(watcher);
                }
                if let (Some(engine), true, at) = (task.engine(), task.has_started(), task.started)
                {
                    let head = ToClient::Started { seq: watcher.seq, engine, at };
                    self.tell_client(watcher.client, Message::bare(head));
                }
                return true;
            }
        }
        false
    }
}
