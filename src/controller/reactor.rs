//! The controller without its surroundings: an event in, effects out.
//!
//! Invariants, whatever arrives in whatever order or twice: a task has one outcome and it is told
//! once to its owner and once to each watcher; only the engine that holds a task can end it; the
//! work per event does not grow with the number of engines or of pending tasks (telling every
//! client the list of engines aside).

use bytes::Bytes;

use crate::wire::{
    ClientId, EngineId, EngineInfo, FromClient, Loss, Message, Parts, SessionId, Status, ToClient,
};

use super::event::{Effect, Event, Now};
use super::outcomes::Outcome;
use super::state::{Limits, State, Turn};
use super::texts;

/// The controller's mind; see the head of this file.
pub struct Reactor {
    state: State,
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
        match event {
            Event::ClientJoined { client, session } => turn.on_client_joined(client, session),
            Event::ClientLost { client } => turn.on_client_lost(client),
            Event::EngineJoined { info } => turn.on_engine_joined(info),
            Event::EngineLost { engine, cause, output } => {
                turn.on_engine_lost(engine, cause, output);
            }
            Event::FromClient(client, message) => turn.on_client(client, message),
            Event::FromEngine(engine, message) => turn.on_engine(engine, message),
        }
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

    /// Tasks without an outcome.
    pub fn pending(&self) -> usize {
        self.state.tasks.len()
    }

    /// Those of them that no engine holds.
    pub fn waiting(&self) -> u64 {
        self.state.lanes.waiting()
    }

    /// Outcomes kept for whoever asks.
    pub fn kept(&self) -> usize {
        self.state.outcomes.len()
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
    fn on_client_joined(&mut self, client: ClientId, session: SessionId) {
        if !self.state.clients.join(client, session) {
            self.state.ignored += 1;
            return;
        }
        let engines = self.state.engines.list().to_vec();
        self.tell_client(client, Message::bare(ToClient::Engines(engines)));
    }

    /// The tasks of a client that is gone run on; their outcomes are kept for whoever asks.
    fn on_client_lost(&mut self, client: ClientId) {
        let Some(gone) = self.state.clients.alive(client) else { return };
        gone.alive = false;
        let mut funcs: Vec<_> = std::mem::take(&mut gone.funcs).into_iter().collect();
        funcs.sort_unstable();
        for func in funcs {
            self.state.funcs.get_mut(func).owners -= 1;
            self.drop_func(func);
        }
        self.state.clients.drop_unneeded(client);
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

    fn on_engine_lost(&mut self, id: EngineId, cause: String, output: String) {
        let state = &mut *self.state;
        let Some(engine) = state.engines.remove(id) else { return };
        state.ready.set(id, None);
        if let Some(victim) = engine.asked {
            state.engines.live(victim).thieves.retain(|thief| *thief != id);
        }
        for func in &engine.funcs {
            state.funcs.get_mut(*func).known.remove(&id);
        }
        for lane in std::iter::once(super::lanes::ANY).chain(engine.lanes.iter().copied()) {
            let lane = state.lanes.get_mut(lane);
            lane.movable.set(id, None);
            lane.engines.retain(|other| *other != id);
        }
        // Whoever hears of a loss finds the engine gone from the list.
        self.tell_engines();
        let EngineInfo { pid, host, .. } = engine.info.clone();
        let loss = Loss { engine: id.0, pid, host, cause, started: false, ran_for: 0.0, output };
        let waiting = encode(&loss);
        for key in engine.holds(&self.state.tasks) {
            let task = self.state.tasks.get_mut(key);
            task.engine = None;
            let started = task.has_started().then_some(task.started);
            let ran_for = match started {
                Some(at) => Some(seconds(self.now.wall - at)),
                None if key == engine.front => {
                    Some(seconds((self.now.mono.saturating_sub(engine.front_since)) as i64))
                }
                None => None,
            };
            let text = ran_for.map_or_else(
                || waiting.clone(),
                |ran_for| encode(&Loss { started: true, ran_for, ..loss.clone() }),
            );
            let outcome = Outcome {
                parts: Parts::from_buf([text]),
                started: started.unwrap_or(0),
                ..Outcome::bare(Status::Lost, Some(id))
            };
            self.finish(key, outcome);
        }
        for lane in engine.lanes.iter().copied() {
            self.end_lane(lane);
        }
        self.out.push(Effect::EndEngine(id));
        self.feed_all(&engine.thieves);
    }

    /// Refuses what waits in a lane of which no engine lives any more.
    fn end_lane(&mut self, lane: u32) {
        let lanes = &self.state.lanes;
        if !lanes.exists(lane) || !lanes.get(lane).engines.is_empty() {
            return;
        }
        let text = texts::no_engine_of(&lanes.get(lane).asked, self.state.engines.list());
        let text = Bytes::from(text);
        let waiting: Vec<_> = lanes.get(lane).queue.iter(&self.state.tasks).collect();
        for key in waiting {
            let state = &mut *self.state;
            state.lanes.get_mut(lane).queue.remove(&mut state.tasks, key);
            self.finish(key, Outcome::refused(&text));
        }
    }

    fn tell_engines(&mut self) {
        for client in self.state.clients.present() {
            let engines = self.state.engines.list().to_vec();
            self.tell_client(client, Message::bare(ToClient::Engines(engines)));
        }
    }

    fn on_client(&mut self, client: ClientId, message: Message<FromClient>) {
        if !self.state.clients.is_alive(client) {
            self.state.ignored += 1;
            return;
        }
        let parts = message.parts;
        match message.head {
            FromClient::Func(id) => self.on_func(client, id, &parts),
            FromClient::Forget(id) => self.on_forget(client, id),
            FromClient::Submit { first, func, kind, target, counts } => {
                self.on_submit(client, (first, func, kind), target, &counts, parts);
            }
            FromClient::Direct { first, func, kind, engines } => {
                self.on_direct(client, (first, func, kind), &engines, &parts);
            }
            FromClient::Cancel(seqs) => self.on_cancel(client, &seqs),
            FromClient::Watch { first, tasks } => self.on_watch(client, first, &tasks),
            FromClient::Request { id, body } => self.on_request(client, id, body),
        }
    }
}

fn seconds(nanoseconds: i64) -> f64 {
    nanoseconds.max(0) as f64 / 1e9
}

fn encode(loss: &Loss) -> Bytes {
    // Strings and numbers cannot fail to encode into memory.
    rmp_serde::to_vec_named(loss).map_or_else(|_| Bytes::new(), Bytes::from)
}
