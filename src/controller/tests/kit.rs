//! A reactor with its books audited after every event, and short words for messages.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::super::{Begun, Effect, Event, Limits, Now, Reactor};
use crate::wire::{
    ClientId, EngineId, EngineInfo, FromClient, FromEngine, FuncId, Kind, Message, Parts, Reply,
    Request, Rules, SessionId, Status, Target, TaskId, ToClient, ToEngine,
};

pub(super) const MS: u64 = 1_000_000;
/// When the tests begin, by the calendar.
pub(super) const START: i64 = 1_000_000_000;

/// A reactor and its time.
pub(super) struct World {
    pub(super) reactor: Reactor,
    pub(super) now: Now,
    /// Whether to audit the books after each event, which costs time.
    pub(super) audit: bool,
    /// With which ticket each engine was last given each task. Tests say 0 for it.
    tickets: BTreeMap<(EngineId, TaskId), u64>,
}

impl World {
    pub(super) fn with(limits: Limits) -> Self {
        let now = Now { mono: 0, wall: START };
        Self { reactor: Reactor::new(limits), now, audit: true, tickets: BTreeMap::new() }
    }

    pub(super) fn new() -> Self {
        Self::with(Limits::default())
    }

    /// Client 0, who put function 1, and so many engines numbered from 0.
    pub(super) fn peopled(engines: u32) -> Self {
        let mut world = Self::new();
        world.join_client(0);
        world.client(0, func(1));
        for engine in 0..engines {
            world.join_engine(engine);
        }
        world
    }

    pub(super) fn on(&mut self, event: Event) -> Vec<Effect> {
        let mut out = Vec::new();
        self.reactor.handle(self.now, event, &mut out);
        if self.audit {
            self.reactor.check();
        }
        for effect in &mut out {
            if let Effect::ToEngine(
                engine,
                Message { head: ToEngine::Task { id, ticket, .. }, .. },
            ) = effect
            {
                self.tickets.insert((*engine, *id), std::mem::take(ticket));
            }
        }
        out
    }

    /// The ticket with which an engine was last given a task; 0 if it never was.
    pub(super) fn ticket(&self, engine: u32, id: TaskId) -> u64 {
        self.tickets.get(&(EngineId(engine), id)).copied().unwrap_or(0)
    }

    pub(super) fn pass(&mut self, nanoseconds: u64) {
        self.now.mono += nanoseconds;
        self.now.wall += nanoseconds as i64;
    }

    pub(super) fn join_client(&mut self, client: u32) -> Vec<Effect> {
        self.join_client_with(client, u64::MAX)
    }

    /// A client whose tasks run on for so long when it is gone.
    pub(super) fn join_client_with(&mut self, client: u32, lease: u64) -> Vec<Effect> {
        let session = session(client);
        self.on(Event::ClientJoined { client: ClientId(client), session, lease })
    }

    pub(super) fn lose_client(&mut self, client: u32) -> Vec<Effect> {
        self.on(Event::ClientLost { client: ClientId(client), for_good: false })
    }

    /// A client says goodbye.
    pub(super) fn leave_client(&mut self, client: u32) -> Vec<Effect> {
        self.on(Event::ClientLost { client: ClientId(client), for_good: true })
    }

    pub(super) fn join_engine(&mut self, engine: u32) -> Vec<Effect> {
        self.on(Event::EngineJoined { info: info(engine) })
    }

    pub(super) fn lose_engine(&mut self, engine: u32) -> Vec<Effect> {
        self.lose_engine_that_began(engine, None)
    }

    /// An engine ends of which it is known with which ticket it began last.
    pub(super) fn lose_engine_that_began(
        &mut self,
        engine: u32,
        begun: Option<u64>,
    ) -> Vec<Effect> {
        let (cause, output) = ("killed by SIGKILL".to_owned(), "last words".to_owned());
        let begun = begun.map(|last| Begun { last, returned: Vec::new() });
        self.on(Event::EngineLost { engine: EngineId(engine), begun, cause, output })
    }

    pub(super) fn client(&mut self, client: u32, message: Message<FromClient>) -> Vec<Effect> {
        self.on(Event::FromClient(ClientId(client), message))
    }

    pub(super) fn engine(&mut self, engine: u32, mut head: FromEngine) -> Vec<Effect> {
        match &mut head {
            FromEngine::Started { id, ticket: ticket @ 0, .. }
            | FromEngine::Result { id, ticket: ticket @ 0, .. } => {
                *ticket = self.ticket(engine, *id);
            }
            FromEngine::Returned(ids) => {
                for (id, ticket) in ids {
                    *ticket = self.ticket(engine, *id);
                }
            }
            _ => {}
        }
        self.on(Event::FromEngine(EngineId(engine), Message::bare(head)))
    }

    /// An engine ends a task of client 0 after `took` nanoseconds, with a value of one part.
    pub(super) fn done(&mut self, engine: u32, seq: u64, took: u64) -> Vec<Effect> {
        let (started, completed) = (START, START + took as i64);
        let head = {
            let id = task(0, seq);
            let ticket = self.ticket(engine, id);
            FromEngine::Result { id, ticket, status: Status::Ok, started, completed }
        };
        let message = Message { head, parts: parts(&["value"]) };
        self.on(Event::FromEngine(EngineId(engine), message))
    }

    pub(super) fn ask(&mut self, client: u32, body: Request) -> (Reply, Vec<Effect>) {
        let mut out = self.client(client, Message::bare(FromClient::Request { id: 9, body }));
        let at = out.iter().position(|effect| {
            matches!(effect, Effect::ToClient(_, Message { head: ToClient::Reply { .. }, .. }))
        });
        let reply = out.remove(at.expect("a request is answered"));
        match reply {
            Effect::ToClient(to, Message { head: ToClient::Reply { id: 9, body }, .. })
                if to == ClientId(client) =>
            {
                (body, out)
            }
            other => panic!("not the answer: {other:?}"),
        }
    }
}

pub(super) fn session(number: u32) -> SessionId {
    let mut id = [7; 16];
    id[..4].copy_from_slice(&number.to_le_bytes());
    SessionId(id)
}

pub(super) fn info(engine: u32) -> EngineInfo {
    let host = "here".to_owned();
    EngineInfo { id: EngineId(engine), session: session(1000 + engine), pid: 500 + engine, host }
}

pub(super) fn infos(engines: impl IntoIterator<Item = u32>) -> Vec<EngineInfo> {
    engines.into_iter().map(info).collect()
}

pub(super) fn ids(engines: impl IntoIterator<Item = u32>) -> Vec<EngineId> {
    engines.into_iter().map(EngineId).collect()
}

pub(super) fn task(client: u32, seq: u64) -> TaskId {
    TaskId { client: ClientId(client), seq }
}

pub(super) fn tasks(seqs: impl IntoIterator<Item = u64>) -> Vec<TaskId> {
    seqs.into_iter().map(|seq| task(0, seq)).collect()
}

/// Recalled tasks of client 0 that come back.
pub(super) fn back(seqs: impl IntoIterator<Item = u64>) -> FromEngine {
    FromEngine::Returned(seqs.into_iter().map(|seq| (task(0, seq), 0)).collect())
}

pub(super) fn name(number: u8) -> FuncId {
    FuncId([number; 16])
}

pub(super) fn parts(texts: &[&str]) -> Parts {
    texts.iter().map(|text| Bytes::copy_from_slice(text.as_bytes())).collect()
}

pub(super) fn func(number: u8) -> Message<FromClient> {
    Message { head: FromClient::Func(name(number)), parts: parts(&["def"]) }
}

pub(super) fn forget(number: u8) -> Message<FromClient> {
    Message::bare(FromClient::Forget(name(number)))
}

/// Load-balanced tasks of function 1, each with the one part `arg`.
pub(super) fn submit(first: u64, count: usize) -> Message<FromClient> {
    submit_to(first, count, 1, Target::Any)
}

pub(super) fn submit_to(first: u64, count: usize, func: u8, target: Target) -> Message<FromClient> {
    let (func, kind, counts) = (name(func), Kind::Apply, vec![1; count]);
    let head = FromClient::Submit { first, func, kind, target, counts, rules: Rules::default() };
    Message { head, parts: parts(&vec!["arg"; count]) }
}

pub(super) fn among(engines: impl IntoIterator<Item = u32>) -> Target {
    Target::Among(ids(engines))
}

pub(super) fn direct(first: u64, engines: &[u32]) -> Message<FromClient> {
    let engines = ids(engines.iter().copied());
    let head = {
        let (func, kind, rules) = (name(1), Kind::Apply, Rules::default());
        FromClient::Direct { first, func, kind, engines, rules }
    };
    Message { head, parts: parts(&["arg"]) }
}

pub(super) fn cancel(seqs: impl IntoIterator<Item = u64>) -> Message<FromClient> {
    let tasks = seqs.into_iter().collect();
    Message::bare(FromClient::Cancel { tasks, force: None })
}

pub(super) fn watch(first: u64, tasks: &[(u32, u64)]) -> Message<FromClient> {
    let tasks = tasks.iter().map(|(client, seq)| (session(*client), *seq)).collect();
    Message::bare(FromClient::Watch { first, tasks })
}

/// The effect that gives a task of client 0 to an engine.
pub(super) fn given(engine: u32, seq: u64) -> Effect {
    let (id, func, kind) = (task(0, seq), name(1), Kind::Apply);
    let (ticket, attempt, timeout, force) = (0, 1, 0, false);
    let head = ToEngine::Task { id, func, kind, ticket, attempt, timeout, force };
    Effect::ToEngine(EngineId(engine), Message { head, parts: parts(&["arg"]) })
}

/// The effect that sends function 1 to an engine.
pub(super) fn taught(engine: u32) -> Effect {
    let head = ToEngine::Func(name(1));
    Effect::ToEngine(EngineId(engine), Message { head, parts: parts(&["def"]) })
}

pub(super) fn told(engine: u32, head: ToEngine) -> Effect {
    Effect::ToEngine(EngineId(engine), Message::bare(head))
}

pub(super) fn heard(client: u32, head: ToClient) -> Effect {
    Effect::ToClient(ClientId(client), Message::bare(head))
}

/// The effect of [`World::done`] on the owner.
pub(super) fn value(engine: u32, seq: u64, took: u64) -> Effect {
    let head = ToClient::Result {
        seq,
        status: Status::Ok,
        engine: Some(EngineId(engine)),
        submitted: None,
        started: START,
        completed: START + took as i64,
    };
    Effect::ToClient(ClientId(0), Message { head, parts: parts(&["value"]) })
}

/// Hearer, number and status of every outcome among some effects.
pub(super) fn outcomes(effects: &[Effect]) -> Vec<(u32, u64, Status)> {
    let outcome = |effect: &Effect| match effect {
        Effect::ToClient(client, Message { head: ToClient::Result { seq, status, .. }, .. }) => {
            Some((client.0, *seq, *status))
        }
        _ => None,
    };
    effects.iter().filter_map(outcome).collect()
}

/// The text of the only outcome among some effects.
pub(super) fn text(effects: &[Effect]) -> String {
    let mut texts = effects.iter().filter_map(|effect| match effect {
        Effect::ToClient(_, Message { head: ToClient::Result { .. }, parts }) => Some(parts),
        _ => None,
    });
    let parts = texts.next().expect("an outcome");
    assert!(texts.next().is_none(), "one outcome");
    String::from_utf8(parts[0].to_vec()).expect("text")
}

/// Engine and number of every task given out among some effects.
pub(super) fn gifts(effects: &[Effect]) -> Vec<(u32, u64)> {
    let gift = |effect: &Effect| match effect {
        Effect::ToEngine(engine, Message { head: ToEngine::Task { id, .. }, .. }) => {
            Some((engine.0, id.seq))
        }
        _ => None,
    };
    effects.iter().filter_map(gift).collect()
}

/// As `submit`, with retries.
pub(super) fn submit_again(count: usize, retries: u16, target: Target) -> Message<FromClient> {
    let mut message = submit_to(0, count, 1, target);
    if let FromClient::Submit { rules, .. } = &mut message.head {
        rules.retries = retries;
    }
    message
}

/// Engine and attempt of every task given out.
pub(super) fn attempts(effects: &[Effect]) -> Vec<(u32, u16)> {
    let attempt = |effect: &Effect| match effect {
        Effect::ToEngine(engine, Message { head: ToEngine::Task { attempt, .. }, .. }) => {
            Some((engine.0, *attempt))
        }
        _ => None,
    };
    effects.iter().filter_map(attempt).collect()
}
