//! What becomes of tasks whose attempt failed: who is tried again, where, and how often.

use super::kit::*;
use crate::controller::{Begun, Effect, Event};
use crate::wire::{EngineId, FromEngine, Status, Target, ToEngine};

fn failed(world: &mut World, engine: u32, seq: u64) -> Vec<Effect> {
    let (status, started, completed) = (Status::Again, START, START + 1);
    let id = task(0, seq);
    world.engine(engine, FromEngine::Result { id, ticket: 0, status, started, completed })
}

#[test]
fn what_a_lost_engine_had_not_begun_is_queued_again_without_a_retry() {
    let mut world = World::peopled(1);
    world.client(0, submit(0, 2));
    let out = world.lose_engine_that_began(0, Some(1));
    assert_eq!(outcomes(&out), [(0, 0, Status::Lost)]);
    assert_eq!(attempts(&world.join_engine(1)), [(1, 1)]);
    assert_eq!(outcomes(&world.done(1, 1, MS)), [(0, 1, Status::Ok)]);
}

#[test]
fn it_goes_to_an_engine_that_waits_for_work() {
    let mut world = World::peopled(2);
    world.client(0, submit(0, 4));
    world.done(1, 1, MS);
    // Engine 1 has one, then none, and asks for the one that engine 0 has ahead.
    world.done(1, 3, MS);
    let out = world.lose_engine_that_began(0, Some(1));
    assert_eq!(outcomes(&out), [(0, 0, Status::Lost)]);
    assert_eq!(gifts(&out), [(1, 2)]);
}

#[test]
fn a_direct_task_that_was_not_begun_is_lost_with_its_engine() {
    let mut world = World::peopled(2);
    world.client(0, direct(0, &[0]));
    assert_eq!(outcomes(&world.lose_engine_that_began(0, Some(0))), [(0, 0, Status::Lost)]);
}

#[test]
fn what_can_run_nowhere_else_is_lost_with_its_engine() {
    let mut world = World::peopled(2);
    world.client(0, submit_again(1, 5, among([0])));
    assert_eq!(outcomes(&world.lose_engine_that_began(0, Some(0))), [(0, 0, Status::Lost)]);
}

#[test]
fn a_task_whose_engine_ended_is_run_again_as_often_as_it_may() {
    let mut world = World::peopled(3);
    assert_eq!(attempts(&world.client(0, submit_again(1, 1, Target::Any))), [(0, 1)]);
    assert_eq!(attempts(&world.lose_engine_that_began(0, Some(1))), [(1, 2)]);
    assert_eq!(outcomes(&world.lose_engine_that_began(1, Some(1))), [(0, 0, Status::Lost)]);
}

#[test]
fn where_it_is_not_known_whether_a_task_began_it_uses_up_a_retry() {
    let mut world = World::peopled(2);
    world.client(0, submit_again(1, 1, Target::Any));
    assert_eq!(attempts(&world.lose_engine_that_began(0, None)), [(1, 2)]);
    assert_eq!(outcomes(&world.lose_engine_that_began(1, None)), [(0, 0, Status::Lost)]);
}

#[test]
fn a_task_under_which_three_engines_ended_is_tried_on_no_other() {
    let mut world = World::peopled(4);
    world.client(0, submit_again(1, 100, Target::Any));
    assert_eq!(outcomes(&world.lose_engine_that_began(0, Some(1))), []);
    assert_eq!(outcomes(&world.lose_engine_that_began(1, Some(1))), []);
    assert_eq!(outcomes(&world.lose_engine_that_began(2, Some(1))), [(0, 0, Status::Poison)]);
}

#[test]
fn a_task_that_is_known_to_run_keeps_its_bytes_for_another_attempt() {
    let mut world = World::peopled(2);
    world.client(0, submit_again(1, 1, Target::Any));
    world.engine(0, FromEngine::Started { id: task(0, 0), ticket: 0, at: START });
    let out = world.lose_engine_that_began(0, Some(1));
    let given = out.iter().find_map(|effect| match effect {
        Effect::ToEngine(_, message) if matches!(message.head, ToEngine::Task { .. }) => {
            Some(message.parts.clone())
        }
        _ => None,
    });
    assert_eq!(given, Some(parts(&["arg"])));
}

#[test]
fn an_exception_worth_a_retry_moves_the_task_to_another_engine() {
    let mut world = World::peopled(3);
    world.client(0, submit_again(1, 2, Target::Any));
    let out = failed(&mut world, 0, 0);
    assert_eq!((attempts(&out), outcomes(&out)), (vec![(1, 2)], vec![]));
    assert_eq!(attempts(&failed(&mut world, 1, 0)), [(2, 3)]);
    assert_eq!(outcomes(&failed(&mut world, 2, 0)), [(0, 0, Status::Error)]);
}

#[test]
fn where_there_is_no_other_engine_it_is_tried_again_on_the_same() {
    let mut world = World::peopled(1);
    world.client(0, submit_again(1, 1, Target::Any));
    assert_eq!(attempts(&failed(&mut world, 0, 0)), [(0, 2)]);
    let stale = FromEngine::Result {
        id: task(0, 0),
        ticket: 1,
        status: Status::Ok,
        started: START,
        completed: START,
    };
    assert_eq!(world.engine(0, stale), [], "an answer of the attempt before");
    assert_eq!(world.reactor.duplicates(), 1);
    assert_eq!(outcomes(&world.done(0, 0, MS)), [(0, 0, Status::Ok)]);
}

#[test]
fn a_cancelled_task_is_never_tried_again() {
    let mut world = World::peopled(2);
    world.client(0, submit_again(1, 5, Target::Any));
    world.client(0, cancel([0]));
    let out = world.lose_engine_that_began(0, Some(1));
    assert_eq!(outcomes(&out), [(0, 0, Status::Cancelled)]);
    assert_eq!(text(&out), "its engine ended: killed by SIGKILL");
}

#[test]
fn what_an_engine_gave_back_without_a_word_was_not_begun() {
    let mut world = World::peopled(1);
    world.client(0, submit(0, 2));
    let begun = Some(Begun { last: 2, returned: vec![1] });
    let (engine, cause, output) = (EngineId(0), "gone".to_owned(), String::new());
    let out = world.on(Event::EngineLost { engine, begun, cause, output });
    assert_eq!(outcomes(&out), [(0, 1, Status::Lost)]);
    assert_eq!(gifts(&world.join_engine(1)), [(1, 0)]);
}
