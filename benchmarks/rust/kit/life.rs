//! The whole way of tasks through the core without sockets: every message is encoded and decoded
//! once on each of the four hops, and the reactor is between them.

use std::collections::VecDeque;

use _oarlock::controller::{Effect, Event, Limits, Now, Reactor};
use _oarlock::wire::codec::{Acks, Kind, Packet, decode};
use _oarlock::wire::{EngineId, EngineInfo, FromClient, Head, Message, Parts, SessionId, ToEngine};
use bytes::Bytes;

use super::messages::{CLIENT, FUNC, START, result, submit};

/// What went over the wire.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sent {
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
}

/// A controller with two engines.
pub(crate) struct Life {
    reactor: Reactor,
    now: Now,
    submitted: u64,
    pub(crate) sent: Sent,
}

impl Life {
    pub(crate) fn new() -> Self {
        let (now, sent) = (Now { mono: 0, wall: START }, Sent::default());
        let mut life = Self { reactor: Reactor::new(Limits::default()), now, submitted: 0, sent };
        for engine in 0..2 {
            let (id, session) = (EngineId(engine), SessionId([1; 16]));
            let info = EngineInfo { id, session, pid: 1000 + engine, host: "host".to_owned() };
            life.handle(Event::EngineJoined { info });
        }
        life.handle(Event::ClientJoined {
            client: CLIENT,
            session: SessionId([2; 16]),
            lease: u64::MAX,
        });
        let parts = Parts::from_iter([Bytes::from(vec![7; 300])]);
        let func = Message { head: FromClient::Func(FUNC), parts };
        life.handle(Event::FromClient(CLIENT, func));
        life
    }

    /// Runs one submission of so many tasks to its last result.
    pub(crate) fn run(&mut self, count: usize) {
        let message = submit(self.submitted, count);
        self.submitted += count as u64;
        let mut effects = Vec::new();
        for message in self.send(vec![message]) {
            effects.extend(self.handle(Event::FromClient(CLIENT, message)));
        }
        while !effects.is_empty() {
            effects = self.turn(effects);
        }
        assert_eq!(self.reactor.pending(), 0, "every task has ended");
    }

    /// Engines and client take what was sent to them; what the engines answer is handled.
    fn turn(&mut self, effects: Vec<Effect>) -> Vec<Effect> {
        let mut told = Vec::new();
        let mut given: [Vec<_>; 2] = Default::default();
        for effect in effects {
            match effect {
                Effect::ToClient(_, message) => told.push(message),
                Effect::ToEngine(engine, message) => given[engine.0 as usize].push(message),
                _ => {}
            }
        }
        self.send(told);
        let mut effects = Vec::new();
        for (engine, messages) in (0..).zip(given) {
            let mut results = Vec::new();
            for message in self.send(messages) {
                if let ToEngine::Task { id, ticket, .. } = message.head {
                    results.push(result((id, ticket), self.now.wall, self.now.wall + 20_000));
                }
            }
            for message in self.send(results) {
                effects.extend(self.handle(Event::FromEngine(EngineId(engine), message)));
            }
        }
        effects
    }

    fn handle(&mut self, event: Event) -> Vec<Effect> {
        self.now.mono += 1_000;
        self.now.wall += 1_000;
        let mut out = Vec::new();
        self.reactor.handle(self.now, event, &mut out);
        out
    }

    /// Messages as they arrive at the other end, in as many packets as they need.
    fn send<H: Head>(&mut self, messages: Vec<Message<H>>) -> Vec<Message<H>> {
        let mut queue = VecDeque::from(messages);
        let mut arrived = Vec::with_capacity(queue.len());
        while !queue.is_empty() {
            let mut packet = Packet::new(Kind::Data);
            while queue.front().is_some_and(|next| packet.has_room(&next.parts)) {
                let next = queue.pop_front().expect("there is one");
                packet.add(next).expect("it is within the limits");
            }
            let (header, blob, _) = packet.seal(Acks::default());
            self.sent.packets += 1;
            self.sent.bytes += (header.len() + blob.len()) as u64;
            let packet = decode::<H>(&header, &blob).expect("it was just encoded");
            arrived.extend(packet.items.into_iter().map(|item| item.message));
        }
        arrived
    }
}
