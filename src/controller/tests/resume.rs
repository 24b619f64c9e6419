//! A controller that follows another: what a task meets that is submitted again.

use super::kit::*;
use crate::controller::{Effect, Event, Inherited, Limits};
use crate::wire::{
    ClientId, EngineId, FromClient, FromEngine, Message, Request, Status, Target, TaskId, ToClient,
    ToEngine, Underway,
};

/// Ticket, number and attempt of a task that was given to an engine.
type Given = (u64, u64, u16);

/// One that follows another, which gave each engine these.
fn heir(engines: &[(u32, &[Given])]) -> World {
    let mut world = World::with(Limits { receipts: true, ..Limits::default() });
    let left = engines.iter().map(|(engine, given)| {
        let given = given.iter().map(|(ticket, seq, attempt)| (*ticket, task(0, *seq), *attempt));
        Inherited { info: info(*engine), given: given.collect() }
    });
    world.on(Event::Inherited(left.collect()));
    world
}

fn client_back(world: &mut World) {
    world.on(Event::ClientBack { client: ClientId(0), session: session(0), lease: u64::MAX });
    world.client(0, func(1));
}

fn all_submitted(world: &mut World) -> Vec<Effect> {
    world.client(0, Message::bare(FromClient::Back))
}

fn engine_back(
    world: &mut World,
    engine: u32,
    ticket: u64,
    runs: impl Into<Option<Underway>>,
) -> Vec<Effect> {
    world.on(Event::EngineBack { info: info(engine), ticket, running: runs.into() })
}

fn runs(seq: u64, ticket: u64, attempt: u16) -> Underway {
    Underway { id: task(0, seq), ticket, attempt, started: START }
}

fn missing(world: &mut World, engine: u32) -> Vec<Effect> {
    world.on(Event::EngineMissing { engine: EngineId(engine), cause: "gone".to_owned() })
}

fn tells(world: &mut World, engine: u32, seq: u64, ticket: u64, status: Status) -> Vec<Effect> {
    let (id, started, completed) = (task(0, seq), START, START + 1);
    world.engine(engine, FromEngine::Result { id, ticket, status, started, completed })
}

fn told_all(world: &mut World, engine: u32, ids: Vec<TaskId>) -> Vec<Effect> {
    world.engine(engine, FromEngine::Back(ids))
}

fn with_retries(count: usize, retries: u16) -> Message<FromClient> {
    submit_again(count, retries, Target::Any)
}

#[test]
fn a_failure_of_what_ran_when_its_engine_came_back_is_counted_once_though_it_is_told_twice() {
    let mut world = heir(&[(3, &[(6, 0, 1)])]);
    engine_back(&mut world, 3, 6, runs(0, 6, 1));
    client_back(&mut world);
    world.client(0, with_retries(1, 5));
    // It takes no more, so what failed waits for another.
    world.ask(0, Request::Shutdown(vec![EngineId(3)]));
    tells(&mut world, 3, 0, 6, Status::Again);
    tells(&mut world, 3, 0, 6, Status::Again);
    let out = world.join_engine(4);
    let attempts = out.iter().filter_map(|effect| match effect {
        Effect::ToEngine(_, Message { head: ToEngine::Task { attempt, .. }, .. }) => Some(*attempt),
        _ => None,
    });
    assert_eq!(attempts.collect::<Vec<_>>(), [2]);
}

#[test]
fn an_outcome_that_is_told_again_is_the_tasks_whoever_comes_first() {
    for client_first in [true, false] {
        let mut world = heir(&[(3, &[(1, 0, 1)])]);
        let mut out = Vec::new();
        if client_first {
            client_back(&mut world);
            out.extend(world.client(0, submit(0, 1)));
        }
        engine_back(&mut world, 3, 1, None);
        out.extend(tells(&mut world, 3, 0, 1, Status::Ok));
        out.extend(told_all(&mut world, 3, vec![task(0, 0)]));
        if !client_first {
            client_back(&mut world);
            out.extend(world.client(0, submit(0, 1)));
        }
        assert_eq!((outcomes(&out), gifts(&out)), (vec![(0, 0, Status::Ok)], vec![]));
    }
}

#[test]
fn what_an_engine_runs_is_held_by_it_as_before() {
    for client_first in [true, false] {
        let mut world = heir(&[(3, &[(4, 0, 1)])]);
        world.join_engine(5);
        if client_first {
            client_back(&mut world);
            assert_eq!(gifts(&world.client(0, submit(0, 1))), []);
        }
        engine_back(&mut world, 3, 4, runs(0, 4, 1));
        if !client_first {
            client_back(&mut world);
            assert_eq!(gifts(&world.client(0, submit(0, 1))), []);
        }
        told_all(&mut world, 3, vec![]);
        assert_eq!(outcomes(&tells(&mut world, 3, 0, 4, Status::Ok)), [(0, 0, Status::Ok)]);
    }
}

#[test]
fn what_waits_for_an_engine_that_did_not_begin_it_is_queued_without_a_retry() {
    let mut world = heir(&[(3, &[(1, 0, 1)])]);
    world.join_engine(5);
    client_back(&mut world);
    assert_eq!(gifts(&world.client(0, submit(0, 1))), [], "it waits, though another is idle");
    engine_back(&mut world, 3, 1, None);
    assert_eq!(attempts(&told_all(&mut world, 3, vec![])), [(5, 1)]);
}

#[test]
fn what_waits_is_not_queued_before_the_last_outcome_has_come() {
    let mut world = heir(&[(3, &[(1, 0, 1), (2, 1, 1)])]);
    client_back(&mut world);
    world.client(0, submit(0, 2));
    engine_back(&mut world, 3, 2, None);
    assert_eq!(gifts(&told_all(&mut world, 3, vec![task(0, 0)])), []);
    let out = tells(&mut world, 3, 0, 1, Status::Ok);
    assert_eq!((outcomes(&out), gifts(&out)), (vec![(0, 0, Status::Ok)], vec![(3, 1)]));
}

#[test]
fn what_was_given_to_an_engine_that_is_gone_costs_a_retry() {
    for client_first in [true, false] {
        for (retries, there) in [(0, vec![]), (1, vec![(5, 2)])] {
            let mut world = heir(&[(3, &[(1, 0, 1)])]);
            world.join_engine(5);
            client_back(&mut world);
            let mut out = Vec::new();
            if client_first {
                out.extend(world.client(0, with_retries(1, retries)));
            }
            out.extend(missing(&mut world, 3));
            if !client_first {
                out.extend(world.client(0, with_retries(1, retries)));
            }
            assert_eq!(attempts(&out), there);
            assert_eq!(outcomes(&out).len(), 1 - there.len(), "lost if it has none");
        }
    }
}

#[test]
fn what_nobody_was_given_is_queued() {
    let mut world = heir(&[(3, &[(1, 9, 1)])]);
    world.join_engine(5);
    client_back(&mut world);
    assert_eq!(attempts(&world.client(0, submit(0, 1))), [(5, 1)]);
}

#[test]
fn what_nobody_wants_is_settled_and_not_run_on() {
    let mut world = heir(&[(3, &[(1, 0, 1), (2, 1, 1)])]);
    engine_back(&mut world, 3, 2, runs(1, 2, 1));
    tells(&mut world, 3, 0, 1, Status::Ok);
    client_back(&mut world);
    let out = all_submitted(&mut world);
    let cancel = ToEngine::Cancel { tasks: vec![task(0, 1)], force: None };
    assert_eq!(out, [told(3, ToEngine::Settled(vec![1])), told(3, cancel)]);
}

#[test]
fn after_a_time_nobody_is_waited_for() {
    let mut world = heir(&[(3, &[(1, 0, 1)]), (4, &[])]);
    engine_back(&mut world, 3, 1, None);
    tells(&mut world, 3, 0, 1, Status::Ok);
    world.pass(600_000 * MS);
    let mut out = world.on(Event::Tick);
    out.retain(|effect| matches!(effect, Effect::ToEngine(..)));
    assert_eq!(out, [told(3, ToEngine::Settled(vec![1]))]);
    assert_eq!(world.reactor.spent(), 0, "nor is it known what is spent of its tasks");
    assert!(!world.reactor.is_resuming());
}

#[test]
fn at_which_attempt_a_task_was_is_not_forgotten_when_its_engine_did_not_begin_it() {
    let mut world = heir(&[(3, &[(1, 0, 3)])]);
    engine_back(&mut world, 3, 1, None);
    told_all(&mut world, 3, vec![]);
    client_back(&mut world);
    assert_eq!(attempts(&world.client(0, with_retries(1, 2))), [(3, 3)]);
    assert_eq!(outcomes(&tells(&mut world, 3, 0, 2, Status::Again)), [(0, 0, Status::Error)]);
}

#[test]
fn nor_when_it_tells_before_the_client_comes_even_twice() {
    let mut world = heir(&[(3, &[(1, 0, 2)])]);
    engine_back(&mut world, 3, 1, None);
    tells(&mut world, 3, 0, 1, Status::Again);
    assert_eq!(tells(&mut world, 3, 0, 1, Status::Again), []);
    client_back(&mut world);
    let out = world.client(0, with_retries(1, 1));
    assert_eq!((outcomes(&out), gifts(&out)), (vec![(0, 0, Status::Error)], vec![]));
}

#[test]
fn an_outcome_of_an_attempt_before_the_last_ends_nothing() {
    let mut world = heir(&[(3, &[(1, 0, 1)]), (4, &[(7, 0, 2)])]);
    client_back(&mut world);
    world.client(0, with_retries(1, 5));
    engine_back(&mut world, 3, 1, None);
    let out = tells(&mut world, 3, 0, 1, Status::Again);
    assert_eq!(out, [told(3, ToEngine::Settled(vec![1]))], "it waits for the other");
    engine_back(&mut world, 4, 7, None);
    assert_eq!(outcomes(&tells(&mut world, 4, 0, 7, Status::Ok)), [(0, 0, Status::Ok)]);
}

#[test]
fn of_an_engine_that_never_knew_that_it_was_one_nothing_was_begun() {
    let mut world = heir(&[(3, &[(1, 0, 1)])]);
    client_back(&mut world);
    world.client(0, submit(0, 1));
    world.join_engine(4);
    // As the shell has it when the process joins as another.
    engine_back(&mut world, 3, 0, None);
    let mut out = told_all(&mut world, 3, Vec::new());
    out.extend(world.lose_engine_that_began(3, Some(0)));
    assert_eq!(outcomes(&out), [], "it is not lost, though it has no retry");
    assert_eq!(gifts(&out).last(), Some(&(4, 0)));
}

#[test]
fn nor_does_it_take_the_place_of_the_last_one_if_that_is_told_first() {
    let mut world = heir(&[(0, &[(1, 0, 1)]), (1, &[(3, 0, 2)])]);
    engine_back(&mut world, 1, 3, None);
    tells(&mut world, 1, 0, 3, Status::Ok);
    engine_back(&mut world, 0, 1, None);
    let out = tells(&mut world, 0, 0, 1, Status::Again);
    assert!(out.contains(&told(0, ToEngine::Settled(vec![1]))), "nobody wants it");
    client_back(&mut world);
    let out = world.client(0, with_retries(1, 2));
    assert_eq!(outcomes(&out), [(0, 0, Status::Ok)]);
}

#[test]
fn an_outcome_that_comes_twice_is_kept_until_it_has_arrived() {
    let mut world = World::with(Limits { receipts: true, ..Limits::default() });
    world.join_client(0);
    world.client(0, func(1));
    world.join_engine(0);
    world.client(0, submit(0, 1));
    let first = tells(&mut world, 0, 0, 1, Status::Ok);
    assert_eq!(outcomes(&first), [(0, 0, Status::Ok)]);
    assert_eq!(tells(&mut world, 0, 0, 1, Status::Ok), []);
    let out = world.client(0, Message::bare(FromClient::Took(vec![(0, 1)])));
    assert_eq!(out, [told(0, ToEngine::Settled(vec![1]))]);
    let settled = [told(0, ToEngine::Settled(vec![1]))];
    assert_eq!(tells(&mut world, 0, 0, 1, Status::Ok), settled, "and then no longer");
}

#[test]
fn what_stood_before_the_running_task_may_be_taken_back_by_an_idle_engine() {
    let mut world = heir(&[(3, &[(4, 1, 1)])]);
    client_back(&mut world);
    engine_back(&mut world, 3, 4, runs(1, 4, 1));
    told_all(&mut world, 3, vec![]);
    assert_eq!(gifts(&world.client(0, submit(0, 1))), [(3, 0)]);
    world.join_engine(5);
    let out = world.client(0, submit(1, 1));
    assert_eq!(gifts(&out), []);
    assert!(out.contains(&told(3, ToEngine::Recall(vec![task(0, 0)]))), "{out:?}");
}

#[test]
fn a_client_that_is_lost_is_not_told_that_its_task_still_runs() {
    let mut world = heir(&[(3, &[(1, 0, 1)])]);
    client_back(&mut world);
    world.client(0, submit(0, 1));
    world.lose_client(0);
    let out = engine_back(&mut world, 3, 1, runs(0, 1, 1));
    let told = |effect: &Effect| matches!(effect, Effect::ToClient(ClientId(0), _));
    assert!(!out.iter().any(told), "{out:?}");
}

#[test]
fn its_owner_is_told_that_a_task_still_runs() {
    let mut world = heir(&[(3, &[(1, 0, 1)])]);
    client_back(&mut world);
    world.client(0, submit(0, 1));
    let out = engine_back(&mut world, 3, 1, runs(0, 1, 1));
    let started = ToClient::Started { seq: 0, engine: EngineId(3), at: START };
    assert!(out.contains(&heard(0, started)));
}
