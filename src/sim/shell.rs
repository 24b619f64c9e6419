//! The controller's shell: it lets engines in, loses them, moves what is said, and carries out what the
//! reactor wants.

use super::network::{Line, Link};
use super::world::{Session, What, World};
use crate::controller::{Begun, Effect, Event, Now};
use crate::memory::Tally;
use crate::wire::{ClientId, EngineId, FromClient, FromEngine, Head, Message, ToClient};

impl Session {
    /// How it is known, if this is its peer's number.
    pub(super) fn line(&self, id: u32) -> Line {
        Line { id, era: self.era, visit: self.visit }
    }
}

impl World {
    /// An engine is let in under this number, and knows it from `open` on, or now.
    pub(super) fn admit(
        &mut self,
        id: u32,
        process: usize,
        tally: Option<&Tally>,
        open: Option<u64>,
    ) {
        let sign = tally.and_then(Tally::sign);
        let tally = sign.filter(|_| !self.chance.one_in(4));
        let tally = tally.and_then(|sign| Tally::open(std::process::id(), &sign));
        let readable = tally.is_some();
        let (down, era) = (open.map(Link::from).unwrap_or_default(), self.era);
        let session = Session { era, process, down, tally, readable, ..Session::default() };
        if id as usize == self.engines.len() {
            self.engines.push(session);
        } else {
            self.engines[id as usize] = session;
        }
        self.log(|| format!("process {process} joins as engine {id}, tally {readable}"));
    }

    /// The controller gives up an engine.
    pub(super) fn lose(&mut self, id: u32) {
        let session = &mut self.engines[id as usize];
        if std::mem::replace(&mut session.gone, true) {
            return;
        }
        let begun = session
            .tally
            .take()
            .map(|tally| Begun { last: tally.close(), returned: tally.given_back() });
        self.log(|| format!("engine {id} is lost, begun {begun:?}"));
        let line = self.line(id);
        self.book.lost(line, begun.is_some());
        let (engine, cause, output) = (EngineId(id), "gone".to_owned(), String::new());
        self.strike_out(id);
        self.handle(Event::EngineLost { engine, begun, cause, output });
    }

    /// The controller notices that a client is gone.
    pub(super) fn lose_client(&mut self, id: u32) {
        if !std::mem::replace(&mut self.sessions[id as usize].gone, true) {
            let client = ClientId(id);
            self.book.lost_client(client, self.now);
            self.handle(Event::ClientLost { client, for_good: false });
        }
    }

    pub(super) fn send_from_engine(&mut self, line: Line, message: Message<FromEngine>) {
        let how = (message.head.in_order(), !message.parts.is_empty());
        let weather = self.weather;
        let at = self.engines[line.id as usize].up.send(self.now, how, weather, &mut self.chance);
        self.at(at, What::FromEngine(line, message, false));
    }

    pub(super) fn send_from_client(&mut self, line: Line, message: Message<FromClient>) {
        let how = (message.head.in_order(), !message.parts.is_empty());
        let weather = self.weather;
        let at = self.sessions[line.id as usize].up.send(self.now, how, weather, &mut self.chance);
        self.at(at, What::FromClient(line, message, false));
    }

    /// Whether a session is with the controller there is.
    pub(super) fn is_here(&self, line: Line) -> bool {
        self.up && self.era == line.era
    }

    /// The same for a client's session, which is the last it had there.
    pub(super) fn is_with(&self, line: Line) -> bool {
        self.is_here(line) && self.sessions[line.id as usize].line(line.id) == line
    }

    /// The session of the engine with this number.
    pub(super) fn line(&self, id: u32) -> Line {
        Line { id, era: self.era, visit: 0 }
    }

    pub(super) fn handle(&mut self, event: Event) {
        let now = Now { mono: self.now, wall: self.set_clocks(0) };
        let mut effects = Vec::new();
        self.reactor.handle(now, event, &mut effects);
        self.reactor.check();
        if self.reactor.engines().is_empty() {
            self.book.deserted(self.now);
        }
        self.carry_out_all(effects);
    }

    pub(super) fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::ToClient(client, message) => {
                self.book.told(client, &message, self.now);
                let how = (message.head.in_order(), !message.parts.is_empty());
                let (weather, id, era) = (self.weather, client.0, self.era);
                let session = &mut self.sessions[id as usize];
                let line = session.line(id);
                assert!(!session.gone && session.era == era, "only the living are told");
                let at = session.down.send(self.now, how, weather, &mut self.chance);
                // A list of engines that came again later would be an old one.
                if !matches!(message.head, ToClient::Engines(_))
                    && let Some(after) = self.again()
                {
                    self.at(at + after, What::ToClient(line, message.clone()));
                }
                self.at(at, What::ToClient(line, message));
            }
            Effect::ToEngine(engine, message) => {
                let EngineId(id) = engine;
                self.log(|| format!("-> engine {id}: {:?}", message.head));
                self.book.given(self.line(id), &message);
                self.writes(id, &message.head);
                let how = (message.head.in_order(), !message.parts.is_empty());
                let (weather, line) = (self.weather, self.line(id));
                let session = &mut self.engines[id as usize];
                assert!(!session.gone && session.era == line.era, "only the living are sent to");
                let at = session.down.send(self.now, how, weather, &mut self.chance);
                // Not twice: a session gives each message once, and an engine relies on it.
                self.at(at, What::ToEngine(line, message));
            }
            Effect::EndEngine(EngineId(id)) => self.end_engine(id),
            Effect::Spent(id, engine, attempts) => drop(self.spent.insert(id, (engine, attempts))),
            Effect::Unspent(ids) => self.unspent(&ids),
            Effect::Gone(loss) => drop(self.ends.insert(loss.engine, loss)),
            // Nobody asks for these here.
            Effect::SignalEngine(..)
            | Effect::ReplaceEngine(_)
            | Effect::Keep(_)
            | Effect::TellKept(..)
            | Effect::TellHealth(..)
            | Effect::Stop => {}
        }
    }
}
