//! Engines and clients that are simple enough to be obviously right, around a real reactor.
//!
//! An engine reads what it is sent late (its inbox), runs its tasks in order, and remembers what
//! it has ended. The model counts the outcomes every client hears and compares what is lost with
//! what the engine still owed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::super::{Begun, Effect, Event, Now, Reactor};
use super::kit::{START, func, info, name, parts, session, submit_to};
use crate::wire::{
    ClientId, EngineId, FromClient, FromEngine, FuncId, Message, Request, SessionId, Status,
    Target, TaskId, ToClient, ToEngine,
};

/// An engine that runs nothing but keeps the order.
#[derive(Default)]
pub(super) struct FakeEngine {
    inbox: VecDeque<ToEngine>,
    funcs: BTreeSet<[u8; 16]>,
    queue: VecDeque<(TaskId, u64)>,
    /// Ticket of the task it began last.
    begun: u64,
    cancelled: BTreeSet<TaskId>,
    ended: Vec<(TaskId, u64)>,
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
    /// How often each task may begin, and how often it did.
    allowed: BTreeMap<TaskId, u32>,
    begun: BTreeMap<TaskId, u32>,
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
            allowed: BTreeMap::new(),
            begun: BTreeMap::new(),
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
            Effect::SignalEngine(..)
            | Effect::ReplaceEngine(_)
            | Effect::Keep(_)
            | Effect::TellKept(..)
            | Effect::Spent(..)
            | Effect::Unspent(_)
            | Effect::Gone(_)
            | Effect::TellHealth(..)
            | Effect::Stop => {}
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

    /// An engine ends, and perhaps it is known how far it came: nobody else's task is lost.
    pub(super) fn lose_engine(&mut self, id: EngineId, known: bool) {
        let gone = self.engines.remove(&id).expect("a living engine");
        let before = self.lost();
        let (cause, output) = (String::from("gone"), String::new());
        let begun = known.then(|| Begun { last: gone.begun, returned: Vec::new() });
        self.on(Event::EngineLost { engine: id, begun, cause, output });
        for (client, seq) in self.lost().difference(&before) {
            let task = TaskId { client: *client, seq: *seq };
            assert!(gone.owed.contains(&task), "{task} was not with the engine that ended");
        }
    }

    /// The oldest task of an engine begins, unless it has.
    fn begin(&mut self, id: EngineId) -> Option<(TaskId, u64)> {
        let engine = self.engines.get_mut(&id)?;
        let (task, ticket) = engine.queue.front().copied()?;
        if engine.begun < ticket {
            engine.begun = ticket;
            let times = self.begun.entry(task).or_default();
            *times += 1;
            assert!(*times <= self.allowed.get(&task).copied().unwrap_or(1), "{task} too often");
        }
        Some((task, ticket))
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
        // One in three is patient for ever, one for a while, one not at all.
        let lease = [u64::MAX, 100_000_000_000, 0][self.sessions.len() % 3];
        self.on(Event::ClientJoined { client, session: session(of), lease });
        for number in 1..=2 {
            self.on(Event::FromClient(client, func(number)));
        }
    }

    pub(super) fn lose_client(&mut self, client: ClientId) {
        self.clients.remove(&client);
        self.on(Event::ClientLost { client, for_good: false });
    }

    /// A client takes nothing for a while, or takes again.
    pub(super) fn fill(&mut self, client: ClientId, full: bool) {
        let event = if full { Event::ClientFull { client } } else { Event::ClientRoom { client } };
        self.on(event);
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
            ToEngine::Task { id, func: FuncId(func), ticket, .. } => {
                assert!(engine.funcs.contains(&func), "its function came before the task");
                engine.queue.push_back((id, ticket));
            }
            ToEngine::Recall(ids) => {
                let back =
                    |(id, ticket): &(TaskId, u64)| *ticket > engine.begun && ids.contains(id);
                let back: Vec<_> = engine.queue.iter().copied().filter(back).collect();
                engine.queue.retain(|task| !back.contains(task));
                engine.owed.retain(|id| back.iter().all(|(task, _)| task != id));
                let head = FromEngine::Returned(back);
                self.on(Event::FromEngine(id, Message::bare(head)));
            }
            ToEngine::Cancel { tasks, .. } => engine.cancelled.extend(tasks),
            ToEngine::Settled(_) => panic!("nobody keeps anything here"),
            ToEngine::Signal(_) => panic!("its process can be reached"),
            ToEngine::Shutdown => self.lose_engine(id, true),
        }
        true
    }

    /// An engine ends its oldest task: well, or with an exception for which it may run again.
    pub(super) fn work(&mut self, id: EngineId, took: i64, well: bool) -> bool {
        let Some(engine) = self.engines.get(&id) else { return false };
        let Some(task) = engine.queue.front().copied() else { return false };
        let cancelled = engine.cancelled.contains(&task.0) && engine.begun < task.1;
        if !cancelled {
            self.begin(id);
        }
        let engine = self.engines.get_mut(&id).expect("it was there");
        engine.queue.pop_front();
        engine.owed.remove(&task.0);
        engine.ended.push(task);
        let status = match cancelled {
            true => Status::Cancelled,
            false if well => Status::Ok,
            false => Status::Again,
        };
        let started = if cancelled { 0 } else { START };
        self.answer(id, task, status, started, START + took);
        true
    }

    fn answer(
        &mut self,
        id: EngineId,
        (task, ticket): (TaskId, u64),
        status: Status,
        started: i64,
        completed: i64,
    ) {
        let head = FromEngine::Result { id: task, ticket, status, started, completed };
        self.on(Event::FromEngine(id, Message { head, parts: parts(&["value"]) }));
    }

    /// An engine says that its oldest task runs, repeats a result it gave long ago, and claims to
    /// have ended what another one runs.
    pub(super) fn chatter(&mut self, id: EngineId, at: usize) {
        let front = self.begin(id);
        let Some(engine) = self.engines.get(&id) else { return };
        let ended = engine.ended.get(at % engine.ended.len().max(1)).copied();
        let others = self.engines.iter().filter(|(other, _)| **other != id);
        let foreign = others.filter_map(|(_, other)| other.queue.back().copied()).nth(at % 3);
        if let Some((front, ticket)) = front {
            let head = FromEngine::Started { id: front, ticket, at: START };
            self.on(Event::FromEngine(id, Message::bare(head)));
        }
        for task in ended.into_iter().chain(foreign) {
            let before = self.reactor.duplicates();
            self.answer(id, task, Status::Ok, START, START + 1);
            assert!(self.reactor.duplicates() > before, "what is repeated is counted");
        }
    }

    /// Load-balanced tasks of a client that may run again so often.
    pub(super) fn submit(
        &mut self,
        client: ClientId,
        (count, func): (usize, u8),
        target: Target,
        retries: u16,
    ) {
        let first = self.clients[&client];
        for seq in first..first + count as u64 {
            self.allowed.insert(TaskId { client, seq }, 1 + u32::from(retries));
        }
        self.say(client, count as u64, |first| {
            let mut message = submit_to(first, count, func, target);
            if let FromClient::Submit { rules, .. } = &mut message.head {
                rules.retries = retries;
            }
            message
        });
    }

    /// Everybody reads and works until nobody has anything left to do.
    pub(super) fn settle(&mut self) {
        let clients: Vec<_> = self.clients.keys().copied().collect();
        for client in clients {
            self.fill(client, false);
        }
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
                busy |= self.work(id, 1_000_000, true);
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
