//! A client that comes back to the controller that had lost it.

use super::kit::*;
use crate::controller::{Effect, Event, Limits};
use crate::wire::message::WATCHED;
use crate::wire::{
    ClientId, EngineId, FromClient, FromEngine, Message, Request, Status, ToClient, ToEngine,
};

const CLIENT: ClientId = ClientId(0);
const LIMITS: Limits = Limits {
    ahead: 5_000_000,
    ahead_max: 256,
    kept_records: 4,
    kept_bytes: 1 << 20,
    orphan_bytes: 1 << 20,
    orphan_time: 600_000 * MS,
    receipts: true,
    store: false,
};

/// Client 0 with function 1 and this lease, and one engine.
fn world_with(limits: Limits, lease: u64) -> World {
    let mut world = World::with(limits);
    world.join_client_with(0, lease);
    world.client(0, func(1));
    world.join_engine(0);
    world
}

fn world() -> World {
    world_with(LIMITS, u64::MAX)
}

fn may_return(world: &World) -> bool {
    world.reactor.may_return(CLIENT, session(0), true)
}

fn comes_back(world: &mut World) {
    assert!(may_return(world));
    world.on(Event::ClientBack { client: CLIENT, session: session(0), lease: u64::MAX });
    world.client(0, func(1));
}

fn all_submitted(world: &mut World) -> Vec<Effect> {
    world.client(0, Message::bare(FromClient::Back))
}

fn took(world: &mut World, first: u64, count: u64) -> Vec<Effect> {
    world.client(0, Message::bare(FromClient::Took(vec![(first, count)])))
}

fn settled(effects: &[Effect]) -> usize {
    let tickets = |effect: &Effect| match effect {
        Effect::ToEngine(_, Message { head: ToEngine::Settled(tickets), .. }) => tickets.len(),
        _ => 0,
    };
    effects.iter().map(tickets).sum()
}

#[test]
fn what_is_pending_stays_where_it_is_and_is_told_once() {
    let mut world = world();
    assert_eq!(gifts(&world.client(0, submit(0, 3))), [(0, 0), (0, 1)]);
    world.engine(0, FromEngine::Started { id: task(0, 0), ticket: 0, at: START });
    world.lose_client(0);
    comes_back(&mut world);
    let out = world.client(0, submit(0, 3));
    let engine = EngineId(0);
    assert_eq!(out, [heard(0, ToClient::Started { seq: 0, engine, at: START })]);
    assert_eq!(all_submitted(&mut world), []);
    assert_eq!(world.done(0, 0, MS), [value(0, 0, MS), given(0, 2)]);
    assert_eq!(world.client(0, submit(0, 3)), [], "a message that comes twice says nothing");
}

#[test]
fn what_ended_meanwhile_is_told_when_it_is_asked_for_and_kept_by_its_engine_until_it_arrived() {
    let mut world = world();
    world.client(0, submit(0, 1));
    world.lose_client(0);
    let out = world.done(0, 0, MS);
    assert_eq!((outcomes(&out), settled(&out)), (vec![], 0));
    assert_eq!(world.reactor.unsettled(), 1);
    comes_back(&mut world);
    assert_eq!(world.client(0, submit(0, 1)), [value(0, 0, MS)]);
    assert_eq!(all_submitted(&mut world), []);
    assert_eq!(settled(&took(&mut world, 0, 1)), 1);
}

#[test]
fn what_was_lost_on_the_way_is_told_again_however_much_it_is() {
    let mut world = world();
    world.client(0, submit(0, 10));
    (0..10).for_each(|seq| drop(world.done(0, seq, MS)));
    assert_eq!(settled(&took(&mut world, 2, 1)), 1);
    world.lose_client(0);
    comes_back(&mut world);
    let mut out = world.client(0, submit(0, 2));
    out.extend(world.client(0, submit(3, 5)));
    let told: Vec<_> = (0..8).filter(|seq| *seq != 2).map(|seq| (0, seq, Status::Ok)).collect();
    assert_eq!(outcomes(&out), told);
    assert_eq!(settled(&all_submitted(&mut world)), 2, "what is not asked for has arrived");
    assert_eq!(settled(&took(&mut world, 0, 10)), 7);
}

#[test]
fn what_never_came_is_new() {
    let mut world = world();
    world.client(0, submit(0, 2));
    world.lose_client(0);
    world.done(0, 0, MS);
    comes_back(&mut world);
    let out = world.client(0, submit(0, 4));
    assert_eq!((outcomes(&out), gifts(&out)), (vec![(0, 0, Status::Ok)], vec![(0, 2), (0, 3)]));
    all_submitted(&mut world);
    assert_eq!(world.reactor.pending(), 3);
}

#[test]
fn what_is_kept_no_longer_is_told_so_and_not_run_again() {
    let mut world = world();
    world.client(0, submit(0, 1));
    world.lose_client(0);
    world.done(0, 0, MS);
    world.join_client(1);
    let (_, out) = world.ask(1, Request::Purge(None));
    assert_eq!(settled(&out), 1, "its engine need not keep it, either");
    comes_back(&mut world);
    let out = world.client(0, submit(0, 1));
    assert_eq!((outcomes(&out), gifts(&out)), (vec![(0, 0, Status::Refused)], vec![]));
    assert!(text(&out).starts_with("no such task any more"), "{}", text(&out));
}

#[test]
fn a_direct_task_stays_with_its_engine() {
    let mut world = world();
    world.client(0, direct(0, &[0]));
    world.lose_client(0);
    comes_back(&mut world);
    assert_eq!(world.client(0, direct(0, &[0, 0])), [given(0, 1)], "only the other is new");
    assert_eq!(outcomes(&world.done(0, 0, MS)), [(0, 0, Status::Ok)]);
}

#[test]
fn an_outcome_that_comes_before_it_is_asked_for_waits_for_that() {
    let mut world = world();
    world.client(0, submit(0, 2));
    world.lose_client(0);
    comes_back(&mut world);
    assert_eq!(outcomes(&world.done(0, 0, MS)), []);
    assert_eq!(outcomes(&world.client(0, submit(0, 2))), [(0, 0, Status::Ok)]);
    assert_eq!(outcomes(&world.done(0, 1, MS)), [(0, 1, Status::Ok)]);
    all_submitted(&mut world);
    assert_eq!(settled(&took(&mut world, 0, 2)), 2);
}

#[test]
fn a_client_may_notice_the_end_of_its_session_first_whatever_its_lease() {
    let mut world = world_with(LIMITS, 0);
    world.client(0, submit(0, 1));
    comes_back(&mut world);
    assert_eq!(world.client(0, submit(0, 1)), []);
    all_submitted(&mut world);
    assert_eq!(outcomes(&world.done(0, 0, MS)), [(0, 0, Status::Ok)]);
}

#[test]
fn there_is_nothing_to_come_back_to_when_the_lease_ended_before_the_tasks() {
    let mut world = world_with(LIMITS, 1_000 * MS);
    world.client(0, submit(0, 2));
    world.lose_client(0);
    world.done(0, 0, MS);
    world.pass(999 * MS);
    world.on(Event::Tick);
    assert!(may_return(&world));
    world.pass(MS);
    let out = world.on(Event::Tick);
    assert_eq!(settled(&out), 1);
    assert!(!may_return(&world));
}

#[test]
fn nor_after_ten_minutes_if_nothing_of_it_is_left_and_until_then_there_is() {
    let mut world = world_with(LIMITS, 0);
    world.lose_client(0);
    assert!(may_return(&world), "it had no tasks");
    assert!(!world.reactor.may_return(CLIENT, session(1), true), "another is not it");
    assert_eq!(world.reactor.deadline(), Some(600_000 * MS));
    world.pass(600_000 * MS);
    world.on(Event::Tick);
    assert!(!may_return(&world));
    assert_eq!(world.reactor.deadline(), None);
}

#[test]
fn one_that_said_goodbye_is_not_waited_for() {
    let mut world = world();
    world.client(0, submit(0, 2));
    world.done(0, 0, MS);
    assert_eq!(settled(&world.leave_client(0)), 1);
    assert_eq!(settled(&world.done(0, 1, MS)), 1);
}

#[test]
fn engines_keep_no_more_for_who_is_gone_than_the_controller_does() {
    let mut world = world_with(Limits { orphan_bytes: 1_000, ..LIMITS }, u64::MAX);
    world.client(0, submit(0, 100));
    world.lose_client(0);
    (0..100).for_each(|seq| drop(world.done(0, seq, 1)));
    assert!((1..10).contains(&world.reactor.unsettled()), "{}", world.reactor.unsettled());
    assert_eq!(world.reactor.unsettled(), world.reactor.kept());
    world.pass(600_001 * MS);
    world.on(Event::Tick);
    assert_eq!(world.reactor.unsettled(), 0);
}

#[test]
fn nothing_more_is_begun_for_who_is_away_before_something_would_be_dropped() {
    let mut world = world_with(Limits { orphan_bytes: 4_000, ..LIMITS }, u64::MAX);
    world.client(0, submit(0, 100));
    world.lose_client(0);
    let mut done = 0;
    while !gifts(&world.done(0, done, MS)).is_empty() {
        done += 1;
    }
    assert!((5..30).contains(&done), "{done}");
    world.done(0, done + 1, MS);
    assert_eq!(world.reactor.kept() as u64, done + 2, "nothing was dropped");
    comes_back(&mut world);
    assert_eq!(outcomes(&world.client(0, submit(0, 100))).len() as u64, done + 2);
    assert_eq!(world.reactor.pending() as u64, 100 - (done + 2));
    world.lose_client(0);
    assert_eq!(gifts(&world.done(0, done + 2, MS)), []);
    world.pass(600_000 * MS);
    assert!(
        !gifts(&world.on(Event::Tick)).is_empty(),
        "who is not waited for, for that it goes on"
    );
}

#[test]
fn a_watch_is_told_once_whether_it_ended_meanwhile_or_not() {
    let mut world = world();
    world.join_client(1);
    world.client(1, func(1));
    world.client(1, submit(0, 2));
    world.client(0, watch(WATCHED, &[(1, 0), (1, 1)]));
    world.lose_client(0);
    let ends = |world: &mut World, seq| {
        let (id, status, started, completed) = (task(1, seq), Status::Ok, START, START + 1);
        let ticket = world.ticket(0, id);
        world.engine(0, FromEngine::Result { id, ticket, status, started, completed })
    };
    assert_eq!(outcomes(&ends(&mut world, 0)), [(1, 0, Status::Ok)]);
    comes_back(&mut world);
    let out = world.client(0, watch(WATCHED, &[(1, 0), (1, 1)]));
    assert_eq!(outcomes(&out), [(0, WATCHED, Status::Ok)]);
    all_submitted(&mut world);
    let told = [(1, 1, Status::Ok), (0, WATCHED + 1, Status::Ok)];
    assert_eq!(outcomes(&ends(&mut world, 1)), told);
}

#[test]
fn what_it_cancels_meanwhile_is_cancelled_when_it_is_back() {
    let mut world = world();
    world.client(0, submit(0, 3));
    world.lose_client(0);
    comes_back(&mut world);
    world.client(0, submit(0, 3));
    let out = world.client(0, cancel([0, 2]));
    assert_eq!(outcomes(&out), [(0, 2, Status::Cancelled)]);
    let asked = ToEngine::Cancel { tasks: vec![task(0, 0)], force: None };
    assert!(out.contains(&told(0, asked)), "{out:?}");
}

#[test]
fn its_functions_are_there_as_long_as_anything_needs_them() {
    let mut world = world();
    world.client(0, submit(0, 3));
    world.lose_client(0);
    comes_back(&mut world);
    assert_eq!(world.client(0, submit(0, 3)), []);
    all_submitted(&mut world);
    world.client(0, forget(1));
    (0..3).for_each(|seq| drop(world.done(0, seq, MS)));
    let out = world.client(0, submit(3, 1));
    assert!(text(&out).contains("does not know the function"));
}

#[test]
fn where_there_is_a_store_what_ended_is_told_from_there() {
    let mut world = world_with(Limits { store: true, ..LIMITS }, u64::MAX);
    world.client(0, submit(0, 3));
    world.lose_client(0);
    assert_eq!(settled(&world.done(0, 0, MS)), 1, "it is written");
    comes_back(&mut world);
    let out = world.on(Event::AskedAgain(CLIENT, 0..3));
    let Some(Effect::TellKept(CLIENT, _, id)) = out.first() else { panic!("{out:?}") };
    assert_eq!((out.len(), *id), (1, task(0, 0)));
    all_submitted(&mut world);
    assert_eq!(outcomes(&world.done(0, 1, MS)), [(0, 1, Status::Ok)]);
}
