//! Functions: once per engine, as long as somebody needs them.

use super::kit::*;
use crate::wire::{FromClient, Message, Status, Target, ToEngine};

fn forgotten(engine: u32) -> crate::controller::Effect {
    told(engine, ToEngine::Forget(name(1)))
}

#[test]
fn a_function_is_sent_to_an_engine_once() {
    let mut world = World::peopled(1);
    assert_eq!(world.client(0, submit(0, 1))[0], taught(0));
    assert_eq!(world.client(0, submit(1, 1)), [given(0, 1)]);
}

#[test]
fn a_function_nobody_needs_is_forgotten_by_the_engines_that_know_it() {
    let mut world = World::peopled(2);
    world.client(0, submit(0, 1));
    world.done(0, 0, MS);
    assert_eq!(world.client(0, forget(1)), [forgotten(0)]);
    let out = world.client(0, submit_to(1, 1, 1, Target::Any));
    assert_eq!(outcomes(&out), [(0, 1, Status::Refused)]);
}

#[test]
fn a_function_stays_until_the_last_task_that_names_it_has_ended() {
    let mut world = World::peopled(1);
    world.client(0, submit(0, 3));
    assert_eq!(world.client(0, forget(1)), []);
    world.done(0, 0, MS);
    world.done(0, 1, MS);
    assert_eq!(world.done(0, 2, MS), [value(0, 2, MS), forgotten(0)]);
}

#[test]
fn a_function_two_clients_put_stays_until_both_take_it_back_or_go() {
    let mut world = World::peopled(1);
    world.join_client(1);
    world.client(1, func(1));
    world.client(1, func(1));
    world.client(0, submit(0, 1));
    world.done(0, 0, MS);
    assert_eq!(world.client(0, forget(1)), []);
    assert_eq!(world.client(0, forget(1)), [], "only what one put oneself");
    assert_eq!(world.lose_client(1), [forgotten(0)]);
}

#[test]
fn a_function_put_anew_is_sent_anew() {
    let mut world = World::peopled(1);
    world.client(0, submit(0, 1));
    world.done(0, 0, MS);
    world.client(0, forget(1));
    world.client(0, func(1));
    assert_eq!(world.client(0, submit(1, 1)), [taught(0), given(0, 1)]);
}

#[test]
fn a_function_without_its_body_is_ignored() {
    let mut world = World::new();
    world.join_client(0);
    world.client(0, Message::bare(FromClient::Func(name(1))));
    assert_eq!(world.reactor.ignored(), 1);
}
