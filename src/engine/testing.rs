//! Tests of the slot: what the I/O thread and the main thread may do to each other.

use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::slot::{Look, Slot, Work};
use crate::memory::Tally;
use crate::wire::limits::{INLINE_MAX, OUTPUT_MAX};
use crate::wire::{ClientId, FromEngine, FuncId, Kind, Message, Parts, Status, TaskId, ToEngine};

const FUNC: FuncId = FuncId([1; 16]);

fn id(seq: u64) -> TaskId {
    TaskId { client: ClientId(0), seq }
}

fn task(seq: u64) -> Message<ToEngine> {
    let parts = Parts::from_elem(Bytes::from(seq.to_string()), 1);
    limited(seq, 0, false, parts)
}

/// With a ticket one above its number.
fn limited(seq: u64, timeout: u32, force: bool, parts: Parts) -> Message<ToEngine> {
    let (id, kind, ticket, attempt) = (id(seq), Kind::Apply, seq + 1, 1);
    Message {
        head: ToEngine::Task { id, func: FUNC, kind, ticket, attempt, timeout, force },
        parts,
    }
}

fn cancel(seq: u64) -> Message<ToEngine> {
    Message::bare(ToEngine::Cancel { tasks: vec![id(seq)], force: None })
}

#[derive(Default)]
struct Said {
    messages: Mutex<Vec<Message<FromEngine>>>,
    interrupts: Mutex<u32>,
}

impl Said {
    fn receive(&self, slot: &Slot, messages: Vec<Message<ToEngine>>) {
        slot.receive(
            messages,
            |message| self.messages.lock().push(message),
            || *self.interrupts.lock() += 1,
        );
    }

    fn done(&self, slot: &Slot, status: Status) -> bool {
        slot.done(status, Parts::new(), |message| self.messages.lock().push(message))
    }

    fn heads(&self) -> Vec<FromEngine> {
        self.messages.lock().drain(..).map(|message| message.head).collect()
    }
}

fn next_task(slot: &Slot) -> Option<Bytes> {
    match slot.try_next()? {
        Work::Task { parts, .. } => parts.into_iter().next(),
        _ => None,
    }
}

#[test]
fn work_is_done_in_the_order_it_came() {
    let (slot, said) = (Slot::default(), Said::default());
    let body = Parts::from_elem(Bytes::from_static(b"def"), 1);
    let func = Message { head: ToEngine::Func(FUNC), parts: body };
    said.receive(&slot, vec![func, task(0), task(1), Message::bare(ToEngine::Forget(FUNC))]);
    assert!(matches!(slot.try_next(), Some(Work::Func(FUNC, body)) if body == "def"));
    assert_eq!(next_task(&slot).unwrap(), "0");
    said.done(&slot, Status::Ok);
    assert_eq!(next_task(&slot).unwrap(), "1");
    said.done(&slot, Status::Ok);
    assert!(matches!(slot.try_next(), Some(Work::Forget(FUNC))));
    assert!(slot.try_next().is_none());
}

#[test]
fn one_task_ends_and_the_next_begins_at_one_moment() {
    let (slot, said) = (Slot::default(), Said::default());
    said.receive(&slot, vec![task(0), task(1)]);
    next_task(&slot);
    let send = |message| said.messages.lock().push(message);
    let (signalled, next) = slot.turn(Status::Ok, Parts::new(), send);
    assert!(!signalled);
    assert!(matches!(next, Some(Work::Task { parts, .. }) if parts[0] == "1"));
    let (_, next) = slot.turn(Status::Ok, Parts::new(), send);
    assert!(next.is_none());
    let heads = said.heads();
    let [
        FromEngine::Result { id: first, completed, .. },
        FromEngine::Result { id: second, started, .. },
    ] = heads[..]
    else {
        panic!("{heads:?}")
    };
    assert_eq!((first, second), (id(0), id(1)));
    assert_eq!(started, completed);
}

#[test]
fn every_task_ends_with_one_result_that_has_its_times() {
    let (slot, said) = (Slot::default(), Said::default());
    said.receive(&slot, vec![task(5)]);
    next_task(&slot);
    assert!(!said.done(&slot, Status::Error));
    let heads = said.heads();
    let [FromEngine::Result { id: of, status, started, completed, .. }] = heads[..] else {
        panic!("{heads:?}")
    };
    assert_eq!((of, status), (id(5), Status::Error));
    assert!(started > 0 && completed >= started);
}

#[test]
fn what_was_started_is_not_given_back() {
    let (slot, said) = (Slot::default(), Said::default());
    said.receive(&slot, vec![task(0), task(1), task(2)]);
    next_task(&slot);
    let ids = vec![id(0), id(2), id(7)];
    said.receive(&slot, vec![Message::bare(ToEngine::Recall(ids))]);
    assert_eq!(said.heads(), [FromEngine::Returned(vec![(id(2), 3)])]);
    said.done(&slot, Status::Ok);
    assert_eq!(next_task(&slot).unwrap(), "1");
    said.done(&slot, Status::Ok);
    assert!(slot.try_next().is_none());
}

#[test]
fn a_cancelled_task_never_starts_and_says_so() {
    let (slot, said) = (Slot::default(), Said::default());
    said.receive(&slot, vec![task(0), cancel(0)]);
    assert!(slot.try_next().is_none());
    let result = FromEngine::Result {
        id: id(0),
        ticket: 1,
        status: Status::Cancelled,
        started: 0,
        completed: 0,
    };
    assert_eq!(said.heads(), [result]);
    assert_eq!(*said.interrupts.lock(), 0);
}

#[test]
fn a_cancellation_that_overtakes_its_task_is_remembered() {
    let (slot, said) = (Slot::default(), Said::default());
    said.receive(&slot, vec![cancel(1)]);
    assert_eq!(said.heads(), []);
    said.receive(&slot, vec![task(0), task(1)]);
    let result = FromEngine::Result {
        id: id(1),
        ticket: 2,
        status: Status::Cancelled,
        started: 0,
        completed: 0,
    };
    assert_eq!(said.heads(), [result]);
    assert_eq!(next_task(&slot).unwrap(), "0");
    said.done(&slot, Status::Ok);
    assert!(slot.try_next().is_none());
}

#[test]
fn a_running_task_is_interrupted_once_and_its_end_tells_that_a_signal_may_be_left() {
    let (slot, said) = (Slot::default(), Said::default());
    said.receive(&slot, vec![task(0)]);
    next_task(&slot);
    assert!(!slot.cancelled());
    for _ in 0..2 {
        said.receive(&slot, vec![cancel(0)]);
    }
    assert!(slot.cancelled());
    assert_eq!(*said.interrupts.lock(), 1);
    assert!(said.done(&slot, Status::Cancelled));
    said.receive(&slot, vec![cancel(0)]);
    assert_eq!(*said.interrupts.lock(), 1, "nothing runs any more");
}

#[test]
fn an_interrupt_that_was_not_felt_is_sent_again_but_not_for_ever() {
    let (slot, said) = (Slot::default(), Said::default());
    let interrupt = || *said.interrupts.lock() += 1;
    said.receive(&slot, vec![task(0)]);
    next_task(&slot);
    slot.report(|_| (), interrupt);
    assert_eq!(*said.interrupts.lock(), 0, "nobody cancelled it");
    said.receive(&slot, vec![cancel(0)]);
    slot.report(|_| (), interrupt);
    assert_eq!(*said.interrupts.lock(), 2);
    slot.felt();
    slot.report(|_| (), interrupt);
    assert_eq!(*said.interrupts.lock(), 2, "it may be cleaning up");
    said.done(&slot, Status::Cancelled);

    said.receive(&slot, vec![task(1)]);
    next_task(&slot);
    said.receive(&slot, vec![cancel(1)]);
    for _ in 0..100 {
        slot.report(|_| (), interrupt);
    }
    assert!(*said.interrupts.lock() < 10);
}

#[test]
fn output_comes_before_the_result_and_is_bounded() {
    let (slot, said) = (Slot::default(), Said::default());
    assert!(!slot.write(1, "nobody runs", |_| panic!()));
    said.receive(&slot, vec![task(0)]);
    next_task(&slot);
    let text = "ü".repeat(1000);
    for _ in 0..2000 {
        assert!(slot.write(2, &text, |message| said.messages.lock().push(message)));
    }
    said.done(&slot, Status::Ok);
    let messages = std::mem::take(&mut *said.messages.lock());
    let (last, output) = messages.split_last().unwrap();
    assert!(matches!(last.head, FromEngine::Result { .. }));
    let mut written = String::new();
    for message in output {
        assert_eq!(message.head, FromEngine::Output { id: id(0), stream: 2 });
        assert!(message.parts[0].len() <= INLINE_MAX, "it must travel with the packets");
        written.push_str(std::str::from_utf8(&message.parts[0]).unwrap());
    }
    let dropped = 2000 * text.len() - OUTPUT_MAX;
    assert!(written.contains(&format!("[oarlock: {dropped} bytes of output were dropped]")));
    assert!(written.len() < OUTPUT_MAX + 100);
}

#[test]
fn progress_is_reported_when_it_changed() {
    let (slot, said) = (Slot::default(), Said::default());
    said.receive(&slot, vec![task(0)]);
    let look = slot.report(|_| panic!(), || ());
    assert!(matches!(look, Look::At(_)), "what waits will be worth a report");
    next_task(&slot);
    slot.progress(3);
    for _ in 0..2 {
        let look = slot.report(|message| said.messages.lock().push(message), || ());
        assert!(matches!(look, Look::At(_)));
    }
    assert_eq!(said.heads(), [FromEngine::Progress { id: id(0), done: 3 }]);
    said.done(&slot, Status::Ok);
    assert_eq!(slot.report(|_| panic!(), || ()), Look::Never);
}

#[test]
fn shutdown_lets_the_running_task_end_and_starts_no_other() {
    let (slot, said) = (Slot::default(), Said::default());
    said.receive(&slot, vec![task(0), task(1)]);
    next_task(&slot);
    said.receive(&slot, vec![Message::bare(ToEngine::Shutdown)]);
    said.done(&slot, Status::Ok);
    assert!(matches!(slot.try_next(), Some(Work::End)));
    assert!(matches!(slot.next(None), Work::End));
}

#[test]
fn the_main_thread_sleeps_until_there_is_work() {
    let (slot, said) = (Slot::default(), Said::default());
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| slot.next(None));
        said.receive(&slot, vec![task(9)]);
        assert!(matches!(waiting.join().unwrap(), Work::Task { .. }));
    });
}

/// The tally of a session that just began, as its controller sees it.
fn watched(slot: &Slot) -> Tally {
    let tally = Tally::new().expect("shared memory");
    let sign = tally.sign().expect("it is the owner");
    slot.renew(Some(tally));
    Tally::open(std::process::id(), &sign).expect("the same process")
}

#[test]
fn what_the_controller_has_given_up_is_never_begun() {
    let (slot, said) = (Slot::default(), Said::default());
    let seen = watched(&slot);
    said.receive(&slot, vec![task(4), task(5), task(6)]);
    assert_eq!(next_task(&slot).unwrap(), "4");
    said.done(&slot, Status::Ok);
    assert_eq!(seen.close(), 5, "the ticket of the task that was begun last");
    assert!(slot.try_next().is_none());
    slot.renew(None);
    said.receive(&slot, vec![task(5)]);
    assert_eq!(next_task(&slot).unwrap(), "5", "in a new session it begins again");
}

#[test]
fn what_was_given_back_is_known_without_a_word() {
    let (slot, said) = (Slot::default(), Said::default());
    let seen = watched(&slot);
    said.receive(&slot, vec![task(4), task(5), task(6)]);
    assert_eq!(next_task(&slot).unwrap(), "4");
    said.receive(&slot, vec![Message::bare(ToEngine::Recall(vec![id(4), id(5)]))]);
    said.done(&slot, Status::Ok);
    assert_eq!(next_task(&slot).unwrap(), "6");
    assert_eq!((seen.close(), seen.given_back()), (7, vec![6]), "by their tickets");
}

fn running(timeout: u32, force: bool) -> (Slot, Said) {
    let (slot, said) = (Slot::default(), Said::default());
    said.receive(&slot, vec![limited(0, timeout, force, Parts::new())]);
    assert!(matches!(slot.try_next(), Some(Work::Task { .. })));
    (slot, said)
}

/// Looks as the I/O thread does, only more often, until `done` or for too long.
fn look(slot: &Slot, said: &Said, done: impl Fn(Look, u32) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut look = Look::Never;
    while !done(look, *said.interrupts.lock()) {
        assert!(Instant::now() < deadline, "it never came");
        std::thread::yield_now();
        look = slot.report(|_| (), || *said.interrupts.lock() += 1);
    }
}

#[test]
fn a_task_that_runs_too_long_is_interrupted_and_told_as_out_of_time() {
    let (slot, said) = running(1, false);
    look(&slot, &said, |_, interrupts| interrupts > 0);
    assert!(slot.cancelled());
    assert!(said.done(&slot, Status::Cancelled), "a signal may be on its way");
    assert!(matches!(said.heads()[..], [FromEngine::Result { status: Status::TimedOut, .. }]));
}

#[test]
fn a_task_that_ends_well_though_out_of_time_is_told_as_it_ended() {
    let (slot, said) = running(1, false);
    look(&slot, &said, |_, interrupts| interrupts > 0);
    said.done(&slot, Status::Ok);
    assert!(matches!(said.heads()[..], [FromEngine::Result { status: Status::Ok, .. }]));
}

#[test]
fn the_engine_of_a_task_that_takes_no_notice_is_given_up_only_by_force() {
    let (slot, said) = running(0, false);
    let cancel = |force| ToEngine::Cancel { tasks: vec![id(0)], force };
    said.receive(&slot, vec![Message::bare(cancel(None))]);
    look(&slot, &said, |_, interrupts| interrupts > 2);
    said.receive(&slot, vec![Message::bare(cancel(Some(1)))]);
    look(&slot, &said, |look, _| look == Look::GiveUp);
    slot.give_up(|message| said.messages.lock().push(message));
    assert!(matches!(said.heads()[..], [FromEngine::Result { status: Status::Cancelled, .. }]));
    said.done(&slot, Status::Ok);
    assert_eq!(said.heads(), [], "it was told");
    assert!(matches!(slot.try_next(), Some(Work::End)));
}

#[test]
fn nothing_is_said_in_a_new_session_of_a_task_that_began_in_the_one_before() {
    let (slot, said) = (Slot::default(), Said::default());
    said.receive(&slot, vec![task(0)]);
    next_task(&slot);
    slot.renew(None);
    slot.renew(None);
    // The same task, under the same ticket: whatever ends now is another attempt.
    said.receive(&slot, vec![task(0)]);
    slot.write(1, "text", |message| said.messages.lock().push(message));
    slot.progress(1);
    slot.report(|message| said.messages.lock().push(message), || ());
    said.done(&slot, Status::Error);
    assert_eq!(said.heads(), []);
    next_task(&slot);
    said.done(&slot, Status::Ok);
    assert!(matches!(said.heads()[..], [FromEngine::Result { status: Status::Ok, .. }]));
}

#[test]
fn a_cancellation_that_overtakes_a_task_is_kept_though_an_older_attempt_runs() {
    let (slot, said) = (Slot::default(), Said::default());
    said.receive(&slot, vec![task(0)]);
    next_task(&slot);
    slot.renew(None);
    said.receive(&slot, vec![cancel(0)]);
    said.receive(&slot, vec![task(0)]);
    assert!(matches!(said.heads()[..], [FromEngine::Result { status: Status::Cancelled, .. }]));
    said.done(&slot, Status::Cancelled);
    assert!(next_task(&slot).is_none());
}

#[test]
fn a_task_whose_cancellation_overtook_it_counts_as_given() {
    let (slot, said) = (Slot::default(), Said::default());
    said.receive(&slot, vec![cancel(7), task(7)]);
    let told: Vec<_> = said.heads();
    let [FromEngine::Result { ticket, status: Status::Cancelled, .. }] = told[..] else {
        panic!("{told:?}")
    };
    assert_eq!(slot.before(), (ticket, None), "its ticket is not given to another");
}
