//! Which outcomes engines have to keep, because a controller that ends now would take the only
//! other copy with it.
//!
//! An engine whose controller may be followed by another keeps what it told until that is *settled*:
//! the client that wanted it has it, or nobody wants it. Clients say what has arrived; what they say
//! of outcomes is passed on to the engines these came from. For a client that is gone and may come
//! back they are kept, too, as long as the controller keeps them itself, so no more than it does.
//!
//! Where there is a store, an outcome is settled as soon as it is written there; what clients say of it
//! then decides for how long the store keeps it.

use crate::wire::{ClientId, EngineId, Message, TaskId, ToEngine};

use super::hash::Map;
use super::outcomes::Outcomes;
use super::state::{State, Turn};

/// Outcomes that clients are told, or will be when they come back, and that have not arrived: who
/// keeps each, under which ticket, and which attempt it is of, 0 if its task was never begun.
pub(crate) type Receipts = Map<TaskId, (EngineId, u64, u16)>;

/// Outcomes that engines keep in all when another comes for a client that is away. The ledger has a
/// place for each.
const AWAY_MAX: usize = 1 << 18;

impl Turn<'_> {
    /// The outcome of a task is about to be told, or to be kept for its client.
    pub(crate) fn expect_receipt(&mut self, id: TaskId, kept: (EngineId, u64, u16)) {
        let state = &mut *self.state;
        let Some(receipts) = &mut state.receipts else { return };
        let away = state.clients.is_awaited(id.client) && receipts.len() < AWAY_MAX;
        if away || state.clients.is_alive(id.client) {
            receipts.insert(id, kept);
        } else {
            self.settle(kept.0, kept.1);
        }
    }

    /// Whether the owner of a task has been told this outcome and has not said that it has it.
    pub(crate) fn is_expected(&self, id: TaskId, engine: EngineId, ticket: u64) -> bool {
        let receipts = self.state.receipts.as_ref();
        let kept = receipts.and_then(|receipts| receipts.get(&id));
        kept.is_some_and(|(by, at, _)| (*by, *at) == (engine, ticket))
    }

    /// An engine need not keep what it told.
    pub(crate) fn settle(&mut self, engine: EngineId, ticket: u64) {
        self.settle_all(vec![(engine, ticket)]);
    }

    /// Outcomes have arrived at their client: runs of first number and how many.
    pub(crate) fn on_took(&mut self, client: ClientId, runs: &[(u64, u64)]) {
        self.take_arrived(client, runs);
        let Some(receipts) = &mut self.state.receipts else { return };
        let mut settled = Vec::new();
        for (first, count) in runs {
            // A client may name more than it can have been told; then the look goes the other way.
            if *count <= receipts.len() as u64 {
                let seqs = *first..first.saturating_add(*count);
                settled.extend(seqs.filter_map(|seq| receipts.remove(&TaskId { client, seq })));
            } else {
                let named =
                    |id: &TaskId| id.client == client && id.seq.wrapping_sub(*first) < *count;
                settled.extend(receipts.extract_if(|id, _| named(id)).map(|(_, kept)| kept));
            }
        }
        self.settle_all(settled.into_iter().map(at).collect());
        self.forget_spent_of(client, runs);
    }

    /// Nobody waits any more for these of what was told or is to be.
    pub(crate) fn settle_where(&mut self, unwanted: impl Fn(TaskId, &Outcomes) -> bool) {
        let State { receipts, outcomes, .. } = &mut *self.state;
        let Some(receipts) = receipts else { return };
        let settled = receipts.extract_if(|id, _| unwanted(*id, outcomes));
        let settled = settled.map(|(_, kept)| at(kept)).collect();
        self.settle_all(settled);
        self.forget_spent_where(unwanted);
    }

    pub(crate) fn settle_all(&mut self, mut settled: Vec<(EngineId, u64)>) {
        if self.state.receipts.is_none() {
            return;
        }
        settled.sort_unstable();
        for of_one in settled.chunk_by(|(one, _), (other, _)| one == other) {
            let engine = of_one[0].0;
            if self.state.engines.get(engine).is_some() {
                let tickets = of_one.iter().map(|(_, ticket)| *ticket).collect();
                self.tell_engine(engine, Message::bare(ToEngine::Settled(tickets)));
            }
        }
    }
}

pub(super) fn at((engine, ticket, _): (EngineId, u64, u16)) -> (EngineId, u64) {
    (engine, ticket)
}
