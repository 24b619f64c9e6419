//! Consecutive tasks of one batch, and a user's hold on it, counted apart from the table's. Sets made
//! from one another are a family: who has the outcomes of one has those of the others.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::batch::{Batch, Changing};

/// The family of the set that a submission gave.
pub(super) const OWN: u32 = 0;

/// See the head of this file.
pub(super) struct Segment {
    pub(super) batch: Arc<Batch>,
    pub(super) tasks: Range<u32>,
    pub(super) family: u32,
    /// Index of the first of them in the set.
    offset: u32,
}

impl Segment {
    pub(super) fn new(batch: Arc<Batch>, tasks: Range<u32>, family: u32) -> Self {
        if family == OWN {
            batch.holders.fetch_add(1, Ordering::AcqRel);
        }
        Self { batch, tasks, family, offset: 0 }
    }

    /// Another part of the batch, for the same family.
    pub(super) fn part(&self, tasks: Range<u32>, offset: usize) -> Self {
        if self.family != OWN {
            self.batch.hold(self.family, true);
        }
        let mut segment = Self::new(self.batch.clone(), tasks, self.family);
        segment.offset = offset as u32;
        segment
    }

    pub(super) fn offset(&self) -> usize {
        self.offset as usize
    }

    /// Whether only this family holds the batch.
    pub(super) fn is_alone(&self, changing: &Changing) -> bool {
        usize::from(self.batch.holders.load(Ordering::Acquire) > 0) + changing.found() == 1
    }
}

impl Clone for Segment {
    fn clone(&self) -> Self {
        self.part(self.tasks.clone(), self.offset())
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        if self.family == OWN {
            self.batch.holders.fetch_sub(1, Ordering::AcqRel);
        } else {
            self.batch.hold(self.family, false);
        }
    }
}
