//! A store at work: appending and finding.

use std::borrow::Cow;
use std::collections::BTreeSet;

use bytes::Bytes;

use crate::wire::{Message, TaskId};

use super::disk::Open;
use super::error::{Damage, StoreError};
use super::index::{Index, Shape};
use super::limits::Limits;
use super::place::Place;
use super::record::{Key, Record};
use super::reserve::Reserve;
use super::tail::Tail;

/// Where a record lies. It is no longer there after something else was appended, since records that
/// count are moved together; [`Store::find`] tells where it is then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The number of the file.
    pub file: u64,
    /// The byte in it.
    pub at: u64,
}

/// Whether a record may take the last room there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// It begins something: refused before the reserve is touched.
    New,
    /// It is due for something that was begun: it may use the reserve.
    Due,
}

/// A store in use.
#[derive(Debug)]
pub struct Store {
    pub(super) place: Place,
    pub(super) limits: Limits,
    pub(super) index: Index,
    pub(super) tail: Option<Tail>,
    pub(super) next_file: u64,
    /// Files before the tail that were not synced since they were written to.
    pub(super) unsynced: BTreeSet<u64>,
    pub(super) reserve: Reserve,
    /// The byte up to which the oldest file was copied, if that is under way.
    pub(super) copied: Option<u64>,
    /// Whether moving records together failed for another reason than lack of space.
    pub(super) stuck: bool,
    /// What was found to be damaged and not yet told.
    pub(super) damage: Vec<Damage>,
    /// Tasks of damaged records whose ends were not written when it was opened.
    pub(super) unended: BTreeSet<(Position, TaskId)>,
}

impl Store {
    /// Appends records: all of them or, with an error, none. They survive the end of this process, and
    /// a loss of power once [`Store::sync`] returned. Tells where the first lies.
    ///
    /// # Errors
    /// [`StoreError::Full`] if there is no room, [`StoreError::Unwritable`] if a record is not one.
    pub fn append(
        &mut self,
        class: Class,
        entries: &[Message<Record>],
    ) -> Result<Option<Position>, StoreError> {
        let mut done = self.try_append(class, entries);
        if matches!(done, Err(StoreError::Full { .. })) && self.reclaim() {
            done = self.try_append(class, entries);
        }
        let first = done?;
        let bytes = entries.iter().flat_map(|entry| &entry.parts).map(Bytes::len).sum::<usize>();
        self.tidy(2 * bytes as u64 + 256 * entries.len() as u64 + 4096);
        Ok(first)
    }

    pub(super) fn try_append(
        &mut self,
        class: Class,
        entries: &[Message<Record>],
    ) -> Result<Option<Position>, StoreError> {
        match class {
            Class::New => {
                self.reserve.restore(self.place.disk())?;
                self.write(entries)
            }
            Class::Due => match self.write(entries) {
                Err(StoreError::Full { .. }) if self.reserve.give_up(self.place.disk()) => {
                    self.write(entries)
                }
                done => done,
            },
        }
    }

    /// Gives up the reserve, for what is due beside the journal; `false` if it was given up before.
    pub fn spare(&mut self) -> bool {
        self.reserve.give_up(self.place.disk())
    }

    /// Writes records and counts them.
    pub(super) fn write(
        &mut self,
        entries: &[Message<Record>],
    ) -> Result<Option<Position>, StoreError> {
        let entries = self.raised(entries);
        if self.tail.as_ref().is_some_and(|tail| tail.len() >= self.limits.file) {
            self.retire();
        }
        let tail = match self.tail.take() {
            Some(tail) => self.tail.insert(tail),
            None => self.roll()?,
        };
        let before = tail.len();
        let written = tail.write(&entries)?;
        let (number, len) = (tail.number(), tail.len());
        self.index.file(number).len += len - before;
        for (entry, (position, before)) in entries.iter().zip(&written) {
            let parts: Vec<_> = entry.parts.iter().map(|part| (part.len() as u64, 0)).collect();
            let shape = Shape { record: &entry.head, parts: &parts, before: *before };
            self.index.apply(*position, &shape);
        }
        Ok(written.first().map(|(position, _)| *position))
    }

    /// Appends nothing more to the present file.
    pub(super) fn retire(&mut self) {
        self.unsynced.extend(self.tail.take().map(|tail| tail.number()));
    }

    /// Begins another file.
    fn roll(&mut self) -> Result<&mut Tail, StoreError> {
        let number = self.next_file;
        let tail = Tail::create(&self.place, number)?;
        self.next_file += 1;
        self.unsynced.insert(number);
        self.index.file(number).len = tail.len();
        Ok(self.tail.insert(tail))
    }

    /// Entries with what is known of the numbers of clients.
    fn raised<'a>(&self, entries: &'a [Message<Record>]) -> Cow<'a, [Message<Record>]> {
        let low = |entry: &Message<Record>| match &entry.head {
            Record::Client { client, next, .. } => self.index.next(*client) > *next,
            _ => false,
        };
        if !entries.iter().any(low) {
            return Cow::Borrowed(entries);
        }
        let mut entries = entries.to_vec();
        for entry in &mut entries {
            if let Record::Client { client, next, .. } = &mut entry.head {
                *next = self.index.next(*client).max(*next);
            }
        }
        Cow::Owned(entries)
    }

    /// What was appended so far survives a loss of power when this returns.
    pub fn sync(&mut self) -> Result<(), StoreError> {
        if let Some(tail) = &mut self.tail {
            tail.sync()?;
        }
        if self.unsynced.is_empty() {
            return Ok(());
        }
        let tail = self.tail.as_ref().map(Tail::number);
        for number in self.unsynced.iter().filter(|number| Some(**number) != tail) {
            let synced = self.place.open(*number, Open::Read)?.sync();
            synced.map_err(StoreError::io(&self.place.file(*number)))?;
        }
        self.place.sync()?;
        self.unsynced.clear();
        Ok(())
    }

    /// Where the record lies that counts for this key.
    pub fn find(&self, key: Key) -> Option<Position> {
        self.index.find(key)
    }

    /// All keys for which there is a record.
    pub fn keys(&self) -> impl Iterator<Item = Key> {
        self.index.keys()
    }

    /// Bytes of all files, and bytes of the records that count.
    pub fn sizes(&self) -> (u64, u64) {
        self.index.sizes()
    }

    /// Damage that was found since this was last asked.
    pub fn take_damage(&mut self) -> Vec<Damage> {
        std::mem::take(&mut self.damage)
    }
}
