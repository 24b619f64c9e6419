//! How tasks end: results, losses, cancellations, refusals, and what makes no sense.

use super::kit::*;
use crate::controller::Effect;
use crate::wire::{
    EngineId, FromClient, FromEngine, Kind, Loss, Message, Rules, Status, Target, ToClient,
    ToEngine,
};

fn losses(effects: &[Effect]) -> Vec<(u64, Loss)> {
    let loss = |effect: &Effect| match effect {
        Effect::ToClient(
            _,
            Message { head: ToClient::Result { seq, status: Status::Lost, .. }, parts },
        ) => Some((*seq, rmp_serde::from_slice(&parts[0]).expect("a loss"))),
        _ => None,
    };
    effects.iter().filter_map(loss).collect()
}

#[test]
fn a_lost_engine_ends_exactly_the_tasks_it_held() {
    let mut world = World::peopled(2);
    world.client(0, submit(0, 5));
    world.pass(3 * 1_000_000_000);
    let out = world.lose_engine(0);
    let loss = |started, ran_for| Loss {
        engine: 0,
        pid: 500,
        host: "here".to_owned(),
        cause: "killed by SIGKILL".to_owned(),
        started,
        // It has no tally here.
        unknown: !started,
        attempt: 1,
        ran_for,
        output: "last words".to_owned(),
    };
    assert_eq!(losses(&out), [(0, loss(true, 3.0)), (2, loss(false, 0.0))]);
    assert_eq!(outcomes(&out).len(), 2);
    let engines = heard(0, ToClient::Engines(infos([1])));
    assert_eq!(out[0], engines, "who hears of a loss finds the engine gone");
    assert_eq!(out[3..], [Effect::EndEngine(EngineId(0))]);
    assert_eq!(world.reactor.pending(), 3);
}

#[test]
fn the_run_time_of_a_lost_task_counts_from_its_start() {
    let mut world = World::peopled(1);
    world.client(0, direct(0, &[0]));
    world.pass(1_000_000_000);
    world.engine(0, FromEngine::Started { id: task(0, 0), ticket: 0, at: world.now.wall });
    world.pass(500_000_000);
    let (_, loss) = losses(&world.lose_engine(0)).remove(0);
    assert!((loss.ran_for - 0.5).abs() < 1e-9, "{loss:?}");
}

#[test]
fn recalled_tasks_that_were_not_given_back_are_lost_with_their_engine() {
    let mut world = World::peopled(1);
    world.client(0, submit(0, 2));
    let out = world.join_engine(1);
    assert!(out.contains(&told(0, ToEngine::Recall(tasks([1])))));
    let out = world.lose_engine(0);
    assert_eq!(outcomes(&out), [(0, 0, Status::Lost), (0, 1, Status::Lost)]);
}

#[test]
fn a_second_result_is_dropped_and_counted() {
    let mut world = World::peopled(1);
    world.client(0, submit(0, 1));
    world.done(0, 0, MS);
    assert_eq!(world.done(0, 0, MS), []);
    assert_eq!(world.reactor.duplicates(), 1);
}

#[test]
fn a_result_of_an_engine_that_does_not_hold_the_task_is_dropped_and_counted() {
    let mut world = World::peopled(2);
    world.client(0, submit(0, 1));
    assert_eq!(world.done(1, 0, MS), []);
    assert_eq!(world.reactor.duplicates(), 1);
    assert_eq!(world.reactor.pending(), 1);
}

#[test]
fn a_queued_task_is_cancelled_at_once() {
    let mut world = World::peopled(0);
    world.client(0, submit(0, 3));
    let out = world.client(0, cancel([1]));
    assert_eq!(outcomes(&out), [(0, 1, Status::Cancelled)]);
    let out = world.join_engine(0);
    assert_eq!(gifts(&out), [(0, 0), (0, 2)]);
}

#[test]
fn the_engine_that_holds_a_cancelled_task_is_asked_and_has_the_last_word() {
    let mut world = World::peopled(2);
    world.client(0, submit(0, 4));
    let out = world.client(0, cancel([0, 1, 2, 77]));
    let asked = |engine, seqs: &[u64]| {
        told(engine, ToEngine::Cancel { tasks: tasks(seqs.iter().copied()), force: None })
    };
    assert_eq!(out, [asked(0, &[0, 2]), asked(1, &[1])]);
    assert_eq!(outcomes(&world.done(0, 0, MS)), [(0, 0, Status::Ok)]);
    let (id, status) = (task(0, 2), Status::Cancelled);
    let out =
        world.engine(0, FromEngine::Result { id, ticket: 0, status, started: 0, completed: 0 });
    assert_eq!(outcomes(&out), [(0, 2, Status::Cancelled)]);
}

#[test]
fn a_recalled_task_that_was_cancelled_meanwhile_ends_cancelled() {
    let mut world = World::peopled(1);
    world.client(0, submit(0, 2));
    world.join_engine(1);
    world.client(0, cancel([1]));
    let out = world.engine(0, back([1]));
    assert_eq!(outcomes(&out), [(0, 1, Status::Cancelled)]);
    assert_eq!(gifts(&out), []);
}

#[test]
fn tasks_of_an_unknown_function_are_refused() {
    let mut world = World::peopled(1);
    let out = world.client(0, submit_to(0, 2, 9, Target::Any));
    assert_eq!(outcomes(&out), [(0, 0, Status::Refused), (0, 1, Status::Refused)]);
    let (func, engines) = (name(9), ids([0]));
    let head =
        FromClient::Direct { first: 2, func, kind: Kind::Apply, engines, rules: Rules::default() };
    let out = world.client(0, Message::bare(head));
    assert!(text(&out).contains("does not know the function"), "{}", text(&out));
}

#[test]
fn a_direct_task_to_nobody_is_refused_and_the_others_go() {
    let mut world = World::peopled(2);
    let out = world.client(0, direct(0, &[0, 7, 1]));
    assert_eq!(gifts(&out), [(0, 0), (1, 2)]);
    assert_eq!(outcomes(&out), [(0, 1, Status::Refused)]);
    let text = text(&out);
    assert!(text.starts_with("engine 7 is not there"), "{text}");
    assert!(text.contains("engines now: 0, 1"), "{text}");
}

#[test]
fn tasks_among_engines_that_are_all_gone_are_refused() {
    let mut world = World::peopled(2);
    let out = world.client(0, submit_to(0, 1, 1, among([8, 9])));
    assert!(text(&out).contains("is there (8, 9)"), "{}", text(&out));
    let out = world.client(0, submit_to(1, 1, 1, among([])));
    assert!(text(&out).contains("no engine at all"), "{}", text(&out));
    world.client(0, submit_to(2, 6, 1, among([0])));
    let out = world.lose_engine(0);
    let ended = outcomes(&out);
    assert_eq!(ended[..2], [(0, 2, Status::Lost), (0, 3, Status::Lost)]);
    assert_eq!(ended[2..], [4, 5, 6, 7].map(|seq| (0, seq, Status::Refused)));
}

#[test]
fn tasks_among_some_engines_go_on_while_one_of_them_lives() {
    let mut world = World::peopled(2);
    world.client(0, submit_to(0, 6, 1, among([0, 1])));
    assert_eq!(outcomes(&world.lose_engine(0)).len(), 2);
    assert_eq!(gifts(&world.done(1, 1, MS)), [(1, 4), (1, 5)]);
}

#[test]
fn a_submission_whose_parts_do_not_add_up_is_refused() {
    let mut world = World::peopled(1);
    let mut message = submit(0, 2);
    message.parts.pop();
    let out = world.client(0, message);
    assert_eq!(outcomes(&out), [(0, 0, Status::Refused), (0, 1, Status::Refused)]);
    assert_eq!(world.reactor.ignored(), 1);
}

#[test]
fn a_task_gets_as_many_parts_as_were_counted_for_it() {
    let mut world = World::peopled(1);
    let (func, kind, target) = (name(1), Kind::Chunk, Target::Any);
    let head = FromClient::Submit {
        first: 0,
        func,
        kind,
        target,
        counts: vec![2, 0],
        rules: Rules::default(),
    };
    let out = world.client(0, Message { head, parts: parts(&["a", "b"]) });
    let carried: Vec<_> = out
        .iter()
        .filter_map(|effect| match effect {
            Effect::ToEngine(_, Message { head: ToEngine::Task { .. }, parts }) => {
                Some(parts.clone())
            }
            _ => None,
        })
        .collect();
    assert_eq!(carried, [parts(&["a", "b"]), parts(&[])]);
}

#[test]
fn numbers_that_were_used_before_are_ignored() {
    let mut world = World::peopled(0);
    world.client(0, submit(0, 3));
    assert_eq!(world.client(0, submit(2, 1)), []);
    assert_eq!(world.client(0, watch(1, &[(0, 0)])), []);
    assert_eq!(world.client(0, submit(u64::MAX, 2)), []);
    assert_eq!(world.reactor.ignored(), 3);
    assert_eq!(world.reactor.pending(), 3);
}

#[test]
fn strangers_are_ignored() {
    let mut world = World::new();
    assert_eq!(world.client(5, submit(0, 3)), []);
    assert_eq!(world.engine(5, back([1, 2])), []);
    assert_eq!(world.lose_engine(5), []);
    assert_eq!(world.lose_client(5), []);
    assert_eq!(world.reactor.ignored(), 3);
}

#[test]
fn what_is_given_back_unasked_or_twice_stays_where_it_is() {
    let mut world = World::peopled(1);
    world.client(0, direct(0, &[0]));
    world.client(0, submit(1, 1));
    assert_eq!(world.engine(0, back([0, 1])), []);
    world.join_engine(1);
    let out = world.engine(0, back([1]));
    assert_eq!(gifts(&out), [(1, 1)]);
    assert_eq!(world.engine(1, back([1])), []);
    assert_eq!(world.reactor.ignored(), 3);
    assert_eq!(outcomes(&world.done(1, 1, MS)), [(0, 1, Status::Ok)]);
}

#[test]
fn a_task_given_back_although_it_was_said_to_run_is_refused() {
    let mut world = World::peopled(1);
    world.client(0, submit(0, 2));
    world.join_engine(1);
    world.engine(0, FromEngine::Started { id: task(0, 1), ticket: 0, at: START });
    let out = world.engine(0, back([1]));
    assert!(text(&out).contains("after it had started it"), "{}", text(&out));
}

#[test]
fn whatever_a_running_task_says_reaches_its_owner() {
    let mut world = World::peopled(1);
    world.client(0, submit(0, 1));
    let (id, engine) = (task(0, 0), EngineId(0));
    let out = world.engine(0, FromEngine::Started { id, ticket: 0, at: 5 });
    assert_eq!(out, [heard(0, ToClient::Started { seq: 0, engine, at: 5 })]);
    let out = world.engine(0, FromEngine::Progress { id, done: 3 });
    assert_eq!(out, [heard(0, ToClient::Progress { seq: 0, done: 3 })]);
    world.done(0, 0, MS);
    assert_eq!(world.engine(0, FromEngine::Output { id, stream: 1 }), [], "too late");
}
