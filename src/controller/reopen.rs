//! Opening a store: what the reactor is to know of it, and what people are to know.

use std::io;
use std::path::PathBuf;

use super::Restored;
use super::keep::{Keep, Keeping, in_words};
use crate::store::{self, Key, Record, Recovered, Store, StoreError};
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
        let Recovered { torn, damage, ends, next_client } = recovered;
        let mut notes: Notes = torn.iter().map(ToString::to_string).collect();
        notes.extend(damage.iter().map(ToString::to_string));
        let mut keep = Self::new(store, directory);
        let mut restored = keep.restore(&mut notes)?;
        // They have ended, though the disk is too full to say so yet.
        restored.outcomes.extend(ends.iter().filter_map(|end| match &end.head {
            Record::Outcome(outcome) if keep.store.find(Key::Outcome(outcome.id)).is_none() => {
                Some(outcome.clone())
            }
            _ => None,
        }));
        keep.queue.extend(ends);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::simulated::Simulated;
    use crate::store::{Class, Limits, Outcome, Spread, Submitted};
    use crate::wire::{ClientId, FuncId, Kind, Parts, Rules, Status, Target, TaskId};

    #[test]
    fn what_is_damaged_on_a_full_disk_has_ended_and_is_written_when_there_is_room() {
        let limits = Limits { reserve: 0, ..Limits::default() };
        let disk = Simulated::default();
        let open = || Store::open_on(Box::new(disk.clone()), limits).unwrap();
        let client = ClientId(1);
        let tasks = Submitted {
            client,
            runs: vec![(0, 2)],
            func: FuncId([1; 16]),
            kind: Kind::Apply,
            rules: Rules::default(),
            at: 7,
            spread: Spread::Balanced(Target::Any, vec![1, 1]),
        };
        let parts = Parts::from_iter([&b"hurt"[..], b"good"].map(Into::into));
        let entry = Message { head: Record::Submitted(tasks), parts };
        open().0.append(Class::New, &[entry]).unwrap();
        let (name, _) = disk.files(".journal").remove(0);
        disk.change(&name, |bytes| {
            let at = bytes.windows(4).position(|some| some == b"hurt").unwrap();
            bytes[at] = b'H';
        });
        disk.set_room(Some(disk.used()));

        let (mut keep, all, ..) = Keep::go_on(PathBuf::new(), open()).unwrap();
        let [Outcome { id, status: Status::Refused, .. }] = all.outcomes[..] else {
            panic!("one has ended")
        };
        assert_eq!(id, TaskId { client, seq: 0 });
        let [(tasks, parts)] = &all.tasks[..] else { panic!("one is pending") };
        assert_eq!((&tasks.runs[..], &parts[..]), (&[(1, 1)][..], &[b"good"[..].into()][..]));
        assert!(keep.flush().is_err());
        disk.set_room(None);
        keep.flush().unwrap();
        drop(keep);
        let (_, again, ..) = Keep::go_on(PathBuf::new(), open()).unwrap();
        assert_eq!((again.outcomes, again.tasks), (all.outcomes, all.tasks));
    }
}
