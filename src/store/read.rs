//! Reading what counts.

use std::ops::Range;
use std::path::Path;

use crate::wire::{Message, Parts};

use super::disk::Open;
use super::error::{Damage, StoreError};
use super::journal::{Position, Store};
use super::record::{Key, Record};
use super::scan::{Content, Scan, Step, Stored};

/// What of a record counts, and which of its parts.
pub(super) type Counted = (Record, Vec<Range<usize>>);

impl Store {
    /// Reads the record at this position; of a submission only what is pending.
    ///
    /// # Errors
    /// [`StoreError::Absent`] if there is none that counts, [`StoreError::Damaged`] if it is not what
    /// was written.
    pub fn read(&self, position: Position) -> Result<Message<Record>, StoreError> {
        let path = self.place.file(position.file);
        let absent = || StoreError::Absent { path: path.clone(), at: position.at };
        if !self.index.files.contains_key(&position.file) {
            return Err(absent());
        }
        let mut scan = self.scan(position.file, position.at)?.single();
        let stored = match scan.step().map_err(StoreError::io(&path))? {
            Some(Step::Record(stored)) => stored,
            Some(step) => return Err(StoreError::Damaged(Box::new(damage(&path, &step)))),
            None => return Err(absent()),
        };
        let (record, ranges) = self.counted(position, &stored).ok_or_else(absent)?;
        read_parts(&path, scan.source(), &stored, record, &ranges)
    }

    /// Shows the head of every record that counts, in the order of their positions; of submissions
    /// only what is pending. Tasks may come before the clients and functions they name.
    ///
    /// # Errors
    /// Those of reading.
    pub fn walk(&self, mut visit: impl FnMut(Position, Record)) -> Result<(), StoreError> {
        for (&file, book) in &self.index.files {
            if book.keys == 0 {
                continue;
            }
            let path = self.place.file(file);
            let mut scan = self.scan(file, 0)?.heads();
            while let Some(step) = scan.step().map_err(StoreError::io(&path))? {
                let Step::Record(stored) = step else { continue };
                let position = Position { file, at: stored.at };
                if let Some((record, _)) = self.counted(position, &stored) {
                    visit(position, record);
                }
            }
        }
        Ok(())
    }

    /// Reads the file with this number from a byte on, as far as it was written.
    pub(super) fn scan(&self, number: u64, at: u64) -> Result<Scan<Content>, StoreError> {
        let file = self.place.open(number, Open::Read)?;
        let len = self.index.files.get(&number).map_or(0, |book| book.len);
        Ok(Scan::new((file, len), number, at))
    }

    /// What counts of a record.
    pub(super) fn counted(&self, position: Position, stored: &Stored) -> Option<Counted> {
        let count = stored.parts.len();
        if let Record::Submitted(tasks) = &stored.record {
            let unended = |id| self.unended.contains(&(position, id));
            let pending = |id, _| self.index.counts(Key::Pending(id), position) && !unended(id);
            let (tasks, ranges) = tasks.only(count, pending)?;
            return Some((Record::Submitted(tasks), ranges));
        }
        let key = stored.record.key()?;
        let mut record = stored.record.clone();
        if let Record::Client { client, next, .. } = &mut record {
            *next = self.index.next(*client).max(*next);
        }
        let all = vec![Range { start: 0, end: count }];
        self.index.counts(key, position).then_some((record, all))
    }
}

/// Reads these parts of a record.
pub(super) fn read_parts(
    path: &Path,
    (file, _): &Content,
    stored: &Stored,
    record: Record,
    ranges: &[Range<usize>],
) -> Result<Message<Record>, StoreError> {
    let mut parts = Parts::new();
    let (mut index, mut at) = (0, stored.at + stored.before);
    for range in ranges {
        at += stored.parts[index..range.start].iter().map(|(len, _)| len).sum::<u64>();
        for &(len, sum) in &stored.parts[range.clone()] {
            // The record fits into its file, so this length is one that there is.
            let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
            file.read_at(&mut bytes, at).map_err(StoreError::io(path))?;
            if crc32fast::hash(&bytes) != sum {
                let mut damage = damage(path, &Step::Record(stored.clone()));
                damage.record = Some(Box::new(record));
                return Err(StoreError::Damaged(Box::new(damage)));
            }
            parts.push(bytes.into());
            at += len;
        }
        index = range.end;
    }
    Ok(Message { head: record, parts })
}

/// What is wrong with what a scan came upon.
pub(super) fn damage(path: &Path, step: &Step) -> Damage {
    let (at, bytes, sort, why) = match step {
        Step::Record(stored) => {
            let parts = stored.parts.iter().map(|(len, _)| len).sum::<u64>();
            let why = if stored.broken.is_empty() {
                "of what says what it is only the copy is right; nothing is lost"
            } else {
                "the checksum of what belongs to it is wrong"
            };
            let bytes = 2 * stored.before + parts;
            (stored.at, bytes, Some(stored.record.sort()), why.to_string())
        }
        Step::Head { at, len, sort, why } => (*at, *len, Some(*sort), why.clone()),
        Step::Lost { at, len } => (*at, *len, None, "no record can be read there".into()),
        Step::Cut { at, len } => (*at, *len, None, "the file ends within a record".into()),
    };
    Damage { path: path.to_path_buf(), at, bytes, sort, record: None, why }
}
