//! Outcomes that are kept, and tasks that others watch.

use super::kit::*;
use crate::controller::{Effect, Event, Limits};
use crate::wire::{ClientId, EngineId, FromEngine, Message, Status, ToClient, ToEngine};

/// The effect on a client that watched a task of client 0.
fn witnessed(client: u32, seq: u64) -> Effect {
    let Effect::ToClient(_, Message { head, parts }) = value(0, seq, MS) else { unreachable!() };
    let ToClient::Result { status, engine, started, completed, .. } = head else { unreachable!() };
    let submitted = Some(START);
    let head = ToClient::Result { seq, status, engine, submitted, started, completed };
    Effect::ToClient(ClientId(client), Message { head, parts })
}

#[test]
fn a_finished_task_is_told_to_who_watches_it_with_its_submission() {
    let mut world = World::peopled(1);
    world.client(0, submit(0, 1));
    world.done(0, 0, MS);
    world.join_client(1);
    assert_eq!(world.client(1, watch(0, &[(0, 0)])), [witnessed(1, 0)]);
    assert_eq!(outcomes(&world.client(0, watch(1, &[(0, 0)]))), [(0, 1, Status::Ok)]);
}

#[test]
fn a_pending_task_is_told_to_all_who_watch_it_when_it_ends() {
    let mut world = World::peopled(1);
    world.client(0, submit(0, 1));
    world.join_client(1);
    world.join_client(2);
    assert_eq!(world.client(1, watch(0, &[(0, 0)])), []);
    world.client(2, watch(0, &[(0, 0), (0, 0)]));
    world.lose_client(2);
    let (id, at, engine) = (task(0, 0), START, EngineId(0));
    let out = world.engine(0, FromEngine::Started { id, ticket: 0, at });
    let begun = |client| heard(client, ToClient::Started { seq: 0, engine, at });
    assert_eq!(out, [begun(0), begun(1)]);
    assert_eq!(world.done(0, 0, MS), [value(0, 0, MS), witnessed(1, 0)]);
}

#[test]
fn who_watches_a_running_task_hears_that_it_runs() {
    let mut world = World::peopled(1);
    world.client(0, submit(0, 1));
    world.engine(0, FromEngine::Started { id: task(0, 0), ticket: 0, at: 5 });
    world.join_client(1);
    let engine = EngineId(0);
    let begun = heard(1, ToClient::Started { seq: 3, engine, at: 5 });
    assert_eq!(world.client(1, watch(3, &[(0, 0)])), [begun]);
}

#[test]
fn an_unknown_task_cannot_be_watched() {
    let mut world = World::peopled(1);
    let out = world.client(0, watch(0, &[(0, 44)]));
    assert!(text(&out).starts_with("no such task, or its result is no longer kept"));
    let out = world.client(0, watch(1, &[(33, 0)]));
    assert_eq!(outcomes(&out), [(0, 1, Status::Refused)]);
}

#[test]
fn the_tasks_of_a_lost_client_run_on_and_wait_for_its_session() {
    let mut world = World::peopled(1);
    world.client(0, submit(0, 3));
    assert_eq!(world.lose_client(0), []);
    assert_eq!(world.done(0, 0, MS), [given(0, 2)], "told to nobody");
    world.on(Event::ClientJoined { client: ClientId(1), session: session(0), lease: u64::MAX });
    let out = world.client(1, watch(0, &[(0, 0), (0, 1), (0, 2)]));
    assert_eq!(outcomes(&out), [(1, 0, Status::Ok)]);
    assert_eq!(outcomes(&world.done(0, 1, MS)), [(1, 1, Status::Ok)]);
    assert_eq!(outcomes(&world.done(0, 2, MS)), [(1, 2, Status::Ok)]);
}

#[test]
fn a_lease_gives_the_tasks_of_a_lost_client_some_time() {
    let mut world = World::new();
    world.join_client_with(0, 5 * 1_000 * MS);
    world.client(0, func(1));
    world.join_engine(0);
    world.client(0, submit(0, 3));
    assert_eq!(world.lose_client(0), []);
    assert_eq!(world.reactor.deadline(), Some(5_000 * MS));
    world.join_client(1);
    world.pass(4_999 * MS);
    assert_eq!(world.on(Event::Tick), []);
    assert_eq!(world.done(0, 0, MS), [given(0, 2)], "they run meanwhile");
    world.pass(MS);
    let cancelled = ToEngine::Cancel { tasks: tasks([1, 2]), force: None };
    assert_eq!(world.on(Event::Tick), [told(0, cancelled)]);
    assert_eq!(world.reactor.deadline(), None);
    let out = world.client(1, watch(0, &[(0, 0)]));
    assert_eq!(outcomes(&out), [(1, 0, Status::Ok)], "what it left can be had");
}

#[test]
fn without_a_lease_tasks_end_with_their_client_unless_another_waits_for_them() {
    let mut world = World::new();
    world.join_client_with(0, 0);
    world.join_client(1);
    world.client(0, func(1));
    world.client(0, submit(0, 2));
    world.client(1, watch(0, &[(0, 1)]));
    world.lose_client(0);
    assert_eq!(world.reactor.pending(), 1);
    let out = world.join_engine(0);
    assert_eq!(gifts(&out), [(0, 1)]);
    assert_eq!(outcomes(&world.done(0, 1, MS)), [(1, 0, Status::Ok)]);
}

#[test]
fn only_the_newest_outcomes_are_kept() {
    let limits = Limits { kept_records: 2, ..Limits::default() };
    let mut world = World::with(limits);
    world.join_client(0);
    world.client(0, func(1));
    world.join_engine(0);
    world.client(0, submit(0, 3));
    (0..3).for_each(|seq| drop(world.done(0, seq, MS)));
    let out = world.client(0, watch(3, &[(0, 0), (0, 1), (0, 2)]));
    let told = [(0, 3, Status::Refused), (0, 4, Status::Ok), (0, 5, Status::Ok)];
    assert_eq!(outcomes(&out), told);
}

#[test]
fn an_outcome_too_large_to_keep_is_still_told() {
    let limits = Limits { kept_bytes: 10, ..Limits::default() };
    let mut world = World::with(limits);
    world.join_client(0);
    world.client(0, func(1));
    world.join_engine(0);
    world.client(0, submit(0, 1));
    assert_eq!(outcomes(&world.done(0, 0, MS)), [(0, 0, Status::Ok)]);
    assert_eq!(world.reactor.kept(), 0);
}

#[test]
fn outcomes_of_lost_clients_are_dropped_in_time() {
    let mut world = World::peopled(1);
    world.client(0, submit(0, 1));
    world.lose_client(0);
    world.done(0, 0, MS);
    world.pass(600 * 1_000_000_000);
    world.join_client(1);
    assert_eq!(world.reactor.kept(), 1);
    world.pass(1);
    world.join_client(2);
    assert_eq!(world.reactor.kept(), 0);
}

#[test]
fn outcomes_of_lost_clients_are_bounded_even_without_parts() {
    let limits = Limits { orphan_bytes: 1000, ..Limits::default() };
    let mut world = World::with(limits);
    world.join_client(0);
    world.client(0, func(1));
    world.client(0, submit_to(0, 100, 1, crate::wire::Target::Any));
    world.join_engine(0);
    world.lose_client(0);
    (0..100).for_each(|seq| drop(world.done(0, seq, 1)));
    assert_eq!(world.reactor.pending(), 0);
    assert!((1..10).contains(&world.reactor.kept()), "{}", world.reactor.kept());
}
