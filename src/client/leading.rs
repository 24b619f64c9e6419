//! Tests of waiting: who drives the runtime, and that somebody always does.

use std::sync::Arc;
use std::sync::mpsc;
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::bell::Bell;
use crate::transport::{Drive, Led, Stay, runtime};

const PATIENCE: Duration = Duration::from_secs(20);

/// A runtime whose one task says on which thread it ran, each time it is poked.
struct House {
    drive: Arc<Drive>,
    queue: Arc<Mutex<Vec<mpsc::SyncSender<ThreadId>>>>,
    over: Arc<Notify>,
    thread: thread::JoinHandle<()>,
}

fn house() -> House {
    let queue = Arc::new(Mutex::new(Vec::<mpsc::SyncSender<ThreadId>>::new()));
    let (filled, over) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let poked = filled.clone();
    let drive = Drive::new(runtime().unwrap(), move || poked.notify_one());
    let (taken, end) = (queue.clone(), over.clone());
    let thread = drive.start(async move {
        loop {
            tokio::select! {
                () = filled.notified() => {}
                () = end.notified() => return,
            }
            for sender in taken.lock().drain(..) {
                let _ = sender.send(thread::current().id());
            }
        }
    });
    House { drive, queue, over, thread: thread.unwrap() }
}

impl House {
    fn ask(&self) -> mpsc::Receiver<ThreadId> {
        let (sender, answer) = mpsc::sync_channel(1);
        self.queue.lock().push(sender);
        answer
    }

    /// Has the follower let go: somebody waited beside it and got what it wanted.
    fn free(&self) {
        let (bell, done) = (Arc::new(Bell::default()), Instant::now() + PATIENCE);
        let ringing = bell.clone();
        let helper = thread::spawn(move || ringing.ring());
        assert!(bell.wait_until(done, Some(&self.drive)));
        helper.join().unwrap();
    }

    fn end(self) {
        self.over.notify_one();
        self.drive.need();
        self.thread.join().unwrap();
        assert_eq!(self.drive.lead(Stay::Slices, async { Some(()) }), Led::Not);
    }
}

#[test]
fn what_is_queued_is_seen_to_though_nobody_waits() {
    let house = house();
    let answer = house.ask();
    house.drive.nudge(false);
    answer.recv_timeout(PATIENCE).unwrap();
    house.end();
}

#[test]
fn a_thread_that_leads_runs_the_tasks_itself() {
    let house = house();
    let me = thread::current().id();
    let deadline = Instant::now() + PATIENCE;
    loop {
        house.free();
        let answer = house.ask();
        let led = house.drive.lead(Stay::Whole, async {
            tokio::task::yield_now().await;
            Some(())
        });
        match led {
            Led::Done(()) => {
                assert_eq!(answer.recv_timeout(PATIENCE).unwrap(), me);
                return house.end();
            }
            // The follower was faster: a tick had passed.
            _ => assert!(Instant::now() < deadline, "it never becomes free"),
        }
    }
}

#[test]
fn the_follower_takes_over_from_a_leader_that_left() {
    let house = house();
    let deadline = Instant::now() + PATIENCE;
    loop {
        house.free();
        // Queued while this thread leads, which is told to nobody and then leaves.
        if let Led::Done(answer) = house.drive.lead(Stay::Whole, async { Some(house.ask()) }) {
            assert_ne!(answer.recv_timeout(PATIENCE).unwrap(), thread::current().id());
            return house.end();
        }
        assert!(Instant::now() < deadline, "it never becomes free");
    }
}

#[test]
fn a_leader_that_stays_is_given_what_it_waits_for() {
    let house = house();
    let bell = Arc::new(Bell::default());
    let ringing = bell.clone();
    let helper = thread::spawn(move || ringing.ring());
    let deadline = Instant::now() + PATIENCE;
    while !bell.wait_until(deadline, Some(&house.drive)) {
        assert!(Instant::now() < deadline, "the bell was rung and is not heard");
    }
    helper.join().unwrap();
    house.end();
}

#[test]
fn a_task_of_the_runtime_cannot_lead_it() {
    let house = house();
    let other = runtime().unwrap();
    let led = other.block_on(async { house.drive.lead(Stay::Slices, async { Some(()) }) });
    assert_eq!(led, Led::Not);
    house.end();
}

#[test]
fn the_end_of_the_runtimes_life_ends_a_lead() {
    let house = house();
    let drive = house.drive.clone();
    let (sender, ended) = mpsc::sync_channel(1);
    let leader = thread::spawn(move || {
        // For ever, whether it leads or finds that it cannot any more.
        let led = drive.lead(Stay::Whole, std::future::pending::<Option<()>>());
        let _ = sender.send(led);
    });
    house.over.notify_one();
    house.drive.need();
    assert_ne!(ended.recv_timeout(PATIENCE).unwrap(), Led::Done(()));
    leader.join().unwrap();
    house.end();
}

#[test]
fn many_threads_wait_at_once_and_all_are_served() {
    let house = house();
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..200 {
                    let answer = house.ask();
                    house.drive.nudge(true);
                    answer.recv_timeout(PATIENCE).unwrap();
                    let bell = Arc::new(Bell::default());
                    bell.ring();
                    let deadline = Instant::now() + PATIENCE;
                    assert!(bell.wait_until(deadline, Some(&house.drive)));
                }
            });
        }
    });
    house.end();
}
