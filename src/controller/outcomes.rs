//! Outcomes that are kept for whoever asks later, oldest dropped first.
//!
//! Two shelves: outcomes that were told to their owner are a convenience and few are kept;
//! outcomes whose owner was gone are all there is of that work, so more is kept, for a time.

use std::collections::VecDeque;
use std::mem::size_of;

use crate::wire::{EngineId, Parts, Stamp, Status, TaskId};

use super::index::Index;
use super::slab::Slab;
use super::state::Limits;

/// How a task ended.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) status: Status,
    pub(crate) engine: Option<EngineId>,
    pub(crate) started: Stamp,
    pub(crate) completed: Stamp,
    pub(crate) parts: Parts,
}

/// A kept outcome.
pub(crate) struct Kept {
    pub(crate) outcome: Outcome,
    pub(crate) submitted: Stamp,
    /// Position among all tasks ever submitted.
    pub(crate) order: u64,
    /// Whether the owner was gone when the task ended.
    pub(crate) orphan: bool,
    /// When it ended, on the monotonic clock.
    pub(crate) at: u64,
}

impl Kept {
    /// Bytes it is charged with: its parts and its record.
    fn cost(&self) -> u64 {
        let parts: usize = self.outcome.parts.iter().map(bytes::Bytes::len).sum();
        (parts + size_of::<Self>()) as u64
    }
}

#[derive(Default)]
struct Shelf {
    /// In the order they came; some may have been taken out since.
    ids: VecDeque<TaskId>,
    records: usize,
    bytes: u64,
}

/// All kept outcomes.
#[derive(Default)]
pub(crate) struct Outcomes {
    slab: Slab<(TaskId, Kept)>,
    index: Index,
    told: Shelf,
    orphans: Shelf,
}

impl Outcomes {
    pub(crate) fn get(&self, id: TaskId) -> Option<&Kept> {
        Some(&self.slab[self.index.get(id)?].1)
    }

    /// Keeps an outcome, then drops the oldest beyond the limits and tells `dropped`; what is kept may
    /// itself be too large.
    pub(crate) fn keep(
        &mut self,
        id: TaskId,
        kept: Kept,
        limits: &Limits,
        mut dropped: impl FnMut(TaskId),
    ) {
        let (side, records, bytes) = if kept.orphan {
            (&mut self.orphans, usize::MAX, limits.orphan_bytes)
        } else {
            (&mut self.told, limits.kept_records, limits.kept_bytes)
        };
        side.ids.push_back(id);
        side.records += 1;
        side.bytes += kept.cost();
        let number = self.slab.insert((id, kept));
        self.index.insert(id, number);
        while side.records > records || side.bytes > bytes {
            let Some(oldest) = side.ids.pop_front() else { break };
            if let Some(number) = self.index.remove(oldest) {
                let (_, kept) = self.slab.remove(number);
                side.records -= 1;
                side.bytes -= kept.cost();
                dropped(oldest);
            }
        }
    }

    /// Drops what outlived its time and tells `dropped`.
    pub(crate) fn expire(&mut self, mono: u64, limits: &Limits, mut dropped: impl FnMut(TaskId)) {
        while let Some(id) = self.orphans.ids.front().copied() {
            let old = |kept: &Kept| mono.saturating_sub(kept.at) > limits.orphan_time;
            if self.get(id).is_some_and(|kept| !old(kept)) {
                return;
            }
            self.orphans.ids.pop_front();
            if self.remove(id) {
                dropped(id);
            }
        }
    }

    /// Drops one outcome; `false` if it is not kept.
    pub(crate) fn remove(&mut self, id: TaskId) -> bool {
        let Some(number) = self.index.remove(id) else { return false };
        let (_, kept) = self.slab.remove(number);
        let side = if kept.orphan { &mut self.orphans } else { &mut self.told };
        side.records -= 1;
        side.bytes -= kept.cost();
        // An old outcome at the front must not let the ids of removed ones pile up behind it.
        if side.ids.len() > 2 * side.records + 64 {
            let index = &self.index;
            side.ids.retain(|id| index.get(*id).is_some());
        }
        true
    }

    pub(crate) fn len(&self) -> usize {
        self.slab.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (TaskId, &Kept)> {
        self.slab.iter().map(|(_, (id, kept))| (*id, kept))
    }

    /// Records and bytes on the shelf of the told and on that of the orphans.
    pub(crate) fn totals(&self) -> [(usize, u64); 2] {
        [(self.told.records, self.told.bytes), (self.orphans.records, self.orphans.bytes)]
    }

    /// The same totals, counted anew.
    pub(crate) fn recount(&self) -> [(usize, u64); 2] {
        [false, true].map(|orphan| {
            let there = self.iter().map(|(_, kept)| kept).filter(|kept| kept.orphan == orphan);
            there.fold((0, 0), |(records, bytes), kept| (records + 1, bytes + kept.cost()))
        })
    }
}
