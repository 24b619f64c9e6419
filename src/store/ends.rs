//! How tasks end of which what was stored is damaged: with a text that says so, and where. They are
//! not run again, since nobody knows with what, or that they had ended before.
//!
//! That is written before the file is set aside which is all that speaks of them.

use bytes::Bytes;

use crate::wire::{Message, Parts, Status, TaskId};

use super::error::Damage;
use super::journal::{Position, Store};
use super::record::{Key, Outcome, Record};

impl Store {
    /// The outcomes of those tasks of a damaged record at this position for which it still counts.
    pub(super) fn ends(&self, at: Position, damage: &Damage) -> Vec<Message<Record>> {
        let counts = |key: Key| self.index.counts(key, at);
        let ended: Vec<Outcome> = match damage.record.as_deref() {
            Some(Record::Outcome(outcome)) if counts(Key::Outcome(outcome.id)) => {
                vec![Outcome { status: Status::Refused, ..outcome.clone() }]
            }
            Some(Record::Submitted(tasks)) => {
                let ids = tasks.tasks(0).map(|(id, _)| id);
                let ids = ids.filter(|id| counts(Key::Pending(*id)));
                ids.map(|id| refused(id, tasks.at)).collect()
            }
            _ => Vec::new(),
        };
        let text = Bytes::from(format!("what was stored of it cannot be used: {damage}"));
        let ended = ended.into_iter().map(Record::Outcome);
        ended.map(|head| Message { head, parts: Parts::from_buf([text.clone()]) }).collect()
    }
}

fn refused(id: TaskId, at: i64) -> Outcome {
    let status = Status::Refused;
    Outcome { id, status, engine: None, submitted: at, started: 0, completed: at }
}
