//! What happens to a controller with many engines and many pending tasks, written down first and
//! played to a fresh reactor later, so that nothing but the reactor is measured.
//!
//! The engines here are simulated: each runs the tasks it was given in order and gives back what
//! is recalled. They take turns at ending one task, and as soon as `batch` tasks have ended the
//! client submits as many, so the number of pending tasks stays where it is.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use _oarlock::controller::{Effect, Event, Limits, Now, Reactor};
use _oarlock::wire::{
    EngineId, EngineInfo, FromClient, FromEngine, Message, Parts, SessionId, TaskId, ToEngine,
};
use bytes::Bytes;

use super::messages::{CLIENT, FUNC, START, result, submit};

/// How large a cluster is played.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    /// Simulated engines.
    pub(crate) engines: u32,
    /// Pending tasks, those included that engines hold.
    pub(crate) pending: usize,
    /// Tasks per submission.
    pub(crate) batch: usize,
    /// From one engine to the next that ends a task. One meets the engines, and the tasks they hold,
    /// in the order in which they lie in memory; a large prime meets them in one no cache foresees.
    pub(crate) stride: usize,
    /// Tasks that are submitted and ended while the clock runs.
    pub(crate) tasks: usize,
}

/// How long a task seems to run: an engine is given five of these ahead.
const TOOK: u64 = 1_000_000;

/// Events made at a time; a shell takes as many packets from its queue.
const PORTION: usize = 64;

/// One event. Almost all are ends of tasks, and these are kept so small that reading them leaves the
/// cache to the reactor.
enum Line {
    Ended { mono: u64, engine: EngineId, id: TaskId, ticket: u64 },
    Other(Now, Box<Event>),
}

impl Line {
    fn event(&self) -> (Now, Event) {
        match self {
            Self::Ended { mono, engine, id, ticket } => {
                let now = Now { mono: *mono, wall: START + *mono as i64 };
                let message = result((*id, *ticket), now.wall - TOOK as i64, now.wall);
                (now, Event::FromEngine(*engine, message))
            }
            Self::Other(now, event) => (*now, Event::clone(event)),
        }
    }
}

/// Events in the order they happen.
pub(crate) struct Script {
    /// Before the clock runs: everybody joins and the pending tasks are submitted.
    setup: Vec<Line>,
    /// While it runs.
    steady: Vec<Line>,
}

impl Script {
    /// Writes down what happens at this scale.
    pub(crate) fn of(scale: Scale) -> Self {
        Author::new(scale).write()
    }

    /// A reactor that has seen the beginning.
    pub(crate) fn begin(&self) -> Reactor {
        let mut reactor = Reactor::new(Limits::default());
        for line in &self.setup {
            play(&mut reactor, vec![line.event()]);
        }
        reactor
    }

    /// Lets the rest happen to it, and says how long it took; making the events does not count. As
    /// many are made at a time as a shell has in hand, which decodes them from what arrived: they
    /// are in the cache.
    pub(crate) fn play(&self, reactor: &mut Reactor) -> Duration {
        let mut took = Duration::ZERO;
        for lines in self.steady.chunks(PORTION) {
            let events = lines.iter().map(Line::event).collect();
            let begin = Instant::now();
            play(reactor, events);
            took += begin.elapsed();
        }
        took
    }

    /// The rest at once.
    pub(crate) fn events(&self) -> Vec<(Now, Event)> {
        self.steady.iter().map(Line::event).collect()
    }
}

/// Lets events happen to a reactor, and drops what it wants done, as a shell that sends it does.
#[inline(never)]
pub(crate) fn play(reactor: &mut Reactor, events: Vec<(Now, Event)>) {
    let mut out = Vec::new();
    for (now, event) in events {
        reactor.handle(now, event, &mut out);
        out.clear();
    }
}

/// The simulation.
struct Author {
    scale: Scale,
    reactor: Reactor,
    now: Now,
    engines: Vec<VecDeque<(TaskId, u64)>>,
    turn: usize,
    submitted: u64,
    events: Vec<Line>,
}

impl Author {
    fn new(scale: Scale) -> Self {
        Self {
            scale,
            reactor: Reactor::new(Limits::default()),
            now: Now { mono: 0, wall: START },
            engines: vec![VecDeque::new(); scale.engines as usize],
            turn: 0,
            submitted: 0,
            events: Vec::new(),
        }
    }

    fn write(mut self) -> Script {
        // Engines first: every later join would be told to the client, which is not what is
        // measured.
        for engine in 0..self.scale.engines {
            let info = EngineInfo {
                id: EngineId(engine),
                session: SessionId([1; 16]),
                pid: 1000 + engine,
                host: "host".to_owned(),
            };
            self.happen(Event::EngineJoined { info });
        }
        self.happen(Event::ClientJoined {
            client: CLIENT,
            session: SessionId([2; 16]),
            lease: u64::MAX,
        });
        let parts = Parts::from_iter([Bytes::from(vec![7; 300])]);
        self.say(Message { head: FromClient::Func(FUNC), parts });
        while self.reactor.pending() < self.scale.pending {
            self.submit((self.scale.pending - self.reactor.pending()).min(512));
        }
        // Every engine has then ended a task, so that it is known how long they take.
        self.run(self.engines.len());
        let setup = std::mem::take(&mut self.events);
        self.run(self.scale.tasks);
        Script { setup, steady: self.events }
    }

    /// Lets so many tasks end, and as many be submitted.
    fn run(&mut self, tasks: usize) {
        let mut owed = 0;
        for _ in 0..tasks {
            owed += usize::from(self.work());
            if owed == self.scale.batch.min(self.scale.pending) {
                self.submit(std::mem::take(&mut owed));
            }
        }
        self.submit(owed);
    }

    /// The next engine that has something ends its oldest task.
    fn work(&mut self) -> bool {
        for _ in 0..self.engines.len() {
            let at = self.turn;
            self.turn = (self.turn + self.scale.stride) % self.engines.len();
            if let Some(id) = self.engines[at].pop_front() {
                let message = result(id, self.now.wall - TOOK as i64, self.now.wall);
                self.happen(Event::FromEngine(EngineId(at as u32), message));
                return true;
            }
        }
        false
    }

    fn submit(&mut self, count: usize) {
        if count > 0 {
            let message = submit(self.submitted, count);
            self.submitted += count as u64;
            self.say(message);
        }
    }

    fn say(&mut self, message: Message<FromClient>) {
        self.happen(Event::FromClient(CLIENT, message));
    }

    fn line(&self, event: &Event) -> Line {
        if let Event::FromEngine(engine, message) = event
            && let FromEngine::Result { id, ticket, .. } = message.head
        {
            return Line::Ended { mono: self.now.mono, engine: *engine, id, ticket };
        }
        Line::Other(self.now, Box::new(event.clone()))
    }

    fn happen(&mut self, event: Event) {
        let mut due = VecDeque::from([event]);
        while let Some(event) = due.pop_front() {
            self.now.mono += 1_000;
            self.now.wall += 1_000;
            self.events.push(self.line(&event));
            let mut out = Vec::new();
            self.reactor.handle(self.now, event, &mut out);
            due.extend(out.into_iter().filter_map(|effect| self.obey(effect)));
        }
    }

    /// What an engine does when it is told something, and its answer.
    fn obey(&mut self, effect: Effect) -> Option<Event> {
        let Effect::ToEngine(engine, message) = effect else { return None };
        let queue = &mut self.engines[engine.0 as usize];
        match message.head {
            ToEngine::Task { id, ticket, .. } => queue.push_back((id, ticket)),
            ToEngine::Recall(ids) => {
                let asked = |(id, _): &(TaskId, u64)| ids.contains(id);
                let head = FromEngine::Returned(queue.iter().copied().filter(asked).collect());
                queue.retain(|task| !asked(task));
                return Some(Event::FromEngine(engine, Message::bare(head)));
            }
            _ => {}
        }
        None
    }
}
