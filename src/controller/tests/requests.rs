//! Questions, and the list of engines that nobody has to ask for.

use super::kit::*;
use crate::controller::Effect;
use crate::wire::{
    ClientId, EngineId, FromClient, Health, Message, Reply, Request, Status, ToClient, ToEngine,
};

#[test]
fn clients_hear_of_the_engines_at_the_start_and_at_each_change() {
    let mut world = World::new();
    let list = |engines: &[u32]| ToClient::Engines(infos(engines.iter().copied()));
    assert_eq!(world.join_client(0), [heard(0, list(&[]))]);
    assert_eq!(world.join_engine(4), [heard(0, list(&[4]))]);
    assert_eq!(world.join_client(1), [heard(1, list(&[4]))]);
    assert_eq!(world.join_engine(2), [heard(0, list(&[2, 4])), heard(1, list(&[2, 4]))]);
    assert_eq!(world.lose_engine(4).len(), 3);
    assert_eq!(world.reactor.engines(), infos([2]));
}

#[test]
fn whoever_joins_twice_is_ignored() {
    let mut world = World::new();
    world.join_client(0);
    world.join_engine(0);
    assert_eq!(world.join_client(0), []);
    assert_eq!(world.join_engine(0), []);
    assert_eq!(world.reactor.ignored(), 2);
}

#[test]
fn the_queues_are_counted_by_engine() {
    let mut world = World::peopled(2);
    world.client(0, direct(0, &[1, 1]));
    world.client(0, submit(2, 6));
    world.done(1, 0, MS);
    let (reply, _) = world.ask(0, Request::QueueStatus);
    let engines = vec![(EngineId(0), 0, 2, 0), (EngineId(1), 1, 4, 1)];
    assert_eq!(reply, Reply::QueueStatus(0, engines));
}

#[test]
fn the_history_lists_what_is_pending_or_kept_in_order_of_submission() {
    let mut world = World::peopled(1);
    world.client(0, submit(0, 2));
    world.join_client(1);
    world.client(1, submit(0, 1));
    world.client(0, submit(2, 1));
    world.done(0, 1, MS);
    let all = vec![(session(0), 0, 2), (session(1), 0, 1), (session(0), 2, 1)];
    assert_eq!(world.ask(0, Request::History).0, Reply::History(all));
}

#[test]
fn purged_outcomes_are_gone_and_pending_tasks_are_not() {
    let mut world = World::peopled(1);
    world.client(0, submit(0, 4));
    (0..3).for_each(|seq| drop(world.done(0, seq, MS)));
    let some = vec![(session(8), 0, 1), (session(0), 3, 1), (session(0), 1, 1)];
    assert_eq!(world.ask(0, Request::Purge(Some(some))).0, Reply::Done);
    assert_eq!(world.reactor.kept(), 2);
    assert_eq!(world.ask(0, Request::Purge(None)).0, Reply::Done);
    assert_eq!(world.reactor.kept(), 0);
    assert_eq!(outcomes(&world.done(0, 3, MS)), [(0, 3, Status::Ok)]);
}

#[test]
fn signals_go_to_every_engine_named_or_to_none() {
    let mut world = World::peopled(2);
    let (reply, out) = world.ask(0, Request::Signal(ids([0, 1]), 2));
    assert_eq!(reply, Reply::Done);
    let signalled = [0, 1].map(|engine| Effect::SignalEngine(EngineId(engine), 2));
    assert_eq!(out, signalled);
    let (reply, out) = world.ask(0, Request::Signal(ids([0, 6]), 2));
    assert!(matches!(reply, Reply::Refused(text) if text.starts_with("engine 6 is not there")));
    assert_eq!(out, []);
    let (reply, out) = world.ask(0, Request::Shutdown(ids([0, 6])));
    assert!(matches!(reply, Reply::Refused(_)));
    assert_eq!(out, []);
}

#[test]
fn stop_is_answered_before_it_is_done() {
    let mut world = World::peopled(0);
    let out = world.client(
        0,
        crate::wire::Message::bare(crate::wire::FromClient::Request { id: 1, body: Request::Stop }),
    );
    assert_eq!(out, [heard(0, ToClient::Reply { id: 1, body: Reply::Done }), Effect::Stop]);
}

#[test]
fn an_engine_that_is_restarted_ends_and_another_follows_it() {
    let mut world = World::peopled(2);
    let (reply, out) = world.ask(0, Request::Restart(ids([1])));
    assert_eq!(reply, Reply::Done);
    assert_eq!(out.last(), Some(&Effect::ReplaceEngine(EngineId(1))));
    assert!(out.iter().any(|effect| matches!(
        effect,
        Effect::ToEngine(EngineId(1), message) if message.head == ToEngine::Shutdown
    )));
    let (reply, out) = world.ask(0, Request::Restart(ids([0, 6])));
    assert!(matches!(reply, Reply::Refused(_)));
    assert_eq!(out, []);
}

#[test]
fn what_keeps_engines_busy_is_told_by_whoever_knows_their_silence() {
    let mut world = World::peopled(2);
    world.client(0, direct(0, &[1]));
    world.pass(5 * MS);
    let question = FromClient::Request { id: 7, body: Request::EngineStatus };
    let out = world.client(0, Message::bare(question));
    let health = |id, busy| Health {
        id: EngineId(id),
        silent: 0.0,
        suspect: false,
        busy,
        memory: None,
        memory_limit: None,
        scarce: false,
    };
    let health = vec![health(0, None), health(1, Some(0.005))];
    assert_eq!(out, [Effect::TellHealth(ClientId(0), 7, health)]);
}
