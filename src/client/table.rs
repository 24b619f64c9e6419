//! The pending table: which batch a number belongs to.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use super::batch::Batch;
use crate::wire::message::WATCHED;

/// Batches by the number of their first task. Pending ones are held; finished ones are known as
/// long as somebody else holds them.
pub(crate) struct Table {
    next: u64,
    next_watched: u64,
    pending: BTreeMap<u64, Arc<Batch>>,
    known: BTreeMap<u64, Weak<Batch>>,
    sweep_at: usize,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            next: 0,
            next_watched: WATCHED,
            pending: BTreeMap::new(),
            known: BTreeMap::new(),
            sweep_at: 0,
        }
    }
}

impl Table {
    /// Takes the next `count` numbers for own tasks, or for watched ones; says the first.
    pub(crate) fn reserve(&mut self, count: u64, watched: bool) -> u64 {
        let next = if watched { &mut self.next_watched } else { &mut self.next };
        let first = *next;
        *next += count;
        first
    }

    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    pub(crate) fn insert(&mut self, batch: &Arc<Batch>, pending: bool) {
        if pending {
            self.pending.insert(batch.first, batch.clone());
        }
        if self.known.len() >= self.sweep_at {
            self.known.retain(|_, batch| batch.strong_count() > 0);
            self.sweep_at = 2 * self.known.len() + 1024;
        }
        self.known.insert(batch.first, Arc::downgrade(batch));
    }

    /// The pending batch of this task, and the task's index in it.
    pub(crate) fn pending(&self, seq: u64) -> Option<(&Arc<Batch>, u32)> {
        let (first, batch) = self.pending.range(..=seq).next_back()?;
        let index = u32::try_from(seq - first).ok()?;
        ((index as usize) < batch.len).then_some((batch, index))
    }

    /// The batch of this task while anybody holds it, and the task's index in it.
    pub(crate) fn known(&self, seq: u64) -> Option<(Arc<Batch>, u32)> {
        let (first, batch) = self.known.range(..=seq).next_back()?;
        let batch = batch.upgrade()?;
        let index = u32::try_from(seq - first).ok()?;
        let record = batch.lock().records.get(index as usize).map(|record| record.purged);
        (record == Some(false)).then_some((batch, index))
    }

    pub(crate) fn all_known(&self) -> Vec<Arc<Batch>> {
        self.known.values().filter_map(Weak::upgrade).collect()
    }

    pub(crate) fn all_pending(&self) -> Vec<Arc<Batch>> {
        self.pending.values().cloned().collect()
    }

    pub(crate) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// The batch has no pending task any more.
    pub(crate) fn finish(&mut self, first: u64) {
        self.pending.remove(&first);
    }

    /// Forgets all batches that have no pending task.
    pub(crate) fn forget_finished(&mut self) {
        self.known.retain(|first, _| self.pending.contains_key(first));
    }
}
