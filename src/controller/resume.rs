//! Going on where a controller ended that was killed.
//!
//! The edges hold the truth. A client keeps each task until it has the outcome, and submits it
//! again to the next controller. An engine keeps each outcome until its client has it, tells it
//! again, and says what it is running. What neither can know is which tasks were given to an engine
//! that does not come back; that the controller before this one wrote down (`ledger`).
//!
//! So a task that is submitted again meets one of these:
//!
//! - its outcome was told again, or comes: that is its outcome;
//! - an engine runs it: it is held by that engine as before;
//! - it was given to an engine that has not told all yet: it *waits* for that, in a list of its own;
//! - that engine is gone for good: nobody knows whether it was begun, so it costs a retry;
//! - none of these: nobody began it, and it is queued.
//!
//! Whoever comes first, clients or engines, finds what the others said. After [`PATIENCE`] the rest
//! is forgotten.

use std::collections::BTreeMap;

use crate::wire::{
    ClientId, EngineId, EngineInfo, Loss, Message, SessionId, Status, TaskId, ToClient, ToEngine,
    Underway,
};

use super::attempts::Reached;
use super::event::Inherited;
use super::hash::{Map, Set};
use super::outcomes::Outcome;
use super::state::{State, Turn};
use super::tasks::{List, TaskKey};

/// How long clients are waited for whose outcomes are here, in nanoseconds.
const PATIENCE: u64 = 600_000_000_000;

/// An engine of before that has not told all it has to tell.
struct Absent {
    info: EngineInfo,
    /// Whether it is back and about to tell.
    here: bool,
    /// The tasks whose outcomes it told again.
    told: Set<TaskId>,
    /// The tasks whose outcomes are still to come; `None` until it says which they are.
    left: Option<Set<TaskId>>,
    /// Tasks that wait for what it tells.
    waiting: List,
}

/// What a task was when it was last given to an engine.
#[derive(Clone, Copy)]
struct Doubt {
    /// The engine, until it has told that it did not begin the task.
    engine: Option<EngineId>,
    ticket: u64,
    attempt: u16,
}

/// See the head of this file.
pub(crate) struct Resume {
    until: u64,
    absent: BTreeMap<EngineId, Absent>,
    /// Those that will not come, and why.
    missing: Map<EngineId, Loss>,
    doubts: Map<TaskId, Doubt>,
    /// For which engine the tasks wait that do.
    waits: Map<TaskId, EngineId>,
    /// Outcomes of tasks that have not been submitted again, with their tickets, and at which attempt
    /// these tasks were.
    told: Map<TaskId, (u64, u16, Outcome)>,
    /// What engines run that has not been submitted again.
    underway: Map<TaskId, (EngineId, Underway)>,
    /// Clients that are about to submit again what they want.
    returning: Set<ClientId>,
    /// Tasks they asked for again that have their outcomes.
    pub(crate) asked: Set<TaskId>,
}

impl State {
    /// Whether an engine of before may still come, or has come and not told all.
    pub(crate) fn awaits(&self, engine: EngineId) -> bool {
        self.resume.as_ref().is_some_and(|resume| resume.absent.contains_key(&engine))
    }

    /// Why an engine of before does not come back.
    pub(crate) fn missing(&self, engine: EngineId) -> Option<Loss> {
        self.resume.as_ref()?.missing.get(&engine).cloned()
    }

    /// Whether a client is about to submit again what it wants.
    pub(crate) fn is_returning(&self, client: ClientId) -> bool {
        self.resume.as_ref().is_some_and(|resume| resume.returning.contains(&client))
    }

    /// The engines there are and those that are about to come back, by number.
    pub(crate) fn engines_told(&self) -> Vec<EngineInfo> {
        let mut all = self.engines.list().to_vec();
        if let Some(resume) = &self.resume {
            let absent = resume.absent.values().filter(|absent| !absent.here);
            all.extend(absent.map(|absent| absent.info.clone()));
            all.sort_unstable_by_key(|info| info.id);
        }
        all
    }

    /// The engines that are about to come back, and how many tasks wait for what each tells.
    pub(crate) fn absent_engines(&self) -> impl Iterator<Item = (EngineId, u64)> {
        let absent = self.resume.iter().flat_map(|resume| &resume.absent);
        let gone = absent.filter(|(_, absent)| !absent.here);
        gone.map(|(id, absent)| (*id, u64::from(absent.waiting.len())))
    }

    /// Takes a task out of the list in which it waits for an engine to tell.
    pub(crate) fn stop_waiting(&mut self, key: TaskKey) {
        let id = self.tasks.get(key).id;
        let Some(resume) = &mut self.resume else { return };
        let Some(engine) = resume.waits.remove(&id) else { return };
        if let Some(absent) = resume.absent.get_mut(&engine) {
            absent.waiting.remove(&mut self.tasks, key);
        }
        self.tasks.get_mut(key).set_waiting(false);
    }

    /// The lists of tasks that wait for engines to tell.
    pub(crate) fn waiting_lists(&self) -> impl Iterator<Item = &List> {
        self.resume.iter().flat_map(|resume| resume.absent.values()).map(|absent| &absent.waiting)
    }

    /// When what was not asked for is forgotten.
    pub(crate) fn resume_deadline(&self) -> Option<u64> {
        self.resume.as_ref().map(|resume| resume.until)
    }
}

impl Turn<'_> {
    /// The controller before this one ended and left this.
    pub(crate) fn on_inherited(&mut self, engines: Vec<Inherited>) {
        let mut resume = Resume {
            until: self.now.mono + PATIENCE,
            absent: BTreeMap::new(),
            missing: Map::default(),
            doubts: Map::default(),
            waits: Map::default(),
            told: Map::default(),
            underway: Map::default(),
            returning: Set::default(),
            asked: Set::default(),
        };
        for Inherited { info, given } in engines {
            for (ticket, id, attempt) in given {
                let doubt = Doubt { engine: Some(info.id), ticket, attempt };
                let known = resume.doubts.entry(id).or_insert(doubt);
                // The later attempt is the one of which something is to be heard.
                if known.attempt < attempt {
                    *known = doubt;
                }
            }
            let (id, here, told) = (info.id, false, Set::default());
            let (left, waiting) = (None, List::default());
            resume.absent.insert(id, Absent { info, here, told, left, waiting });
        }
        self.state.resume = Some(Box::new(resume));
    }

    /// A client comes back and is about to submit again what it wants.
    pub(crate) fn on_client_back(&mut self, client: ClientId, session: SessionId, lease: u64) {
        if self.state.clients.revive(client, session, lease) {
            self.state.leases.retain(|(_, gone)| *gone != client);
            let engines = self.state.engines_told();
            self.tell_client(client, Message::bare(ToClient::Engines(engines)));
        } else {
            self.on_client_joined(client, session, lease);
        }
        if let Some(resume) = &mut self.state.resume {
            resume.returning.insert(client);
        }
    }

    /// A client has submitted again what it wants: what else is there of its is wanted by nobody.
    pub(crate) fn on_all_submitted(&mut self, client: ClientId) {
        let Some(resume) = &mut self.state.resume else { return };
        if !resume.returning.remove(&client) {
            return;
        }
        let tasks = &self.state.tasks;
        resume.doubts.retain(|id, _| id.client != client || tasks.find(*id).is_some());
        let told: Vec<_> = resume.told.extract_if(|id, _| id.client == client).collect();
        let underway: Vec<_> = resume.underway.extract_if(|id, _| id.client == client).collect();
        self.forget(told, underway);
        self.take_unasked(client);
    }

    /// What is wanted by nobody need not be kept, nor run on.
    fn forget(
        &mut self,
        told: Vec<(TaskId, (u64, u16, Outcome))>,
        underway: Vec<(TaskId, (EngineId, Underway))>,
    ) {
        for (_, (ticket, _, outcome)) in told {
            if let Some(engine) = outcome.engine {
                self.settle(engine, ticket);
            }
        }
        for (id, (engine, _)) in underway {
            if self.state.engines.get(engine).is_some() {
                let head = ToEngine::Cancel { tasks: vec![id], force: None };
                self.tell_engine(engine, Message::bare(head));
            }
        }
    }

    /// After a time nobody is waited for any more.
    pub(crate) fn end_resume(&mut self) {
        if self.state.resume_deadline().is_none_or(|until| until > self.now.mono) {
            return;
        }
        let absent = self.state.resume.iter().flat_map(|resume| resume.absent.keys());
        for engine in absent.copied().collect::<Vec<_>>() {
            self.on_engine_missing(engine, "it did not come back".to_owned());
        }
        if let Some(resume) = self.state.resume.take() {
            let Resume { told, underway, .. } = *resume;
            self.forget(told.into_iter().collect(), underway.into_iter().collect());
        }
    }

    /// Sees whether a task that was just entered, and stands in no list, is one of before: then it
    /// is where it belongs, and this says `true`. A direct task is `bound` for an engine.
    pub(crate) fn reclaim(&mut self, key: TaskKey, bound: Option<EngineId>) -> bool {
        let id = self.state.tasks.get(key).id;
        let Some(resume) = &mut self.state.resume else { return false };
        if let Some((ticket, attempt, outcome)) = resume.told.remove(&id) {
            self.state.tasks.get_mut(key).resume_at(attempt);
            self.conclude(key, ticket, outcome);
            return true;
        }
        if let Some((engine, run)) = resume.underway.remove(&id) {
            self.hold_again(key, engine, run);
            return true;
        }
        let doubt = resume.doubts.get(&id).copied();
        if let Some(Doubt { attempt, .. }) = doubt {
            self.state.tasks.get_mut(key).resume_at(attempt);
        }
        let Some(engine) = doubt.and_then(|doubt| doubt.engine).or(bound) else { return false };
        if let Some(absent) = resume.absent.get_mut(&engine) {
            absent.waiting.push_back(&mut self.state.tasks, key);
            resume.waits.insert(id, engine);
            self.state.tasks.get_mut(key).set_waiting(true);
            return true;
        }
        let Some(loss) = resume.missing.get(&engine).cloned() else { return false };
        resume.doubts.remove(&id);
        if self.survives(key, &Reached::Unknown) {
            return false;
        }
        self.lose(key, &loss, &Reached::Unknown);
        true
    }

    /// An engine came back and runs this.
    fn hold_again(&mut self, key: TaskKey, id: EngineId, run: Underway) {
        let state = &mut *self.state;
        let task = state.tasks.get_mut(key);
        task.resume_at(run.attempt);
        (task.ticket, task.started) = (run.ticket, run.started.max(1));
        task.set_engine(Some(id));
        let cancelled = task.cancelled;
        let engine = state.engines.live(id);
        engine.push_front(&mut state.tasks, key);
        let others = engine.front.some();
        if let Some(victim) = engine.cold.asked.take() {
            state.engines.live(victim).cold.thieves.retain(|thief| *thief != id);
        }
        state.refront(id, self.now.mono);
        state.refresh(key);
        // What seemed to be running waits behind it, and may be another's.
        let mut idle = Vec::new();
        if let Some(other) = others {
            state.refresh(other);
            let idles = state.engines.iter().filter(|engine| engine.held() == 0);
            idle.extend(idles.map(|engine| engine.cold.info.id));
        }
        state.publish(id);
        let seq = run.id.seq;
        if self.state.clients.is_alive(run.id.client) {
            let head = ToClient::Started { seq, engine: id, at: run.started };
            self.tell_client(run.id.client, Message::bare(head));
        }
        if cancelled {
            let head = ToEngine::Cancel { tasks: vec![run.id], force: None };
            self.tell_engine(id, Message::bare(head));
        }
        for engine in idle {
            self.feed(engine);
        }
    }

    /// An engine comes back under its number: what it was given so far had tickets up to `ticket`.
    pub(crate) fn on_engine_back(
        &mut self,
        info: EngineInfo,
        ticket: u64,
        running: Option<Underway>,
    ) {
        let id = info.id;
        if self.state.engines.get(id).is_some() {
            self.state.ignored += 1;
            return;
        }
        let state = &mut *self.state;
        state.engines.insert(info);
        let engine = state.engines.live(id);
        (engine.given, engine.cold.before) = (ticket, ticket);
        for lane in state.lanes.join(id) {
            state.engines.live(id).cold.lanes.push(lane);
        }
        self.state.publish(id);
        if let Some(absent) = self.state.resume.as_mut().and_then(|all| all.absent.get_mut(&id)) {
            absent.here = true;
        }
        self.tell_engines();
        if let Some(run) = running {
            self.found_running(id, run);
        }
        self.feed(id);
    }

    fn found_running(&mut self, engine: EngineId, run: Underway) {
        if let Some(resume) = &mut self.state.resume {
            let (ticket, attempt) = (run.ticket, run.attempt);
            resume.doubts.insert(run.id, Doubt { engine: Some(engine), ticket, attempt });
        }
        match self.state.tasks.find(run.id) {
            Some(key) if self.state.tasks.get(key).engine().is_none() => {
                self.state.withdraw(key);
                self.hold_again(key, engine, run);
            }
            None if self.may_come(run.id) => {
                if let Some(resume) = &mut self.state.resume {
                    resume.underway.insert(run.id, (engine, run));
                }
            }
            // Another runs it, or nobody wants it.
            _ => {
                let head = ToEngine::Cancel { tasks: vec![run.id], force: None };
                self.tell_engine(engine, Message::bare(head));
            }
        }
    }

    /// Whether a task that is not known may be submitted again.
    fn may_come(&self, id: TaskId) -> bool {
        let Some(resume) = &self.state.resume else { return false };
        resume.returning.contains(&id.client) || !self.state.clients.is_alive(id.client)
    }

    /// An engine told an outcome, which may be the last that was waited for.
    pub(crate) fn heard_again(&mut self, engine: EngineId, id: TaskId) {
        let absent = self.state.resume.as_mut().and_then(|resume| resume.absent.get_mut(&engine));
        let Some(absent) = absent else { return };
        absent.told.insert(id);
        if let Some(left) = &mut absent.left {
            left.remove(&id);
            self.end_absence(engine);
        }
    }

    /// Whether this outcome was told again and its task has not been submitted again.
    fn is_told(&self, id: TaskId, ticket: u64) -> bool {
        let told = self.state.resume.as_ref().and_then(|resume| resume.told.get(&id));
        told.is_some_and(|(at, ..)| *at == ticket)
    }

    /// An engine tells an outcome of an attempt that is not the present one. It may be one of
    /// before.
    pub(crate) fn on_told_again(&mut self, id: TaskId, ticket: u64, outcome: Outcome) {
        let Some(engine) = outcome.engine else { return };
        let before = self.state.engines.get(engine).map_or(0, |engine| engine.cold.before);
        if ticket <= before && self.state.resume.is_some() {
            let doubt =
                self.state.resume.as_ref().and_then(|resume| resume.doubts.get(&id)).copied();
            if self.is_told(id, ticket) {
                self.state.duplicates += 1;
                return;
            }
            // Of an earlier attempt than the last, the one before this controller knew how it ended.
            let told = self.state.resume.as_ref().is_some_and(|all| all.told.contains_key(&id));
            let is_doubted = |d: Doubt| d.engine == Some(engine) && d.ticket == ticket;
            let last = doubt.map_or(!told, is_doubted);
            if let (true, Some(resume)) = (last, &mut self.state.resume) {
                resume.doubts.remove(&id);
                resume.underway.remove(&id);
            }
            match self.state.tasks.find(id) {
                _ if !last => {}
                Some(key) if self.state.tasks.get(key).engine().is_none() => {
                    self.state.withdraw(key);
                    return self.conclude(key, ticket, outcome);
                }
                None if self.state.outcomes.get(id).is_none() && self.may_come(id) => {
                    if let Some(resume) = &mut self.state.resume {
                        let attempt = doubt.map_or(1, |doubt| doubt.attempt);
                        resume.told.insert(id, (ticket, attempt, outcome));
                    }
                    return;
                }
                _ => {}
            }
        }
        self.state.duplicates += 1;
        if !self.is_expected(id, engine, ticket) {
            self.settle(engine, ticket);
        }
    }

    /// An engine that came back says of which tasks it tells the outcomes again; some may be late.
    pub(crate) fn on_all_told(&mut self, id: EngineId, ids: Vec<TaskId>) {
        let absent = self.state.resume.as_mut().and_then(|resume| resume.absent.get_mut(&id));
        let Some(absent) = absent.filter(|absent| absent.here) else { return };
        let left = ids.into_iter().filter(|id| !absent.told.contains(id));
        absent.left = Some(left.collect());
        self.end_absence(id);
    }

    /// Once an engine that came back has told all: of the rest it was given it began nothing.
    fn end_absence(&mut self, id: EngineId) {
        let absent = self.state.resume.as_ref().and_then(|resume| resume.absent.get(&id));
        let all = |absent: &Absent| absent.left.as_ref().is_some_and(Set::is_empty);
        if !absent.is_some_and(all) {
            return;
        }
        let Some(waiting) = self.no_longer_absent(id) else { return };
        if let Some(resume) = &mut self.state.resume {
            // At which attempt they are is known to nobody else.
            for (task, doubt) in &mut resume.doubts {
                if doubt.engine == Some(id) && !resume.underway.contains_key(task) {
                    doubt.engine = None;
                }
            }
            resume.doubts.retain(|_, doubt| doubt.engine.is_some() || doubt.attempt > 1);
        }
        let mut back = Vec::new();
        for key in waiting {
            let task = self.state.tasks.get(key);
            if task.cancelled {
                self.finish(key, Outcome::bare(Status::Cancelled, None));
            } else if task.is_direct() {
                self.give(key, id);
            } else {
                back.push(key);
            }
        }
        self.state.publish(id);
        self.put_back(&back);
        self.spread_all(&back);
        self.feed(id);
    }

    /// An engine of before will not come back. Nobody knows what it had begun.
    pub(crate) fn on_engine_missing(&mut self, id: EngineId, cause: String) {
        let Some(resume) = &mut self.state.resume else { return };
        let Some(absent) = resume.absent.get(&id) else { return };
        let EngineInfo { pid, host, .. } = absent.info.clone();
        let loss = Loss { engine: id.0, pid, host, cause, ..Loss::default() };
        resume.missing.insert(id, loss.clone());
        let waiting = self.no_longer_absent(id).unwrap_or_default();
        self.tell_engines();
        let mut back = Vec::new();
        for key in waiting {
            let task = self.state.tasks.get(key).id;
            if let Some(resume) = &mut self.state.resume {
                resume.doubts.remove(&task);
            }
            if self.survives(key, &Reached::Unknown) {
                back.push(key);
            } else {
                self.lose(key, &loss, &Reached::Unknown);
            }
        }
        self.put_back(&back);
        for lane in self.state.lanes.asked_for(id) {
            self.end_lane(lane);
        }
        self.spread_all(&back);
    }

    /// An engine ended that had come back. What it ran and nobody has asked for may be asked for
    /// yet; what it had not told it never will.
    pub(crate) fn lose_again(&mut self, id: EngineId, loss: Loss) {
        let Some(resume) = &mut self.state.resume else { return };
        resume.underway.retain(|_, (engine, _)| *engine != id);
        resume.missing.insert(id, loss.clone());
        self.on_engine_missing(id, loss.cause);
    }

    /// Takes out what waits for an engine, oldest first.
    fn no_longer_absent(&mut self, id: EngineId) -> Option<Vec<TaskKey>> {
        let state = &mut *self.state;
        let absent = state.resume.as_mut()?.absent.get(&id)?;
        let waiting: Vec<_> = absent.waiting.iter(&state.tasks).collect();
        for key in &waiting {
            state.stop_waiting(*key);
        }
        state.resume.as_mut()?.absent.remove(&id);
        Some(waiting)
    }
}
