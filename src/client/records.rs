//! What is known of each task of a batch: twelve bytes while it is pending, and the rest when it has
//! ended. A hundred thousand pending tasks are normal, and memory that is touched for the first time
//! costs more than anything else that is done to submit one.

use std::ops::Range;

use bytes::Bytes;
use smallvec::SmallVec;

use super::batch::{Ended, State};
use crate::wire::{EngineId, Parts, Stamp};

/// No engine.
const NONE: u32 = u32::MAX;

/// A task as it stands.
struct Slot {
    engine: u32,
    /// Of a running chunk the items that are done; of an ended task its place among the ended.
    count: u32,
    state: State,
    purged: bool,
}

const _: () = assert!(size_of::<Slot>() == 12);

/// How a task ended.
struct Outcome {
    started: Stamp,
    completed: Stamp,
    received: Stamp,
    /// Until released.
    parts: Option<Parts>,
}

/// Everything known of one task, to be looked at.
pub struct Record<'a> {
    /// How it stands.
    pub state: State,
    /// Where it runs or ran.
    pub engine: Option<EngineId>,
    /// Whether the user wants it forgotten though somebody still holds it.
    pub purged: bool,
    /// Items of a running chunk that are done.
    pub progress: u32,
    /// Its place among the finished tasks of the batch.
    pub rank: u32,
    /// Engine's clock; 0 when not begun.
    pub started: Stamp,
    /// Engine's clock; 0 when not ended.
    pub completed: Stamp,
    /// This process's clock, stamped by the I/O thread on arrival; 0 when not arrived.
    pub received: Stamp,
    /// The outcome, until released.
    pub parts: Option<&'a Parts>,
}

/// Most batches are a single call, and a longer one affords a pointer.
enum Slots {
    One(Slot),
    Many(Box<Many>),
}

struct Many(Box<[Slot]>);

/// What comes later than the tasks.
struct Later<R> {
    /// Outcomes in the order in which they came.
    outcomes: SmallVec<[Outcome; 1]>,
    rare: Option<Box<R>>,
}

impl<R> Default for Later<R> {
    fn default() -> Self {
        Self { outcomes: SmallVec::new(), rare: None }
    }
}

/// The records of a batch, and with them what few batches have. See the head of this file.
pub(crate) struct Records<R> {
    slots: Slots,
    later: Option<Box<Later<R>>>,
}

const _: () = assert!(size_of::<Records<()>>() == 24);

impl<R: Default> Records<R> {
    pub(crate) fn new(len: usize) -> Self {
        let blank = || Slot { engine: NONE, count: 0, state: State::Pending, purged: false };
        let slots = match len {
            1 => Slots::One(blank()),
            _ => Slots::Many(Box::new(Many(std::iter::repeat_with(blank).take(len).collect()))),
        };
        Self { slots, later: None }
    }

    fn slots(&self) -> &[Slot] {
        match &self.slots {
            Slots::One(slot) => std::slice::from_ref(slot),
            Slots::Many(many) => &many.0,
        }
    }

    fn slot_mut(&mut self, index: u32) -> &mut Slot {
        match &mut self.slots {
            Slots::One(slot) => &mut std::slice::from_mut(slot)[index as usize],
            Slots::Many(many) => &mut many.0[index as usize],
        }
    }

    fn outcomes(&self) -> &[Outcome] {
        self.later.as_ref().map_or(&[], |later| &later.outcomes)
    }

    /// What few batches have, if this one has it.
    pub(crate) fn rare(&self) -> Option<&R> {
        self.later.as_ref()?.rare.as_deref()
    }

    /// As [`rare`](Self::rare), to change it.
    pub(crate) fn rare_mut(&mut self) -> Option<&mut R> {
        self.later.as_mut()?.rare.as_deref_mut()
    }

    /// As [`rare`](Self::rare), which this batch has from now on.
    pub(crate) fn make_rare(&mut self) -> &mut R {
        self.later.get_or_insert_default().rare.get_or_insert_default()
    }

    /// This batch has nothing rare any more.
    pub(crate) fn drop_rare(&mut self) {
        if let Some(later) = &mut self.later {
            later.rare = None;
        }
    }

    pub(crate) fn len(&self) -> u32 {
        self.slots().len() as u32
    }

    /// How many have an outcome.
    pub(crate) fn done(&self) -> u32 {
        self.outcomes().len() as u32
    }

    pub(crate) fn state(&self, index: u32) -> State {
        self.slots()[index as usize].state
    }

    /// The record of a task of which an engine said that it began at `started`, if one did.
    pub(crate) fn get(&self, index: u32, started: Stamp) -> Record<'_> {
        let Slot { engine, count, state, purged } = self.slots()[index as usize];
        let engine = (engine != NONE).then_some(EngineId(engine));
        if state == State::Pending {
            let (progress, rank, completed, received, parts) = (count, 0, 0, 0, None);
            return Record {
                state,
                engine,
                purged,
                progress,
                rank,
                started,
                completed,
                received,
                parts,
            };
        }
        let Outcome { started, completed, received, ref parts } = self.outcomes()[count as usize];
        let (progress, rank, parts) = (0, count, parts.as_ref());
        Record { state, engine, purged, progress, rank, started, completed, received, parts }
    }

    /// What a task gave, if that is a value of a single part that was not released.
    pub(crate) fn value(&self, index: u32) -> Option<Bytes> {
        let Slot { state, count, .. } = self.slots()[index as usize];
        if state != State::Ok {
            return None;
        }
        match self.outcomes()[count as usize].parts.as_deref()? {
            [part] => Some(part.clone()),
            _ => None,
        }
    }

    /// How many of these tasks have an outcome, up to the first that has none.
    pub(crate) fn done_in(&self, tasks: Range<usize>) -> usize {
        let slots = &self.slots()[tasks];
        slots.iter().position(|slot| slot.state == State::Pending).unwrap_or(slots.len())
    }

    /// Enters an outcome; the first one counts. Says whether this was it.
    pub(crate) fn end(&mut self, index: u32, ended: Ended) -> bool {
        let (all, done) = (self.len(), self.done());
        let slot = self.slot_mut(index);
        if slot.state != State::Pending {
            return false;
        }
        let Ended { state, engine, started, completed, received, parts } = ended;
        slot.state = state;
        slot.engine = engine.map_or(slot.engine, |engine| engine.0);
        slot.count = done;
        let outcomes = &mut self.later.get_or_insert_default().outcomes;
        if done == 0 {
            outcomes.reserve_exact(all as usize);
        }
        outcomes.push(Outcome { started, completed, received, parts: Some(parts) });
        true
    }

    /// Enters where a task runs or is bound for.
    pub(crate) fn place(&mut self, index: u32, engine: EngineId) {
        self.slot_mut(index).engine = engine.0;
    }

    pub(crate) fn progress(&mut self, index: u32, done: u32) {
        let slot = self.slot_mut(index);
        if slot.state == State::Pending {
            slot.count = done;
        }
    }

    /// The user wants a task forgotten, if it has ended.
    pub(crate) fn purge(&mut self, index: u32) {
        let slot = self.slot_mut(index);
        slot.purged = slot.state != State::Pending;
    }

    /// Forgets the outcome of a task, not its record.
    pub(crate) fn release(&mut self, index: u32) {
        let Slot { state, count, .. } = self.slots()[index as usize];
        if state != State::Pending
            && let Some(later) = &mut self.later
        {
            later.outcomes[count as usize].parts = None;
        }
    }
}
