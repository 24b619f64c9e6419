//! Attempts that are spent though the client may not have heard of it, so that a controller which
//! follows this one counts them as well.
//!
//! An attempt is spent when its engine told that it failed, when that engine ended after it had or may
//! have begun it, and when it ended and took the outcome along before that had arrived. Neither edge
//! knows of it then: the client waits as ever, and the engine is gone or has been told to forget. So it
//! is written down before anything leaves, for each such task how many attempts are spent and with
//! which engine the last was, and struck out when the outcome has arrived or nobody waits for one.
//!
//! Not where there is a store: that has the attempts and the outcomes themselves.

use crate::wire::{ClientId, EngineId, Loss, TaskId};

use super::attempts::Reached;
use super::event::Effect;
use super::hash::Map;
use super::outcomes::Outcomes;
use super::state::{State, Turn};
use super::tasks::TaskKey;

/// What is spent of one task.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spent {
    pub(crate) engine: EngineId,
    pub(crate) attempts: u16,
    /// Whether its client submitted it to this controller.
    here: bool,
}

/// What is spent of tasks whose outcome has not arrived.
pub(crate) type AllSpent = Map<TaskId, Spent>;

impl State {
    /// Whether another controller may follow that has nothing but the ledger.
    fn notes_spent(&self) -> bool {
        self.receipts.is_some() && !self.limits.store
    }
}

impl Turn<'_> {
    /// So many attempts of a task are spent, the last with this engine.
    pub(crate) fn spend(&mut self, id: TaskId, engine: EngineId, attempts: u16) {
        self.note_spent(id, Spent { engine, attempts, here: true });
    }

    fn note_spent(&mut self, id: TaskId, spent: Spent) {
        let known = self.state.spent.get(&id).map_or(0, |known| known.attempts);
        if spent.attempts > known && self.state.notes_spent() {
            self.state.spent.insert(id, spent);
            self.out.push(Effect::Spent(id, spent.engine, spent.attempts));
        }
    }

    /// An engine is gone that had this task, if it may have begun it.
    pub(crate) fn spend_reached(&mut self, key: TaskKey, engine: EngineId, reached: &Reached) {
        if !matches!(reached, Reached::Nothing) {
            let task = self.state.tasks.get(key);
            self.spend(task.id, engine, task.attempt);
        }
    }

    /// An engine is gone, and with it what it had told and kept.
    pub(crate) fn spend_told(&mut self, loss: &Loss) {
        if !self.state.notes_spent() {
            return;
        }
        self.out.push(Effect::Gone(loss.clone()));
        let engine = EngineId(loss.engine);
        let receipts = self.state.receipts.iter().flatten();
        let told = receipts.filter(|(_, (by, _, attempt))| *by == engine && *attempt > 0);
        let told: Vec<_> = told.map(|(id, (.., attempt))| (*id, *attempt, true)).collect();
        let again = self.state.resume.iter().flat_map(|resume| &resume.told);
        let again = again
            .filter(|(_, (_, _, outcome))| outcome.engine == Some(engine) && outcome.started > 0);
        let again: Vec<_> = again.map(|(id, (_, attempt, _))| (*id, *attempt, false)).collect();
        for (id, attempts, here) in told.into_iter().chain(again) {
            self.note_spent(id, Spent { engine, attempts, here });
        }
    }

    /// An engine of before is gone. What it may have begun and nobody has asked for may be asked for
    /// yet, also of the next controller.
    pub(crate) fn spend_doubts(&mut self, engine: EngineId) {
        let Some(resume) = &self.state.resume else { return };
        let doubts = resume.doubts.iter().filter(|(id, doubt)| {
            doubt.engine == Some(engine) && self.state.tasks.find(**id).is_none()
        });
        let doubts: Vec<_> = doubts.map(|(id, doubt)| (*id, doubt.attempt)).collect();
        for (id, attempts) in doubts {
            if self.may_come(id) {
                self.note_spent(id, Spent { engine, attempts, here: false });
            }
        }
    }

    /// The controller before this one wrote down that these are spent, and how their engines ended.
    pub(crate) fn on_spent_before(&mut self, all: Vec<(TaskId, EngineId, u16)>, gone: Vec<Loss>) {
        let Some(resume) = &mut self.state.resume else { return };
        resume.missing.extend(gone.into_iter().map(|loss| (EngineId(loss.engine), loss)));
        for (id, engine, attempts) in all {
            // Of a later attempt its engine may still tell.
            if resume.doubts.get(&id).is_some_and(|doubt| doubt.attempt <= attempts) {
                resume.doubts.remove(&id);
            }
            self.state.spent.insert(id, Spent { engine, attempts, here: false });
        }
    }

    /// A task is submitted again of which this is spent, and nothing is known of a later attempt. Says
    /// whether that ended it; else it is to be queued for another.
    pub(crate) fn go_on_after(&mut self, key: TaskKey, spent: Spent) -> bool {
        let Spent { engine, attempts, .. } = spent;
        self.state.tasks.get_mut(key).resume_at(attempts);
        if self.survives(key, &Reached::Unknown) {
            return false;
        }
        let loss = self.state.missing(engine).unwrap_or_else(|| {
            let cause = "its end was not written down".to_owned();
            Loss { engine: engine.0, cause, ..Loss::default() }
        });
        self.lose(key, &loss, &Reached::Unknown);
        true
    }

    /// A task of before was submitted again. Gives what is spent of it.
    pub(crate) fn spent_before(&mut self, id: TaskId) -> Option<Spent> {
        let spent = self.state.spent.get_mut(&id)?;
        spent.here = true;
        Some(*spent)
    }

    /// Outcomes have arrived: runs of first number and how many.
    pub(crate) fn forget_spent_of(&mut self, client: ClientId, runs: &[(u64, u64)]) {
        for (first, count) in runs.iter().copied() {
            // As with receipts: a client may name more than there is.
            if count <= self.state.spent.len() as u64 {
                for seq in first..first.saturating_add(count) {
                    let id = TaskId { client, seq };
                    if self.state.tasks.find(id).is_none() {
                        self.forget_spent_task(id);
                    }
                }
            } else {
                self.forget_spent(|id, _, _| {
                    id.client == client && id.seq.wrapping_sub(first) < count
                });
            }
        }
    }

    /// Nobody waits any more for the outcomes of these, as far as they have one.
    pub(crate) fn forget_spent_where(&mut self, unwanted: impl Fn(TaskId, &Outcomes) -> bool) {
        self.forget_spent(|id, spent, outcomes| spent.here && unwanted(*id, outcomes));
    }

    /// A client has submitted again what it wants, or any that comes has.
    pub(crate) fn forget_spent_unasked(&mut self, client: Option<ClientId>) {
        self.forget_spent(|id, spent, _| {
            client.is_none_or(|client| id.client == client) && !spent.here
        });
    }

    /// Forgets what is spent of tasks that have ended.
    fn forget_spent(&mut self, which: impl Fn(&TaskId, &Spent, &Outcomes) -> bool) {
        let State { spent, tasks, outcomes, .. } = &mut *self.state;
        if spent.is_empty() {
            return;
        }
        let ended = |id: &TaskId, spent: &mut Spent| {
            which(id, spent, outcomes) && tasks.find(*id).is_none()
        };
        let mut gone: Vec<_> = spent.extract_if(ended).map(|(id, _)| id).collect();
        gone.sort_unstable();
        if !gone.is_empty() {
            self.out.push(Effect::Unspent(gone));
        }
    }

    /// A task ended whose outcome nobody is about to take.
    pub(crate) fn forget_spent_task(&mut self, id: TaskId) {
        if !self.state.spent.is_empty() && self.state.spent.remove(&id).is_some() {
            self.out.push(Effect::Unspent(vec![id]));
        }
    }
}
