//! Outcomes that are kept for whoever asks later, oldest dropped first.
//!
//! Three shelves, see [`Standing`]: outcomes that arrived at their owner are a convenience and few are
//! kept; outcomes whose owner was gone are all there is of that work, so more is kept, for a time; and
//! so is what is on its way to an owner who says what has arrived, since it may be lost on the way.
//! Where there is a store, all stand on the second until it is known that they arrived somewhere, and
//! their bytes are in the store.

use std::collections::VecDeque;
use std::mem::size_of;

use crate::wire::{ClientId, EngineId, Parts, Stamp, Status, TaskId};

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

/// What an outcome is kept for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It was told, and arrived as far as is known: others may ask for it.
    Told = 0,
    /// Its owner was gone, so it may be all there is of that work.
    Orphan = 1,
    /// It was told to an owner who says what has arrived, and has not said so.
    Unheard = 2,
}

/// A kept outcome.
pub(crate) struct Kept {
    pub(crate) outcome: Outcome,
    pub(crate) submitted: Stamp,
    /// Position among all tasks ever submitted.
    pub(crate) order: u64,
    pub(crate) standing: Standing,
    /// Until when an orphan is kept, on the monotonic clock.
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
    shelves: [Shelf; 3],
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
        let number = self.slab.insert((id, kept));
        self.index.insert(id, number);
        self.enter(number, limits, dropped);
    }

    /// An outcome, if it is kept, is kept for something else from now on; until when, if it becomes an
    /// orphan.
    pub(crate) fn shift(
        &mut self,
        id: TaskId,
        (standing, until): (Standing, u64),
        limits: &Limits,
        dropped: impl FnMut(TaskId, &Kept),
    ) {
        let Some(number) = self.index.get(id) else { return };
        let before = self.slab[number].1.standing;
        if before == standing {
            return;
        }
        self.leave(number);
        let kept = &mut self.slab[number].1;
        kept.standing = standing;
        if standing == Standing::Orphan {
            kept.until = until;
        }
        self.tidy(before);
        self.enter(number, limits, dropped);
    }

    /// What is on its way to this client.
    pub(crate) fn unheard_of(&self, client: ClientId) -> Vec<TaskId> {
        let ids = self.shelves[Standing::Unheard as usize].ids.iter().copied();
        ids.filter(|id| id.client == client && self.stands(*id, Standing::Unheard)).collect()
    }

    /// Puts an outcome on its shelf, and takes the oldest off there beyond the limits.
    fn enter(&mut self, number: u32, limits: &Limits, mut dropped: impl FnMut(TaskId, &Kept)) {
        let (id, kept) = &self.slab[number];
        let (id, standing, cost) = (*id, kept.standing, kept.cost());
        // Of what may be all there is, the newest stays however large it is.
        let (least, records, bytes) = match standing {
            Standing::Told => (0, limits.kept_records, limits.kept_bytes),
            Standing::Orphan | Standing::Unheard => (1, usize::MAX, limits.orphan_bytes),
        };
        let side = self.side(standing);
        side.ids.push_back(id);
        side.records += 1;
        side.bytes += cost;
        let full =
            |side: &Shelf| side.records > records || (side.records > least && side.bytes > bytes);
        while full(self.side(standing)) {
            let Some(oldest) = self.side(standing).ids.pop_front() else { break };
            if self.stands(oldest, standing)
                && let Some(kept) = self.take_out(oldest)
            {
                dropped(oldest, &kept);
            }
        }
    }

    fn side(&mut self, standing: Standing) -> &mut Shelf {
        &mut self.shelves[standing as usize]
    }

    /// Whether an outcome is kept and on that shelf.
    fn stands(&self, id: TaskId, standing: Standing) -> bool {
        self.get(id).is_some_and(|kept| kept.standing == standing)
    }

    /// Uncounts an outcome that is about to leave its shelf.
    fn leave(&mut self, number: u32) {
        let (_, kept) = &self.slab[number];
        let (standing, cost) = (kept.standing, kept.cost());
        let side = self.side(standing);
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
    fn tidy(&mut self, standing: Standing) {
        let side = self.side(standing);
        if side.ids.len() > 2 * side.records + 64 {
            let mut ids = std::mem::take(&mut side.ids);
            ids.retain(|id| self.stands(*id, standing));
            self.side(standing).ids = ids;
        }
    }

    /// Drops what outlived its time and tells `dropped`.
    pub(crate) fn expire(&mut self, mono: u64, mut dropped: impl FnMut(TaskId, &Kept)) {
        while let Some(id) = self.side(Standing::Orphan).ids.front().copied() {
            if self.stands(id, Standing::Orphan) {
                if self.get(id).is_some_and(|kept| mono <= kept.until) {
                    return;
                }
                if let Some(kept) = self.take_out(id) {
                    dropped(id, &kept);
                }
            }
            self.side(Standing::Orphan).ids.pop_front();
        }
    }

    /// Drops one outcome, if it is kept.
    pub(crate) fn remove(&mut self, id: TaskId) -> Option<Kept> {
        let kept = self.take_out(id)?;
        self.tidy(kept.standing);
        Some(kept)
    }

    /// Bytes of what is kept for owners who were gone.
    pub(crate) fn orphan_bytes(&self) -> u64 {
        self.shelves[Standing::Orphan as usize].bytes
    }

    pub(crate) fn len(&self) -> usize {
        self.slab.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (TaskId, &Kept)> {
        self.slab.iter().map(|(_, (id, kept))| (*id, kept))
    }

    /// Records and bytes on each shelf.
    pub(crate) fn totals(&self) -> [(usize, u64); 3] {
        [0, 1, 2].map(|at| (self.shelves[at].records, self.shelves[at].bytes))
    }

    /// The same totals, counted anew.
    pub(crate) fn recount(&self) -> [(usize, u64); 3] {
        [Standing::Told, Standing::Orphan, Standing::Unheard].map(|standing| {
            let all = self.iter().map(|(_, kept)| kept);
            let there = all.filter(|kept| kept.standing == standing);
            there.fold((0, 0), |(records, bytes), kept| (records + 1, bytes + kept.cost()))
        })
    }
}
