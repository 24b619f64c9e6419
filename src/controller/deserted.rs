//! Tasks that wait while no engine is there at all. They wait for one to come, but not for ever
//! unless their client wants that: nobody may be there to see that nothing runs.
//!
//! A client's wait begins when it has tasks and no engine is there, and ends with the first engine
//! that comes. When its oldest task has waited for its patience, all its tasks are given up at
//! once; what it submits later waits anew.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::wire::{ClientId, EngineId};

use super::outcomes::Outcome;
use super::state::{State, Turn};
use super::tasks::TaskKey;
use super::texts;

/// Nanoseconds tasks wait for the first engine to come if their client has not said otherwise.
pub(crate) const PATIENCE: u64 = 60_000_000_000;

/// One client's wait.
struct Wait {
    /// When it began, by the monotonic clock.
    since: u64,
    /// Tasks submitted by anybody until then: a task of a higher number has not waited as long.
    upto: u64,
}

/// Who waits, and why there is nobody to run anything.
#[derive(Default)]
pub(crate) struct Deserted {
    /// That no engine is there has been noticed.
    noticed: bool,
    waits: BTreeMap<ClientId, Wait>,
    /// The engine that ended last, and how.
    last: Option<(EngineId, String)>,
}

impl Deserted {
    /// Tasks came otherwise than by a submission: whose they are is looked at anew.
    pub(crate) fn look_anew(&mut self) {
        self.noticed = false;
    }

    /// A client comes back: it waits from now on, if it waits.
    pub(crate) fn wait_anew(&mut self, client: ClientId, now: u64) {
        if let Some(wait) = self.waits.get_mut(&client) {
            wait.since = now;
        }
    }
}

impl State {
    /// Whether no engine is there, nor one about to come back from a controller before this one.
    fn without_engines(&self) -> bool {
        self.engines.list().is_empty() && self.absent_engines().next().is_none()
    }

    /// When the first client's patience ends.
    pub(crate) fn patience_ends(&self) -> Option<u64> {
        let ends = self.deserted.waits.iter().map(|(client, wait)| self.patience_of(*client, wait));
        ends.min().filter(|end| *end < u64::MAX)
    }

    fn patience_of(&self, client: ClientId, wait: &Wait) -> u64 {
        wait.since.saturating_add(self.clients.patience(client))
    }

    /// Audits the waits.
    pub(crate) fn check_deserted(&self) {
        let Deserted { waits, noticed, .. } = &self.deserted;
        let deserted = self.without_engines();
        assert!(
            deserted || waits.is_empty(),
            "nobody waits for the first engine while one is there"
        );
        let waits = |client| !*noticed || waits.contains_key(client);
        let mut waiting = self.tasks.iter().map(|(_, task)| &task.id.client);
        assert!(!deserted || waiting.all(waits), "a client's tasks wait no longer than it wants");
    }

    /// A client's tasks, of which no engine holds one; oldest first.
    fn all_of(&self, client: ClientId) -> Vec<TaskKey> {
        let tasks = self.tasks.iter().filter(|(_, task)| task.id.client == client);
        let mut tasks: Vec<_> = tasks.map(|(key, task)| (task.order, key)).collect();
        tasks.sort_unstable_by_key(|(order, _)| *order);
        tasks.into_iter().map(|(_, key)| key).collect()
    }
}

impl Turn<'_> {
    /// Takes note of how an engine ended that is about to be removed.
    pub(crate) fn remember_end(&mut self, engine: EngineId, cause: &str) {
        if self.state.engines.get(engine).is_some() || self.state.awaits(engine) {
            self.state.deserted.last = Some((engine, cause.to_owned()));
        }
    }

    /// Last of an event: looks who waits for the first engine, and for how long. `submitted` is the
    /// client that this event had a submission of.
    pub(crate) fn look_for_engines(&mut self, submitted: Option<ClientId>) {
        let state = &mut *self.state;
        let deserted = state.without_engines();
        let here = &mut state.deserted;
        if !deserted {
            here.noticed = false;
            here.waits.clear();
            return;
        }
        let (since, upto) = (self.now.mono, state.submitted);
        if let Some(client) = submitted {
            here.waits.entry(client).or_insert(Wait { since, upto });
        }
        if !std::mem::replace(&mut here.noticed, true) {
            for (_, task) in state.tasks.iter() {
                here.waits.entry(task.id.client).or_insert(Wait { since, upto });
            }
        }
        if state.patience_ends().is_some_and(|end| end <= self.now.mono) {
            self.end_waits();
        }
    }

    fn end_waits(&mut self) {
        let state = &*self.state;
        let over = |(client, wait): &(&ClientId, &Wait)| {
            state.patience_of(**client, wait) <= self.now.mono
        };
        let over = state.deserted.waits.iter().filter(over).map(|(client, _)| *client);
        for client in over.collect::<Vec<_>>() {
            self.end_wait(client);
        }
    }

    fn end_wait(&mut self, client: ClientId) {
        let Some(wait) = self.state.deserted.waits.remove(&client) else { return };
        let tasks = self.state.all_of(client);
        let Some(oldest) = tasks.first() else { return };
        if self.state.tasks.get(*oldest).order > wait.upto {
            // What waited when this began is no longer wanted.
            let (since, upto) = (self.now.mono, self.state.submitted);
            self.state.deserted.waits.insert(client, Wait { since, upto });
            return;
        }
        let waited = (self.now.mono - wait.since) as f64 / 1e9;
        let last = self.state.deserted.last.as_ref();
        let text = Bytes::from(texts::deserted(waited, tasks.len(), last));
        for key in tasks {
            self.state.withdraw(key);
            self.finish(key, Outcome::refused(&text));
        }
    }
}
