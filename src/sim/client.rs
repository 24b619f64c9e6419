//! A client's process: a real core, whose uplink is the simulated network.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::network::{Line, MS};
use super::world::{Session, What, World};
use crate::client::{Core, Submission, Tasks, Uplink};
use crate::controller::Event;
use crate::wire::{
    ClientId, EngineId, FromClient, FuncId, Kind, Message, Parts, Rules, SessionId, Stamp, Target,
    TaskId, ToClient,
};

/// Bytes of arguments in flight.
const BOUND: u64 = 64;
const FUNC: FuncId = FuncId([1; 16]);

/// What a core says, until the network takes it.
#[derive(Clone, Default)]
struct Outbox {
    said: Arc<Mutex<Vec<Message<FromClient>>>>,
    pieces: bool,
    keeps: bool,
}

impl Uplink for Outbox {
    fn push(&self, message: Message<FromClient>) -> Result<(), String> {
        self.said.lock().push(message);
        Ok(())
    }

    fn wants_pieces(&self) -> bool {
        self.pieces
    }

    fn keeps(&self) -> bool {
        self.keeps
    }
}

/// See the module.
pub(super) struct Client {
    pub(super) core: Core,
    outbox: Outbox,
    /// Its number.
    pub(super) id: u32,
    pub(super) alive: bool,
    pub(super) lease: u64,
    /// Its session; one that it was let in to and does not know of yet; the last it had.
    session: Option<Line>,
    pub(super) opening: Option<Line>,
    pub(super) past: Line,
    /// Until when it looks for another controller.
    pub(super) until: u64,
    /// It is about to tell what has arrived.
    telling: bool,
    skew: Stamp,
    pub(super) tasks: Vec<Tasks>,
    watched: Vec<Tasks>,
}

/// How soon a client tells what has arrived.
const TELL_AFTER: u64 = 50 * MS;

impl Client {
    /// The session it has or is about to have.
    pub(super) fn line(&self) -> Option<Line> {
        self.session.or(self.opening)
    }
}

impl World {
    /// A client comes, of a session that is new or has been there before.
    pub(super) fn start_client(&mut self, of: u8, lease: u64) {
        if !self.up {
            return;
        }
        let id = self.sessions.len() as u32;
        let (pieces, keeps) = (self.chance.one_in(2), self.mortal);
        let outbox = Outbox { pieces, keeps, ..Outbox::default() };
        let session = SessionId([of; 16]);
        let core = Core::new(session, Box::new(outbox.clone()), BOUND);
        let skew = self.chance.below(2_000_000_000) as Stamp;
        let (tasks, watched) = (Vec::new(), Vec::new());
        let line = Line { id, era: self.era, visit: 0 };
        self.clients.push(Client {
            core,
            outbox,
            id,
            alive: true,
            lease,
            session: Some(line),
            opening: None,
            past: line,
            until: 0,
            telling: false,
            skew,
            tasks,
            watched,
        });
        self.sessions.push(Session { era: self.era, ..Session::default() });
        self.book.comes(session);
        self.handle(Event::ClientJoined { client: ClientId(id), session, lease });
    }

    /// What a client said goes on its way; without a session it is dropped.
    fn flush(&mut self, at: usize) {
        let (id, line) = (self.clients[at].id, self.clients[at].session);
        let said = std::mem::take(&mut *self.clients[at].outbox.said.lock());
        let Some(line) = line else { return };
        for message in said {
            self.log(|| format!("client {id} says {:?}", message.head));
            self.send_from_client(line, message);
        }
    }

    pub(super) fn client_hears(&mut self, line: Line, message: Message<ToClient>) {
        let client = &mut self.clients[line.id as usize];
        if !client.alive || client.session != Some(line) {
            return;
        }
        let now = self.now as Stamp + client.skew;
        let outcome = matches!(message.head, ToClient::Result { .. });
        self.book.arrives(ClientId(line.id), &message);
        client.core.receive(message, now);
        if self.mortal && outcome && !std::mem::replace(&mut client.telling, true) {
            self.later(TELL_AFTER, What::Took(line));
        }
    }

    pub(super) fn client_took(&mut self, line: Line) {
        let client = &mut self.clients[line.id as usize];
        if client.alive && client.session == Some(line) {
            client.telling = false;
            client.core.tell_taken();
            self.flush(line.id as usize);
        }
    }

    /// A client's session ends, at each side in its own time; as for one that is stopped or behind a
    /// network.
    pub(super) fn part_client(&mut self, at: usize) {
        let id = self.clients[at].id;
        let Some(line) = self.clients[at].line() else { return self.end_client(id) };
        let until = self.now + self.chance.mostly_below(10_000_000);
        let session = &mut self.sessions[id as usize];
        session.up.cut(until);
        session.down.cut(self.now);
        let long = [20 * MS, 400 * MS][self.chance.below(2) as usize];
        let (there, here) = (self.chance.below(long), self.chance.mostly_below(long));
        self.later(until - self.now + there, What::ClientGone(line));
        self.later(here, What::ClientOver(line));
    }

    pub(super) fn client_over(&mut self, line: Line) {
        let client = &mut self.clients[line.id as usize];
        if !client.alive || client.line() != Some(line) {
            return;
        }
        (client.session, client.opening) = (None, None);
        if !self.mortal || self.chance.one_in(8) {
            return self.end_client(line.id);
        }
        let client = &mut self.clients[line.id as usize];
        client.telling = false;
        client.core.set_away(true);
        let long = [300 * MS, 3000 * MS, 10_000 * MS][self.chance.below(3) as usize];
        self.clients[line.id as usize].until = self.now + long;
        let after = 1 + self.chance.mostly_below(300 * MS);
        self.later(after, What::ClientKnocks(line.id));
    }

    /// A client was let in again, and submits again what it wants.
    pub(super) fn client_welcome(&mut self, line: Line) {
        let client = &mut self.clients[line.id as usize];
        let arrives = self.sessions[line.id as usize].down.delivers(self.now);
        if !client.alive || client.opening != Some(line) || !arrives {
            return;
        }
        (client.opening, client.session, client.past) = (None, Some(line), line);
        client.telling = true;
        client.core.submit_again(|| ());
        client.core.set_away(false);
        self.flush(line.id as usize);
        self.later(TELL_AFTER, What::Took(line));
    }

    /// A client's process is killed: nobody hears of it any more, but what it submitted stays.
    pub(super) fn kill_client(&mut self, at: usize) {
        let client = &mut self.clients[at];
        (client.alive, client.session, client.opening) = (false, None, None);
    }

    /// A client's core ends.
    pub(super) fn end_client(&mut self, id: u32) {
        let client = &mut self.clients[id as usize];
        client.alive = false;
        client.core.end_session("it is over", self.now as Stamp);
        assert!(client.tasks.iter().all(Tasks::ready), "the end of a session ends everything");
        assert!(client.watched.iter().all(Tasks::ready));
    }

    fn arguments(&mut self, at: usize, count: usize, rules: Rules, anywhere: bool) -> Vec<Parts> {
        let client = &self.clients[at];
        let (id, first) = (ClientId(client.id), client.core.submitted());
        let numbers = first..first + count as u64;
        let argument =
            |seq| self.book.argument(TaskId { client: id, seq }, rules.retries, anywhere);
        let arguments: Vec<String> = numbers.map(argument).collect();
        arguments.into_iter().map(|text| Parts::from_elem(Bytes::from(text), 1)).collect()
    }

    /// Submits tasks, load-balanced or one to each of these engines.
    pub(super) fn submit(&mut self, at: usize, count: usize, rules: Rules, to: Option<Vec<u32>>) {
        if !self.clients[at].core.has_room(3 * count as u64) {
            return;
        }
        let direct = self.chance.one_in(3);
        let engines: Option<Vec<_>> = to.map(|to| to.into_iter().map(EngineId).collect());
        let core = &self.clients[at].core;
        core.pin_function(FUNC, b"def").expect("it fits");
        let now = self.now as Stamp;
        let (kind, items, failed) = (Kind::Apply, None, HashMap::new());
        let tasks = match engines {
            Some(engines) if direct => {
                // A direct task is never run again.
                let tasks = self.arguments(at, engines.len(), Rules::default(), false);
                let what = Submission { func: FUNC, kind, tasks, items, failed, rules };
                self.clients[at].core.submit_each(what, &engines, now)
            }
            to => {
                let tasks = self.arguments(at, count, rules, to.is_none());
                let what = Submission { func: FUNC, kind, tasks, items, failed, rules };
                self.clients[at].core.submit(what, to.map_or(Target::Any, Target::Among), now)
            }
        };
        self.clients[at].core.unpin_function(FUNC);
        self.clients[at].tasks.push(tasks);
        self.flush(at);
    }

    /// Cancels some of what was submitted.
    pub(super) fn cancel(&mut self, at: usize, force: Option<u32>) {
        let client = &self.clients[at];
        let which: Vec<_> = (0..client.tasks.len()).collect();
        let Some(which) = self.chance.pick(&which) else { return };
        let tasks = client.tasks[which].clone();
        let few = self.chance.one_in(2) && !tasks.is_empty();
        let tasks = if few { tasks.pick([0]) } else { tasks };
        client.core.cancel(&tasks, force);
        self.flush(at);
    }

    /// Watches a task of anybody.
    pub(super) fn watch(&mut self, at: usize, session: u8, seq: u64) {
        let tasks = self.clients[at].core.watch(vec![(SessionId([session; 16]), seq)], 0);
        self.clients[at].watched.push(tasks);
        self.flush(at);
    }

    pub(super) fn ask(&mut self, at: usize, request: crate::wire::Request) {
        let question = self.clients[at].core.ask(request);
        self.clients[at].core.forget_answer(question);
        self.flush(at);
    }

    /// Everybody who is still there has everything.
    pub(super) fn assert_quiet(&self) {
        if !self.up {
            assert!(!self.clients.iter().any(|client| client.alive), "nobody waits for ever");
            assert!(!self.processes.iter().any(|process| process.alive), "no engine stays");
            return;
        }
        self.reactor.check();
        assert_eq!(self.reactor.unsettled(), 0, "everything told has arrived");
        assert!(!self.reactor.is_resuming(), "nobody is waited for");
        assert_eq!(self.reactor.spent(), 0, "nothing is spent of what has arrived");
        if self.mortal {
            let alive = self.processes.iter().filter(|process| process.alive);
            alive.for_each(|process| process.assert_quiet(self.era));
        }
        assert_eq!(self.reactor.pending(), 0, "nothing is left with the controller");
        let there: Vec<_> = self.reactor.engines().iter().map(|engine| engine.id.0).collect();
        for client in self.clients.iter().filter(|client| client.alive) {
            assert!(client.core.has_room(BOUND), "nothing is in flight");
            assert_eq!(client.core.engine_ids(), there, "the engines there are");
            assert!(client.watched.iter().all(Tasks::ready), "who watches is told");
            for tasks in &client.tasks {
                for (index, (_, seq)) in tasks.ids(client.core.session).enumerate() {
                    let id = TaskId { client: ClientId(client.id), seq };
                    tasks.record(index, |record| {
                        let part = record.parts.and_then(|parts| parts.first());
                        self.book.ended(id, record.state, part.map(|part| &part[..]));
                    });
                }
            }
        }
    }
}
