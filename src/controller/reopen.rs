//! Opening a store: what the reactor is to know of it, and what people are to know.

use std::io;

use bytes::Bytes;

use super::Restored;
use super::keep::{Keep, Keeping, in_words};
use crate::store::{self, Damage, Outcome, Record, Recovered, Store, StoreError};
use crate::wire::{ClientId, Message, Parts, Status, TaskId};

/// What is told of trouble with a store.
pub(super) type Notes = Vec<String>;

impl Keep {
    /// Opens the store. Gives what the reactor is to know, the lowest number for a client, and what
    /// is wrong.
    pub(super) fn open(keeping: &Keeping) -> io::Result<(Self, Restored, u32, Notes)> {
        let directory = keeping.directory.clone();
        // The place itself may not be there yet.
        let disk = directory.ancestors().find_map(|place| store::Limits::of(place).ok());
        let (store, recovered) =
            Store::open(&directory, disk.unwrap_or_default()).map_err(in_words)?;
        let Recovered { torn, damage, next_client } = recovered;
        let mut notes: Notes = torn.iter().map(ToString::to_string).collect();
        notes.extend(damage.iter().map(ToString::to_string));
        let mut keep = Self::new(store, directory);
        for damage in &damage {
            keep.end_damaged(damage);
        }
        // What does not fit yet is tried again.
        let _ = keep.write();
        let restored = keep.restore(&mut notes).map_err(in_words)?;
        Ok((keep, restored, next_client, notes))
    }

    /// Tasks of which arguments or values are damaged end so, and are not run again.
    fn end_damaged(&mut self, damage: &Damage) {
        let lost = Outcome {
            id: TaskId { client: ClientId(0), seq: 0 },
            status: Status::Refused,
            engine: None,
            submitted: 0,
            started: 0,
            completed: 0,
        };
        let ended: Vec<Outcome> = match damage.record.as_deref() {
            Some(Record::Outcome(outcome)) => {
                vec![Outcome { status: Status::Refused, ..outcome.clone() }]
            }
            Some(Record::Submitted(tasks)) => {
                let at = tasks.at;
                let lost = |id| Outcome { id, submitted: at, completed: at, ..lost.clone() };
                tasks.tasks(0).map(|(id, _)| lost(id)).collect()
            }
            _ => return,
        };
        let text = Bytes::from(format!("what was stored of it cannot be used: {damage}"));
        for outcome in ended {
            let parts = Parts::from_buf([text.clone()]);
            self.queue.push_back(Message { head: Record::Outcome(outcome), parts });
        }
    }

    fn restore(&mut self, notes: &mut Notes) -> Result<Restored, StoreError> {
        let mut all = Restored::default();
        let mut whole = Vec::new();
        self.store.walk(|position, record| match record {
            Record::Client { client, session, lease, next } => {
                all.clients.push((client, session, lease, next));
            }
            Record::Outcome(outcome) => all.outcomes.push(outcome),
            Record::Attempt { id, attempt } => all.attempts.push((id, attempt)),
            Record::Function(_) | Record::Submitted(_) => whole.push(position),
            Record::Forgotten(_) => {}
        })?;
        for position in whole {
            match self.store.read(position) {
                Ok(Message { head: Record::Function(id), mut parts }) => {
                    all.funcs.extend(parts.pop().map(|body| (id, body)));
                }
                Ok(Message { head: Record::Submitted(tasks), parts }) => {
                    all.tasks.push((tasks, parts));
                }
                Ok(_) => {}
                Err(error) => notes.push(error.to_string()),
            }
        }
        Ok(all)
    }
}
