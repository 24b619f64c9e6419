//! Beginning with what a store holds of controllers before this one.
//!
//! Its clients are clients that are gone: what they left is found under their sessions, and one that
//! comes back goes on. Tasks are entered as if they were submitted again, so what engines and the
//! ledger say of them counts (see `resume`).

use crate::store::{self, Forgotten, Spread, Submitted};
use crate::wire::{Parts, SessionId, Stamp, TaskId};

use super::event::Restored;
use super::hash::Set;
use super::outcomes::{Kept, Outcome, Standing};
use super::state::Turn;
use super::submit::Origin;

/// The session of clients whose own could not be read.
const NOBODY: SessionId = SessionId([0; 16]);

impl Turn<'_> {
    pub(crate) fn on_restored(&mut self, restored: Restored) {
        let Restored { clients, funcs, mut tasks, attempts, cancelled, mut outcomes } = restored;
        for (client, session, lease, _) in clients.iter().copied() {
            self.state.clients.restore(client, session, lease);
            if lease < u64::MAX {
                self.state.leases.insert((self.now.mono.saturating_add(lease), client));
            }
        }
        let all = tasks.iter().map(|(tasks, _)| tasks.client);
        let all: Set<_> = all.chain(outcomes.iter().map(|outcome| outcome.id.client)).collect();
        for client in all {
            if self.state.clients.get(client).is_none() {
                self.state.clients.restore(client, NOBODY, u64::MAX);
            }
        }
        for (id, attempt) in &attempts {
            self.state.knows_attempt(*id, *attempt);
        }
        let funcs = funcs.into_iter().map(|(id, body)| self.state.funcs.enter(id, body));
        let funcs: Vec<u32> = funcs.collect();
        // They are held until all is there: the last task of one may end before that.
        for func in &funcs {
            self.state.funcs.get_mut(*func).owners += 1;
        }
        let orders = Orders::of(&tasks, &outcomes);
        outcomes.sort_unstable_by_key(|outcome| outcome.completed.max(outcome.submitted));
        for outcome in outcomes {
            self.restore_outcome(&outcome, orders.of_task(outcome.submitted, outcome.id));
        }
        tasks.sort_by_key(|(tasks, _)| (tasks.at, tasks.client, tasks.runs.first().copied()));
        for (tasks, parts) in tasks {
            self.restore_tasks(&tasks, parts, &orders);
        }
        self.state.submitted = self.state.submitted.max(orders.0.len() as u64);
        for (id, attempt) in attempts {
            if let Some(key) = self.state.tasks.find(id) {
                self.state.tasks.get_mut(key).resume_at(attempt);
            }
        }
        for id in cancelled {
            self.restore_cancelled(id);
        }
        self.state.deserted.look_anew();
        for func in funcs {
            self.state.funcs.get_mut(func).owners -= 1;
            self.drop_func(func);
        }
        for (client, ..) in clients {
            if self.state.clients.drop_unneeded(client) {
                self.forgotten(Forgotten { clients: vec![client], ..Forgotten::default() });
            }
        }
    }

    /// A task was no longer wanted: it ends now, unless an engine of before may have begun it.
    fn restore_cancelled(&mut self, id: TaskId) {
        let Some(key) = self.state.tasks.find(id) else { return };
        if self.state.tasks.get(key).is_waiting() {
            self.state.tasks.get_mut(key).cancelled = true;
        } else {
            self.on_cancel(id.client, &[id.seq], None);
        }
    }

    fn restore_outcome(&mut self, stored: &store::Outcome, order: u64) {
        let store::Outcome { id, status, engine, submitted, started, completed } = *stored;
        let age = self.now.wall.saturating_sub(completed.max(submitted)).max(0) as u64;
        let left = self.state.limits.orphan_time.saturating_sub(age);
        let outcome = Outcome { status, engine, started, completed, parts: Parts::new() };
        let until = self.now.mono.saturating_add(left);
        let standing = Standing::Orphan;
        let kept = Kept { outcome, submitted, order, standing, until, stored: true, size: 0 };
        self.state.clients.learn(id.client, 1);
        self.drop_outcomes(|outcomes, limits, dropped| outcomes.keep(id, kept, limits, dropped));
    }

    fn restore_tasks(&mut self, tasks: &Submitted, parts: Parts, orders: &Orders) {
        let Submitted { client, runs, func, kind, rules, at, spread } = tasks;
        let origin = Origin { client: *client, at: *at, restored: true };
        let seqs = runs.iter().flat_map(|(first, count)| *first..first + count);
        let what = (*func, *kind, *rules);
        match spread {
            Spread::Balanced(target, counts) => {
                self.submit_all(origin, seqs.clone(), what, (target.clone(), counts), parts);
            }
            Spread::Direct(engines) => {
                self.direct_all(origin, seqs.clone(), what, engines, &parts);
            }
        }
        for seq in seqs {
            let id = TaskId { client: *client, seq };
            if let Some(key) = self.state.tasks.find(id) {
                self.state.tasks.get_mut(key).order = orders.of_task(*at, id);
            }
        }
    }
}

/// The positions of all tasks of before among each other.
struct Orders(Vec<(Stamp, TaskId)>);

impl Orders {
    fn of(tasks: &[(Submitted, Parts)], outcomes: &[store::Outcome]) -> Self {
        let pending = tasks.iter().flat_map(|(tasks, parts)| {
            tasks.tasks(parts.len()).map(|(id, _)| (tasks.at, id)).collect::<Vec<_>>()
        });
        let ended = outcomes.iter().map(|outcome| (outcome.submitted, outcome.id));
        let mut all: Vec<_> = pending.chain(ended).collect();
        all.sort_unstable_by_key(|(at, id)| (*at, id.client, id.seq));
        Self(all)
    }

    fn of_task(&self, at: Stamp, id: TaskId) -> u64 {
        let key = (at, id.client, id.seq);
        let before = self.0.partition_point(|(at, id)| (*at, id.client, id.seq) < key);
        before as u64 + 1
    }
}
