//! The controller without its surroundings: an event in, effects out.
//!
//! Invariants, whatever arrives in whatever order or twice: a task has one outcome and it is told
//! once to its owner and once to each watcher; only the engine that holds a task can end it; the
//! work per event does not grow with the number of engines or of pending tasks (telling every
//! client the list of engines aside).

use crate::wire::{ClientId, EngineInfo, FromClient, Message, SessionId, ToClient};

use super::event::{Effect, Event, Now};
use super::state::{Limits, State, Turn};

/// The controller's mind; see the head of this file.
pub struct Reactor {
    pub(super) state: State,
}

impl Reactor {
    /// A controller that knows nobody yet.
    pub fn new(limits: Limits) -> Self {
        Self { state: State::new(limits) }
    }

    /// Takes in one event and appends to `out` what is to be done about it.
    pub fn handle(&mut self, now: Now, event: Event, out: &mut Vec<Effect>) {
        let mut turn = Turn { state: &mut self.state, now, out };
        turn.expire();
        let submitted = match &event {
            Event::FromClient(client, said) => {
                matches!(said.head, FromClient::Submit { .. }).then_some(*client)
            }
            _ => None,
        };
        turn.end_resume();
        match event {
            Event::ClientJoined { client, session, lease } => {
                turn.on_client_joined(client, session, lease);
            }
            Event::ClientFull { client } => turn.on_client_full(client),
            Event::ClientRoom { client } => turn.on_client_room(client),
            Event::Tick => {}
            Event::ClientLost { client, for_good } => turn.on_client_lost(client, for_good),
            Event::EngineJoined { info } => turn.on_engine_joined(info),
            Event::Inherited(engines) => turn.on_inherited(engines),
            Event::SpentBefore(all, gone) => turn.on_spent_before(all, gone),
            Event::Restored(restored) => turn.on_restored(*restored),
            Event::NoRoom { client, first, count, why } => {
                turn.on_no_room(client, first, count, why);
            }
            Event::AskedAgain(client, seqs) => turn.on_asked_again(client, seqs),
            Event::Stopping => turn.on_stopping(),
            Event::ClientBack { client, session, lease } => {
                turn.on_client_back(client, session, lease);
            }
            Event::EngineBack { info, ticket, running } => {
                turn.on_engine_back(info, ticket, running);
            }
            Event::EngineMissing { engine, cause } => {
                turn.remember_end(engine, &cause);
                turn.on_engine_missing(engine, cause);
            }
            Event::EngineLost { engine, begun, cause, output } => {
                turn.remember_end(engine, &cause);
                turn.on_engine_lost(engine, begun, cause, output);
            }
            Event::FromClient(client, message) => turn.on_client(client, message),
            Event::FromEngine(engine, message) => turn.on_engine(engine, message),
        }
        // Last, so that nothing is said to one that has just gone.
        turn.end_leases();
        turn.end_awaiting();
        turn.look_for_engines(submitted);
    }

    /// When something is to be done even if nothing happens: then it wants a [`Event::Tick`]. By the
    /// clock of [`Now::mono`].
    pub fn deadline(&self) -> Option<u64> {
        let State { leases, awaited, .. } = &self.state;
        let gone = [leases, awaited].into_iter().filter_map(|ends| ends.first());
        let resume = self.state.resume_deadline();
        gone.map(|(end, _)| *end).chain(resume).chain(self.state.patience_ends()).min()
    }

    /// Audits the books.
    ///
    /// # Panics
    /// If an invariant does not hold. Costs time in proportion to everything known.
    pub fn check(&self) {
        self.state.check();
    }

    /// The engines there are, by number.
    pub fn engines(&self) -> &[EngineInfo] {
        self.state.engines.list()
    }

    /// Whether clients and engines of a controller before this one may come back.
    pub fn is_resuming(&self) -> bool {
        self.state.resume.is_some()
    }

    /// Whether an engine was asked to give something back and has not answered.
    pub fn is_recalling(&self) -> bool {
        self.state.engines.iter().any(|engine| engine.cold.recalled > 0)
    }

    /// The session of a client of which something is known.
    pub fn session(&self, client: ClientId) -> Option<SessionId> {
        self.state.clients.session(client)
    }

    /// Tasks without an outcome.
    pub fn pending(&self) -> usize {
        self.state.tasks.len()
    }

    /// Those of them that no engine holds.
    pub fn waiting(&self) -> u64 {
        self.state.waiting()
    }

    /// Outcomes kept for whoever asks.
    pub fn kept(&self) -> usize {
        self.state.outcomes.len()
    }

    /// Outcomes that were told and have not arrived, as far as they are kept until then.
    pub fn unsettled(&self) -> usize {
        self.state.receipts.as_ref().map_or(0, std::collections::HashMap::len)
    }

    /// Tasks of which a controller after this one is to know what is spent.
    pub fn spent(&self) -> usize {
        self.state.spent.len()
    }

    /// Results dropped because their engine did not hold the task (any more).
    pub fn duplicates(&self) -> u64 {
        self.state.duplicates
    }

    /// Messages, or parts of them, dropped because they made no sense.
    pub fn ignored(&self) -> u64 {
        self.state.ignored
    }
}

impl Turn<'_> {
    pub(crate) fn on_client_joined(&mut self, client: ClientId, session: SessionId, lease: u64) {
        if !self.state.clients.join(client, session, lease) {
            self.state.ignored += 1;
            return;
        }
        let engines = self.state.engines_told();
        self.tell_client(client, Message::bare(ToClient::Engines(engines)));
        self.tell_scarce(client);
    }

    fn on_engine_joined(&mut self, info: EngineInfo) {
        let id = info.id;
        if self.state.engines.get(id).is_some() {
            self.state.ignored += 1;
            return;
        }
        self.state.engines.insert(info);
        self.state.publish(id);
        self.tell_engines();
        self.feed(id);
    }

    pub(crate) fn tell_engines(&mut self) {
        for client in self.state.clients.present() {
            let engines = self.state.engines_told();
            self.tell_client(client, Message::bare(ToClient::Engines(engines)));
        }
    }

    fn on_client(&mut self, client: ClientId, message: Message<FromClient>) {
        if !self.state.clients.is_alive(client) {
            self.state.ignored += 1;
            return;
        }
        if message.head.numbers().is_some() {
            return self.on_submitted(client, message);
        }
        let parts = message.parts;
        match message.head {
            FromClient::Func(id) => self.on_func(client, id, &parts),
            FromClient::Forget(id) => self.on_forget(client, id),
            FromClient::Submit { .. } | FromClient::Direct { .. } => {}
            FromClient::Cancel { tasks, force } => self.on_cancel(client, &tasks, force),
            FromClient::Took(runs) => self.on_took(client, &runs),
            FromClient::Back => self.on_all_submitted(client),
            FromClient::Watch { first, tasks } => self.on_watch(client, first, &tasks),
            FromClient::Request { id, body } => self.on_request(client, id, body),
        }
    }
}
