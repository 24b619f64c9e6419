//! Opening a store: what the reactor is to know of it, and what people are to know.

use std::io;
use std::path::PathBuf;

use super::Restored;
use super::keep::{Keep, Keeping, in_words};
use crate::store::{self, Record, Recovered, Store, StoreError};
use crate::wire::Message;

/// What is told of trouble with a store.
pub(crate) type Notes = Vec<String>;

impl Keep {
    /// Opens the store. Gives what the reactor is to know, the lowest number for a client, and what
    /// is wrong.
    pub(super) fn open(keeping: &Keeping) -> io::Result<(Self, Restored, u32, Notes)> {
        let directory = keeping.directory.clone();
        // The place itself may not be there yet.
        let disk = directory.ancestors().find_map(|place| store::Limits::of(place).ok());
        let opened = Store::open(&directory, disk.unwrap_or_default()).map_err(in_words)?;
        Self::go_on(directory, opened).map_err(in_words)
    }

    /// As [`Keep::open`], with a store that was opened.
    pub(crate) fn go_on(
        directory: PathBuf,
        (store, recovered): (Store, Recovered),
    ) -> Result<(Self, Restored, u32, Notes), StoreError> {
        let Recovered { torn, damage, next_client } = recovered;
        let mut notes: Notes = torn.iter().map(ToString::to_string).collect();
        notes.extend(damage.iter().map(ToString::to_string));
        let keep = Self::new(store, directory);
        let restored = keep.restore(&mut notes)?;
        Ok((keep, restored, next_client, notes))
    }

    fn restore(&self, notes: &mut Notes) -> Result<Restored, StoreError> {
        let mut all = Restored::default();
        let mut whole = Vec::new();
        self.store.walk(|position, record| match record {
            Record::Client { client, session, lease, next } => {
                all.clients.push((client, session, lease, next));
            }
            Record::Outcome(outcome) => all.outcomes.push(outcome),
            Record::Attempt { id, attempt } => all.attempts.push((id, attempt)),
            Record::Cancelled(id) => all.cancelled.push(id),
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
