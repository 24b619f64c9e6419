//! The pending table: which batch a number belongs to.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use super::batch::Batch;

/// Batches by the number of their first task. Pending ones are held; finished ones are known as
/// long as somebody else holds them.
#[derive(Default)]
pub(crate) struct Table {
    next: u64,
    pending: BTreeMap<u64, Arc<Batch>>,
    known: BTreeMap<u64, Weak<Batch>>,
    sweep_at: usize,
}

impl Table {
    /// Takes the next `count` numbers; says the first.
    pub(crate) fn reserve(&mut self, count: u64) -> u64 {
        let first = self.next;
        self.next += count;
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
        ((index as usize) < batch.lock().records.len()).then_some((batch, index))
    }

    /// The batch of this task while anybody holds it, and the task's index in it.
    pub(crate) fn known(&self, seq: u64) -> Option<(Arc<Batch>, u32)> {
        let (first, batch) = self.known.range(..=seq).next_back()?;
        let batch = batch.upgrade()?;
        let index = u32::try_from(seq - first).ok()?;
        let here = (index as usize) < batch.lock().records.len();
        here.then_some((batch, index))
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

    /// Forgets that this batch was ever known.
    pub(crate) fn forget(&mut self, first: u64) {
        if !self.pending.contains_key(&first) {
            self.known.remove(&first);
        }
    }
}
