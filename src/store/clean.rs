//! Getting rid of files: what still counts in the oldest is appended anew, then it is removed.
//!
//! It goes on in small steps, each as large as what was appended before it, so nobody waits for it.
//! A file is removed only after what was copied out of it was synced. What was damaged meanwhile is
//! left out and told, and the file is kept aside.

use super::error::StoreError;
use super::journal::{Position, Store};
use super::read::{damage, read_parts};
use super::record::{Forgotten, Key, Record};
use super::scan::{Content, Scan, Step, Stored};
use super::tail::Tail;
use crate::wire::{Message, TaskId};

/// Files that are emptied at most before an append is tried again on a full disk.
const RECLAIMED: usize = 8;
/// The part of all bytes that must no longer count for that to be worth it.
const WORTH: u64 = 8;

type Open = Scan<Content>;

impl Store {
    /// Does some of what has to be done, about so many bytes of it; `false` if nothing is left to do.
    pub fn tidy(&mut self, budget: u64) -> bool {
        if self.stuck {
            return false;
        }
        match self.try_tidy(budget) {
            Ok(more) => more,
            // It is tried again with the next record.
            Err(StoreError::Full { .. }) => false,
            Err(error) => {
                let mut told = damage(self.place.path(), &Step::Lost { at: 0, len: 0 });
                told.why = format!("old files cannot be removed: {error}");
                self.damage.push(told);
                self.stuck = true;
                false
            }
        }
    }

    fn try_tidy(&mut self, budget: u64) -> Result<bool, StoreError> {
        if self.index.emptied {
            self.remove_empty()?;
        }
        let (all, live) = self.index.sizes();
        let wanted = all.saturating_sub(live) > live.saturating_add(self.limits.slack);
        if self.copied.is_none() && !wanted {
            return Ok(false);
        }
        let Some(oldest) = self.oldest() else { return Ok(false) };
        let from = self.copied.unwrap_or(0);
        self.copied = Some(from);
        let mut scan = self.scan(oldest, from)?;
        if self.copy(&mut scan, oldest, budget)? {
            self.copied = None;
            self.discard(oldest)?;
        }
        Ok(true)
    }

    /// Makes room where the disk is full, by means of the reserve; `false` if that is not worth it.
    pub(super) fn reclaim(&mut self) -> bool {
        let mut freed = 0;
        for _ in 0..RECLAIMED {
            let (all, live) = self.index.sizes();
            let worth = all.saturating_sub(live) >= (all / WORTH).max(self.limits.reserve / WORTH);
            let oldest = self.index.files.first_key_value();
            // Its header, and what moving costs beside the records themselves.
            let fits = |live: u64| live + live / 8 + 4096 <= self.limits.reserve;
            let Some((_, book)) = oldest.filter(|(_, book)| fits(book.live)) else { break };
            let gain = book.len.saturating_sub(book.live);
            if self.stuck || !worth || freed >= self.limits.reserve {
                break;
            }
            self.reserve.give_up(self.place.disk());
            let Some(oldest) = self.oldest() else { break };
            self.copied = None;
            if self.empty(oldest).is_err() {
                break;
            }
            freed += gain;
        }
        freed > 0
    }

    /// The oldest file, to which nothing more is appended.
    fn oldest(&mut self) -> Option<u64> {
        let oldest = *self.index.files.first_key_value()?.0;
        if self.tail.as_ref().map(Tail::number) == Some(oldest) {
            self.retire();
        }
        Some(oldest)
    }

    /// Removes files in which nothing counts.
    fn remove_empty(&mut self) -> Result<(), StoreError> {
        let tail = self.tail.as_ref().map(Tail::number);
        let mut older = false;
        for (number, book) in self.index.files.clone() {
            // What says that something was forgotten is needed as long as that may be there.
            let needed = book.keys > 0 || book.damaged || (book.forgets && older);
            if needed || Some(number) == tail {
                older = true;
                continue;
            }
            if self.index.files.first_key_value().map(|(oldest, _)| *oldest) == Some(number) {
                self.copied = None;
            }
            self.discard(number)?;
        }
        self.index.emptied = false;
        Ok(())
    }

    /// Copies what counts of a file and gets rid of the file.
    pub(super) fn empty(&mut self, number: u64) -> Result<(), StoreError> {
        let mut scan = self.scan(number, 0)?;
        self.copy(&mut scan, number, u64::MAX)?;
        self.discard(number)
    }

    /// Copies what counts of about so many bytes; `true` at the end of the file.
    fn copy(&mut self, scan: &mut Open, number: u64, budget: u64) -> Result<bool, StoreError> {
        let (path, aside) = (self.place.file(number), self.place.aside(number));
        let told = self.index.file(number).damaged;
        let begin = scan.at();
        while self.index.file(number).keys > 0 || self.keeps_forgotten(number) {
            let Some(step) = scan.step().map_err(StoreError::io(&path))? else { break };
            match step {
                Step::Record(stored) => {
                    let at = Position { file: number, at: stored.at };
                    self.leave_out(at, &stored, told)?;
                    if let Some(entry) = self.entry(at, &stored, scan)? {
                        self.write(&[entry])?;
                    }
                }
                step if !told => {
                    self.index.file(number).damaged = true;
                    self.damage.push(damage(&aside, &step));
                }
                _ => {}
            }
            if self.copied.is_some() {
                self.copied = Some(scan.at());
            }
            if scan.at() - begin >= budget {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether there are older files that what was forgotten in this one may still be in.
    fn keeps_forgotten(&self, number: u64) -> bool {
        let older = self.index.files.range(..number).next().is_some();
        older && self.index.files.get(&number).is_some_and(|book| book.forgets)
    }

    /// What is to be written anew of a record.
    fn entry(
        &self,
        at: Position,
        stored: &Stored,
        scan: &Open,
    ) -> Result<Option<Message<Record>>, StoreError> {
        if let Record::Forgotten(forgotten) = &stored.record {
            let anew = self.keeps_forgotten(at.file).then(|| self.still_forgotten(forgotten));
            return Ok(anew.map(|anew| Message::bare(Record::Forgotten(anew))));
        }
        let Some((record, ranges)) = self.counted(at, stored) else { return Ok(None) };
        let path = self.place.file(at.file);
        read_parts(&path, scan.source(), stored, record, &ranges).map(Some)
    }

    /// Of what was forgotten that which did not come again; tasks never do.
    fn still_forgotten(&self, forgotten: &Forgotten) -> Forgotten {
        let funcs = forgotten.funcs.iter().copied();
        let clients = forgotten.clients.iter().copied();
        Forgotten {
            tasks: forgotten.tasks.clone(),
            funcs: funcs.filter(|id| self.find(Key::Function(*id)).is_none()).collect(),
            clients: clients.filter(|id| self.find(Key::Client(*id)).is_none()).collect(),
        }
    }

    /// What is damaged of a record no longer counts.
    fn leave_out(&mut self, at: Position, stored: &Stored, told: bool) -> Result<(), StoreError> {
        let index = &self.index;
        let lost = stored.lost(|id: TaskId| index.counts(Key::Pending(id), at));
        let key = lost.as_ref().and_then(Record::key);
        let counts = key.is_none_or(|key| index.counts(key, at));
        let lost = lost.filter(|_| counts);
        if lost.is_none() && (!stored.flaw || told) {
            return Ok(());
        }
        let mut damage = damage(&self.place.aside(at.file), &Step::Record(stored.clone()));
        damage.record = lost.map(Box::new);
        let ends = self.ends(at, &damage);
        if !ends.is_empty() {
            self.write(&ends)?;
        } else if let Some(key) = key.filter(|_| damage.record.is_some()) {
            self.index.take(key);
        }
        self.index.file(at.file).damaged = true;
        if !told {
            self.damage.push(damage);
        }
        Ok(())
    }

    /// Gets rid of a file of which nothing is needed any more.
    fn discard(&mut self, number: u64) -> Result<(), StoreError> {
        // What could not be read any more is gone, and was told.
        if self.index.file(number).keys > 0 {
            self.index.keys_in(number).into_iter().for_each(|key| self.index.take(key));
        }
        self.sync()?;
        if self.index.file(number).damaged {
            self.place.set_aside(number)?;
        } else {
            self.place.remove(number)?;
        }
        self.index.files.remove(&number);
        self.unsynced.remove(&number);
        self.index.settle();
        Ok(())
    }
}
