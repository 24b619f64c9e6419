//! Opening a store: every byte of every file is read, and what is wrong is told.
//!
//! Nothing is guessed. The end of the last file may be missing, since its process may have been killed
//! while it wrote: it is cut off. Anything else that is not what was written is left out and told by
//! its position, and its file is kept aside after what is whole in it was copied.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;

use rustix::io::Errno;

use crate::wire::{Message, TaskId};

use super::directory::Directory;
use super::disk::{Disk, Open};
use super::error::{Damage, StoreError, Torn};
use super::frame::{FILE_HEADER, FORMAT, read_file_header};
use super::index::{Index, Shape};
use super::journal::{Class, Position, Store};
use super::limits::Limits;
use super::place::Place;
use super::read::damage;
use super::record::Record;
use super::reserve::Reserve;
use super::scan::{Source, Step, Stored};
use super::tail::Tail;

/// What was found when a store was opened. What counts is told by [`Store::walk`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recovered {
    /// The end of the last file, if it was not whole.
    pub torn: Option<Torn>,
    /// All that is not what was written.
    pub damage: Vec<Damage>,
    /// How tasks end that are damaged, where even the reserve has no room for it. It is to be appended
    /// before anything else; until then what is damaged stays where it is.
    pub ends: Vec<Message<Record>>,
    /// The lowest number that no client was seen to have.
    pub next_client: u32,
}

/// One file being read.
struct Reading<'a> {
    number: u64,
    last: bool,
    told: &'a mut Recovered,
    /// What ends because it is damaged, unless it ended before or is forgotten: where it lies, and
    /// what is said of it.
    hurt: &'a mut Vec<(Position, Damage)>,
}

impl Store {
    /// Opens the store in this directory, which is made if it is not there.
    ///
    /// # Errors
    /// [`StoreError::Held`] if another process has it open, [`StoreError::Unsafe`] if others may write
    /// there, [`StoreError::Format`] if another version wrote it.
    pub fn open(directory: &Path, limits: Limits) -> Result<(Self, Recovered), StoreError> {
        Self::open_on(Box::new(Directory::take(directory)?), limits)
    }

    /// As [`Store::open`], on a disk that this store alone uses.
    ///
    /// # Errors
    /// As there.
    pub fn open_on(disk: Box<dyn Disk>, limits: Limits) -> Result<(Self, Recovered), StoreError> {
        let place = Place::new(disk);
        let (numbers, aside) = place.files()?;
        let reserve = Reserve::new(limits.reserve);
        let mut store = Self {
            limits,
            index: Index::default(),
            tail: None,
            next_file: numbers.last().copied().unwrap_or(0).max(aside) + 1,
            unsynced: numbers.iter().copied().collect(),
            reserve,
            copied: None,
            stuck: false,
            damage: Vec::new(),
            unended: BTreeSet::new(),
            place,
        };
        let (mut told, mut hurt) = (Recovered::default(), Vec::new());
        for &number in &numbers {
            let last = numbers.last() == Some(&number);
            store.recover(Reading { number, last, told: &mut told, hurt: &mut hurt })?;
        }
        store.index.settle();
        store.resume()?;
        // Without room for it new work is refused, and what there is can be read.
        let _ = store.reserve.restore(store.place.disk());
        told.ends = store.end_hurt(&hurt)?;
        if told.ends.is_empty() {
            store.set_damaged_aside()?;
        }
        told.next_client = store.index.next_client;
        Ok((store, told))
    }

    /// Goes on with the last file if nothing is wrong with it.
    fn resume(&mut self) -> Result<(), StoreError> {
        let Some((&number, book)) = self.index.files.last_key_value() else { return Ok(()) };
        if !book.damaged && book.len < self.limits.file {
            self.tail = Some(Tail::resume(&self.place, number, book.len)?);
        }
        Ok(())
    }

    /// Writes down how tasks end that are damaged. It comes before anything is set aside, since after
    /// that nobody would know of them. Gives what there is no room for.
    fn end_hurt(
        &mut self,
        hurt: &[(Position, Damage)],
    ) -> Result<Vec<Message<Record>>, StoreError> {
        let ends = hurt.iter().flat_map(|(at, damage)| {
            self.ends(*at, damage).into_iter().map(|end| (*at, end)).collect::<Vec<_>>()
        });
        let (places, ends): (Vec<_>, Vec<_>) = ends.unzip();
        if ends.is_empty() {
            return Ok(ends);
        }
        match self.try_append(Class::Due, &ends) {
            // Those beside them in the same record are whole.
            Err(StoreError::Full { .. }) => {
                let ended = places.into_iter().zip(&ends).filter_map(|(at, end)| match &end.head {
                    Record::Outcome(outcome) => Some((at, outcome.id)),
                    _ => None,
                });
                self.unended = ended.collect();
                Ok(ends)
            }
            done => done.map(|_| Vec::new()),
        }
    }

    fn set_damaged_aside(&mut self) -> Result<(), StoreError> {
        let damaged = self.index.files.iter().filter(|(_, book)| book.damaged);
        for number in damaged.map(|(number, _)| *number).collect::<Vec<_>>() {
            match self.empty(number) {
                // It stays where it is, and is told of again when the store is next opened.
                Err(StoreError::Full { .. }) => {}
                done => done?,
            }
        }
        Ok(())
    }

    fn recover(&mut self, mut reading: Reading) -> Result<(), StoreError> {
        let number = reading.number;
        let (path, aside) = (&self.place.file(number), &self.place.aside(number));
        let size = self.place.open(number, Open::Read)?.size().map_err(StoreError::io(path))?;
        self.index.file(number).len = size;
        if !self.check_header(&mut reading, size)? {
            return Ok(());
        }
        let mut scan = self.scan(number, 0)?;
        loop {
            let step = match scan.step() {
                Ok(Some(step)) => step,
                Ok(None) => return Ok(()),
                Err(error) if Errno::from_io_error(&error) == Some(Errno::IO) => {
                    let at = scan.at();
                    let mut lost = damage(aside, &Step::Lost { at, len: size - at });
                    lost.why = format!("it cannot be read: {error}");
                    self.index.file(number).damaged = true;
                    reading.told.damage.push(lost);
                    return Ok(());
                }
                Err(error) => return Err(StoreError::of(path, 0, error)),
            };
            match step {
                Step::Record(stored) => self.enter(&mut reading, &stored),
                Step::Cut { at, len } if reading.last => {
                    reading.told.torn = Some(Torn { path: path.clone(), at, bytes: len });
                    return self.cut(number, at);
                }
                step => {
                    self.index.file(number).damaged = true;
                    reading.told.damage.push(damage(aside, &step));
                }
            }
        }
    }

    /// Looks at the header of a file; `false` if there is nothing behind it.
    fn check_header(&mut self, reading: &mut Reading, size: u64) -> Result<bool, StoreError> {
        let number = reading.number;
        let (path, aside) = (&self.place.file(number), &self.place.aside(number));
        if size < FILE_HEADER as u64 {
            if reading.last {
                // Killed while it was made; an empty file is nothing to tell of.
                let torn = Torn { path: path.clone(), at: 0, bytes: size };
                reading.told.torn = (size > 0).then_some(torn);
                self.place.remove(number)?;
                self.index.files.remove(&number);
                self.unsynced.remove(&number);
            } else {
                self.index.file(number).damaged = true;
                reading.told.damage.push(damage(aside, &Step::Cut { at: 0, len: size }));
            }
            return Ok(false);
        }
        let mut header = [0; FILE_HEADER];
        let source = self.scan(number, 0)?;
        let read = source.source().read(&mut header, 0);
        let why = match (read, read_file_header(header)) {
            (Err(error), _) => format!("it cannot be read: {error}"),
            (Ok(()), None) => "the header of the file is damaged".into(),
            (Ok(()), Some((found, _))) if found != FORMAT => {
                return Err(StoreError::Format { path: path.clone(), found });
            }
            (Ok(()), Some((_, said))) if said != number => format!("the file is number {said}"),
            _ => return Ok(true),
        };
        // The records say themselves that they belong into this file.
        self.index.file(number).damaged = true;
        let lost = damage(aside, &Step::Lost { at: 0, len: FILE_HEADER as u64 });
        reading.told.damage.push(Damage { why, ..lost });
        Ok(true)
    }

    /// Applies what is whole of a record, and tells of the rest.
    fn enter(&mut self, reading: &mut Reading, stored: &Stored) {
        let at = Position { file: reading.number, at: stored.at };
        let Stored { record, parts, before, .. } = stored;
        let shape = Shape { record, parts, before: 2 * before };
        let lost = stored.lost(|_| true);
        if lost.is_some() || stored.flaw {
            self.index.file(reading.number).damaged = true;
            let aside = self.place.aside(reading.number);
            let mut damage = damage(&aside, &Step::Record(stored.clone()));
            if let Some(lost) = &lost {
                damage.record = Some(Box::new(lost.clone()));
                reading.hurt.push((at, damage.clone()));
            }
            reading.told.damage.push(damage);
        }
        // That a task is there, or that it ended, is known though more is not.
        if lost.is_none() || matches!(record, Record::Submitted(_) | Record::Outcome(_)) {
            self.index.apply(at, &shape);
        }
    }

    /// Cuts off the end of the last file, unless something else in it is damaged: then it is kept.
    fn cut(&mut self, number: u64, at: u64) -> Result<(), StoreError> {
        let book = self.index.file(number);
        if !book.damaged {
            book.len = at;
            let file = self.place.open(number, Open::Write)?;
            let cut = file.set_len(at).and_then(|()| file.sync());
            cut.map_err(StoreError::io(&self.place.file(number)))?;
        }
        Ok(())
    }
}

impl Stored {
    /// Whether one of these parts is damaged.
    fn hurt(&self, own: &Range<usize>) -> bool {
        let from = self.broken.partition_point(|index| *index < own.start);
        self.broken.get(from).is_some_and(|index| *index < own.end)
    }

    /// What of this record is damaged, of tasks those that `wanted` says.
    pub(super) fn lost(&self, wanted: impl Fn(TaskId) -> bool) -> Option<Record> {
        if self.broken.is_empty() {
            return None;
        }
        match &self.record {
            Record::Submitted(tasks) => {
                let lost = |id, own: Range<usize>| self.hurt(&own) && wanted(id);
                tasks.only(self.parts.len(), lost).map(|(tasks, _)| Record::Submitted(tasks))
            }
            record => Some(record.clone()),
        }
    }
}
