//! A cluster in one thread: the real reactor, slots and client cores, and around them a clock, a
//! network and a shell that are simulated. What happens next is what is due next; what it leads to
//! is queued for later.

use std::collections::BTreeMap;

use tokio::runtime::{self, Runtime};

use super::chance::Chance;
use super::checks::Book;
use super::client::Client;
use super::engine::{Affair, Process};
use super::network::{Link, MS, Weather};
use crate::clock::SIMULATED;
use crate::controller::{Effect, Event, Limits, Now, Reactor};
use crate::memory::Tally;
use crate::wire::{
    ClientId, EngineId, FromClient, FromEngine, Head, Message, Stamp, ToClient, ToEngine,
};

/// The calendar at the beginning.
const START: Stamp = 1_700_000_000_000_000_000;
/// Events after which a run that does not end is given up.
const MANY: u64 = 200_000;

/// Something that will happen.
#[derive(Debug)]
pub(super) enum What {
    /// The script goes on.
    Script,
    /// Messages arrive; one that comes again arrives whatever became of its session.
    FromEngine(u32, Message<FromEngine>, bool),
    ToEngine(u32, Message<ToEngine>),
    FromClient(u32, Message<FromClient>, bool),
    ToClient(u32, Message<ToClient>),
    /// The controller notices that a session is over.
    EngineGone(u32),
    ClientGone(u32),
    /// What a client is told piles up with the controller, or has gone.
    ClientFull(u32),
    ClientRoom(u32),
    /// The controller counts the silence of a stopped engine.
    Silence(u32),
    /// A client notices that its session is over.
    ClientOver(u32),
    /// Something within an engine's process.
    Engine(usize, Affair),
}

/// A session as the controller knows it.
#[derive(Default)]
pub(super) struct Session {
    /// Whose it is.
    pub(super) process: usize,
    pub(super) up: Link,
    pub(super) down: Link,
    /// The controller's sight of what the engine begins, if it has one.
    tally: Option<Tally>,
    pub(super) readable: bool,
    /// The controller has lost it.
    pub(super) gone: bool,
}

/// See the module.
pub(super) struct World {
    pub(super) chance: Chance,
    pub(super) weather: Weather,
    /// Nanoseconds since the beginning.
    pub(super) now: u64,
    queue: BTreeMap<(u64, u64), What>,
    queued: u64,
    pub(super) reactor: Reactor,
    /// The sessions of engines and of clients, by number.
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
        let mut runtime = runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().expect("a runtime");
        Self {
            weather: Weather::any(&mut chance),
            steps: 5 + chance.below(40),
            chance,
            now: 0,
            queue: BTreeMap::new(),
            queued: 0,
            reactor: Reactor::new(Limits::default()),
            engines: Vec::new(),
            sessions: Vec::new(),
            processes: Vec::new(),
            clients: Vec::new(),
            book: Book::default(),
            loud,
            digest: 0,
            runtime,
            passed: 0,
        }
    }

    /// The clocks of whoever acts now show the time, this one perhaps a wrong one.
    pub(super) fn set_clocks(&mut self, skew: Stamp) -> Stamp {
        let wall = START + self.now as Stamp + skew;
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

    fn at(&mut self, at: u64, what: What) {
        self.later(at.saturating_sub(self.now), what);
    }

    /// Whether this message is to come again, and after how long.
    fn again(&mut self) -> Option<u64> {
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
            let deadline = self.reactor.deadline().filter(|end| due.is_none_or(|due| *end < due));
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
        if self.reactor.pending() == 0 || self.processes.iter().any(|process| process.alive) {
            return false;
        }
        self.start_engine();
        true
    }

    fn happen(&mut self, what: What) {
        self.log(|| format!("{what:?}"));
        match what {
            What::Script => self.step(),
            What::FromEngine(id, message, again) => {
                if again || self.engines[id as usize].up.delivers(self.now) {
                    if let Some(after) = self.again() {
                        self.later(after, What::FromEngine(id, message.clone(), true));
                    }
                    self.handle(Event::FromEngine(EngineId(id), message));
                }
            }
            What::FromClient(id, message, again) => {
                if again || self.sessions[id as usize].up.delivers(self.now) {
                    if let Some(after) = self.again() {
                        self.later(after, What::FromClient(id, message.clone(), true));
                    }
                    if !self.sessions[id as usize].gone {
                        self.book.said(ClientId(id), &message);
                    }
                    self.handle(Event::FromClient(ClientId(id), message));
                }
            }
            What::ToEngine(id, message) => {
                if self.engines[id as usize].down.delivers(self.now) {
                    let process = self.engines[id as usize].process;
                    self.engine_affair(process, Affair::Hears(id, message));
                }
            }
            What::ToClient(id, message) => {
                if self.sessions[id as usize].down.delivers(self.now) {
                    self.client_hears(id, message);
                }
            }
            What::EngineGone(id) => self.lose(id),
            What::Silence(id) => {
                if self.processes[self.engines[id as usize].process].stopped {
                    self.lose(id);
                }
            }
            What::ClientGone(id) => {
                if !std::mem::replace(&mut self.sessions[id as usize].gone, true) {
                    self.handle(Event::ClientLost { client: ClientId(id) });
                }
            }
            What::ClientFull(id) => {
                if !self.sessions[id as usize].gone {
                    self.handle(Event::ClientFull { client: ClientId(id) });
                    let long = self.chance.below(300 * MS);
                    self.later(long, What::ClientRoom(id));
                }
            }
            What::ClientRoom(id) => {
                if !self.sessions[id as usize].gone {
                    self.handle(Event::ClientRoom { client: ClientId(id) });
                }
            }
            What::ClientOver(id) => self.client_over(id),
            What::Engine(process, affair) => self.engine_affair(process, affair),
        }
    }

    // --- the controller's shell

    pub(super) fn handle(&mut self, event: Event) {
        let now = Now { mono: self.now, wall: self.set_clocks(0) };
        let mut effects = Vec::new();
        self.reactor.handle(now, event, &mut effects);
        self.reactor.check();
        for effect in effects {
            self.carry_out(effect);
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::ToClient(client, message) => {
                let deserted = self.reactor.engines().is_empty();
                self.book.told(client, &message, deserted);
                let how = (message.head.in_order(), !message.parts.is_empty());
                let (weather, id) = (self.weather, client.0);
                let session = &mut self.sessions[id as usize];
                assert!(!session.gone, "only the living are told");
                let at = session.down.send(self.now, how, weather, &mut self.chance);
                // A list of engines that came again later would be an old one.
                if !matches!(message.head, ToClient::Engines(_))
                    && let Some(after) = self.again()
                {
                    self.at(at + after, What::ToClient(id, message.clone()));
                }
                self.at(at, What::ToClient(id, message));
            }
            Effect::ToEngine(engine, message) => {
                let EngineId(id) = engine;
                self.log(|| format!("-> engine {id}: {:?}", message.head));
                self.book.given(id, &message);
                let how = (message.head.in_order(), !message.parts.is_empty());
                let weather = self.weather;
                let session = &mut self.engines[id as usize];
                assert!(!session.gone, "only the living are sent to");
                let at = session.down.send(self.now, how, weather, &mut self.chance);
                // Not twice: a session gives each message once, and an engine relies on it.
                self.at(at, What::ToEngine(id, message));
            }
            Effect::EndEngine(EngineId(id)) => self.end_engine(id),
            // Nobody asks for these here.
            Effect::SignalEngine(..)
            | Effect::ReplaceEngine(_)
            | Effect::Keep(_)
            | Effect::TellKept(..)
            | Effect::TellHealth(..)
            | Effect::Stop => {}
        }
    }

    /// An engine joins; gives its number.
    pub(super) fn admit(&mut self, process: usize, tally: Option<&Tally>) -> u32 {
        let id = self.engines.len() as u32;
        let sign = tally.and_then(Tally::sign);
        let tally = sign.filter(|_| !self.chance.one_in(4));
        let tally = tally.and_then(|sign| Tally::open(std::process::id(), &sign));
        let readable = tally.is_some();
        self.engines.push(Session { process, tally, readable, ..Session::default() });
        self.log(|| format!("process {process} joins as engine {id}, tally {readable}"));
        id
    }

    /// The controller gives up an engine.
    pub(super) fn lose(&mut self, id: u32) {
        let session = &mut self.engines[id as usize];
        if std::mem::replace(&mut session.gone, true) {
            return;
        }
        let begun = session.tally.take().map(|tally| tally.close());
        self.log(|| format!("engine {id} is lost, begun {begun:?}"));
        self.book.lost(id, begun.is_some());
        let (engine, cause, output) = (EngineId(id), "gone".to_owned(), String::new());
        self.handle(Event::EngineLost { engine, begun, cause, output });
    }

    pub(super) fn send_from_engine(&mut self, id: u32, message: Message<FromEngine>) {
        let how = (message.head.in_order(), !message.parts.is_empty());
        let weather = self.weather;
        let at = self.engines[id as usize].up.send(self.now, how, weather, &mut self.chance);
        self.at(at, What::FromEngine(id, message, false));
    }

    pub(super) fn send_from_client(&mut self, id: u32, message: Message<FromClient>) {
        let how = (message.head.in_order(), !message.parts.is_empty());
        let weather = self.weather;
        let at = self.sessions[id as usize].up.send(self.now, how, weather, &mut self.chance);
        self.at(at, What::FromClient(id, message, false));
    }
}

impl Drop for World {
    fn drop(&mut self) {
        SIMULATED.set(None);
    }
}
