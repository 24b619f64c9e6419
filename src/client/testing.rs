//! Tests of the books without any I/O: an uplink that remembers, messages made by hand.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use proptest::prelude::*;

use super::State;
use super::core::{Core, Uplink};
use super::submit::Submission;
use super::tasks::{Tasks, Until};
use crate::wire::{
    EngineId, FromClient, FuncId, Kind, Message, Parts, Reply, Request, Rules, SessionId, Status,
    Target, ToClient,
};

#[derive(Clone, Default)]
struct Memory {
    said: Arc<Mutex<Vec<Message<FromClient>>>>,
    pieces: bool,
    full: bool,
}

impl Uplink for Memory {
    fn push(&self, message: Message<FromClient>) -> Result<(), String> {
        if self.full {
            return Err("too long".to_owned());
        }
        self.said.lock().push(message);
        Ok(())
    }

    fn wants_pieces(&self) -> bool {
        self.pieces
    }
}

const SESSION: SessionId = SessionId([7; 16]);
const FUNC: FuncId = FuncId([1; 16]);

fn core() -> (Core, Memory) {
    core_with(1 << 30, false)
}

fn core_with(bound: u64, pieces: bool) -> (Core, Memory) {
    let memory = Memory { pieces, ..Memory::default() };
    (Core::new(SESSION, Box::new(memory.clone()), bound), memory)
}

fn part(text: &str) -> Parts {
    Parts::from_elem(Bytes::copy_from_slice(text.as_bytes()), 1)
}

fn submission(count: usize) -> Submission {
    let tasks = vec![part("x"); count];
    Submission {
        func: FUNC,
        kind: Kind::Apply,
        tasks,
        items: None,
        failed: HashMap::new(),
        rules: Rules::default(),
    }
}

fn submit(core: &Core, count: usize) -> Tasks {
    core.submit(submission(count), Target::Any, 100)
}

fn result(seq: u64, status: Status, started: i64, completed: i64) -> Message<ToClient> {
    let engine = Some(EngineId(3));
    let head = ToClient::Result { seq, status, engine, submitted: None, started, completed };
    Message { head, parts: part("value") }
}

fn rings(wait: &super::Wait) -> bool {
    wait.until(Instant::now())
}

#[test]
fn numbers_are_consecutive_over_submissions() {
    let (core, memory) = core();
    let first = submit(&core, 3);
    let second = submit(&core, 2);
    assert_eq!(first.ids(SESSION).collect::<Vec<_>>(), [(SESSION, 0), (SESSION, 1), (SESSION, 2)]);
    assert_eq!(second.ids(SESSION).collect::<Vec<_>>(), [(SESSION, 3), (SESSION, 4)]);
    assert_eq!(memory.said.lock().len(), 2);
    assert_eq!(core.submitted(), 5);
}

#[test]
fn a_result_is_entered_with_the_time_of_its_arrival() {
    let (core, _) = core();
    let tasks = submit(&core, 1);
    core.receive(result(0, Status::Ok, 110, 120), 130);
    assert!(tasks.ready());
    tasks.record(0, |record| {
        assert_eq!(record.state, State::Ok);
        assert_eq!((record.started, record.completed, record.received), (110, 120, 130));
        assert_eq!(record.engine, Some(EngineId(3)));
    });
    assert_eq!(tasks.span(), (100, 130));
}

#[test]
fn only_the_first_outcome_of_a_task_counts() {
    let (core, _) = core();
    let tasks = submit(&core, 2);
    core.receive(result(0, Status::Ok, 1, 2), 3);
    core.receive(result(0, Status::Error, 4, 5), 6);
    assert_eq!(tasks.record(0, |record| record.state), State::Ok);
    assert_eq!(tasks.done(), 1);
    core.receive(result(1, Status::Ok, 1, 2), 3);
    core.receive(result(1, Status::Error, 1, 2), 3);
    assert!(!tasks.failed());
}

#[test]
fn an_outcome_of_a_task_that_was_never_submitted_changes_nothing() {
    let (core, _) = core();
    let tasks = submit(&core, 2);
    core.receive(result(2, Status::Ok, 1, 2), 3);
    core.receive(result(u64::MAX, Status::Ok, 1, 2), 3);
    assert_eq!(tasks.done(), 0);
}

#[test]
fn a_wait_for_all_ends_with_the_last_task() {
    let (core, _) = core();
    let tasks = submit(&core, 3);
    let wait = tasks.wait(Until::All);
    for seq in [2, 0] {
        core.receive(result(seq, Status::Ok, 1, 2), 3);
        assert!(!rings(&wait));
    }
    core.receive(result(1, Status::Ok, 1, 2), 3);
    assert!(rings(&wait));
    assert!(rings(&tasks.wait(Until::All)), "a wait for what is done ends at once");
}

#[test]
fn a_wait_for_one_task_ignores_the_others() {
    let (core, _) = core();
    let tasks = submit(&core, 3);
    let wait = tasks.wait(Until::Task(1));
    core.receive(result(0, Status::Ok, 1, 2), 3);
    core.receive(result(2, Status::Ok, 1, 2), 3);
    assert!(!rings(&wait));
    core.receive(result(1, Status::Ok, 1, 2), 3);
    assert!(rings(&wait));
}

#[test]
fn a_wait_for_a_failure_ends_with_the_first_one() {
    let (core, _) = core();
    let tasks = submit(&core, 3);
    let wait = tasks.wait(Until::Failure);
    core.receive(result(0, Status::Ok, 1, 2), 3);
    assert!(!rings(&wait));
    core.receive(result(1, Status::Error, 1, 2), 3);
    assert!(rings(&wait));
    assert!(rings(&tasks.wait(Until::Failure)), "a failure that was before ends it at once");
}

#[test]
fn tokens_come_once_each_and_when_due() {
    let (core, _) = core();
    let tasks = submit(&core, 2);
    core.notify(&tasks, Until::All, 1);
    core.notify(&tasks, Until::Count(1), 2);
    core.notify(&tasks, Until::Task(1), 3);
    assert_eq!(core.next_tokens(Instant::now()), Some(vec![]));
    core.receive(result(0, Status::Ok, 1, 2), 3);
    assert_eq!(core.next_tokens(Instant::now()), Some(vec![2]));
    core.receive(result(1, Status::Ok, 1, 2), 3);
    let mut tokens = core.next_tokens(Instant::now()).unwrap();
    tokens.sort_unstable();
    assert_eq!(tokens, [1, 3]);
}

#[test]
fn sets_can_be_picked_and_joined_in_any_order() {
    let (core, _) = core();
    let (first, second) = (submit(&core, 3), submit(&core, 2));
    let joined = Tasks::join([&second, &first]).unwrap();
    let numbers = |tasks: &Tasks| tasks.ids(SESSION).map(|(_, seq)| seq).collect::<Vec<_>>();
    assert_eq!(numbers(&joined), [3, 4, 0, 1, 2]);
    let picked = joined.pick([4, 0, 1]);
    assert_eq!(numbers(&picked), [2, 3, 4]);
    core.receive(result(4, Status::Ok, 1, 2), 3);
    assert_eq!(picked.completion_order(), [2]);
    assert_eq!(picked.done(), 1);
}

#[test]
fn outcomes_are_released_unless_another_holds_them() {
    let (core, _) = core();
    let tasks = submit(&core, 2);
    core.receive(result(0, Status::Ok, 1, 2), 3);
    core.receive(result(1, Status::Ok, 1, 2), 3);
    let has = |tasks: &Tasks, index| tasks.record(index, |record| record.parts.is_some());
    let other = core.known(0).unwrap();
    tasks.release(None);
    assert!(has(&other, 0), "somebody asked for it apart");
    drop(other);
    let piece = tasks.pick([1]);
    piece.release(Some(&[0]));
    assert!(!has(&tasks, 1), "a piece and its whole are one holder");
    assert!(has(&tasks, 0), "the other task was not meant");
    tasks.release(None);
    assert!(!has(&tasks, 0));
}

#[test]
fn a_finished_task_is_known_as_long_as_somebody_holds_it() {
    let (core, _) = core();
    let tasks = submit(&core, 1);
    core.receive(result(0, Status::Ok, 1, 2), 3);
    assert!(core.known(0).is_some());
    drop(tasks);
    assert!(core.known(0).is_none());
}

#[test]
fn a_pending_task_is_known_though_nobody_holds_it() {
    let (core, _) = core();
    drop(submit(&core, 2));
    assert_eq!(core.outstanding(), [0, 1]);
    assert!(core.known(1).is_some());
}

#[test]
fn a_purged_task_is_forgotten_but_who_holds_it_keeps_it() {
    let (core, _) = core();
    let tasks = submit(&core, 3);
    core.receive(result(0, Status::Ok, 1, 2), 3);
    core.purge(Some(&[0, 1]));
    assert!(core.known(0).is_none());
    assert!(core.known(1).is_some(), "it is still pending");
    assert!(tasks.record(0, |record| record.parts.is_some()));
    let known: Vec<_> =
        core.all_known().iter().flat_map(|tasks| tasks.ids(SESSION).collect::<Vec<_>>()).collect();
    assert_eq!(known, [(SESSION, 1), (SESSION, 2)]);
    core.receive(result(1, Status::Ok, 1, 2), 3);
    core.receive(result(2, Status::Ok, 1, 2), 3);
    core.purge(None);
    assert!(core.all_known().is_empty());
}

#[test]
fn watching_takes_no_numbers_from_submissions() {
    let (core, memory) = core();
    submit(&core, 1);
    core.watch(vec![(SessionId([9; 16]), 3)], 1);
    let own = submit(&core, 1);
    assert_eq!(own.ids(SESSION).collect::<Vec<_>>(), [(SESSION, 1)]);
    assert_eq!(core.submitted(), 2);
    let said = memory.said.lock();
    assert!(matches!(said[1].head, FromClient::Watch { first, .. } if first >= 1 << 63));
}

#[test]
fn a_direct_task_is_known_to_be_bound_for_its_engine() {
    let (core, _) = core();
    let engines = vec![EngineId(4), EngineId(6)];
    let tasks = core.submit_direct(FUNC, Kind::Apply, engines, part("x"), Rules::default(), 100);
    assert_eq!(tasks.record(1, |record| record.engine), Some(EngineId(6)));
}

#[test]
fn numbers_arrive_in_order_however_many_threads_submit() {
    let (core, memory) = core();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..500).for_each(|_| drop(submit(&core, 2))));
        }
    });
    let mut next = 0;
    for message in memory.said.lock().iter() {
        let FromClient::Submit { first, .. } = message.head else { panic!() };
        assert_eq!(first, next);
        next += 2;
    }
    assert_eq!(next, 4000);
}

#[test]
fn tasks_that_could_not_be_made_fail_alone_and_are_not_sent() {
    let (core, memory) = core();
    let failed = HashMap::from([(1, part("why"))]);
    let what = Submission { failed, ..submission(4) };
    let tasks = core.submit(what, Target::Any, 100);
    let states: Vec<_> = (0..4).map(|index| tasks.record(index, |record| record.state)).collect();
    assert_eq!(states, [State::Pending, State::Error, State::Pending, State::Pending]);
    let said = memory.said.lock();
    let sent: Vec<_> = said.iter().map(|message| &message.head).collect();
    assert!(matches!(sent[0], FromClient::Submit { first: 0, counts, .. } if counts.len() == 1));
    assert!(matches!(sent[1], FromClient::Submit { first: 2, counts, .. } if counts.len() == 2));
}

#[test]
fn all_tasks_may_be_unmakeable() {
    let (core, memory) = core();
    let failed = (0..3).map(|index| (index, part("why"))).collect();
    let tasks = core.submit(Submission { failed, ..submission(3) }, Target::Any, 100);
    assert!(tasks.ready() && tasks.failed());
    assert!(memory.said.lock().is_empty());
}

#[test]
fn a_long_submission_goes_in_pieces_where_packets_have_a_size() {
    let (core, memory) = core_with(1 << 30, true);
    submit(&core, 1000);
    let mut next = 0;
    for message in memory.said.lock().iter() {
        let FromClient::Submit { first, counts, .. } = &message.head else { panic!() };
        assert_eq!(*first, next);
        assert_eq!(message.parts.len(), counts.len());
        assert!(counts.len() <= 256);
        next += counts.len() as u64;
    }
    assert_eq!(next, 1000);
}

#[test]
fn what_is_in_flight_is_bounded_in_bytes() {
    let (core, _) = core_with(10, false);
    assert!(core.has_room(1_000), "one submission is always allowed");
    submit(&core, 8);
    assert!(core.has_room(2));
    assert!(!core.has_room(3));
    assert!(!core.wait_room(3, Instant::now() + Duration::from_millis(1)));
    for seq in 0..8 {
        core.receive(result(seq, Status::Ok, 1, 2), 3);
    }
    assert!(core.has_room(1_000));
}

#[test]
fn the_end_of_the_session_ends_every_task_and_wait() {
    let (core, _) = core();
    let tasks = submit(&core, 2);
    let wait = tasks.wait(Until::All);
    let id = core.ask(Request::History);
    core.receive(result(0, Status::Ok, 1, 2), 3);
    core.end_session("it went away", 200);
    assert!(rings(&wait));
    assert_eq!(tasks.record(0, |record| record.state), State::Ok);
    assert_eq!(tasks.record(1, |record| record.state), State::Gone);
    assert_eq!(core.gone().as_deref(), Some("it went away"));
    assert!(core.wait_idle(Instant::now()));
    assert_eq!(core.answer(id, Instant::now() + Duration::from_secs(60)), None);
    assert_eq!(core.next_tokens(Instant::now() + Duration::from_secs(60)), None);
    let late = submit(&core, 1);
    assert_eq!(late.record(0, |record| record.state), State::Gone);
}

#[test]
fn what_cannot_be_sent_ends_at_once_and_says_why() {
    let memory = Memory { full: true, ..Memory::default() };
    let core = Core::new(SESSION, Box::new(memory), 1 << 30);
    let tasks = submit(&core, 2);
    assert!(tasks.ready());
    tasks.record(1, |record| {
        assert_eq!(record.state, State::Refused);
        assert_eq!(record.parts.as_ref().unwrap()[0], "too long");
    });
    assert_eq!(core.watch(vec![(SESSION, 9)], 1).record(0, |r| r.state), State::Refused);
    let question = core.ask(Request::History);
    let refused = Some(Reply::Refused("too long".to_owned()));
    assert_eq!(core.answer(question, Instant::now()), refused);
}

#[test]
fn an_answer_goes_to_its_question() {
    let (core, _) = core();
    let (first, second) = (core.ask(Request::QueueStatus), core.ask(Request::History));
    core.receive(Message::bare(ToClient::Reply { id: second, body: Reply::Done }), 1);
    assert_eq!(core.answer(first, Instant::now()), None);
    assert_eq!(core.answer(second, Instant::now()), Some(Reply::Done));
    core.forget_answer(first);
    core.receive(Message::bare(ToClient::Reply { id: first, body: Reply::Done }), 1);
    assert_eq!(core.answer(first, Instant::now()), None);
}

#[test]
fn a_watched_task_keeps_the_id_of_its_owner() {
    let (core, _) = core();
    let other = SessionId([9; 16]);
    let tasks = core.watch(vec![(other, 41)], 100);
    assert_eq!(tasks.ids(SESSION).collect::<Vec<_>>(), [(other, 41)]);
    assert!(core.outstanding().is_empty(), "another's task is not ours");
    let mut message = result(1 << 63, Status::Ok, 1, 2);
    if let ToClient::Result { submitted, .. } = &mut message.head {
        *submitted = Some(55);
    }
    core.receive(message, 3);
    assert_eq!(tasks.submitted(0), 55);
}

#[test]
fn output_and_progress_are_seen_while_the_task_runs() {
    let (core, _) = core();
    let what = Submission { items: Some([10].into()), ..submission(1) };
    let tasks = core.submit(what, Target::Any, 100);
    let version = tasks.written_version();
    let head = ToClient::Started { seq: 0, engine: EngineId(2), at: 105 };
    core.receive(Message::bare(head), 106);
    core.receive(Message { head: ToClient::Output { seq: 0, stream: 1 }, parts: part("so ") }, 1);
    core.receive(Message { head: ToClient::Output { seq: 0, stream: 1 }, parts: part("far") }, 1);
    core.receive(Message::bare(ToClient::Progress { seq: 0, done: 4 }), 1);
    assert_eq!(tasks.written(0, 1), "so far");
    assert_eq!(tasks.written(0, 2), "");
    assert!(tasks.written_version() > version);
    assert_eq!((tasks.items_total(), tasks.items_done()), (10, 4));
    assert_eq!(tasks.record(0, |record| record.started), 105);
    core.receive(result(0, Status::Ok, 105, 110), 111);
    assert_eq!(tasks.items_done(), 10);
}

#[test]
fn a_task_that_is_lost_keeps_the_time_at_which_it_began() {
    let (core, _) = core();
    let tasks = submit(&core, 2);
    let head = ToClient::Started { seq: 1, engine: EngineId(2), at: 105 };
    core.receive(Message::bare(head), 106);
    core.receive(result(1, Status::Lost, 0, 0), 120);
    assert_eq!(tasks.record(1, |record| (record.started, record.received)), (105, 120));
    assert_eq!(tasks.record(0, |record| record.started), 0);
}

proptest! {
    /// Any order of completions, over sets joined and picked anyhow: a wait for a count rings
    /// exactly when that many are done, whenever it was set up.
    #[test]
    fn a_wait_for_a_count_rings_when_that_many_are_done(
        sizes in prop::collection::vec(1_usize..5, 1..4),
        order in any::<prop::sample::Index>(),
        set_up_after in 0_usize..10,
        count in 0_usize..20,
        seed in any::<u64>(),
    ) {
        let (core, _) = core();
        let sets: Vec<_> = sizes.iter().map(|size| submit(&core, *size)).collect();
        let joined = Tasks::join(&sets).unwrap();
        let len = joined.len();
        let joined = joined.pick((0..len).map(|index| (index + order.index(len)) % len));
        let mut sequence: Vec<u64> = (0..len as u64).collect();
        for index in (1..len).rev() {
            sequence.swap(index, (seed.rotate_left(index as u32) % (index as u64 + 1)) as usize);
        }
        let mut wait = None;
        let steps = sequence.into_iter().map(Some).chain([None]);
        for (done, next) in steps.enumerate() {
            if done == set_up_after.min(len) {
                wait = Some(joined.wait(Until::Count(count)));
            }
            if let Some(wait) = &wait {
                prop_assert_eq!(rings(wait), done >= count.min(len));
            }
            if let Some(seq) = next {
                core.receive(result(seq, Status::Ok, 1, 2), 3);
            }
        }
        prop_assert!(joined.ready());
    }
}

#[test]
fn values_are_given_in_the_order_asked_for_and_nothing_for_the_rest() {
    let (core, _) = core();
    let first = submit(&core, 3);
    let tasks = Tasks::join([&first, &submit(&core, 2)]).unwrap();
    for (seq, status) in [(0, Status::Ok), (2, Status::Error), (3, Status::Ok)] {
        core.receive(result(seq, status, 1, 2), 3);
    }
    let given = |indexes: &[usize]| -> Vec<bool> {
        tasks.values(indexes).iter().map(Option::is_some).collect()
    };
    assert_eq!(given(&[0, 1, 2, 3, 4]), [true, false, false, true, false]);
    assert_eq!(given(&[3, 0, 3]), [true; 3]);
    assert_eq!(tasks.values(&[3, 0])[1], tasks.record(0, |r| r.parts.map(|p| p[0].clone())));
    tasks.release(Some(&[0]));
    assert_eq!(given(&[0]), [false]);
    assert_eq!(given(&[]), [true; 0]);
}

#[test]
fn a_run_of_done_tasks_ends_before_the_first_pending_one() {
    let (core, _) = core();
    let tasks = Tasks::join([&submit(&core, 2), &submit(&core, 2)]).unwrap();
    assert_eq!(tasks.done_from(0, 9), 0);
    for seq in [0, 1, 2] {
        core.receive(result(seq, Status::Ok, 1, 2), 3);
    }
    assert_eq!(tasks.done_from(0, 9), 3);
    assert_eq!(tasks.done_from(1, 1), 1);
    assert_eq!(tasks.done_from(3, 9), 0);
    core.receive(result(3, Status::Error, 1, 2), 3);
    assert_eq!(tasks.done_from(1, 9), 3);
    assert_eq!(tasks.done_from(4, 9), 0);
}

#[test]
fn a_single_call_is_numbered_and_sent_as_others_are() {
    let (core, _) = core();
    submit(&core, 2);
    let task = core.submit_call((FUNC, b"f"), part("x"), Target::Any, 5).unwrap();
    assert_eq!((task.len(), task.first(), task.submitted(0)), (1, Some(2), 5));
    assert_eq!(core.outstanding(), [0, 1, 2]);
    core.receive(result(2, Status::Ok, 1, 2), 3);
    assert!(task.ready());
    assert_eq!(task.pick([0, 0]).first(), Some(2));
    assert_eq!(Tasks::none().first(), None);
}

#[test]
fn a_function_is_put_once_and_before_the_first_call_that_names_it() {
    let (core, memory) = core();
    let call = || core.submit_call((FUNC, b"f"), part("x"), Target::Any, 5).unwrap();
    call();
    core.pin_function(FUNC, b"f").unwrap();
    core.unpin_function(FUNC);
    call();
    let said = memory.said.lock();
    let is_put = |message: &Message<FromClient>| matches!(message.head, FromClient::Func(FUNC));
    assert_eq!(said.iter().map(is_put).collect::<Vec<_>>(), [true, false, false]);
}

#[test]
fn a_function_that_could_not_be_put_is_put_again() {
    let full = Core::new(SESSION, Box::new(Memory { full: true, ..Memory::default() }), 1);
    assert!(full.submit_call((FUNC, b"f"), part("x"), Target::Any, 5).is_err());
    assert!(full.pin_function(FUNC, b"f").is_err(), "it is not taken for known");
    assert_eq!(full.submitted(), 0);
}
