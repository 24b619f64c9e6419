//! Clients that are gone: their tasks run on for their lease, their outcomes are kept for whoever asks.
//!
//! One that did not say goodbye may come back (see `returning`), if it was told to look for a
//! controller again. So for a time it is known under its number though nothing else of it may be, and
//! engines keep what they told of its tasks; then, or when its lease ended before its tasks did, it is
//! as if it had said goodbye. What it left runs on meanwhile, as far as outcomes can be kept (see `parked`).

use crate::store::Forgotten;
use crate::wire::ClientId;

use super::outcomes::Standing;
use super::state::{State, Turn};
use super::tasks::Task;

/// How long a client is waited for, in nanoseconds.
const PATIENCE: u64 = 600_000_000_000;

impl Turn<'_> {
    /// A client's session ended, with its goodbye or without.
    pub(crate) fn on_client_lost(&mut self, client: ClientId, for_good: bool) {
        let may_return = !for_good && self.state.limits.receipts;
        let until = self.now.mono.saturating_add(PATIENCE);
        let Some(gone) = self.state.clients.alive(client) else { return };
        gone.alive = false;
        gone.end_return();
        gone.awaited = may_return.then_some(until);
        let lease = gone.lease;
        if may_return {
            self.state.awaited.insert((until, client));
        }
        self.on_client_room(client);
        for id in self.state.outcomes.unheard_of(client) {
            self.stands(id, Standing::Orphan);
        }
        // Of what was too much to keep nobody will ask the engines, either.
        self.settle_where(|id, outcomes| {
            let kept = outcomes.get(id).is_some_and(|kept| kept.standing == Standing::Orphan);
            id.client == client && !(may_return && kept)
        });
        let Some(gone) = self.state.clients.get_mut(client) else { return };
        let mut funcs: Vec<_> = std::mem::take(&mut gone.funcs).into_iter().collect();
        funcs.sort_unstable();
        for func in funcs {
            self.state.funcs.get_mut(func).owners -= 1;
            self.drop_func(func);
        }
        self.drop_unneeded(client);
        self.state.take_back_lent(client);
        if lease < u64::MAX {
            self.state.leases.insert((self.now.mono.saturating_add(lease), client));
        }
    }

    fn drop_unneeded(&mut self, client: ClientId) {
        if self.state.clients.drop_unneeded(client) {
            self.forgotten(Forgotten { clients: vec![client], ..Forgotten::default() });
        }
    }

    /// Cancels what clients left behind whose lease has ended, unless somebody else waits for it.
    pub(crate) fn end_leases(&mut self) {
        while let Some((end, client)) = self.state.leases.first().copied() {
            if end > self.now.mono {
                return;
            }
            self.state.leases.pop_first();
            let State { tasks, clients, .. } = &*self.state;
            let waited_for = |task: &Task| {
                let watchers = task.rare.iter().flat_map(|rare| &rare.watchers);
                watchers.into_iter().any(|watcher| clients.is_alive(watcher.client))
            };
            let left = tasks.iter().filter(|(_, task)| task.id.client == client);
            let mut left: Vec<_> =
                left.filter(|(_, task)| !waited_for(task)).map(|(_, task)| task.id.seq).collect();
            left.sort_unstable();
            self.on_cancel(client, &left, None);
            if !left.is_empty() {
                self.wait_no_longer(client, true);
            }
        }
    }

    /// Clients that did not come back are waited for no longer.
    pub(crate) fn end_awaiting(&mut self) {
        while let Some((end, client)) = self.state.awaited.first().copied() {
            if end > self.now.mono {
                return;
            }
            self.wait_no_longer(client, false);
            self.drop_unneeded(client);
        }
    }

    fn wait_no_longer(&mut self, client: ClientId, lapsed: bool) {
        let Some(gone) = self.state.clients.get_mut(client) else { return };
        // Of a controller before this one it may know more than is known here.
        let Some(until) = gone.awaited.take() else { return };
        gone.lapsed = lapsed;
        self.state.awaited.remove(&(until, client));
        self.on_client_room(client);
        self.settle_where(|id, _| id.client == client);
    }
}
