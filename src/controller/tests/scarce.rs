//! Engines that come near the memory they may have: who is told, and how often.

use super::kit::*;
use crate::controller::{Effect, Event};
use crate::wire::{ClientId, EngineId, FromEngine, Request, ToClient};

fn says(world: &mut World, engine: u32, used: u64, scarce: bool) -> Vec<Effect> {
    world.engine(engine, FromEngine::Memory { used, allowed: 100, scarce })
}

fn hears(client: u32, engine: u32, used: u64, scarce: bool) -> Effect {
    heard(client, ToClient::Memory { engine: EngineId(engine), used, allowed: 100, scarce })
}

/// What is known of the memory of each engine.
fn status(world: &mut World) -> Vec<(Option<u64>, Option<u64>, bool)> {
    let question = crate::wire::FromClient::Request { id: 9, body: Request::EngineStatus };
    let mut out = world.client(0, crate::wire::Message::bare(question));
    let Some(Effect::TellHealth(_, 9, health)) = out.pop() else { panic!("it is answered") };
    health.iter().map(|engine| (engine.memory, engine.memory_limit, engine.scarce)).collect()
}

#[test]
fn every_client_is_told_once_that_an_engine_is_near_and_once_that_it_is_not() {
    let mut world = World::peopled(2);
    world.join_client(1);
    assert_eq!(says(&mut world, 1, 80, true), [hears(0, 1, 80, true), hears(1, 1, 80, true)]);
    assert_eq!(says(&mut world, 1, 90, true), [], "it said so before");
    assert_eq!(status(&mut world), [(None, None, false), (Some(90), Some(100), true)]);
    assert_eq!(says(&mut world, 1, 10, false), [hears(0, 1, 10, false), hears(1, 1, 10, false)]);
    assert_eq!(says(&mut world, 1, 10, false), []);
    assert_eq!(status(&mut world)[1], (None, None, false));
    assert_eq!(says(&mut world, 1, 85, true).len(), 2, "it is news again");
}

#[test]
fn who_comes_later_or_again_is_told_after_the_list_of_engines() {
    let mut world = World::peopled(2);
    says(&mut world, 0, 80, true);
    let list = ToClient::Engines(infos([0, 1]));
    assert_eq!(world.join_client(1), [heard(1, list.clone()), hears(1, 0, 80, true)]);
    world.lose_client(1);
    let (client, lease) = (ClientId(1), u64::MAX);
    let out = world.on(Event::ClientBack { client, session: session(1), lease });
    assert_eq!(out, [heard(1, list), hears(1, 0, 80, true)]);
}

#[test]
fn what_an_engine_said_ends_with_it() {
    let mut world = World::peopled(1);
    says(&mut world, 0, 80, true);
    world.lose_engine(0);
    assert_eq!(says(&mut world, 0, 80, true), [], "it came late");
    assert_eq!(world.join_client(1), [heard(1, ToClient::Engines(infos([])))]);
}
