//! What is written down where there is a store, and beginning with it.

use super::kit::*;
use crate::controller::{Effect, Event, Inherited, Limits, Piece, Restored};
use crate::store::{Forgotten, Outcome, Record, Spread, Submitted};
use crate::wire::message::WATCHED;
use crate::wire::{
    ClientId, EngineId, FromClient, FromEngine, Kind, Message, Request, Rules, Status, Target,
    TaskId, ToClient, ToEngine, Underway,
};

const STORED: Limits = Limits {
    ahead: 5_000_000,
    ahead_max: 256,
    kept_records: 2,
    kept_bytes: 1 << 20,
    orphan_bytes: u64::MAX,
    orphan_time: 1_000 * MS,
    receipts: true,
    store: true,
};

fn world() -> World {
    let mut world = World::with(STORED);
    world.join_client(0);
    world.client(0, func(1));
    world.join_engine(0);
    world
}

fn records(effects: &[Effect]) -> Vec<Record> {
    let record = |effect: &Effect| match effect {
        Effect::Keep(Message { head, .. }) => Some(head.clone()),
        _ => None,
    };
    effects.iter().filter_map(record).collect()
}

/// The tasks that are forgotten: client, first, how many.
fn forgotten(effects: &[Effect]) -> Vec<(u32, u64, u64)> {
    let tasks = |record| match record {
        Record::Forgotten(Forgotten { tasks, .. }) => tasks,
        _ => Vec::new(),
    };
    let all = records(effects).into_iter().flat_map(tasks);
    all.map(|(client, first, count)| (client.0, first, count)).collect()
}

fn took(first: u64, count: u64) -> Message<FromClient> {
    Message::bare(FromClient::Took(vec![(first, count)]))
}

fn ended(seq: u64) -> Outcome {
    let (id, status, engine) = (task(0, seq), Status::Ok, Some(EngineId(0)));
    Outcome { id, status, engine, submitted: START, started: START, completed: START }
}

fn pending(at: i64, runs: &[(u64, u64)]) -> Submitted {
    let count = runs.iter().map(|(_, count)| *count).sum::<u64>();
    let (client, func, kind, rules) = (ClientId(0), name(1), Kind::Apply, Rules::default());
    let spread = Spread::Balanced(Target::Any, vec![1; count as usize]);
    Submitted { client, runs: runs.to_vec(), func, kind, rules, at, spread }
}

/// Client 0 is gone, with these tasks and these outcomes.
fn restored(tasks: Vec<Submitted>, outcomes: &[u64]) -> Restored {
    let with = |tasks: Submitted| {
        let args = parts(&vec!["arg"; tasks.len()]);
        (tasks, args)
    };
    Restored {
        clients: vec![(ClientId(0), session(0), u64::MAX, 10)],
        funcs: vec![(name(1), "def".into())],
        tasks: tasks.into_iter().map(with).collect(),
        attempts: Vec::new(),
        cancelled: Vec::new(),
        outcomes: outcomes.iter().map(|seq| ended(*seq)).collect(),
    }
}

fn again(restored: Restored) -> (World, Vec<Effect>) {
    let mut world = World::with(STORED);
    world.on(Event::Inherited(Vec::new()));
    let out = world.on(Event::Restored(Box::new(restored)));
    (world, out)
}

#[test]
fn an_outcome_is_written_before_it_is_told_and_settled() {
    let mut world = world();
    world.client(0, submit(0, 1));
    let out = world.done(0, 0, MS);
    let [Effect::Keep(Message { head: Record::Outcome(outcome), parts }), told, settled] = &out[..]
    else {
        panic!("{out:?}")
    };
    assert_eq!((outcome.id, outcome.status, parts.len()), (task(0, 0), Status::Ok, 1));
    assert_eq!(*told, value(0, 0, MS));
    let Effect::ToEngine(_, Message { head: ToEngine::Settled(_), .. }) = settled else {
        panic!("{settled:?}")
    };
}

#[test]
fn what_arrived_is_forgotten_beyond_the_newest_and_what_did_not_stays() {
    let mut world = world();
    world.client(0, submit(0, 6));
    (0..6).for_each(|seq| assert_eq!(forgotten(&world.done(0, seq, MS)), []));
    assert_eq!(world.reactor.kept(), 6);
    assert_eq!(forgotten(&world.client(0, took(1, 4))), [(0, 1, 2)]);
    assert_eq!(world.reactor.kept(), 4);
    let out = world.client(0, took(0, u64::MAX));
    assert_eq!(forgotten(&out), [(0, 3, 2)], "0 and 5 arrived last");
    world.pass(1_001 * MS);
    world.on(Event::Tick);
    assert_eq!(world.reactor.kept(), 2, "these may be asked for");
}

#[test]
fn what_nobody_fetched_is_forgotten_in_time() {
    let mut world = world();
    world.client(0, submit(0, 1));
    world.leave_client(0);
    world.done(0, 0, MS);
    world.pass(1_001 * MS);
    let out = world.on(Event::Tick);
    let gone = Forgotten {
        tasks: vec![(ClientId(0), 0, 1)],
        clients: vec![ClientId(0)],
        ..Forgotten::default()
    };
    assert_eq!(records(&out), [Record::Forgotten(gone)]);
}

#[test]
fn an_outcome_is_found_under_its_session_and_its_value_read_from_the_store() {
    let (mut world, _) = again(restored(Vec::new(), &[3]));
    world.join_client(1);
    let out = world.client(1, watch(WATCHED, &[(0, 3)]));
    let [Effect::TellKept(ClientId(1), Message { head, parts }, id)] = &out[..] else {
        panic!("{out:?}")
    };
    assert!(matches!(head, ToClient::Result { seq: WATCHED, status: Status::Ok, .. }));
    assert_eq!((parts.len(), *id), (0, task(0, 3)));
    // It is then one of those that arrived.
    world.client(1, took(WATCHED, 1));
    world.pass(5_000 * MS);
    world.on(Event::Tick);
    assert_eq!(world.reactor.kept(), 1);
    world.ask(1, Request::Purge(None));
    assert_eq!(world.reactor.kept(), 0);
}

#[test]
fn tasks_are_restored_in_the_order_of_their_submission() {
    let tasks = vec![pending(START + 5, &[(4, 1)]), pending(START, &[(0, 1), (2, 2)])];
    let (mut world, _) = again(restored(tasks, &[1]));
    assert_eq!(world.reactor.pending(), 4);
    let mut given = gifts(&world.join_engine(0));
    for seq in [0, 2] {
        given.extend(gifts(&world.done(0, seq, MS)));
    }
    assert_eq!(given, [(0, 0), (0, 2), (0, 3), (0, 4)]);
}

#[test]
fn a_function_of_which_the_last_task_ends_while_it_is_restored_is_forgotten_once() {
    let mut left = restored(vec![pending(START, &[(0, 1)])], &[]);
    left.cancelled = vec![task(0, 0)];
    let (world, out) = again(left);
    assert_eq!(world.reactor.pending(), 0);
    let funcs = records(&out).into_iter().filter_map(|record| match record {
        Record::Forgotten(Forgotten { funcs, .. }) => Some(funcs),
        _ => None,
    });
    assert_eq!(funcs.flatten().collect::<Vec<_>>(), [name(1)]);
}

#[test]
fn a_task_that_was_given_to_an_engine_that_is_gone_is_in_doubt() {
    let mut world = World::with(STORED);
    world.on(Event::Inherited(vec![Inherited { info: info(3), given: vec![(1, task(0, 0), 1)] }]));
    let mut left = restored(vec![pending(START, &[(0, 2)])], &[]);
    left.attempts = vec![(task(0, 1), 4)];
    world.on(Event::Restored(Box::new(left)));
    let (engine, cause) = (EngineId(3), "gone".to_owned());
    let out = world.on(Event::EngineMissing { engine, cause });
    let [Record::Outcome(outcome)] = &records(&out)[..] else { panic!("{out:?}") };
    assert_eq!((outcome.id, outcome.status), (task(0, 0), Status::Lost));
    let out = world.join_engine(4);
    let attempt = out.iter().find_map(|effect| match effect {
        Effect::ToEngine(_, Message { head: ToEngine::Task { id, attempt, .. }, .. }) => {
            Some((*id, *attempt))
        }
        _ => None,
    });
    assert_eq!(attempt, Some((task(0, 1), 4)));
}

#[test]
fn what_is_of_no_use_any_more_is_forgotten_at_the_start() {
    let (_, out) = again(restored(Vec::new(), &[]));
    let func = Forgotten { funcs: vec![name(1)], ..Forgotten::default() };
    let client = Forgotten { clients: vec![ClientId(0)], ..Forgotten::default() };
    assert_eq!(records(&out), [Record::Forgotten(func), Record::Forgotten(client)]);
}

#[test]
fn a_client_that_comes_back_gets_no_second_task_of_what_is_known() {
    let (mut world, _) = again(restored(vec![pending(START, &[(1, 1), (3, 1)])], &[2]));
    let client = ClientId(0);
    assert!(!world.reactor.may_return(client, session(9), false), "another is not it");
    assert!(world.reactor.may_return(client, session(0), false));
    world.on(Event::ClientBack { client, session: session(0), lease: 7 });
    let pieces = world.reactor.admit(client, submit(1, 4));
    let [Piece::Known(known), Piece::New(new)] = &pieces[..] else { panic!("{pieces:?}") };
    assert_eq!(*known, 1..4);
    assert!(matches!(new.head, FromClient::Submit { first: 4, .. }));
    let record = world.reactor.record(client, new, START).expect("it will be entered");
    assert_eq!((record.tasks.runs, record.client), (vec![(4, 1)], (session(0), 7)));
    world.on(Event::AskedAgain(client, known.clone()));
    world.client(0, submit(4, 1));
    assert!(world.reactor.record(client, &submit(4, 1), START).is_none(), "it is there");
    assert_eq!(world.reactor.pending(), 3);
}

#[test]
fn what_ended_is_told_again_to_a_client_that_comes_back_and_the_rest_has_arrived() {
    let (mut world, _) = again(restored(vec![pending(START, &[(0, 1)])], &[1, 2, 3, 4]));
    let client = ClientId(0);
    world.on(Event::ClientBack { client, session: session(0), lease: u64::MAX });
    assert_eq!(world.on(Event::AskedAgain(client, 0..1)), []);
    let out = world.on(Event::AskedAgain(client, 3..4));
    assert!(matches!(&out[..], [Effect::TellKept(_, _, TaskId { seq: 3, .. })]), "{out:?}");
    let out = world.client(0, Message::bare(FromClient::Back));
    assert_eq!(forgotten(&out).len(), 1, "of three that arrived two are kept");
    assert_eq!(world.reactor.kept(), 3);
}

#[test]
fn tasks_for_which_there_is_no_room_are_refused_and_not_written() {
    let mut world = world();
    let (client, why) = (ClientId(0), "no space left".to_owned());
    let out = world.on(Event::NoRoom { client, first: 0, count: 2, why });
    assert_eq!(outcomes(&out), [(0, 0, Status::Refused), (0, 1, Status::Refused)]);
    assert_eq!(records(&out), []);
    assert_eq!(outcomes(&world.client(0, submit(1, 1))), [], "the numbers are used");
    assert_eq!(gifts(&world.client(0, submit(2, 1))), [(0, 2)]);
}

#[test]
fn that_a_task_is_not_wanted_is_written_before_its_engine_hears_of_it() {
    let mut world = world();
    world.client(0, submit(0, 3));
    let cancel =
        |seqs: &[u64]| Message::bare(FromClient::Cancel { tasks: seqs.to_vec(), force: None });
    let out = world.client(0, cancel(&[0, 2]));
    let [Effect::Keep(running), Effect::Keep(queued), Effect::ToClient(..), Effect::ToEngine(..)] =
        &out[..]
    else {
        panic!("{out:?}")
    };
    assert_eq!(running.head, Record::Cancelled(task(0, 0)));
    assert!(
        matches!(&queued.head, Record::Outcome(outcome) if outcome.status == Status::Cancelled)
    );
    assert_eq!(records(&world.client(0, cancel(&[0]))), [], "once");
}

#[test]
fn a_task_that_was_not_wanted_any_more_is_not_begun_after_a_restart() {
    let given = vec![(1, task(0, 0), 1), (2, task(0, 1), 1)];
    for comes in [true, false] {
        let mut world = World::with(STORED);
        let inherited = Inherited { info: info(3), given: given.clone() };
        world.on(Event::Inherited(vec![inherited]));
        let mut left = restored(vec![pending(START, &[(0, 4)])], &[]);
        left.cancelled = vec![task(0, 0), task(0, 1), task(0, 2)];
        let out = world.on(Event::Restored(Box::new(left)));
        let ended = |out: &[Effect]| -> Vec<(u64, Status)> {
            let outcomes = records(out).into_iter().filter_map(|record| match record {
                Record::Outcome(outcome) => Some((outcome.id.seq, outcome.status)),
                _ => None,
            });
            outcomes.collect()
        };
        assert_eq!(ended(&out), [(2, Status::Cancelled)], "nobody can have begun it");
        let engine = EngineId(3);
        let out = if comes {
            let running = Some(Underway { id: task(0, 0), ticket: 1, attempt: 1, started: START });
            let out = world.on(Event::EngineBack { info: info(3), ticket: 2, running });
            let cancel = ToEngine::Cancel { tasks: vec![task(0, 0)], force: None };
            assert!(out.contains(&told(3, cancel)), "{out:?}");
            world.on(Event::FromEngine(engine, Message::bare(FromEngine::Back(Vec::new()))))
        } else {
            world.on(Event::EngineMissing { engine, cause: "gone".to_owned() })
        };
        let known = [(0, Status::Cancelled), (1, Status::Cancelled)];
        assert_eq!(ended(&out), known[usize::from(comes)..], "{out:?}");
        if !comes {
            assert_eq!(gifts(&world.join_engine(4)), [(4, 3)]);
        }
    }
}

#[test]
fn what_ends_while_a_client_comes_back_is_told_once_and_has_not_arrived_by_that() {
    let (mut world, _) = again(restored(vec![pending(START, &[(0, 3)])], &[]));
    world.join_engine(0);
    let client = ClientId(0);
    world.on(Event::ClientBack { client, session: session(0), lease: u64::MAX });
    for seq in 0..3 {
        assert_eq!(outcomes(&world.done(0, seq, MS)), []);
    }
    assert_eq!(world.on(Event::AskedAgain(client, 0..3)).len(), 3);
    // Its session breaks, and nobody knows what had arrived.
    world.lose_client(0);
    world.on(Event::ClientBack { client, session: session(0), lease: u64::MAX });
    assert_eq!(world.on(Event::AskedAgain(client, 0..3)).len(), 3);
    let out = world.client(0, Message::bare(FromClient::Back));
    assert_eq!((forgotten(&out), world.reactor.kept()), (vec![], 3));
    assert_eq!(forgotten(&world.client(0, took(0, 3))).len(), 1, "of three two are kept");
}

#[test]
fn an_attempt_that_the_store_knows_to_have_ended_is_in_no_doubt() {
    let mut world = World::with(STORED);
    // The place of the first attempt was not used again.
    world.on(Event::Inherited(vec![Inherited { info: info(3), given: vec![(1, task(0, 0), 1)] }]));
    let mut tasks = pending(START, &[(0, 1)]);
    tasks.rules.retries = 5;
    let mut left = restored(vec![tasks], &[]);
    left.attempts = vec![(task(0, 0), 2)];
    world.on(Event::Restored(Box::new(left)));
    let (engine, cause) = (EngineId(3), "gone".to_owned());
    world.on(Event::EngineMissing { engine, cause });
    let out = world.join_engine(4);
    let [Effect::ToEngine(_, Message { head: ToEngine::Task { id, attempt, .. }, .. })] = out
        .iter()
        .filter(|effect| {
            matches!(effect, Effect::ToEngine(_, Message { head: ToEngine::Task { .. }, .. }))
        })
        .collect::<Vec<_>>()[..]
    else {
        panic!("{out:?}")
    };
    assert_eq!((*id, *attempt), (task(0, 0), 2));
}

#[test]
fn an_attempt_before_one_that_is_in_doubt_costs_nothing_when_it_is_told_again() {
    let mut world = World::with(STORED);
    let inherited = |id, ticket, attempt| Inherited {
        info: info(id),
        given: vec![(ticket, task(0, 0), attempt)],
    };
    world.on(Event::Inherited(vec![inherited(3, 2, 2), inherited(4, 7, 1)]));
    let mut tasks = pending(START, &[(0, 1)]);
    tasks.rules.retries = 5;
    let mut left = restored(vec![tasks], &[]);
    left.attempts = vec![(task(0, 0), 2)];
    world.on(Event::Restored(Box::new(left)));
    let (engine, cause) = (EngineId(3), "gone".to_owned());
    let out = world.on(Event::EngineMissing { engine, cause });
    assert_eq!(records(&out), [Record::Attempt { id: task(0, 0), attempt: 3 }]);
    world.on(Event::EngineBack { info: info(4), ticket: 7, running: None });
    let head = FromEngine::Result {
        id: task(0, 0),
        status: Status::Again,
        ticket: 7,
        started: START,
        completed: START,
    };
    let out = world.on(Event::FromEngine(EngineId(4), Message { head, parts: parts(&["x"]) }));
    assert_eq!(records(&out), [], "{out:?}");
}

#[test]
fn a_client_that_comes_back_waits_for_engines_as_long_as_any_other() {
    let (mut world, _) = again(restored(vec![pending(START, &[(0, 1)])], &[]));
    let minute = 60_000 * MS;
    world.pass(5 * minute);
    let client = ClientId(0);
    world.on(Event::ClientBack { client, session: session(0), lease: u64::MAX });
    world.on(Event::AskedAgain(client, 0..1));
    world.client(0, Message::bare(FromClient::Back));
    world.pass(minute - MS);
    world.on(Event::Tick);
    assert_eq!(world.reactor.pending(), 1);
    world.pass(MS);
    world.on(Event::Tick);
    assert_eq!(world.reactor.pending(), 0);
}
