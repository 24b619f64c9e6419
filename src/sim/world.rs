//! A cluster in one thread: the real reactor, slots and client cores, and around them a clock, a
//! network and a shell that are simulated. What happens next is what is due next; what it leads to
//! is queued for later.

use std::collections::{BTreeMap, HashMap};

use tokio::runtime::{self, Runtime};

use super::chance::Chance;
use super::checks::Book;
use super::client::Client;
use super::engine::{Affair, Process};
use super::heir::{Hello, Page};
use super::network::{Line, Link, MS, Weather, wall};
use super::store::{Kept, limits};
use crate::clock::SIMULATED;
use crate::controller::{Event, Limits, Reactor};
use crate::memory::Tally;
use crate::wire::{
    ClientId, EngineId, FromClient, FromEngine, Loss, Message, Stamp, TaskId, ToClient, ToEngine,
};

/// Events after which a run that does not end is given up.
const MANY: u64 = 200_000;

/// Something that will happen.
#[derive(Debug)]
pub(super) enum What {
    /// The script goes on.
    Script,
    /// Messages arrive; one that comes again arrives whatever became of its session, unless its
    /// controller ended.
    FromEngine(Line, Message<FromEngine>, bool),
    ToEngine(Line, Message<ToEngine>),
    FromClient(Line, Message<FromClient>, bool),
    ToClient(Line, Message<ToClient>),
    /// The controller notices that a session is over.
    EngineGone(Line),
    ClientGone(Line),
    /// What a client is told piles up with the controller, or has gone.
    ClientFull(Line),
    ClientRoom(Line),
    /// The controller counts the silence of a stopped engine.
    Silence(Line),
    /// A client notices that its session is over.
    ClientOver(Line),
    /// A client looks for another controller, and was let in there.
    ClientKnocks(u32),
    ClientWelcome(Line),
    /// A client tells what has arrived.
    Took(Line),
    /// The controller is killed, and another follows.
    Death(u32),
    Rise,
    /// An engine asks to be let in.
    EngineKnocks(usize, Hello),
    /// The controller waits no longer for an engine of before.
    Missing(Line),
    /// What had no room in the store is written again.
    WriteAgain(u32),
    /// Something within an engine's process.
    Engine(usize, Affair),
}

/// A session as the controller knows it.
#[derive(Default)]
pub(super) struct Session {
    /// With which controller it is, and which of a client's there.
    pub(super) era: u32,
    pub(super) visit: u32,
    /// Whose it is.
    pub(super) process: usize,
    pub(super) up: Link,
    pub(super) down: Link,
    /// The controller's sight of what the engine begins, if it has one.
    pub(super) tally: Option<Tally>,
    pub(super) readable: bool,
    /// The controller has lost it.
    pub(super) gone: bool,
}

/// See the module.
#[expect(clippy::struct_excessive_bools, reason = "facts that are true or not by themselves")]
pub(super) struct World {
    pub(super) chance: Chance,
    pub(super) weather: Weather,
    /// Nanoseconds since the beginning.
    pub(super) now: u64,
    queue: BTreeMap<(u64, u64), What>,
    queued: u64,
    pub(super) limits: Limits,
    pub(super) reactor: Reactor,
    /// Which controller this is; while there is none, the next.
    pub(super) era: u32,
    pub(super) up: bool,
    /// Whether controllers may be killed, how many still will be, and whether another follows the
    /// last.
    pub(super) mortal: bool,
    pub(super) deaths: u64,
    pub(super) followed: bool,
    /// What is written down for the next controller, by engine.
    pub(super) ledger: BTreeMap<u32, Page>,
    /// Pages that go with what is written next.
    pub(super) struck: BTreeMap<u32, Page>,
    /// What is written down as spent, and how engines ended.
    pub(super) spent: BTreeMap<TaskId, (EngineId, u16)>,
    pub(super) ends: BTreeMap<u32, Loss>,
    /// The store, if controllers have one.
    pub(super) store: Option<Kept>,
    /// Engines of before that have not come back.
    pub(super) expected: HashMap<u32, usize>,
    /// The sessions of engines and of clients, by number; the latest with each.
    pub(super) engines: Vec<Session>,
    pub(super) sessions: Vec<Session>,
    pub(super) processes: Vec<Process>,
    pub(super) clients: Vec<Client>,
    pub(super) book: Book,
    /// Steps of the script that are left.
    pub(super) steps: u64,
    /// Prints what happens.
    pub(super) loud: bool,
    /// A hash of all that happened.
    pub(super) digest: u64,
    runtime: Runtime,
    passed: u64,
}

impl World {
    pub(super) fn new(seed: u64, loud: bool) -> Self {
        let mut chance = Chance::new(seed);
        // Of a source of its own, so that others run as ever.
        let mut fate = Chance::new(!seed);
        let mortal = fate.one_in(3);
        let (deaths, followed) = (1 + fate.below(3), !fate.one_in(8));
        // In some of these none is, so that only sessions end.
        let deaths = if fate.one_in(3) { 0 } else { deaths };
        // In a few there is room for next to nothing, so that outcomes are dropped; where there is a store
        // they are not.
        let tight = mortal && fate.one_in(4);
        let store = (mortal && fate.one_in(2)).then(Kept::default);
        let tight = tight && store.is_none();
        let mut limits = limits(mortal, store.is_some());
        if tight {
            limits.orphan_bytes = 400;
        }
        let mut runtime = runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().expect("a runtime");
        let mut world = Self {
            store,
            weather: Weather::any(&mut chance),
            steps: 5 + chance.below(40),
            chance,
            now: 0,
            queue: BTreeMap::new(),
            queued: 0,
            limits,
            reactor: Reactor::new(limits),
            era: 0,
            up: true,
            mortal,
            deaths: if mortal { deaths } else { 0 },
            followed,
            ledger: BTreeMap::new(),
            struck: BTreeMap::new(),
            spent: BTreeMap::new(),
            ends: BTreeMap::new(),
            expected: HashMap::new(),
            engines: Vec::new(),
            sessions: Vec::new(),
            processes: Vec::new(),
            clients: Vec::new(),
            book: Book::new(tight),
            loud,
            digest: 0,
            runtime,
            passed: 0,
        };
        world.book.is_stored = world.store.is_some();
        world.open_store();
        world
    }

    /// The clocks of whoever acts now show the time, this one perhaps a wrong one.
    pub(super) fn set_clocks(&mut self, skew: Stamp) -> Stamp {
        let wall = wall(self.now) + skew;
        SIMULATED.set(Some(wall));
        wall
    }

    /// Lets the clock of timers catch up; needed only where one is read.
    pub(super) fn pass(&mut self) {
        let behind = std::mem::replace(&mut self.passed, self.now);
        if behind < self.now {
            let time = std::time::Duration::from_nanos(self.now - behind);
            self.runtime.block_on(tokio::time::advance(time));
        }
    }

    #[expect(clippy::print_stderr, reason = "the story of a seed that failed")]
    pub(super) fn log(&mut self, what: impl FnOnce() -> String) {
        if self.loud {
            let text = what();
            for byte in text.bytes() {
                self.digest = (self.digest ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
            }
            eprintln!("{:>12.3} ms  {text}", self.now as f64 / MS as f64);
        }
    }

    pub(super) fn later(&mut self, after: u64, what: What) {
        self.queued += 1;
        self.queue.insert((self.now + after, self.queued), what);
    }

    pub(super) fn at(&mut self, at: u64, what: What) {
        self.later(at.saturating_sub(self.now), what);
    }

    /// Whether this message is to come again, and after how long.
    pub(super) fn again(&mut self) -> Option<u64> {
        let twice = self.weather.twice?;
        self.chance.one_in(twice).then(|| self.chance.mostly_below(300 * MS))
    }

    // --- the run

    /// Runs until nothing is due any more.
    pub(super) fn run(&mut self) {
        let handle = self.runtime.handle().clone();
        let _inside = handle.enter();
        loop {
            let due = self.queue.first_key_value().map(|((at, _), _)| *at);
            let deadline = if self.up { self.reactor.deadline() } else { None };
            let deadline = deadline.filter(|end| due.is_none_or(|due| *end < due));
            if let Some(deadline) = deadline {
                self.now = self.now.max(deadline);
                self.handle(Event::Tick);
                continue;
            }
            let Some(((at, number), what)) = self.queue.pop_first() else {
                if !self.rouse() {
                    return;
                }
                continue;
            };
            assert!(number < MANY, "it does not end");
            self.now = at;
            self.happen(what);
        }
    }

    /// Nothing is due: if something is pending, an engine must come for it. Says whether one did.
    fn rouse(&mut self) -> bool {
        if !self.up
            || self.reactor.pending() == 0
            || self.processes.iter().any(|process| process.alive)
        {
            return false;
        }
        self.start_engine();
        true
    }

    fn happen(&mut self, what: What) {
        self.log(|| format!("{what:?}"));
        match what {
            What::Script => self.step(),
            What::FromEngine(line, message, again) => {
                let here = self.is_here(line);
                if here && (again || self.engines[line.id as usize].up.delivers(self.now)) {
                    if let Some(after) = self.again() {
                        self.later(after, What::FromEngine(line, message.clone(), true));
                    }
                    self.writes_of(line.id, &message.head);
                    self.handle(Event::FromEngine(EngineId(line.id), message));
                }
            }
            What::FromClient(line, message, again) => {
                let (here, id) = (self.is_with(line), line.id);
                if here && (again || self.sessions[id as usize].up.delivers(self.now)) {
                    if let Some(after) = self.again() {
                        self.later(after, What::FromClient(line, message.clone(), true));
                    }
                    if !self.sessions[id as usize].gone {
                        self.book.said(ClientId(id), &message);
                    }
                    self.hear_client(ClientId(id), message);
                }
            }
            What::ToEngine(line, message) => {
                let session = &self.engines[line.id as usize];
                if session.era == line.era && session.down.delivers(self.now) {
                    let process = session.process;
                    self.engine_affair(process, Affair::Hears(line, message));
                }
            }
            What::ToClient(line, message) => {
                let session = &self.sessions[line.id as usize];
                if session.line(line.id) == line && session.down.delivers(self.now) {
                    self.client_hears(line, message);
                }
            }
            What::EngineGone(line) if self.is_here(line) => self.lose(line.id),
            What::Silence(line) if self.is_here(line) => {
                let id = line.id;
                if self.processes[self.engines[id as usize].process].stopped {
                    self.lose(id);
                }
            }
            What::ClientGone(line) if self.is_with(line) => self.lose_client(line.id),
            What::ClientFull(line) if self.is_with(line) => {
                let id = line.id;
                if !self.sessions[id as usize].gone {
                    self.handle(Event::ClientFull { client: ClientId(id) });
                    let long = self.chance.below(300 * MS);
                    self.later(long, What::ClientRoom(line));
                }
            }
            What::ClientRoom(line) if self.is_with(line) => {
                let id = line.id;
                if !self.sessions[id as usize].gone {
                    self.handle(Event::ClientRoom { client: ClientId(id) });
                }
            }
            // The controller that would have noticed is no more.
            What::EngineGone(_)
            | What::Silence(_)
            | What::ClientGone(_)
            | What::ClientFull(_)
            | What::ClientRoom(_) => {}
            What::ClientOver(line) => self.client_over(line),
            What::ClientKnocks(id) => self.client_knocks(id),
            What::ClientWelcome(line) => self.client_welcome(line),
            What::Took(line) => self.client_took(line),
            What::Death(era) => self.die(era),
            What::Rise => self.rise(),
            What::WriteAgain(era) => self.write_again(era),
            What::EngineKnocks(process, hello) => self.engine_knocks(process, hello),
            What::Missing(line) => self.give_up(line),
            What::Engine(process, affair) => self.engine_affair(process, affair),
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        SIMULATED.set(None);
    }
}
