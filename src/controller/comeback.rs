//! The engines' half of going on where a controller ended: one comes back, says what it runs and tells
//! again how tasks ended; or it does not come.
//!
//! The clients' half, and what all this is for, is in `resume`.

use crate::wire::{
    EngineId, EngineInfo, Loss, Message, Status, TaskId, ToClient, ToEngine, Underway,
};

use super::attempts::Reached;
use super::hash::Set;
use super::outcomes::Outcome;
use super::resume::{Absent, Doubt};
use super::state::Turn;
use super::tasks::TaskKey;

impl Turn<'_> {
    /// An engine came back and runs this.
    pub(super) fn hold_again(&mut self, key: TaskKey, id: EngineId, run: Underway) {
        let state = &mut *self.state;
        let task = state.tasks.get_mut(key);
        task.resume_at(run.attempt);
        (task.ticket, task.started) = (run.ticket, run.started.max(1));
        task.set_engine(Some(id));
        let cancelled = task.cancelled;
        let engine = state.engines.live(id);
        engine.push_front(&mut state.tasks, key);
        let others = engine.front.some();
        if let Some(victim) = engine.stop_asking() {
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
    pub(super) fn may_come(&self, id: TaskId) -> bool {
        let state = &*self.state;
        let there = state.clients.is_alive(id.client) && !state.is_returning(id.client);
        state.resume.is_some() && !there
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
            // Or that it failed, and counted that.
            let spent = outcome.status == Status::Again && self.state.spent.contains_key(&id);
            let is_doubted = |d: Doubt| d.engine == Some(engine) && d.ticket == ticket;
            let last = doubt.map_or(!told && !spent, is_doubted);
            if let (true, Some(resume)) = (last, &mut self.state.resume) {
                resume.doubts.remove(&id);
                resume.underway.remove(&id);
            }
            match self.state.tasks.find(id) {
                _ if !last => {}
                Some(key) if self.state.tasks.get(key).engine().is_none() => {
                    self.state.withdraw(key);
                    return self.conclude_again(key, ticket, outcome);
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
        self.spend_told(&loss);
        self.spend_doubts(id);
        let waiting = self.no_longer_absent(id).unwrap_or_default();
        self.tell_engines();
        let mut back = Vec::new();
        for key in waiting {
            let task = self.state.tasks.get(key).id;
            if let Some(resume) = &mut self.state.resume {
                resume.doubts.remove(&task);
            }
            self.spend_reached(key, id, &Reached::Unknown);
            if self.survives(key, &Reached::Unknown) {
                // An engine may still tell how an attempt before that ended.
                self.state.knows_attempt(task, self.state.tasks.get(key).attempt);
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
        self.spend_doubts(id);
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
