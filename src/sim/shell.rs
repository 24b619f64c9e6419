//! The part of the controller's shell that lets engines in, loses them, and moves what is said.

use super::network::{Line, Link};
use super::world::{Session, What, World};
use crate::controller::{Begun, Event};
use crate::memory::Tally;
use crate::wire::{ClientId, EngineId, FromClient, FromEngine, Head, Message};

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
        self.handle(Event::EngineLost { engine, begun, cause, output });
        self.strike_out(id);
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
}
