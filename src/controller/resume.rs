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

use crate::wire::{ClientId, EngineId, EngineInfo, Loss, Message, TaskId, ToEngine, Underway};

use super::attempts::Reached;
use super::event::Inherited;
use super::hash::{Map, Set};
use super::outcomes::Outcome;
use super::state::{State, Turn};
use super::tasks::{List, TaskKey};

/// How long clients are waited for whose outcomes are here, in nanoseconds.
const PATIENCE: u64 = 600_000_000_000;

/// An engine of before that has not told all it has to tell.
pub(super) struct Absent {
    pub(super) info: EngineInfo,
    /// Whether it is back and about to tell.
    pub(super) here: bool,
    /// The tasks whose outcomes it told again.
    pub(super) told: Set<TaskId>,
    /// The tasks whose outcomes are still to come; `None` until it says which they are.
    pub(super) left: Option<Set<TaskId>>,
    /// Tasks that wait for what it tells.
    pub(super) waiting: List,
}

/// What a task was when it was last given to an engine.
#[derive(Clone, Copy)]
pub(super) struct Doubt {
    /// The engine, until it has told that it did not begin the task.
    pub(super) engine: Option<EngineId>,
    pub(super) ticket: u64,
    pub(super) attempt: u16,
}

/// See the head of this file.
pub(crate) struct Resume {
    pub(super) until: u64,
    pub(super) absent: BTreeMap<EngineId, Absent>,
    /// Those that will not come, and why.
    pub(super) missing: Map<EngineId, Loss>,
    pub(super) doubts: Map<TaskId, Doubt>,
    /// For which engine the tasks wait that do.
    pub(super) waits: Map<TaskId, EngineId>,
    /// Outcomes of tasks that have not been submitted again, with their tickets, and at which attempt
    /// these tasks were.
    pub(super) told: Map<TaskId, (u64, u16, Outcome)>,
    /// What engines run that has not been submitted again.
    pub(super) underway: Map<TaskId, (EngineId, Underway)>,
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

    /// The store says that a task is at this attempt: how those before it ended is known, whatever
    /// engines and the ledger still say of them.
    pub(crate) fn knows_attempt(&mut self, id: TaskId, attempt: u16) {
        let Some(resume) = &mut self.resume else { return };
        let known = Doubt { engine: None, ticket: 0, attempt };
        let doubt = resume.doubts.entry(id).or_insert(known);
        if doubt.attempt < attempt {
            *doubt = known;
        }
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

    /// A client has submitted again what it wants: what else is there of its is wanted by nobody.
    pub(crate) fn forget_unasked(&mut self, client: ClientId) {
        let Some(resume) = &mut self.state.resume else { return };
        let tasks = &self.state.tasks;
        resume.doubts.retain(|id, _| id.client != client || tasks.find(*id).is_some());
        let told: Vec<_> = resume.told.extract_if(|id, _| id.client == client).collect();
        let underway: Vec<_> = resume.underway.extract_if(|id, _| id.client == client).collect();
        self.forget(told, underway);
        self.forget_spent_unasked(Some(client));
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
            self.forget_spent_unasked(None);
        }
    }

    /// An engine told again how an attempt ended. If there is to be another, this one is known: it may be
    /// told once more.
    pub(super) fn conclude_again(&mut self, key: TaskKey, ticket: u64, outcome: Outcome) {
        let id = self.state.tasks.get(key).id;
        self.conclude(key, ticket, outcome);
        if let Some(key) = self.state.tasks.find(id) {
            self.state.knows_attempt(id, self.state.tasks.get(key).attempt);
        }
    }

    /// Sees whether a task that was just entered, and stands in no list, is one of before: then it
    /// is where it belongs, and this says `true`. A direct task is `bound` for an engine.
    pub(crate) fn reclaim(&mut self, key: TaskKey, bound: Option<EngineId>) -> bool {
        let id = self.state.tasks.get(key).id;
        let spent = self.spent_before(id);
        let Some(resume) = &mut self.state.resume else { return false };
        if let Some((ticket, attempt, outcome)) = resume.told.remove(&id) {
            self.state.tasks.get_mut(key).resume_at(attempt);
            self.conclude_again(key, ticket, outcome);
            return true;
        }
        if let Some((engine, run)) = resume.underway.remove(&id) {
            self.hold_again(key, engine, run);
            return true;
        }
        let doubt = resume.doubts.get(&id).copied();
        if let (None, Some(spent)) = (doubt, spent) {
            return self.go_on_after(key, spent);
        }
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
            self.state.knows_attempt(id, self.state.tasks.get(key).attempt);
            return false;
        }
        self.lose(key, &loss, &Reached::Unknown);
        true
    }
}
