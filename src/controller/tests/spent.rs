//! What is spent of tasks is known to the controller that follows, whoever has heard of it.

use super::kit::*;
use crate::controller::{Effect, Event, Inherited, Limits};
use crate::wire::{
    ClientId, EngineId, FromClient, FromEngine, Loss, Message, Status, Target, TaskId, ToEngine,
};

/// Ticket, number and attempt of a task that was given to an engine.
type Given = (u64, u64, u16);

fn world() -> World {
    let mut world = World::with(Limits { receipts: true, ..Limits::default() });
    world.join_client(0);
    world.client(0, func(1));
    world.join_engine(0);
    world
}

/// One that follows another, which gave these to engines that may come back; of a task 0 so many
/// attempts are spent, the last with engine 9, which is gone.
fn heir(engines: &[(u32, &[Given])], attempts: u16) -> World {
    let mut world = World::with(Limits { receipts: true, ..Limits::default() });
    let left = engines.iter().map(|(engine, given)| {
        let given = given.iter().map(|(ticket, seq, attempt)| (*ticket, task(0, *seq), *attempt));
        Inherited { info: info(*engine), given: given.collect() }
    });
    world.on(Event::Inherited(left.collect()));
    let loss = Loss { engine: 9, cause: "killed by SIGKILL".to_owned(), ..Loss::default() };
    world.on(Event::SpentBefore(vec![(task(0, 0), EngineId(9), attempts)], vec![loss]));
    world
}

fn client_back(world: &mut World) {
    world.on(Event::ClientBack { client: ClientId(0), session: session(0), lease: u64::MAX });
    world.client(0, func(1));
}

fn tells(world: &mut World, engine: u32, ticket: u64, status: Status) -> Vec<Effect> {
    let (id, started, completed) = (task(0, 0), START, START + 1);
    world.engine(engine, FromEngine::Result { id, ticket, status, started, completed })
}

fn takes(world: &mut World) -> Vec<Effect> {
    world.client(0, Message::bare(FromClient::Took(vec![(0, 1)])))
}

/// What is written down among some effects: task, engine and attempts.
fn spent(effects: &[Effect]) -> Vec<(u64, u32, u16)> {
    let spent = |effect: &Effect| match effect {
        Effect::Spent(id, engine, attempts) => Some((id.seq, engine.0, *attempts)),
        _ => None,
    };
    effects.iter().filter_map(spent).collect()
}

fn unspent(effects: &[Effect]) -> Vec<TaskId> {
    let unspent = effects.iter().filter_map(|effect| match effect {
        Effect::Unspent(ids) => Some(ids.clone()),
        _ => None,
    });
    unspent.flatten().collect()
}

#[test]
fn what_an_engine_had_begun_is_spent_until_its_owner_has_heard_that_it_is_lost() {
    let mut world = world();
    world.client(0, submit(0, 2));
    let out = world.lose_engine_that_began(0, Some(1));
    assert_eq!(outcomes(&out), [(0, 0, Status::Lost)]);
    assert_eq!(spent(&out), [(0, 0, 1)], "the other never began");
    assert!(out.iter().any(|effect| matches!(effect, Effect::Gone(loss) if loss.engine == 0)));
    assert_eq!(unspent(&takes(&mut world)), [task(0, 0)]);
    assert_eq!(world.reactor.spent(), 0);
}

#[test]
fn what_is_told_and_has_not_arrived_is_spent_when_its_engine_ends() {
    for arrives in [false, true] {
        let mut world = world();
        world.client(0, submit(0, 1));
        tells(&mut world, 0, 1, Status::Ok);
        if arrives {
            takes(&mut world);
        }
        let there = if arrives { vec![] } else { vec![(0, 0, 1)] };
        assert_eq!(spent(&world.lose_engine_that_began(0, Some(1))), there);
        takes(&mut world);
        assert_eq!(world.reactor.spent(), 0);
    }
}

#[test]
fn what_was_cancelled_before_it_began_is_not_spent() {
    let mut world = world();
    world.client(0, submit(0, 2));
    world.client(0, cancel([1]));
    let (id, status) = (task(0, 1), Status::Cancelled);
    world.engine(0, FromEngine::Result { id, ticket: 2, status, started: 0, completed: 0 });
    assert_eq!(spent(&world.lose_engine_that_began(0, Some(1))), [(0, 0, 1)]);
}

#[test]
fn an_attempt_that_failed_is_spent_for_as_long_as_the_task_is_about() {
    let mut world = world();
    world.client(0, submit_again(1, 2, Target::Any));
    assert_eq!(spent(&tells(&mut world, 0, 1, Status::Again)), [(0, 0, 1)]);
    assert_eq!(unspent(&tells(&mut world, 0, 2, Status::Ok)), [], "it has not arrived");
    assert_eq!(unspent(&takes(&mut world)), [task(0, 0)]);
}

#[test]
fn nobody_is_told_of_what_a_client_that_is_gone_had_unless_it_may_come_back() {
    for may_return in [true, false] {
        let mut world = world();
        world.client(0, submit_again(2, 2, Target::Any));
        tells(&mut world, 0, 1, Status::Again);
        let out = if may_return { world.lose_client(0) } else { world.leave_client(0) };
        assert_eq!(unspent(&out), [], "the task runs on");
        let ticket = world.ticket(0, task(0, 0));
        let mut out = tells(&mut world, 0, ticket, Status::Ok);
        if may_return {
            assert_eq!(unspent(&out), []);
            world.pass(600_000 * MS);
            out = world.on(Event::Tick);
        }
        assert_eq!(unspent(&out), [task(0, 0)]);
    }
}

#[test]
fn of_a_task_without_retries_that_is_spent_its_owner_hears_why_from_the_next() {
    let mut world = heir(&[], 1);
    world.join_engine(10);
    client_back(&mut world);
    let out = world.client(0, submit(0, 1));
    assert_eq!((outcomes(&out), gifts(&out)), (vec![(0, 0, Status::Lost)], vec![]));
    let told = out.iter().find_map(|effect| match effect {
        Effect::ToClient(_, Message { parts, .. }) if !parts.is_empty() => Some(parts[0].clone()),
        _ => None,
    });
    let loss: Loss = rmp_serde::from_slice(&told.unwrap()).unwrap();
    assert_eq!((loss.engine, loss.cause.as_str(), loss.attempt), (9, "killed by SIGKILL", 1));
    assert!(loss.unknown);
    assert_eq!(unspent(&takes(&mut world)), [task(0, 0)]);
}

#[test]
fn one_with_retries_goes_on_at_the_next_attempt() {
    let mut world = heir(&[], 2);
    world.join_engine(10);
    client_back(&mut world);
    assert_eq!(attempts(&world.client(0, submit_again(1, 2, Target::Any))), [(10, 3)]);
    assert_eq!(outcomes(&tells(&mut world, 10, 1, Status::Again)), [(0, 0, Status::Error)]);
}

#[test]
fn a_later_attempt_that_was_given_to_an_engine_is_waited_for() {
    let mut world = heir(&[(3, &[(1, 0, 2)])], 1);
    world.join_engine(10);
    client_back(&mut world);
    assert_eq!(gifts(&world.client(0, submit_again(1, 1, Target::Any))), []);
    let out = world.on(Event::EngineMissing { engine: EngineId(3), cause: "gone".to_owned() });
    assert_eq!((outcomes(&out), spent(&out)), (vec![(0, 0, Status::Lost)], vec![(0, 3, 2)]));
}

#[test]
fn what_an_engine_tells_again_of_a_failure_that_is_spent_is_not_counted_twice() {
    let mut world = heir(&[(3, &[(1, 0, 1)])], 1);
    client_back(&mut world);
    world.client(0, submit_again(1, 2, Target::Any));
    world.on(Event::EngineBack { info: info(3), ticket: 1, running: None });
    let mut out = tells(&mut world, 3, 1, Status::Again);
    assert!(out.contains(&told(3, ToEngine::Settled(vec![1]))), "{out:?}");
    out.extend(world.engine(3, FromEngine::Back(vec![task(0, 0)])));
    assert_eq!(world.reactor.spent(), 1);
    assert!(attempts(&out).iter().all(|(_, attempt)| *attempt == 2), "{out:?}");
}

#[test]
fn what_a_missing_engine_was_given_is_spent_before_its_owner_comes() {
    let mut world = heir(&[(3, &[(1, 1, 1), (2, 2, 4)])], 1);
    let out = world.on(Event::EngineMissing { engine: EngineId(3), cause: "gone".to_owned() });
    let mut all = spent(&out);
    all.sort_unstable();
    assert_eq!(all, [(1, 3, 1), (2, 3, 4)]);
    client_back(&mut world);
    let out = world.client(0, submit(0, 2));
    assert_eq!(outcomes(&out), [(0, 0, Status::Lost), (0, 1, Status::Lost)]);
    let out = world.client(0, Message::bare(FromClient::Back));
    assert_eq!(unspent(&out), [task(0, 2)], "nobody wants the third");
}
