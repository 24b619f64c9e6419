//! Who gets what, and what is taken back.

use super::kit::*;
use crate::controller::{Effect, Event};
use crate::wire::{ClientId, FromEngine, Message, Request, Status, ToEngine};

#[test]
fn a_task_goes_to_an_idle_engine_after_its_function() {
    let mut world = World::peopled(2);
    assert_eq!(world.client(0, submit(0, 1)), [taught(0), given(0, 0)]);
}

#[test]
fn tasks_without_engines_wait_for_the_first_to_join() {
    let mut world = World::peopled(0);
    assert_eq!(world.client(0, submit(0, 1)), []);
    let heard = heard(0, crate::wire::ToClient::Engines(infos([0])));
    assert_eq!(world.join_engine(0), [heard, taught(0), given(0, 0)]);
}

#[test]
fn tasks_are_dealt_to_whoever_holds_least() {
    let mut world = World::peopled(3);
    world.client(0, direct(0, &[0]));
    let out = world.client(0, submit(1, 2));
    assert_eq!(gifts(&out), [(1, 1), (2, 2)]);
}

#[test]
fn an_engine_that_has_ended_nothing_gets_one_task_ahead() {
    let mut world = World::peopled(1);
    let out = world.client(0, submit(0, 10));
    assert_eq!(gifts(&out), [(0, 0), (0, 1)]);
    assert_eq!(world.reactor.waiting(), 8);
}

#[test]
fn short_tasks_are_given_five_milliseconds_ahead() {
    let mut world = World::peopled(1);
    world.client(0, submit(0, 1000));
    let out = world.done(0, 0, MS);
    assert_eq!(gifts(&out).len(), 5, "one runs, five wait");
    assert_eq!(world.reactor.waiting(), 1000 - 1 - 6);
}

#[test]
fn no_engine_gets_more_than_the_bound_ahead() {
    let mut world = World::peopled(1);
    world.client(0, submit(0, 1000));
    world.done(0, 0, 1);
    assert_eq!(world.reactor.waiting(), 1000 - 1 - 257);
}

#[test]
fn long_tasks_are_never_given_ahead() {
    let mut world = World::peopled(1);
    world.client(0, submit(0, 1000));
    assert_eq!(gifts(&world.done(0, 0, 6 * MS)), []);
    assert_eq!(gifts(&world.done(0, 1, 6 * MS)), [(0, 2)]);
}

#[test]
fn a_result_is_told_at_once_and_the_next_task_is_given() {
    let mut world = World::peopled(1);
    world.client(0, submit(0, 3));
    assert_eq!(world.done(0, 0, 4 * MS), [value(0, 0, 4 * MS), given(0, 2)]);
}

#[test]
fn direct_tasks_go_at_once_and_in_order_however_many_there_are() {
    let mut world = World::peopled(2);
    let out = world.client(0, direct(0, &[1, 0, 1]));
    assert_eq!(out, [taught(1), given(1, 0), taught(0), given(0, 1), given(1, 2)]);
    let gifts: Vec<_> = (3..300).flat_map(|seq| world.client(0, direct(seq, &[1]))).collect();
    assert_eq!(gifts.len(), 297);
}

#[test]
fn tasks_among_some_engines_go_nowhere_else() {
    let mut world = World::peopled(3);
    let out = world.client(0, submit_to(0, 6, 1, among([2, 1, 2])));
    assert_eq!(gifts(&out), [(1, 0), (2, 1), (1, 2), (2, 3)]);
    assert_eq!(gifts(&world.done(2, 1, 10 * MS)), []);
    assert_eq!(gifts(&world.done(2, 3, 10 * MS)), [(2, 4)]);
}

#[test]
fn an_engine_takes_the_oldest_task_of_all_queues_it_serves() {
    let mut world = World::peopled(1);
    world.client(0, submit(0, 2));
    world.client(0, submit_to(2, 1, 1, among([0])));
    world.client(0, submit(3, 1));
    let out = world.done(0, 0, MS);
    assert_eq!(gifts(&out), [(0, 2), (0, 3)]);
}

/// Engine 0 holds tasks 0 (running), 2 to 6; engine 1 is about to run dry after task 1.
fn lopsided() -> World {
    let mut world = World::peopled(1);
    world.client(0, submit(0, 1));
    world.done(0, 0, MS);
    world.client(0, submit(1, 6));
    world
}

#[test]
fn an_engine_that_runs_dry_gets_half_of_what_another_has_not_started() {
    let mut world = lopsided();
    let out = world.join_engine(1);
    // Engine 0 runs task 1 and holds 2 to 6: of these five, the newest three.
    assert!(out.contains(&told(0, ToEngine::Recall(tasks([4, 5, 6])))), "{out:?}");
    let out = world.engine(0, back([6, 4, 5]));
    assert_eq!(out, [taught(1), given(1, 4), given(1, 5)], "oldest first, one ahead");
    assert_eq!(world.reactor.waiting(), 1, "and nothing goes back to the slow one");
    assert_eq!(gifts(&world.done(1, 4, MS)), [(1, 6)]);
}

#[test]
fn a_second_dry_engine_gets_half_of_the_rest() {
    let mut world = lopsided();
    world.join_engine(1);
    let out = world.join_engine(2);
    assert!(out.contains(&told(0, ToEngine::Recall(tasks([3])))), "{out:?}");
}

#[test]
fn a_task_that_was_recalled_too_late_keeps_its_result() {
    let mut world = lopsided();
    world.join_engine(1);
    for seq in 1..=3 {
        world.done(0, seq, MS);
    }
    assert_eq!(outcomes(&world.done(0, 4, MS)), [(0, 4, Status::Ok)]);
    let out = world.engine(0, back([5, 6]));
    assert_eq!(gifts(&out), [(1, 5), (0, 6)], "both are idle now");
    assert_eq!(world.reactor.pending(), 2);
}

#[test]
fn an_engine_that_got_nothing_back_asks_again() {
    let mut world = lopsided();
    world.join_engine(1);
    let out = world.engine(0, FromEngine::Returned(Vec::new()));
    assert_eq!(out, [told(0, ToEngine::Recall(tasks([3])))]);
}

#[test]
fn what_has_started_or_is_direct_is_never_recalled() {
    let mut world = World::peopled(1);
    world.client(0, direct(0, &[0, 0, 0]));
    let out = world.join_engine(1);
    assert_eq!(out.len(), 1, "only the list of engines: {out:?}");
    world.client(0, submit_to(3, 1, 1, among([1])));
    world.client(0, submit_to(4, 1, 1, among([1])));
    world.engine(1, FromEngine::Started { id: task(0, 4), ticket: 0, at: START });
    let out = world.join_engine(2);
    assert_eq!(out.len(), 1, "{out:?}");
}

#[test]
fn tasks_among_some_engines_are_recalled_for_these_only() {
    let mut world = World::peopled(2);
    world.client(0, direct(0, &[1]));
    world.client(0, submit_to(1, 3, 1, among([0, 1])));
    // Engine 0 holds 1 and 2, engine 1 holds 0 and 3.
    assert_eq!(world.join_engine(2).len(), 1, "the list of engines, nothing for a stranger");
    world.done(0, 1, MS);
    let out = world.done(0, 2, MS);
    assert_eq!(out, [value(0, 2, MS), told(1, ToEngine::Recall(tasks([3])))]);
    let out = world.engine(1, back([3]));
    assert_eq!(out, [given(0, 3)]);
}

#[test]
fn an_engine_that_shuts_down_gives_back_what_it_has_not_started_and_gets_nothing_more() {
    let mut world = World::peopled(1);
    world.client(0, submit(0, 4));
    let (_, out) = world.ask(0, Request::Shutdown(ids([0])));
    assert_eq!(out, [told(0, ToEngine::Recall(tasks([1]))), told(0, ToEngine::Shutdown)]);
    assert_eq!(world.engine(0, back([1])), []);
    assert_eq!(world.done(0, 0, MS), [value(0, 0, MS)]);
    assert_eq!(outcomes(&world.client(0, direct(4, &[0]))), [(0, 4, Status::Refused)]);
    assert_eq!(outcomes(&world.lose_engine(0)), []);
    assert_eq!(gifts(&world.join_engine(1)), [(1, 1), (1, 2)]);
}

#[test]
fn nothing_more_is_begun_for_a_client_that_takes_nothing_and_others_are_served() {
    let mut world = World::peopled(1);
    world.join_client(1);
    world.client(1, func(1));
    world.client(0, submit(0, 4));
    let client = ClientId(0);
    assert_eq!(world.on(Event::ClientFull { client }), []);
    world.client(1, submit(0, 1));
    let out = world.done(0, 0, MS);
    let client_of = |effect: &Effect| match effect {
        Effect::ToEngine(_, Message { head: ToEngine::Task { id, .. }, .. }) => Some(id.client.0),
        _ => None,
    };
    assert_eq!(out.iter().filter_map(client_of).collect::<Vec<_>>(), [1]);
    assert_eq!(world.reactor.waiting(), 2);
    assert_eq!(outcomes(&world.client(0, cancel([3]))), [(0, 3, Status::Cancelled)]);
    assert_eq!(gifts(&world.on(Event::ClientRoom { client })), [(0, 2)]);
    assert_eq!(world.on(Event::ClientRoom { client }), []);
}

#[test]
fn what_waits_for_engines_that_are_gone_is_refused_though_its_client_takes_nothing() {
    let mut world = World::peopled(2);
    world.client(0, submit_to(0, 3, 1, among([1])));
    world.on(Event::ClientFull { client: ClientId(0) });
    let (id, status) = (task(0, 0), Status::Ok);
    let (started, completed) = (START, START + 1);
    world.engine(1, FromEngine::Result { id, ticket: 0, status, started, completed });
    assert_eq!(world.reactor.waiting(), 1, "parked");
    let out = world.lose_engine_that_began(1, Some(9));
    assert_eq!(outcomes(&out), [(0, 1, Status::Lost), (0, 2, Status::Refused)]);
}

#[test]
fn the_tasks_of_a_client_that_took_nothing_and_is_gone_run_on() {
    let mut world = World::peopled(0);
    world.client(0, submit(0, 2));
    world.on(Event::ClientFull { client: ClientId(0) });
    assert_eq!(gifts(&world.join_engine(0)), []);
    assert_eq!(gifts(&world.lose_client(0)), [(0, 0), (0, 1)]);
}
