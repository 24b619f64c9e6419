//! The pending table: which batch a number belongs to.

use std::sync::{Arc, Weak};

use super::batch::Batch;
use crate::wire::message::WATCHED;

/// A batch is held here while any of its tasks is pending; later it is known as long as somebody
/// else holds it.
enum Entry {
    Pending(Arc<Batch>),
    Finished(Weak<Batch>),
}

impl Entry {
    fn pending(&self) -> Option<&Arc<Batch>> {
        match self {
            Self::Pending(batch) => Some(batch),
            Self::Finished(_) => None,
        }
    }

    fn batch(&self) -> Option<Arc<Batch>> {
        match self {
            Self::Pending(batch) => Some(batch.clone()),
            Self::Finished(batch) => batch.upgrade(),
        }
    }
}

/// Batches by the number of their first task. Numbers only grow, so a list stays sorted.
struct Line {
    next: u64,
    batches: Vec<(u64, Entry)>,
    /// Entries of batches that nobody holds any more are taken out at this length.
    sweep_at: usize,
}

impl Line {
    fn starting_at(next: u64) -> Self {
        Self { next, batches: Vec::new(), sweep_at: 1024 }
    }

    /// Where the batch of this number is, if there is one.
    fn find(&self, seq: u64) -> Option<usize> {
        self.batches.partition_point(|(first, _)| *first <= seq).checked_sub(1)
    }

    fn push(&mut self, batch: &Arc<Batch>) {
        if self.batches.len() >= self.sweep_at {
            self.batches.retain(|(_, entry)| match entry {
                Entry::Pending(_) => true,
                Entry::Finished(batch) => batch.strong_count() > 0,
            });
            self.sweep_at = 2 * self.batches.len() + 1024;
        }
        self.batches.push((batch.first, Entry::Pending(batch.clone())));
    }
}

/// The batches of this client's own tasks, and of those it watches.
pub(crate) struct Table {
    own: Line,
    watched: Line,
    /// Batches with a pending task.
    pending: usize,
}

impl Default for Table {
    fn default() -> Self {
        Self { own: Line::starting_at(0), watched: Line::starting_at(WATCHED), pending: 0 }
    }
}

impl Table {
    fn line(&mut self, seq: u64) -> &mut Line {
        if seq >= WATCHED { &mut self.watched } else { &mut self.own }
    }

    fn entry(&self, seq: u64) -> Option<&(u64, Entry)> {
        let line = if seq >= WATCHED { &self.watched } else { &self.own };
        line.find(seq).map(|place| &line.batches[place])
    }

    fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.own.batches.iter().chain(&self.watched.batches).map(|(_, entry)| entry)
    }

    /// Takes the next `count` numbers for own tasks, or for watched ones; says the first.
    pub(crate) fn reserve(&mut self, count: u64, watched: bool) -> u64 {
        let line = if watched { &mut self.watched } else { &mut self.own };
        let first = line.next;
        line.next += count;
        first
    }

    pub(crate) fn next(&self) -> u64 {
        self.own.next
    }

    pub(crate) fn insert(&mut self, batch: &Arc<Batch>) {
        // One without tasks takes no number and is never asked for.
        if batch.len > 0 {
            self.pending += 1;
            self.line(batch.first).push(batch);
        }
    }

    /// The pending batch of this task, and the task's index in it.
    pub(crate) fn pending(&self, seq: u64) -> Option<(&Arc<Batch>, u32)> {
        let (first, entry) = self.entry(seq)?;
        let batch = entry.pending()?;
        let index = u32::try_from(seq - first).ok()?;
        (index < batch.len).then_some((batch, index))
    }

    /// The batch of this task while anybody holds it, and the task's index in it.
    pub(crate) fn known(&self, seq: u64) -> Option<(Arc<Batch>, u32)> {
        let (first, entry) = self.entry(seq)?;
        let batch = entry.batch()?;
        let index = u32::try_from(seq - first).ok()?;
        let is_known = index < batch.len && !batch.lock().record(index).purged;
        is_known.then_some((batch, index))
    }

    pub(crate) fn all_known(&self) -> Vec<Arc<Batch>> {
        self.entries().filter_map(Entry::batch).collect()
    }

    pub(crate) fn all_pending(&self) -> Vec<Arc<Batch>> {
        self.entries().filter_map(Entry::pending).cloned().collect()
    }

    pub(crate) fn has_pending(&self) -> bool {
        self.pending > 0
    }

    /// The batch has no pending task any more.
    pub(crate) fn finish(&mut self, first: u64) {
        let line = self.line(first);
        let Some(place) = line.find(first) else { return };
        let (number, entry) = &mut line.batches[place];
        if let (true, Entry::Pending(batch)) = (*number == first, &*entry) {
            *entry = Entry::Finished(Arc::downgrade(batch));
            self.pending -= 1;
        }
    }

    /// Forgets all batches that have no pending task.
    pub(crate) fn forget_finished(&mut self) {
        for line in [&mut self.own, &mut self.watched] {
            line.batches.retain(|(_, entry)| matches!(entry, Entry::Pending(_)));
        }
    }
}
