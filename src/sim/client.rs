//! A client's process: a real core, whose uplink is the simulated network.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

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
}

impl Uplink for Outbox {
    fn push(&self, message: Message<FromClient>) -> Result<(), String> {
        self.said.lock().push(message);
        Ok(())
    }

    fn wants_pieces(&self) -> bool {
        self.pieces
    }
}

/// See the module.
pub(super) struct Client {
    pub(super) core: Core,
    outbox: Outbox,
    /// The number of its session with the controller.
    pub(super) id: u32,
    pub(super) alive: bool,
    skew: Stamp,
    pub(super) tasks: Vec<Tasks>,
    watched: Vec<Tasks>,
}

impl World {
    /// A client comes, of a session that is new or has been there before.
    pub(super) fn start_client(&mut self, of: u8, lease: u64) {
        let id = self.sessions.len() as u32;
        let outbox = Outbox { pieces: self.chance.one_in(2), ..Outbox::default() };
        let session = SessionId([of; 16]);
        let core = Core::new(session, Box::new(outbox.clone()), BOUND);
        let skew = self.chance.below(2_000_000_000) as Stamp;
        let (tasks, watched) = (Vec::new(), Vec::new());
        self.clients.push(Client { core, outbox, id, alive: true, skew, tasks, watched });
        self.sessions.push(Session::default());
        self.handle(Event::ClientJoined { client: ClientId(id), session, lease });
    }

    /// What a client said goes on its way.
    fn flush(&mut self, at: usize) {
        let id = self.clients[at].id;
        let said = std::mem::take(&mut *self.clients[at].outbox.said.lock());
        for message in said {
            self.log(|| format!("client {id} says {:?}", message.head));
            self.send_from_client(id, message);
        }
    }

    pub(super) fn client_hears(&mut self, id: u32, message: Message<ToClient>) {
        let client = &self.clients[id as usize];
        if client.alive {
            let now = self.now as Stamp + client.skew;
            client.core.receive(message, now);
        }
    }

    /// A client's session ends, at each side in its own time.
    pub(super) fn part_client(&mut self, at: usize) {
        let id = self.clients[at].id;
        let until = self.now + self.chance.mostly_below(10_000_000);
        let session = &mut self.sessions[id as usize];
        session.up.cut(until);
        session.down.cut(self.now);
        let (there, here) = (self.chance.below(20_000_000), self.chance.below(20_000_000));
        self.later(until - self.now + there, What::ClientGone(id));
        self.later(here, What::ClientOver(id));
    }

    pub(super) fn client_over(&mut self, id: u32) {
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
        self.reactor.check();
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
