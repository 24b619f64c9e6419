//! Tasks of clients that take nothing: what such a client was told waits in the controller, so
//! nothing more is begun for it until it takes again. So it is with one that is away, and of which the
//! outcomes would soon be too much to keep.
//!
//! A task is *parked* when its turn comes while its client is full. It stands in its client's list
//! then instead of its lane's queue, and goes back to its place in the queue when there is room.

use bytes::Bytes;

use crate::wire::ClientId;

use super::outcomes::Outcome;
use super::state::{State, Turn};
use super::tasks::TaskKey;

impl State {
    /// Parks a task that stands in no list if its client is full.
    pub(crate) fn park(&mut self, key: TaskKey) -> bool {
        let client = self.tasks.get(key).id.client;
        let Some(list) = self.parked.get_mut(&client) else { return false };
        list.push_back(&mut self.tasks, key);
        self.tasks.get_mut(key).set_parked(true);
        true
    }

    /// Takes a task that waits for an engine out of the list in which it waits.
    pub(crate) fn withdraw(&mut self, key: TaskKey) {
        let task = self.tasks.get(key);
        if task.is_waiting() {
            return self.stop_waiting(key);
        }
        let (client, lane, parked) = (task.id.client, task.lane(), task.is_parked());
        if parked && let Some(list) = self.parked.get_mut(&client) {
            list.remove(&mut self.tasks, key);
            self.tasks.get_mut(key).set_parked(false);
        } else if let Some(lane) = lane {
            self.lanes.get_mut(lane).queue.remove(&mut self.tasks, key);
        }
    }

    /// Tasks that wait for an engine.
    pub(crate) fn waiting(&self) -> u64 {
        let parked: u64 = self.parked.values().map(|list| u64::from(list.len())).sum();
        let resumed: u64 = self.waiting_lists().map(|list| u64::from(list.len())).sum();
        self.lanes.waiting() + parked + resumed
    }
}

impl Turn<'_> {
    /// A client leaves what it is told lying.
    pub(crate) fn on_client_full(&mut self, client: ClientId) {
        if self.state.clients.is_alive(client) {
            self.state.parked.entry(client).or_default();
        }
    }

    /// An outcome of a client's was kept. If it is away, and so much is kept for those who are that some
    /// of it would have to be dropped soon, nothing more is begun for it until it is back.
    pub(crate) fn stop_before_dropping(&mut self, client: ClientId) {
        let State { clients, outcomes, limits, parked, .. } = &mut *self.state;
        if outcomes.orphan_bytes() > limits.orphan_bytes / 2 && clients.is_awaited(client) {
            parked.entry(client).or_default();
        }
    }

    /// It takes again, or is gone, or is waited for no longer.
    pub(crate) fn on_client_room(&mut self, client: ClientId) {
        let state = &mut *self.state;
        let Some(list) = state.parked.remove(&client) else { return };
        let tasks: Vec<_> = list.iter(&state.tasks).collect();
        for key in &tasks {
            state.tasks.get_mut(*key).set_parked(false);
        }
        self.put_back(&tasks);
        self.spread_all(&tasks);
    }

    /// Refuses what waits, queued or parked, for a lane of which no engine lives any more.
    pub(crate) fn refuse_waiting(&mut self, lane: u32, text: &Bytes) {
        let state = &mut *self.state;
        let queue = &state.lanes.get(lane).queue;
        let mut waiting: Vec<_> = queue.iter(&state.tasks).collect();
        for list in state.parked.values() {
            let here = |key: &TaskKey| state.tasks.get(*key).lane() == Some(lane);
            waiting.extend(list.iter(&state.tasks).filter(here));
        }
        for key in waiting {
            self.state.withdraw(key);
            self.finish(key, Outcome::refused(text));
        }
    }
}
