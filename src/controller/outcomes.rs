//! Outcomes that are kept for whoever asks later, oldest dropped first.
//!
//! Two shelves: outcomes that were told to their owner are a convenience and few are kept;
//! outcomes whose owner was gone are all there is of that work, so more is kept, for a time. Where
//! there is a store, all stand on the second until it is known that they arrived somewhere, and
//! their bytes are in the store.

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
    /// Whether it may be all there is of that work.
    pub(crate) orphan: bool,
    /// Until when it is kept then, on the monotonic clock.
    pub(crate) until: u64,
    /// Whether its parts are in the store and not here.
    pub(crate) stored: bool,
    /// Bytes of these, as far as they are known.
    pub(crate) size: u64,
}

impl Kept {
    /// Bytes it is charged with: its parts and its record.
    fn cost(&self) -> u64 {
        let parts: usize = self.outcome.parts.iter().map(bytes::Bytes::len).sum();
        self.size + (parts + size_of::<Self>()) as u64
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
        dropped: impl FnMut(TaskId, &Kept),
    ) {
        let orphan = kept.orphan;
        let number = self.slab.insert((id, kept));
        self.index.insert(id, number);
        self.enter(number, orphan, limits, dropped);
    }

    /// An outcome has arrived where it is wanted: it is no longer all there is.
    pub(crate) fn take(&mut self, id: TaskId, limits: &Limits, dropped: impl FnMut(TaskId, &Kept)) {
        let Some(number) = self.index.get(id).filter(|at| self.slab[*at].1.orphan) else { return };
        self.leave(number);
        self.slab[number].1.orphan = false;
        self.tidy(true);
        self.enter(number, false, limits, dropped);
    }

    /// Puts an outcome on a shelf, and takes the oldest off there beyond the limits.
    fn enter(
        &mut self,
        number: u32,
        orphan: bool,
        limits: &Limits,
        mut dropped: impl FnMut(TaskId, &Kept),
    ) {
        let (records, bytes) = if orphan {
            (usize::MAX, limits.orphan_bytes)
        } else {
            (limits.kept_records, limits.kept_bytes)
        };
        let (id, kept) = &self.slab[number];
        let (id, cost) = (*id, kept.cost());
        let side = self.side(orphan);
        side.ids.push_back(id);
        side.records += 1;
        side.bytes += cost;
        while self.side(orphan).records > records || self.side(orphan).bytes > bytes {
            let Some(oldest) = self.side(orphan).ids.pop_front() else { break };
            if self.stands(oldest, orphan)
                && let Some(kept) = self.take_out(oldest)
            {
                dropped(oldest, &kept);
            }
        }
    }

    fn side(&mut self, orphan: bool) -> &mut Shelf {
        if orphan { &mut self.orphans } else { &mut self.told }
    }

    /// Whether an outcome is kept and on that shelf.
    fn stands(&self, id: TaskId, orphan: bool) -> bool {
        self.get(id).is_some_and(|kept| kept.orphan == orphan)
    }

    /// Uncounts an outcome that is about to leave its shelf.
    fn leave(&mut self, number: u32) {
        let (_, kept) = &self.slab[number];
        let (orphan, cost) = (kept.orphan, kept.cost());
        let side = self.side(orphan);
        side.records -= 1;
        side.bytes -= cost;
    }

    fn take_out(&mut self, id: TaskId) -> Option<Kept> {
        let number = self.index.get(id)?;
        self.leave(number);
        self.index.remove(id);
        Some(self.slab.remove(number).1)
    }

    /// An old outcome at the front must not let the ids of those that left pile up behind it.
    fn tidy(&mut self, orphan: bool) {
        let side = self.side(orphan);
        if side.ids.len() > 2 * side.records + 64 {
            let mut ids = std::mem::take(&mut side.ids);
            ids.retain(|id| self.stands(*id, orphan));
            self.side(orphan).ids = ids;
        }
    }

    /// Drops what outlived its time and tells `dropped`.
    pub(crate) fn expire(&mut self, mono: u64, mut dropped: impl FnMut(TaskId, &Kept)) {
        while let Some(id) = self.orphans.ids.front().copied() {
            if self.stands(id, true) {
                if self.get(id).is_some_and(|kept| mono <= kept.until) {
                    return;
                }
                if let Some(kept) = self.take_out(id) {
                    dropped(id, &kept);
                }
            }
            self.orphans.ids.pop_front();
        }
    }

    /// Drops one outcome, if it is kept.
    pub(crate) fn remove(&mut self, id: TaskId) -> Option<Kept> {
        let kept = self.take_out(id)?;
        self.tidy(kept.orphan);
        Some(kept)
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
