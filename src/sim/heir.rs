//! The controller's death and the one that follows it: what the shell writes down, who is expected,
//! and who comes back.

use super::engine::Affair;
use super::network::{Line, Link, MS};
use super::store::Kept;
use super::world::{Session, What, World};
use crate::controller::places::{Entry, Places};
use crate::controller::{Event, Inherited, Reactor};
use crate::wire::{
    ClientId, EngineId, EngineInfo, FromEngine, SessionId, TaskId, ToEngine, Underway,
};

/// An engine at the door.
#[derive(Debug)]
pub(super) struct Hello {
    /// The controller whose door it is, if there was one.
    door: Option<u32>,
    /// What it was before, the highest ticket that came there, and what it ran when it knocked.
    before: Option<(Line, u64, Option<Underway>)>,
}

/// An engine's page of the ledger.
pub(super) struct Page {
    /// Whose it is.
    process: usize,
    info: EngineInfo,
    places: Places,
    /// The file: what stands in each place.
    stands: Vec<Option<Entry>>,
}

impl Page {
    fn new(process: usize, info: EngineInfo, places: Places) -> Self {
        let mut page = Self { process, info, places, stands: Vec::new() };
        page.write();
        page
    }

    fn write(&mut self) {
        for (place, entry) in self.places.take_dirty() {
            let len = self.stands.len().max(place as usize + 1);
            self.stands.resize(len, None);
            self.stands[place as usize] = entry;
        }
    }

    /// What the next controller reads.
    fn read(&self) -> Vec<Entry> {
        let mut entries: Vec<_> = self.stands.iter().flatten().copied().collect();
        entries.sort_unstable_by_key(|(ticket, ..)| *ticket);
        entries
    }
}

impl World {
    // --- the ledger

    /// An engine was let in.
    pub(super) fn enter(&mut self, process: usize, info: &EngineInfo) {
        let page = Page::new(process, info.clone(), Places::default());
        self.ledger.insert(info.id.0, page);
    }

    /// Something leaves for an engine.
    pub(super) fn writes(&mut self, id: u32, head: &ToEngine) {
        let Some(page) = self.ledger.get_mut(&id) else { return };
        match head {
            ToEngine::Task { id, ticket, attempt, .. } => {
                page.places.give((*ticket, *id, *attempt));
            }
            ToEngine::Settled(tickets) => {
                for ticket in tickets {
                    page.places.settle(*ticket);
                }
            }
            _ => {}
        }
        page.write();
    }

    /// Something came from an engine.
    pub(super) fn writes_of(&mut self, id: u32, head: &FromEngine) {
        let Some(page) = self.ledger.get_mut(&id) else { return };
        match head {
            FromEngine::Returned(tasks) => {
                for (_, ticket) in tasks {
                    page.places.take_back(*ticket);
                }
            }
            FromEngine::Back(ids) => {
                page.places.told(ids);
            }
            _ => {}
        }
        page.write();
    }

    /// An engine is gone. Its page goes after what follows from that is written, and before anything
    /// leaves.
    pub(super) fn strike_out(&mut self, id: u32) {
        self.struck.extend(self.ledger.remove(&id).map(|page| (id, page)));
    }

    /// What is spent of these need not be known; their words stay until others take their places.
    pub(super) fn unspent(&mut self, ids: &[TaskId]) {
        for id in ids {
            if self.chance.one_in(2) {
                self.spent.remove(id);
            }
        }
    }

    // --- the controller

    /// This controller is killed: its sessions break, and each side notices in its own time.
    pub(super) fn die(&mut self, era: u32) {
        if !self.up || self.era != era || self.deaths == 0 {
            return;
        }
        self.log(|| format!("controller {era} is killed"));
        (self.up, self.deaths) = (false, self.deaths - 1);
        self.book.orphaned();
        for client in self.clients.iter().filter(|client| client.alive) {
            let id = ClientId(client.id);
            if !self.reactor.may_return(id, client.core.session, true) {
                self.book.given_up(id);
            }
        }
        // Killed while it wrote, it may have come to the one and not to the other.
        let written = self.store.as_ref().is_none_or(Kept::is_written);
        if !written || self.chance.one_in(2) {
            self.ledger.extend(std::mem::take(&mut self.struck));
        }
        self.struck.clear();
        self.reactor = Reactor::new(self.limits);
        self.close_store();
        self.expected.clear();
        for at in 0..self.processes.len() {
            let process = &self.processes[at];
            let Some(line) = process.line().filter(|line| line.era == era) else { continue };
            let more = self.chance.mostly_below(20 * MS);
            self.engines[line.id as usize].down.cut(self.now + more);
            let after = more + 1 + self.chance.mostly_below(100 * MS);
            self.later(after, What::Engine(at, Affair::Over(line)));
        }
        for at in 0..self.clients.len() {
            let Some(line) = self.clients[at].line().filter(|line| line.era == era) else {
                continue;
            };
            if self.store.is_some() && self.chance.one_in(3) {
                self.kill_client(at);
                continue;
            }
            let more = self.chance.mostly_below(20 * MS);
            self.sessions[line.id as usize].down.cut(self.now + more);
            let after = more + 1 + self.chance.mostly_below(100 * MS);
            self.later(after, What::ClientOver(line));
        }
        self.era += 1;
        if self.deaths > 0 || self.followed {
            let pause = [10 * MS, 400 * MS, 2000 * MS][self.chance.below(3) as usize];
            let pause = self.chance.below(pause);
            self.later(pause, What::Rise);
        }
    }

    /// The next one starts.
    pub(super) fn rise(&mut self) {
        self.up = true;
        let era = self.era;
        self.log(|| format!("controller {era} starts"));
        let pages = self.ledger.iter();
        let left: Vec<_> = pages
            .map(|(id, page)| {
                self.expected.insert(*id, page.process);
                Inherited { info: page.info.clone(), given: page.read() }
            })
            .collect();
        let patience = [100 * MS, 500 * MS, 5000 * MS][self.chance.below(3) as usize];
        for engine in &left {
            let id = engine.info.id.0;
            let alive = self.processes[self.expected[&id]].alive;
            let after = if alive { patience } else { self.chance.mostly_below(50 * MS) };
            self.later(after, What::Missing(self.line(id)));
        }
        let restored = self.open_store();
        self.handle(Event::Inherited(left));
        let spent = self.spent.iter().map(|(id, (engine, attempts))| (*id, *engine, *attempts));
        let (spent, ends) = (spent.collect(), self.ends.values().cloned().collect());
        self.handle(Event::SpentBefore(spent, ends));
        if let Some(restored) = restored {
            self.handle(Event::Restored(Box::new(restored)));
        }
        if self.deaths > 0 && self.chance.one_in(2) {
            let after = self.chance.mostly_below(300 * MS);
            self.later(after, What::Death(era));
        }
    }

    /// An engine of before is waited for no longer.
    pub(super) fn give_up(&mut self, line: Line) {
        if !self.is_here(line) || self.expected.remove(&line.id).is_none() {
            return;
        }
        let page = &self.ledger[&line.id];
        let given: Vec<_> = page.read().into_iter().map(|(ticket, id, _)| (id, ticket)).collect();
        self.log(|| format!("engine {} is missing", line.id));
        self.book.missing(line.id, given.into_iter());
        let (engine, cause) = (EngineId(line.id), "it did not come back".to_owned());
        self.strike_out(line.id);
        self.handle(Event::EngineMissing { engine, cause });
    }

    // --- engines that come back

    /// An engine goes to the door, as what it was if it was anything.
    pub(super) fn knock(&mut self, at: usize) {
        let door = self.up.then_some(self.era);
        let before = self.processes[at].before();
        let after = 1 + self.chance.mostly_below(20 * MS);
        self.later(after, What::EngineKnocks(at, Hello { door, before }));
    }

    /// It is seen there.
    pub(super) fn engine_knocks(&mut self, at: usize, hello: Hello) {
        if !self.processes[at].alive {
            return;
        }
        if !self.up || hello.door != Some(self.era) {
            return self.knock_later(at);
        }
        let Some((line, ticket, running)) = hello.before else { return self.join(at) };
        if self.expected.get(&line.id) != Some(&at) {
            return self.join(at);
        }
        self.expected.remove(&line.id);
        let page = self.ledger.get_mut(&line.id).expect("who is expected has a page");
        let runs = running.map(|run| (run.ticket, run.id, run.attempt));
        let places = Places::again(&page.read(), ticket, runs);
        *page = Page::new(at, page.info.clone(), places);
        let info = page.info.clone();
        let open = self.now + 1 + self.chance.mostly_below(20 * MS);
        let again = self.line(line.id);
        let tally = self.processes[at].comes_back(again);
        self.admit(line.id, at, tally.as_ref(), Some(open));
        self.processes[at].tally = tally;
        self.handle(Event::EngineBack { info, ticket, running });
        self.at(open, What::Engine(at, Affair::Welcome(again)));
    }

    // --- clients that come back

    pub(super) fn client_knocks(&mut self, id: u32) {
        let client = &self.clients[id as usize];
        if !client.alive || client.line().is_some() {
            return;
        }
        if self.now >= client.until {
            return self.end_client(id);
        }
        if !self.up {
            let after = 1 + self.chance.mostly_below(200 * MS);
            return self.later(after, What::ClientKnocks(id));
        }
        let (past, session, lease) = (client.past, client.core.session, client.lease);
        let here = past.era == self.era;
        if !self.reactor.may_return(ClientId(id), session, here) {
            return self.end_client(id);
        }
        let open = self.now + 1 + self.chance.mostly_below(20 * MS);
        let before = &self.sessions[id as usize];
        if here && !before.gone {
            // That its session was over is noticed now.
            self.book.lost_client(ClientId(id), self.now);
        }
        let before = &self.sessions[id as usize];
        let visit = if before.era == self.era { before.visit + 1 } else { 0 };
        let (era, down) = (self.era, Link::from(open));
        let session_there = Session { era, visit, down, ..Session::default() };
        let line = session_there.line(id);
        self.sessions[id as usize] = session_there;
        self.clients[id as usize].opening = Some(line);
        self.book.client_back(ClientId(id));
        self.handle(Event::ClientBack { client: ClientId(id), session, lease });
        self.at(open, What::ClientWelcome(line));
    }
}

/// The session of an engine that is new.
pub(super) fn identity(id: u32) -> SessionId {
    SessionId([id as u8; 16])
}
