//! What users look up and wait for: the engines there are, the tasks there were, callbacks.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::bell::Ring;
use super::core::Core;
use super::tasks::{Tasks, Until};
use crate::wire::{EngineId, EngineInfo, SessionId};

#[derive(Default)]
pub(super) struct Engines {
    pub(super) list: Vec<EngineInfo>,
    pub(super) version: u64,
    /// Sessions of all engines there ever were; results outlive their engines.
    pub(super) sessions: HashMap<EngineId, SessionId>,
}

impl Core {
    // --- engines

    /// The engines there are, by id.
    pub fn engines(&self) -> Vec<EngineInfo> {
        self.engines.lock().list.clone()
    }

    /// Their ids.
    pub fn engine_ids(&self) -> Vec<u32> {
        self.engines.lock().list.iter().map(|engine| engine.id.0).collect()
    }

    /// The session of an engine, also of one that is gone.
    pub fn engine_session(&self, engine: EngineId) -> Option<SessionId> {
        self.engines.lock().sessions.get(&engine).copied()
    }

    /// Grows with each change of the engines.
    pub fn engines_version(&self) -> u64 {
        self.engines.lock().version
    }

    /// Waits until `enough` says so of (number of engines, version), or the session or time ends.
    pub fn wait_engines(&self, until: Instant, enough: impl Fn(usize, u64) -> bool) -> bool {
        self.need();
        let mut engines = self.engines.lock();
        loop {
            if enough(engines.list.len(), engines.version) {
                return true;
            }
            if self.gone.load(Ordering::Acquire)
                || self.engines_changed.wait_until(&mut engines, until).timed_out()
            {
                return enough(engines.list.len(), engines.version);
            }
        }
    }

    // --- tasks

    /// The task while its record is still held by anybody.
    pub fn known(&self, seq: u64) -> Option<Tasks> {
        let (batch, index) = self.table.lock().known(seq)?;
        Some(Tasks::found_one(batch, index))
    }

    /// All tasks whose records are still held.
    pub fn all_known(&self) -> Vec<Tasks> {
        let batches = self.table.lock().all_known();
        let own = batches.into_iter().filter(|batch| batch.foreign().is_none());
        own.map(|batch| Tasks::found(batch).not_purged()).collect()
    }

    /// Numbers of the tasks without an outcome.
    pub fn outstanding(&self) -> Vec<u64> {
        let batches = self.table.lock().all_pending();
        let tasks = batches.into_iter().filter(|batch| batch.foreign().is_none());
        tasks.flat_map(|batch| batch.pending_numbers(0..batch.len)).collect()
    }

    /// How many tasks were submitted; they are numbered from 0.
    pub fn submitted(&self) -> u64 {
        self.table.lock().next()
    }

    /// Waits until no task is pending; says whether that is so.
    pub fn wait_idle(&self, until: Instant) -> bool {
        self.need();
        let mut table = self.table.lock();
        while table.has_pending() {
            if self.idle.wait_until(&mut table, until).timed_out() {
                return !table.has_pending();
            }
        }
        true
    }

    /// Forgets these finished tasks, or all of them; who holds one keeps it.
    pub fn purge(&self, numbers: Option<&[u64]>) {
        if let Some(numbers) = numbers {
            for number in numbers {
                if let Some(tasks) = self.known(*number) {
                    tasks.purge(0);
                }
            }
            return;
        }
        self.table.lock().forget_finished();
    }

    // --- callbacks

    /// Queues `token` when the wait is over.
    pub fn notify(&self, tasks: &Tasks, until: Until, token: u64) {
        // Locked first, so that `next_tokens` cannot look for the notice before it is entered.
        let mut notices = self.notices.lock();
        let countdown = tasks.notify(until, Ring::Token(self.tokens.clone(), token));
        notices.insert(token, countdown);
        drop(notices);
        self.need();
    }

    /// A token is no longer wanted.
    pub fn forget_token(&self, token: u64) {
        self.notices.lock().remove(&token);
    }

    /// Takes the tokens there are, waiting for the first; `None` when the session is over.
    pub fn next_tokens(&self, until: Instant) -> Option<Vec<u64>> {
        let tokens = self.tokens.take(until)?;
        let mut notices = self.notices.lock();
        for token in &tokens {
            notices.remove(token);
        }
        Some(tokens)
    }
}
