//! Tasks that wait while no engine is there.

use super::kit::*;

use crate::controller::{Effect, Event, Inherited};
use crate::wire::{
    ClientId, EngineId, FromClient, FromEngine, Message, Reply, Request, Status, ToClient,
};

const SECOND: u64 = 1_000 * MS;

/// A world without engines whose client 0 lets its tasks wait for so long.
fn patient(patience: u64) -> World {
    let mut world = World::peopled(0);
    assert_eq!(world.ask(0, Request::Patience(patience)).0, Reply::Done);
    world
}

fn tick(world: &mut World) -> Vec<Effect> {
    world.on(Event::Tick)
}

/// What the one task of which some effects tell was told.
fn first_text(effects: &[Effect]) -> String {
    let text = |effect: &Effect| match effect {
        Effect::ToClient(_, Message { head: ToClient::Result { .. }, parts }) => {
            String::from_utf8(parts[0].to_vec()).ok()
        }
        _ => None,
    };
    effects.iter().find_map(text).expect("an outcome")
}

#[test]
fn tasks_are_given_up_together_when_no_engine_came_in_time() {
    let mut world = World::peopled(0);
    assert_eq!(world.reactor.deadline(), None);
    world.client(0, submit(0, 2));
    assert_eq!(world.reactor.deadline(), Some(60 * SECOND), "a minute, unless said otherwise");
    world.pass(59 * SECOND);
    assert_eq!(world.client(0, submit(2, 1)), []);
    world.pass(SECOND);
    let out = tick(&mut world);
    let all = [0, 1, 2].map(|seq| (0, seq, Status::Refused));
    assert_eq!(outcomes(&out), all);
    let text = first_text(&out);
    let says = "no engine was there for 60 s, so the 3 tasks of this client that waited were given up; \
                none has ever been there\n\nhint: ";
    assert!(text.starts_with(says), "{text}");
    assert_eq!((world.reactor.pending(), world.reactor.deadline()), (0, None));
}

#[test]
fn the_wait_begins_with_the_end_of_the_last_engine_and_tells_how_it_ended() {
    let mut world = patient(5 * SECOND);
    world.join_engine(0);
    world.join_engine(1);
    world.client(0, submit(0, 9));
    world.pass(100 * SECOND);
    world.lose_engine(0);
    assert_eq!(world.reactor.deadline(), None);
    world.lose_engine_that_began(1, Some(0));
    assert_eq!(world.reactor.deadline(), Some(105 * SECOND));
    world.pass(5 * SECOND);
    let out = tick(&mut world);
    assert!(!outcomes(&out).is_empty());
    assert!(outcomes(&out).iter().all(|(_, _, status)| *status == Status::Refused));
    assert!(first_text(&out).contains("the last, engine 1, ended: killed by SIGKILL"));
}

#[test]
fn an_engine_that_comes_ends_the_wait_and_the_next_begins_anew() {
    let mut world = patient(5 * SECOND);
    world.client(0, submit(0, 1));
    world.pass(4 * SECOND);
    assert_eq!(gifts(&world.join_engine(0)), [(0, 0)]);
    assert_eq!(world.reactor.deadline(), None);
    world.client(0, submit(1, 3));
    world.lose_engine_that_began(0, Some(0));
    assert_eq!(world.reactor.deadline(), Some(9 * SECOND));
    world.join_engine(1);
    assert_eq!(outcomes(&world.done(1, 0, MS)), [(0, 0, Status::Ok)]);
}

#[test]
fn what_is_submitted_after_tasks_were_given_up_waits_as_long() {
    let mut world = patient(5 * SECOND);
    world.client(0, submit(0, 1));
    world.pass(5 * SECOND);
    tick(&mut world);
    world.pass(SECOND);
    world.client(0, submit(1, 1));
    assert_eq!(world.reactor.deadline(), Some(11 * SECOND));
}

#[test]
fn a_task_does_not_inherit_the_wait_of_one_that_was_cancelled() {
    let mut world = patient(5 * SECOND);
    world.client(0, submit(0, 1));
    world.pass(4 * SECOND);
    world.client(0, cancel([0]));
    world.client(0, submit(1, 1));
    world.pass(SECOND);
    assert_eq!(tick(&mut world), []);
    assert_eq!(world.reactor.deadline(), Some(10 * SECOND));
    world.client(0, cancel([1]));
    world.pass(5 * SECOND);
    assert_eq!(tick(&mut world), []);
    assert_eq!(world.reactor.deadline(), None, "nothing waits");
}

#[test]
fn each_client_has_its_own_patience_and_may_change_it_while_it_waits() {
    let mut world = patient(u64::MAX);
    world.join_client(1);
    world.client(1, func(1));
    world.client(0, submit(0, 1));
    world.client(1, submit(0, 1));
    world.pass(60 * SECOND);
    assert_eq!(outcomes(&tick(&mut world)), [(1, 0, Status::Refused)]);
    assert_eq!(world.reactor.deadline(), None, "the other waits for ever");
    let (_, out) = world.ask(0, Request::Patience(60 * SECOND));
    assert_eq!(outcomes(&out), [(0, 0, Status::Refused)], "it has waited so long already");
}

#[test]
fn who_watches_a_task_of_a_client_that_is_gone_is_told_too() {
    let mut world = patient(5 * SECOND);
    world.join_client(1);
    world.client(0, submit(0, 1));
    world.client(1, watch(0, &[(0, 0)]));
    world.lose_client(0);
    world.pass(5 * SECOND);
    assert_eq!(outcomes(&tick(&mut world)), [(1, 0, Status::Refused)]);
}

#[test]
fn tasks_of_a_client_that_takes_nothing_are_given_up_too() {
    let mut world = patient(5 * SECOND);
    world.join_engine(0);
    world.client(0, submit(0, 3));
    world.on(Event::ClientFull { client: ClientId(0) });
    world.engine(0, FromEngine::Started { id: task(0, 0), ticket: 0, at: 5 });
    world.done(0, 0, MS);
    world.lose_engine_that_began(0, Some(0));
    world.pass(5 * SECOND);
    tick(&mut world);
    assert_eq!(world.reactor.pending(), 0);
}

#[test]
fn engines_that_are_about_to_come_back_are_waited_for_first() {
    let mut world = World::new();
    world.on(Event::Inherited(vec![Inherited { info: info(0), given: Vec::new() }]));
    let (client, session) = (ClientId(0), session(0));
    world.on(Event::ClientBack { client, session, lease: u64::MAX });
    world.ask(0, Request::Patience(5 * SECOND));
    world.client(0, func(1));
    world.client(0, submit(0, 1));
    world.client(0, Message::bare(FromClient::Back));
    world.pass(9 * SECOND);
    assert_eq!(tick(&mut world), []);
    let cause = "it did not come back".to_owned();
    world.on(Event::EngineMissing { engine: EngineId(0), cause });
    world.pass(4 * SECOND);
    assert_eq!(tick(&mut world), []);
    world.pass(SECOND);
    let out = tick(&mut world);
    assert_eq!(outcomes(&out), [(0, 0, Status::Refused)]);
    assert!(first_text(&out).contains("the last, engine 0, ended: it did not come back"));
}
