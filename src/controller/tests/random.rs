//! Anything at all, in any order, also twice: every task and every watcher has one outcome.

use proptest::prelude::*;

use super::kit::{among, cancel, forget, func, ids, name, session};
use super::model::Model;
use crate::wire::{
    ClientId, EngineId, FromClient, Kind, Message, Request, Rules, SessionId, Target,
};

/// One step; the numbers are reduced to what there is.
#[derive(Clone, Debug)]
enum Step {
    JoinEngine,
    LoseEngine(usize, bool),
    JoinClient(u32),
    LoseClient(usize),
    Full(usize, bool),
    Put(usize, u8),
    Forget(usize, u8),
    Submit(usize, (usize, u8), Option<Vec<u32>>, u16),
    Direct(usize, Vec<u32>),
    Cancel(usize, Vec<u64>),
    Watch(usize, Vec<(u32, u64)>),
    Shutdown(usize, usize),
    Purge(usize),
    Ask(usize),
    Read(usize, usize),
    Work(usize, usize, bool, bool),
    Chatter(usize, usize),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let which = 0..8_usize;
    let engines = prop::collection::vec(0..8_u32, 0..4);
    prop_oneof![
        3 => Just(Step::JoinEngine),
        2 => (which.clone(), any::<bool>()).prop_map(|(at, known)| Step::LoseEngine(at, known)),
        2 => (0..3_u32).prop_map(Step::JoinClient),
        1 => which.clone().prop_map(Step::LoseClient),
        2 => (which.clone(), any::<bool>()).prop_map(|(at, full)| Step::Full(at, full)),
        1 => (which.clone(), 1..3_u8).prop_map(|(at, func)| Step::Put(at, func)),
        1 => (which.clone(), 1..3_u8).prop_map(|(at, func)| Step::Forget(at, func)),
        6 => (which.clone(), (0..12_usize, 1..4_u8), prop::option::of(engines.clone()), 0..6_u16)
            .prop_map(|(at, what, among, retries)| Step::Submit(at, what, among, retries)),
        2 => (which.clone(), engines).prop_map(|(at, engines)| Step::Direct(at, engines)),
        3 => (which.clone(), prop::collection::vec(0..40_u64, 0..6))
            .prop_map(|(at, seqs)| Step::Cancel(at, seqs)),
        3 => (which.clone(), prop::collection::vec((0..4_u32, 0..40_u64), 0..5))
            .prop_map(|(at, tasks)| Step::Watch(at, tasks)),
        1 => (which.clone(), which.clone()).prop_map(|(at, engine)| Step::Shutdown(at, engine)),
        1 => which.clone().prop_map(Step::Purge),
        1 => which.clone().prop_map(Step::Ask),
        8 => (which.clone(), 1..20_usize).prop_map(|(at, count)| Step::Read(at, count)),
        8 => (which.clone(), 1..6_usize, any::<bool>(), prop::bool::weighted(0.8))
            .prop_map(|(at, count, long, well)| Step::Work(at, count, long, well)),
        2 => (which, 0..9_usize).prop_map(|(at, which)| Step::Chatter(at, which)),
        1 => (0..400_000_000_000_u64).prop_map(Step::Pass),
    ]
}

impl Model {
    fn some_engine(&self, at: usize) -> Option<EngineId> {
        self.engines.keys().nth(at % self.engines.len().max(1)).copied()
    }

    fn some_client(&self, at: usize) -> Option<ClientId> {
        self.clients.keys().nth(at % self.clients.len().max(1)).copied()
    }

    fn client_step(&mut self, client: ClientId, step: Step) {
        match step {
            Step::LoseClient(_) => self.lose_client(client),
            Step::Full(_, full) => self.fill(client, full),
            Step::Put(_, number) => self.say(client, 0, |_| func(number)),
            Step::Forget(_, number) => self.say(client, 0, |_| forget(number)),
            Step::Submit(_, what, set, retries) => {
                self.submit(client, what, set.map_or(Target::Any, among), retries);
            }
            Step::Direct(_, engines) => {
                let (func, kind, engines) = (name(1), Kind::Apply, ids(engines));
                self.say(client, engines.len() as u64, |first| {
                    let rules = Rules::default();
                    Message::bare(FromClient::Direct { first, func, kind, engines, rules })
                });
            }
            Step::Cancel(_, seqs) => self.say(client, 0, |_| cancel(seqs)),
            Step::Watch(_, tasks) => {
                let tasks: Vec<(SessionId, u64)> =
                    tasks.into_iter().map(|(of, seq)| (session(of), seq)).collect();
                self.watch(client, tasks);
            }
            Step::Shutdown(_, engine) => {
                if let Some(engine) = self.some_engine(engine) {
                    self.request(client, Request::Shutdown(vec![engine]));
                }
            }
            Step::Purge(_) => self.request(client, Request::Purge(None)),
            _ => {
                self.request(client, Request::QueueStatus);
                self.request(client, Request::History);
            }
        }
    }

    fn engine_step(&mut self, engine: EngineId, step: Step) {
        match step {
            Step::LoseEngine(_, known) => self.lose_engine(engine, known),
            Step::Read(_, count) => {
                let _all = (0..count).all(|_| self.read(engine));
            }
            Step::Work(_, count, long, well) => {
                let took = if long { 50_000_000 } else { 20_000 };
                let _all = (0..count).all(|_| self.work(engine, took, well));
            }
            Step::Chatter(_, which) => self.chatter(engine, which),
            _ => unreachable!("no step of an engine"),
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::JoinEngine => self.join_engine(),
            Step::JoinClient(of) => self.join_client(of),
            Step::Pass(nanoseconds) => self.pass(nanoseconds),
            Step::LoseEngine(at, _)
            | Step::Read(at, _)
            | Step::Work(at, ..)
            | Step::Chatter(at, _) => {
                if let Some(engine) = self.some_engine(at) {
                    self.engine_step(engine, step);
                }
            }
            Step::LoseClient(at)
            | Step::Full(at, _)
            | Step::Put(at, _)
            | Step::Forget(at, _)
            | Step::Submit(at, ..)
            | Step::Direct(at, _)
            | Step::Cancel(at, _)
            | Step::Watch(at, _)
            | Step::Shutdown(at, _)
            | Step::Purge(at)
            | Step::Ask(at) => {
                if let Some(client) = self.some_client(at) {
                    self.client_step(client, step);
                }
            }
        }
    }
}

fn run(twice: bool, steps: Vec<Step>) {
    let mut model = Model::new(twice);
    model.join_client(0);
    model.join_engine();
    for step in steps {
        model.step(step);
    }
    model.settle();
    model.assert_quiet();
    let clients: Vec<_> = model.clients.keys().copied().collect();
    for client in clients {
        model.lose_client(client);
    }
    model.settle();
    assert!(model.has_forgotten(1) && model.has_forgotten(2), "without clients, no functions");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn every_task_has_one_outcome_whatever_happens(
        steps in prop::collection::vec(step(), 0..120)
    ) {
        run(false, steps);
    }

    #[test]
    fn every_task_has_one_outcome_if_everything_happens_twice(
        steps in prop::collection::vec(step(), 0..80)
    ) {
        run(true, steps);
    }
}
