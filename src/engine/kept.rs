//! What this engine told and keeps, because the controller that heard it may end before it has
//! passed it on.
//!
//! Only where another controller may follow; elsewhere nothing is kept. An outcome stays until the
//! controller says that it is settled. It is bounded by what the controller lets a client leave
//! lying: beyond that no task of that client is begun.

use std::collections::BTreeMap;

use crate::wire::{FromEngine, Message};

/// See the head of this file.
#[derive(Default)]
pub(crate) struct Kept {
    keeps: bool,
    /// Outcomes, by their tickets.
    told: BTreeMap<u64, Message<FromEngine>>,
}

impl Kept {
    /// From now on outcomes are kept, or not.
    pub(crate) fn keep(&mut self, keeps: bool) {
        self.keeps = keeps;
        self.told.clear();
    }

    /// Something is about to be told.
    pub(crate) fn note(&mut self, message: &Message<FromEngine>) {
        if let (true, FromEngine::Result { ticket, .. }) = (self.keeps, &message.head) {
            self.told.insert(*ticket, message.clone());
        }
    }

    /// These are settled.
    pub(crate) fn settle(&mut self, tickets: &[u64]) {
        for ticket in tickets {
            self.told.remove(ticket);
        }
    }

    /// What a controller that comes anew is to be told: the outcomes in the order of their tickets,
    /// and which these are, since large ones may arrive late.
    pub(crate) fn again(&self) -> impl Iterator<Item = Message<FromEngine>> {
        let ids = self.told.values().filter_map(|message| match message.head {
            FromEngine::Result { id, .. } => Some(id),
            _ => None,
        });
        let all = Message::bare(FromEngine::Back(ids.collect()));
        self.told.values().cloned().chain([all])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{ClientId, Status, TaskId};

    fn outcome(ticket: u64) -> Message<FromEngine> {
        let (id, status) = (TaskId { client: ClientId(1), seq: ticket }, Status::Ok);
        Message::bare(FromEngine::Result { id, ticket, status, started: 1, completed: 2 })
    }

    #[test]
    fn what_is_not_settled_is_told_again_in_order_and_then_that_it_was_all() {
        let mut kept = Kept::default();
        kept.note(&outcome(1));
        kept.keep(true);
        for ticket in [4, 2, 3] {
            kept.note(&outcome(ticket));
        }
        kept.note(&Message::bare(FromEngine::Returned(Vec::new())));
        kept.settle(&[3, 9]);
        let again: Vec<_> = kept.again().collect();
        let ids = [2, 4].map(|seq| TaskId { client: ClientId(1), seq });
        let all = Message::bare(FromEngine::Back(ids.to_vec()));
        assert_eq!(again, [outcome(2), outcome(4), all]);
        kept.keep(true);
        assert_eq!(kept.again().count(), 1, "of a session that was not resumed nothing is told");
    }
}
