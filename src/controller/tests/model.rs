//! Engines and clients that are simple enough to be obviously right, around a real reactor.
//!
//! An engine reads what it is sent late (its inbox), runs its tasks in order, and remembers what
//! it has ended. The model counts the outcomes every client hears and compares what is lost with
//! what the engine still owed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::super::{Effect, Event, Now, Reactor};
use super::kit::{START, func, info, name, parts, session};
use crate::wire::{
    ClientId, EngineId, FromClient, FromEngine, FuncId, Message, Request, SessionId, Status,
    TaskId, ToClient, ToEngine,
};

/// An engine that runs nothing but keeps the order.
#[derive(Default)]
pub(super) struct FakeEngine {
    inbox: VecDeque<ToEngine>,
    funcs: BTreeSet<[u8; 16]>,
    queue: VecDeque<TaskId>,
    cancelled: BTreeSet<TaskId>,
    ended: Vec<TaskId>,
    /// What was given to it and neither ended nor given back.
    owed: BTreeSet<TaskId>,
}

/// A reactor among fakes.
pub(super) struct Model {
    pub(super) reactor: Reactor,
    pub(super) engines: BTreeMap<EngineId, FakeEngine>,
    /// Living clients and the next number of each.
    pub(super) clients: BTreeMap<ClientId, u64>,
    /// Session of every client there ever was.
    pub(super) sessions: BTreeMap<ClientId, u32>,
    /// Deliver every event twice.
    pub(super) twice: bool,
    /// Audit the books after every event.
    pub(super) audit: bool,
    now: Now,
    joined: u32,
    told: BTreeMap<(ClientId, u64), Status>,
    /// Numbers under which tasks are watched rather than owned.
    watches: BTreeSet<(ClientId, u64)>,
    run: BTreeSet<TaskId>,
}

impl Model {
    pub(super) fn new(twice: bool) -> Self {
        Self {
            reactor: Reactor::new(super::super::Limits::default()),
            engines: BTreeMap::new(),
            clients: BTreeMap::new(),
            sessions: BTreeMap::new(),
            twice,
            audit: true,
            now: Now { mono: 0, wall: START },
            joined: 0,
            told: BTreeMap::new(),
            watches: BTreeSet::new(),
            run: BTreeSet::new(),
        }
    }

    pub(super) fn on(&mut self, event: Event) {
        for event in std::iter::repeat_n(event, if self.twice { 2 } else { 1 }) {
            self.now.mono += 1000;
            self.now.wall += 1000;
            let mut out = Vec::new();
            self.reactor.handle(self.now, event, &mut out);
            if self.audit {
                self.reactor.check();
            }
            for effect in out {
                self.carry_out(effect);
            }
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::ToClient(client, message) => {
                assert!(self.clients.contains_key(&client), "only the living are told");
                if let ToClient::Result { seq, status, .. } = message.head {
                    let before = self.told.insert((client, seq), status);
                    assert_eq!(before, None, "{client:?} hears of {seq} once");
                }
            }
            Effect::ToEngine(engine, message) => {
                let engine = self.engines.get_mut(&engine).expect("only the living are sent to");
                if let ToEngine::Task { id, .. } = &message.head {
                    assert!(engine.owed.insert(*id), "no engine holds a task twice");
                }
                engine.inbox.push_back(message.head);
            }
            Effect::EndEngine(engine) => assert!(!self.engines.contains_key(&engine)),
            Effect::SignalEngine(..) | Effect::Stop => {}
        }
    }

    pub(super) fn pass(&mut self, nanoseconds: u64) {
        self.now.mono += nanoseconds;
        self.now.wall += nanoseconds as i64;
    }

    pub(super) fn join_engine(&mut self) {
        let id = self.joined;
        self.joined += 1;
        self.engines.insert(EngineId(id), FakeEngine::default());
        self.on(Event::EngineJoined { info: info(id) });
    }

    /// An engine ends: what it owed to the living is told as lost, nothing else is.
    pub(super) fn lose_engine(&mut self, id: EngineId) {
        let gone = self.engines.remove(&id).expect("a living engine");
        let before = self.lost();
        let (cause, output) = (String::from("gone"), String::new());
        self.on(Event::EngineLost { engine: id, cause, output });
        let lost: Vec<_> = self.lost().difference(&before).copied().collect();
        let owed = gone.owed.iter().filter(|task| self.clients.contains_key(&task.client));
        let owed: Vec<_> = owed.map(|task| (task.client, task.seq)).collect();
        assert_eq!(lost, owed, "exactly what the engine owed is lost");
    }

    /// Tasks whose owners were told that they are lost.
    fn lost(&self) -> BTreeSet<(ClientId, u64)> {
        let lost = self.told.iter().filter(|(_, status)| **status == Status::Lost);
        lost.map(|(number, _)| *number).filter(|number| !self.watches.contains(number)).collect()
    }

    /// A client watches tasks of any session.
    pub(super) fn watch(&mut self, client: ClientId, tasks: Vec<(SessionId, u64)>) {
        let next = self.clients[&client];
        self.watches.extend((next..).take(tasks.len()).map(|seq| (client, seq)));
        self.say(client, tasks.len() as u64, |first| {
            Message::bare(FromClient::Watch { first, tasks })
        });
    }

    /// A client of a session, new or known.
    pub(super) fn join_client(&mut self, of: u32) {
        let client = ClientId(self.sessions.len() as u32);
        self.sessions.insert(client, of);
        self.clients.insert(client, 0);
        self.on(Event::ClientJoined { client, session: session(of) });
        for number in 1..=2 {
            self.on(Event::FromClient(client, func(number)));
        }
    }

    pub(super) fn lose_client(&mut self, client: ClientId) {
        self.clients.remove(&client);
        self.on(Event::ClientLost { client });
    }

    /// A message of a client, which uses up so many numbers.
    pub(super) fn say(
        &mut self,
        client: ClientId,
        count: u64,
        message: impl FnOnce(u64) -> Message<FromClient>,
    ) {
        let next = self.clients.get_mut(&client).expect("a living client");
        let first = *next;
        *next += count;
        self.on(Event::FromClient(client, message(first)));
    }

    pub(super) fn request(&mut self, client: ClientId, body: Request) {
        self.on(Event::FromClient(client, Message::bare(FromClient::Request { id: 0, body })));
    }

    /// An engine reads one message.
    pub(super) fn read(&mut self, id: EngineId) -> bool {
        let Some(engine) = self.engines.get_mut(&id) else { return false };
        let Some(message) = engine.inbox.pop_front() else { return false };
        match message {
            ToEngine::Func(FuncId(func)) => assert!(engine.funcs.insert(func), "once per engine"),
            ToEngine::Forget(FuncId(func)) => assert!(engine.funcs.remove(&func)),
            ToEngine::Task { id, func: FuncId(func), .. } => {
                assert!(engine.funcs.contains(&func), "its function came before the task");
                engine.queue.push_back(id);
            }
            ToEngine::Recall(ids) => {
                // The first may have been started.
                let keep = engine.queue.front().copied();
                let back = |task: &TaskId| Some(*task) != keep && engine.queue.contains(task);
                let back: Vec<_> = ids.into_iter().filter(back).collect();
                engine.queue.retain(|task| !back.contains(task));
                engine.owed.retain(|task| !back.contains(task));
                let head = FromEngine::Returned(back);
                self.on(Event::FromEngine(id, Message::bare(head)));
            }
            ToEngine::Cancel(ids) => engine.cancelled.extend(ids),
            ToEngine::Shutdown => self.lose_engine(id),
        }
        true
    }

    /// An engine ends its oldest task.
    pub(super) fn work(&mut self, id: EngineId, took: i64) -> bool {
        let Some(engine) = self.engines.get_mut(&id) else { return false };
        let Some(task) = engine.queue.pop_front() else { return false };
        let cancelled = engine.cancelled.contains(&task);
        engine.owed.remove(&task);
        engine.ended.push(task);
        assert!(self.run.insert(task) || self.twice, "{task} runs once");
        let status = if cancelled { Status::Cancelled } else { Status::Ok };
        let started = if cancelled { 0 } else { START };
        self.answer(id, task, status, started, START + took);
        true
    }

    fn answer(&mut self, id: EngineId, task: TaskId, status: Status, started: i64, completed: i64) {
        let head = FromEngine::Result { id: task, status, started, completed };
        self.on(Event::FromEngine(id, Message { head, parts: parts(&["value"]) }));
    }

    /// An engine says that its oldest task runs, repeats a result it gave long ago, and claims to
    /// have ended what another one runs.
    pub(super) fn chatter(&mut self, id: EngineId, at: usize) {
        let Some(engine) = self.engines.get(&id) else { return };
        let front = engine.queue.front().copied();
        let ended = engine.ended.get(at % engine.ended.len().max(1)).copied();
        let others = self.engines.iter().filter(|(other, _)| **other != id);
        let foreign = others.filter_map(|(_, other)| other.queue.back().copied()).nth(at % 3);
        if let Some(front) = front {
            let head = FromEngine::Started { id: front, at: START };
            self.on(Event::FromEngine(id, Message::bare(head)));
        }
        for task in ended.into_iter().chain(foreign) {
            let before = self.reactor.duplicates();
            self.answer(id, task, Status::Ok, START, START + 1);
            assert!(self.reactor.duplicates() > before, "what is repeated is counted");
        }
    }

    /// Everybody reads and works until nobody has anything left to do.
    pub(super) fn settle(&mut self) {
        if self.engines.is_empty() {
            self.join_engine();
        }
        loop {
            let ids: Vec<_> = self.engines.keys().copied().collect();
            let mut busy = false;
            for id in ids {
                while self.read(id) {
                    busy = true;
                }
                busy |= self.work(id, 1_000_000);
            }
            if self.engines.is_empty() && self.reactor.pending() > 0 {
                self.join_engine();
                busy = true;
            }
            if !busy {
                break;
            }
        }
        self.reactor.check();
    }

    /// Every number that a living client used has been told, once (see `carry_out`).
    pub(super) fn assert_quiet(&self) {
        assert_eq!(self.reactor.pending(), 0, "nothing is left behind");
        for (client, next) in &self.clients {
            for seq in 0..*next {
                assert!(self.told.contains_key(&(*client, seq)), "{client:?} hears of {seq}");
            }
        }
    }

    pub(super) fn outcomes(&self) -> usize {
        self.told.len()
    }

    /// Whether every engine has been told to forget everything.
    pub(super) fn has_forgotten(&self, number: u8) -> bool {
        self.engines.values().all(|engine| !engine.funcs.contains(&name(number).0))
    }
}
