//! The end of a task: told once to everybody concerned, then kept for a while.

use bytes::Bytes;

use crate::store::Forgotten;
use crate::wire::{ClientId, EngineId, Message, Parts, Stamp, Status, TaskId, ToClient, ToEngine};

use super::lanes::ANY;
use super::outcomes::{Kept, Outcome, Standing};
use super::state::Turn;
use super::tasks::{TaskKey, Watcher};

impl Outcome {
    /// An outcome without a value of a task that may have been with an engine.
    pub(crate) fn bare(status: Status, engine: Option<EngineId>) -> Self {
        Self { status, engine, started: 0, completed: 0, parts: Parts::new() }
    }

    /// A refusal with its reason.
    pub(crate) fn refused(text: &Bytes) -> Self {
        let parts = Parts::from_buf([text.clone()]);
        Self { parts, ..Self::bare(Status::Refused, None) }
    }

    /// The outcome as it is told under a number of the hearer's.
    pub(crate) fn message(self, seq: u64, submitted: Option<Stamp>) -> Message<ToClient> {
        let Self { status, engine, started, completed, parts } = self;
        let head = ToClient::Result { seq, status, engine, submitted, started, completed };
        Message { head, parts }
    }
}

impl Turn<'_> {
    /// Ends a task that stands in no list.
    pub(crate) fn finish(&mut self, key: TaskKey, outcome: Outcome) {
        let task = self.state.tasks.remove(key);
        let watchers = task.rare.as_ref().map_or(&[][..], |rare| &rare.watchers);
        let stored = self.state.limits.store;
        self.tell(task.id, (task.order, task.submitted), watchers, outcome, stored);
        let clients = &self.state.clients;
        if !clients.is_alive(task.id.client) && !clients.is_awaited(task.id.client) {
            self.forget_spent_task(task.id);
        }
        if let Some(lane) = task.lane() {
            self.leave_lane(lane);
        }
        self.state.funcs.get_mut(task.func).tasks -= 1;
        self.drop_func(task.func);
    }

    /// Refuses tasks that never were entered; `stored` says whether the store took them before.
    pub(crate) fn refuse(
        &mut self,
        client: ClientId,
        seqs: impl Iterator<Item = u64>,
        text: String,
        stored: bool,
    ) {
        let text = Bytes::from(text);
        let stored = stored && self.state.limits.store;
        for seq in seqs {
            self.state.clients.learn(client, 1);
            let order = self.next_order();
            let id = TaskId { client, seq };
            self.tell(id, (order, self.now.wall), &[], Outcome::refused(&text), stored);
        }
    }

    fn leave_lane(&mut self, lane: u32) {
        let tasks = &mut self.state.lanes.get_mut(lane).tasks;
        *tasks -= 1;
        if *tasks > 0 || lane == ANY {
            return;
        }
        for engine in self.state.lanes.close(lane) {
            self.state.engines.live(engine).cold.lanes.retain(|other| *other != lane);
        }
    }

    /// Drops a function that nobody needs, here and on the engines.
    pub(crate) fn drop_func(&mut self, key: u32) {
        let Some(func) = self.state.funcs.drop_unneeded(key) else { return };
        self.forgotten(Forgotten { funcs: vec![func.id], ..Forgotten::default() });
        let mut known: Vec<_> = func.known.into_iter().collect();
        known.sort_unstable();
        for engine in known {
            let there = self.state.engines.live(engine);
            there.forget_func(key);
            self.tell_engine(engine, Message::bare(ToEngine::Forget(func.id)));
        }
    }

    fn tell(
        &mut self,
        id: TaskId,
        (order, submitted): (u64, Stamp),
        watchers: &[Watcher],
        mut outcome: Outcome,
        stored: bool,
    ) {
        if stored {
            self.write_outcome(id, submitted, &outcome);
        }
        let heard = self.state.hears(id.client, id.seq);
        if heard {
            self.tell_client(id.client, outcome.clone().message(id.seq, None));
        }
        for watcher in watchers {
            if self.state.hears(watcher.client, watcher.seq) {
                let message = outcome.clone().message(watcher.seq, Some(submitted));
                self.tell_client(watcher.client, message);
                if stored {
                    self.state.lend(*watcher, id);
                }
            }
        }
        let mut size = 0;
        if stored {
            let parts = std::mem::take(&mut outcome.parts);
            size = parts.iter().map(|part| part.len() as u64).sum();
        }
        let until = self.now.mono.saturating_add(self.state.limits.orphan_time);
        let standing = match heard && !stored {
            false => Standing::Orphan,
            true if self.state.limits.receipts => Standing::Unheard,
            true => Standing::Told,
        };
        let kept = Kept { outcome, submitted, order, standing, until, stored, size };
        self.drop_outcomes(|outcomes, limits, dropped| outcomes.keep(id, kept, limits, dropped));
        self.stop_before_dropping(id.client);
    }

    /// Drops outcomes that have been kept long enough.
    pub(crate) fn expire(&mut self) {
        let mono = self.now.mono;
        self.drop_outcomes(|outcomes, _, dropped| outcomes.expire(mono, dropped));
    }
}
