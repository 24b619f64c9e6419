//! Everything the controller knows, and the hand that one event changes it with.

use std::collections::{BTreeMap, BTreeSet};

use crate::wire::{ClientId, EngineId, Message, TaskId, ToClient, ToEngine};

use super::clients::Clients;
use super::deserted::Deserted;
use super::engines::Engines;
use super::event::{Effect, Now};
use super::funcs::Funcs;
use super::lanes::Lanes;
use super::outcomes::Outcomes;
use super::ranks::{RANK_MAX, Ranks};
use super::receipts::Receipts;
use super::resume::Resume;
use super::spent::AllSpent;
use super::tasks::{List, Tasks};

/// The bounds the controller works within.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Work an engine is given ahead, in nanoseconds of its mean task.
    pub ahead: u64,
    /// Tasks an engine is given ahead at most, however short they are.
    pub ahead_max: u32,
    /// Outcomes kept after their owner was told.
    pub kept_records: usize,
    /// Bytes of these.
    pub kept_bytes: u64,
    /// Bytes of the outcomes kept whose owner was gone.
    pub orphan_bytes: u64,
    /// How long these are kept, in nanoseconds.
    pub orphan_time: u64,
    /// Whether engines keep what they told until it has arrived, for a controller after this one.
    pub receipts: bool,
    /// Whether there is a store: what is to be known after the end of this controller is written
    /// down, and outcomes that arrived nowhere are kept there.
    pub store: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            ahead: 5_000_000,
            ahead_max: 256,
            kept_records: 1024,
            kept_bytes: 64 << 20,
            orphan_bytes: 256 << 20,
            orphan_time: 600_000_000_000,
            receipts: false,
            store: false,
        }
    }
}

impl Limits {
    /// The same within what the books can count.
    pub(crate) fn clamped(self) -> Self {
        Self { ahead_max: self.ahead_max.clamp(1, RANK_MAX - 1), ..self }
    }
}

/// The books. Invariants are listed and audited in `check`.
pub(crate) struct State {
    pub(crate) limits: Limits,
    pub(crate) tasks: Tasks,
    pub(crate) funcs: Funcs,
    pub(crate) engines: Engines,
    pub(crate) clients: Clients,
    pub(crate) lanes: Lanes,
    pub(crate) outcomes: Outcomes,
    /// The tasks that wait for clients which take nothing; one list, perhaps empty, for each such.
    pub(crate) parked: BTreeMap<ClientId, List>,
    /// When the leases of clients end that are gone, by the monotonic clock.
    pub(crate) leases: BTreeSet<(u64, ClientId)>,
    /// When clients that may come back are no longer waited for, by the same clock.
    pub(crate) awaited: BTreeSet<(u64, ClientId)>,
    /// Outcomes that engines keep until they have arrived; `None` if nobody keeps any.
    pub(crate) receipts: Option<Receipts>,
    /// What is spent of tasks whose outcome has not arrived.
    pub(crate) spent: AllSpent,
    /// Outcomes that were told to watchers and are in the store: under which number to whom.
    pub(crate) lent: BTreeMap<(ClientId, u64), TaskId>,
    /// What is left of a controller before this one.
    pub(crate) resume: Option<Box<Resume>>,
    /// Who waits while no engine is there.
    pub(crate) deserted: Deserted,
    /// Engines that have room, by how many tasks they hold.
    pub(crate) ready: Ranks,
    /// Tasks submitted so far.
    pub(crate) submitted: u64,
    /// Results dropped because their engine did not hold the task.
    pub(crate) duplicates: u64,
    /// Messages, or parts of them, that made no sense.
    pub(crate) ignored: u64,
}

impl State {
    /// Empty books.
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits: limits.clamped(),
            tasks: Tasks::default(),
            funcs: Funcs::default(),
            engines: Engines::default(),
            clients: Clients::default(),
            lanes: Lanes::default(),
            outcomes: Outcomes::default(),
            parked: BTreeMap::new(),
            leases: BTreeSet::new(),
            awaited: BTreeSet::new(),
            receipts: limits.receipts.then(Receipts::default),
            spent: AllSpent::default(),
            lent: BTreeMap::new(),
            resume: None,
            deserted: Deserted::default(),
            ready: Ranks::most(),
            submitted: 0,
            duplicates: 0,
            ignored: 0,
        }
    }
}

/// One event being handled: the books, the time, and what is to be done.
pub(crate) struct Turn<'a> {
    pub(crate) state: &'a mut State,
    pub(crate) now: Now,
    pub(crate) out: &'a mut Vec<Effect>,
}

impl Turn<'_> {
    pub(crate) fn tell_client(&mut self, client: ClientId, message: Message<ToClient>) {
        self.out.push(Effect::ToClient(client, message));
    }

    pub(crate) fn tell_engine(&mut self, engine: EngineId, message: Message<ToEngine>) {
        self.out.push(Effect::ToEngine(engine, message));
    }

    /// Position of the next task among all ever submitted.
    pub(crate) fn next_order(&mut self) -> u64 {
        self.state.submitted += 1;
        self.state.submitted
    }
}
