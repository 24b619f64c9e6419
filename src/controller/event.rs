//! What may happen to the controller, and what it may want done about it.

use std::ops::Range;

use bytes::Bytes;

use crate::store::{Outcome, Record, Submitted};
use crate::wire::{
    ClientId, EngineId, EngineInfo, FromClient, FromEngine, FuncId, Health, Loss, Message, Parts,
    SessionId, Stamp, TaskId, ToClient, ToEngine, Underway,
};

/// An engine of the controller before this one, as that one wrote it down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inherited {
    /// The engine.
    pub info: EngineInfo,
    /// What it was given and may tell of yet: tickets, tasks, and at which attempt these were.
    pub given: Vec<(u64, TaskId, u16)>,
}

/// What a store holds of controllers before this one.
#[derive(Clone, Debug, Default)]
pub struct Restored {
    /// Clients: number, session, lease in nanoseconds, and the lowest number of the next task.
    pub clients: Vec<(ClientId, SessionId, u64, u64)>,
    /// Functions with their pickles.
    pub funcs: Vec<(FuncId, Bytes)>,
    /// Tasks without an outcome, with their arguments.
    pub tasks: Vec<(Submitted, Parts)>,
    /// The attempts at which some of these were.
    pub attempts: Vec<(TaskId, u16)>,
    /// Which of these are no longer wanted.
    pub cancelled: Vec<TaskId>,
    /// Outcomes; their values stay in the store.
    pub outcomes: Vec<Outcome>,
}

/// How far an engine came with what it was given.
#[derive(Clone, Debug, Default)]
pub struct Begun {
    /// The ticket of the last task that it began.
    pub last: u64,
    /// Tickets of tasks that it gave back before; their number is bounded, so not of all.
    pub returned: Vec<u64>,
}

/// Something that happened outside.
#[derive(Clone, Debug)]
pub enum Event {
    /// A client was admitted.
    ClientJoined {
        /// The number it was given, never given before.
        client: ClientId,
        /// Its process's session; known already if the client comes again.
        session: SessionId,
        /// Nanoseconds its unfinished tasks run on when it is gone; `u64::MAX` for as long as they
        /// take.
        lease: u64,
    },
    /// A client's session ended, whatever the reason.
    ClientLost {
        /// The client.
        client: ClientId,
        /// Whether it said goodbye; else it may come back.
        for_good: bool,
    },
    /// An engine was admitted.
    EngineJoined {
        /// The engine; its number was never given before.
        info: EngineInfo,
    },
    /// The first event of a controller that follows another which was killed: what that one had
    /// given to whom. Each of these engines comes back or is missing.
    Inherited(Vec<Inherited>),
    /// After that, if there is no store: of which tasks that one knew how many attempts were spent, the
    /// last with which engine, and how those of these engines ended that are gone.
    SpentBefore(Vec<(TaskId, EngineId, u16)>, Vec<Loss>),
    /// What the store holds. After [`Event::Inherited`], before anybody is admitted.
    Restored(Box<Restored>),
    /// The store has no room for these new tasks of a client.
    NoRoom {
        /// The client.
        client: ClientId,
        /// Number of the first task.
        first: u64,
        /// How many tasks there are.
        count: usize,
        /// Why, for people.
        why: String,
    },
    /// A client that came back asks again for tasks of its own that came here before.
    AskedAgain(ClientId, Range<u64>),
    /// Everything is about to end: engines are to give back what they have not begun.
    Stopping,
    /// A client of this controller or of the one before it was admitted under the number it had. What it
    /// said before that in another session is no longer heard.
    ClientBack {
        /// The client.
        client: ClientId,
        /// As in [`Event::ClientJoined`].
        session: SessionId,
        /// As in [`Event::ClientJoined`].
        lease: u64,
    },
    /// An engine of the controller before this one was admitted under the number it had there.
    EngineBack {
        /// The engine.
        info: EngineInfo,
        /// The highest ticket it was given there.
        ticket: u64,
        /// What it runs.
        running: Option<Underway>,
    },
    /// An engine of the controller before this one will not come back.
    EngineMissing {
        /// The engine.
        engine: EngineId,
        /// For instance `it did not come back within 10 s`.
        cause: String,
    },
    /// An engine's session or process ended.
    EngineLost {
        /// The engine.
        engine: EngineId,
        /// How far it came, if that is known for certain; it begins no other task.
        begun: Option<Begun>,
        /// For instance `killed by SIGKILL`.
        cause: String,
        /// The end of its log.
        output: String,
    },
    /// What a client was told waits here, since it takes nothing; more than there may be.
    ClientFull {
        /// The client.
        client: ClientId,
    },
    /// It has taken enough of that.
    ClientRoom {
        /// The client.
        client: ClientId,
    },
    /// Time passed, see [`Reactor::deadline`](super::Reactor::deadline).
    Tick,
    /// A client said something.
    FromClient(ClientId, Message<FromClient>),
    /// An engine said something.
    FromEngine(EngineId, Message<FromEngine>),
}

/// Something to be done outside, in the order given.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Send this to a client.
    ToClient(ClientId, Message<ToClient>),
    /// Send this to an engine.
    ToEngine(EngineId, Message<ToEngine>),
    /// Write this down. What leaves after it says that it was.
    Keep(Message<Record>),
    /// Send this to a client, with the parts that the store has of the outcome of this task.
    TellKept(ClientId, Message<ToClient>, TaskId),
    /// Write down that so many attempts of this task are spent, the last with this engine.
    Spent(TaskId, EngineId, u16),
    /// What is spent of these tasks need not be known any more.
    Unspent(Vec<TaskId>),
    /// Keep how this engine ended for as long as anything is written down as spent with it.
    Gone(Loss),
    /// Nothing of this engine is wanted any more: close what is left of its session and end what
    /// is left of its process. May concern an engine that is long gone.
    EndEngine(EngineId),
    /// When the process of this engine has ended, start another in its place.
    ReplaceEngine(EngineId),
    /// Answer this request of a client by how the engines are, after adding what only the
    /// surroundings know: how long each has been silent.
    TellHealth(ClientId, u64, Vec<Health>),
    /// Send a signal to an engine's process.
    SignalEngine(EngineId, i32),
    /// End every engine and the controller, after what was sent before has left.
    Stop,
}

/// The time at which an event is handled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Nanoseconds of a clock that never goes back.
    pub mono: u64,
    /// The same moment by the calendar.
    pub wall: Stamp,
}
