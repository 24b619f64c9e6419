//! Which records count, and where they lie.
//!
//! Held in memory: one entry of some fifty bytes for each function, client, pending task and outcome,
//! and a line per file. Nothing of what the records say.
//!
//! Records are applied in the order of the files. Each key has at most one entry; a later record
//! takes its place, so a record that was copied counts where it was copied to.

use std::collections::BTreeMap;

use crate::wire::message::WATCHED;
use crate::wire::{ClientId, TaskId};

use super::Position;
use super::frame::Part;
use super::record::{Key, Record};
use super::submitted::Spread;

/// Where the record lies that counts for a key.
#[derive(Clone, Copy, Debug)]
struct Spot {
    position: Position,
    /// Its share of the bytes of the record.
    bytes: u64,
}

/// One file.
#[derive(Clone, Debug, Default)]
pub(super) struct Book {
    /// Bytes in it.
    pub(super) len: u64,
    /// Bytes of records that count.
    pub(super) live: u64,
    /// Keys whose record is here.
    pub(super) keys: u64,
    /// Whether something here says what was forgotten.
    pub(super) forgets: bool,
    /// Whether something here is damaged.
    pub(super) damaged: bool,
}

/// A record, as far as the index needs it.
pub(super) struct Shape<'a> {
    pub(super) record: &'a Record,
    pub(super) parts: &'a [Part],
    /// Bytes of frame and head, and of their copies.
    pub(super) before: u64,
}

#[derive(Debug, Default)]
pub(super) struct Index {
    spots: BTreeMap<Key, Spot>,
    /// The lowest number each client may use next.
    next: BTreeMap<ClientId, u64>,
    /// The lowest number that no client was seen to have.
    pub(super) next_client: u32,
    pub(super) files: BTreeMap<u64, Book>,
    /// Bytes of records that count, in all files.
    live: u64,
    /// Whether a file may have become one without a record that counts.
    pub(super) emptied: bool,
}

impl Index {
    /// Enters a record.
    pub(super) fn apply(&mut self, at: Position, shape: &Shape) {
        let Shape { record, parts, before } = shape;
        let all = before + parts.iter().map(|(len, _)| len).sum::<u64>();
        match record {
            Record::Function(id) => self.put(Key::Function(*id), at, all),
            Record::Client { client, next, .. } => {
                self.see(*client, *next);
                self.put(Key::Client(*client), at, all);
            }
            Record::Submitted(tasks) => {
                let count = tasks.len() as u64;
                let direct = matches!(tasks.spread, Spread::Direct(_));
                for (id, own) in tasks.tasks(parts.len()) {
                    self.saw(id, 1);
                    let own = parts[own].iter().map(|(len, _)| len).sum::<u64>();
                    let bytes = if direct { all / count } else { own + before / count };
                    self.put(Key::Pending(id), at, bytes);
                }
            }
            Record::Attempt { id, .. } => {
                // The task may come later: what counts of it was perhaps copied.
                self.saw(*id, 1);
                self.put(Key::Attempt(*id), at, all);
            }
            Record::Cancelled(id) => {
                self.saw(*id, 1);
                self.put(Key::Cancelled(*id), at, all);
            }
            Record::Outcome(outcome) => {
                self.saw(outcome.id, 1);
                self.take(Key::Pending(outcome.id));
                self.take(Key::Attempt(outcome.id));
                self.take(Key::Cancelled(outcome.id));
                self.put(Key::Outcome(outcome.id), at, all);
            }
            Record::Forgotten(forgotten) => {
                forgotten.funcs.iter().for_each(|id| self.take(Key::Function(*id)));
                for client in &forgotten.clients {
                    self.see(*client, 0);
                    self.next.remove(client);
                    self.take(Key::Client(*client));
                }
                for &(client, seq, count) in &forgotten.tasks {
                    self.forget(TaskId { client, seq }, count);
                }
                self.file(at.file).forgets = true;
            }
        }
    }

    fn forget(&mut self, first: TaskId, count: u64) {
        self.saw(first, count);
        let Some(more) = count.checked_sub(1) else { return };
        let last = TaskId { seq: first.seq.saturating_add(more), ..first };
        for key in [Key::Pending, Key::Attempt, Key::Cancelled, Key::Outcome] {
            let there = self.spots.range(key(first)..=key(last));
            let keys: Vec<Key> = there.map(|(key, _)| *key).collect();
            for key in keys {
                self.take(key);
            }
        }
    }

    fn put(&mut self, key: Key, position: Position, bytes: u64) {
        self.take(key);
        self.spots.insert(key, Spot { position, bytes });
        self.live += bytes;
        let file = self.file(position.file);
        file.live += bytes;
        file.keys += 1;
    }

    /// What counted for a key no longer does.
    pub(super) fn take(&mut self, key: Key) {
        if let Some(Spot { position, bytes }) = self.spots.remove(&key) {
            self.live -= bytes;
            let file = self.file(position.file);
            file.live -= bytes;
            file.keys -= 1;
            self.emptied |= file.keys == 0;
        }
    }

    pub(super) fn file(&mut self, number: u64) -> &mut Book {
        self.files.entry(number).or_default()
    }

    /// Numbers of a client's tasks are in use.
    fn saw(&mut self, first: TaskId, count: u64) {
        let end = first.seq.saturating_add(count);
        self.see(first.client, if first.seq < WATCHED { end.min(WATCHED) } else { 0 });
    }

    fn see(&mut self, client: ClientId, next: u64) {
        self.next_client = self.next_client.max(client.0.saturating_add(1));
        let known = self.next.entry(client).or_default();
        *known = next.max(*known);
    }

    /// The lowest number a client may use next.
    pub(super) fn next(&self, client: ClientId) -> u64 {
        self.next.get(&client).copied().unwrap_or(0)
    }

    /// Drops what belongs to clients and tasks of which nothing else is known; call it when all files
    /// were read.
    pub(super) fn settle(&mut self) {
        let first = TaskId { client: ClientId(0), seq: 0 };
        let attempts = self.spots.range(Key::Attempt(first)..Key::Outcome(first));
        let alone = attempts.filter_map(|(key, _)| match key {
            Key::Attempt(id) | Key::Cancelled(id)
                if !self.spots.contains_key(&Key::Pending(*id)) =>
            {
                Some(*key)
            }
            _ => None,
        });
        for key in alone.collect::<Vec<_>>() {
            self.take(key);
        }
        let spots = &self.spots;
        self.next.retain(|client, _| spots.contains_key(&Key::Client(*client)));
    }

    /// Where the record for a key lies.
    pub(super) fn find(&self, key: Key) -> Option<Position> {
        self.spots.get(&key).map(|spot| spot.position)
    }

    /// Whether the record at this position is the one that counts for a key.
    pub(super) fn counts(&self, key: Key, position: Position) -> bool {
        self.find(key) == Some(position)
    }

    /// Keys whose records are in this file; looks at all there are.
    pub(super) fn keys_in(&self, file: u64) -> Vec<Key> {
        let here = self.spots.iter().filter(|(_, spot)| spot.position.file == file);
        here.map(|(key, _)| *key).collect()
    }

    /// All keys, each sort in order.
    pub(super) fn keys(&self) -> impl Iterator<Item = Key> {
        self.spots.keys().copied()
    }

    /// Bytes of all files, and bytes of the records that count.
    pub(super) fn sizes(&self) -> (u64, u64) {
        (self.files.values().map(|file| file.len).sum(), self.live)
    }
}
