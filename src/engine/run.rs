//! The engine's I/O: one session with the controller, and the clock of the slot. The main thread
//! drives it while it has nothing to do, its I/O thread while a task runs.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use rustix::process::{Signal, getpid, kill_process};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::home::{Home, Joined, Past, Search};
use super::kept::Kept;
use super::session::{Happened, Joining, Session, join, next};
use super::slot::{ANNOUNCE_AFTER, Look, Slot, Work};
use crate::memory::{Gauge, Usage, Watch};
use crate::transport::{self, Accepted, CloseReason, Drive, Event, Outbox, PushError, place};
use crate::wire::limits::{FORCED, QUEUED_MAX};
use crate::wire::{FromEngine, Message, Parts, Status, ToEngine, Underway};

/// How long an engine whose session broke knocks again where no controller follows one that ended.
/// If its own lives, it comes back as a new engine; if not, nobody is there to wait for.
const LEASE: Duration = Duration::from_millis(500);
/// How long a running task may go on after the cluster said goodbye.
const GRACE: Duration = Duration::from_millis(300);

/// What the I/O thread needs of the process around it.
pub struct Process {
    /// Makes the main thread's running call stop, as Ctrl-C would.
    pub interrupt: Box<dyn Fn() + Send>,
    /// Ends the process at once, without cleaning up.
    pub exit: fn(i32) -> !,
}

struct Shared {
    slot: Slot,
    /// Locked after the slot.
    outbox: RwLock<Outbox<FromEngine>>,
    /// What was told and may have to be told again. Locked after `outbox`.
    kept: Mutex<Kept>,
    id: AtomicU32,
    leave: Notify,
}

/// An engine that has joined a cluster.
pub struct Engine {
    shared: Arc<Shared>,
    drive: Arc<Drive>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

impl Engine {
    /// Joins the cluster in `directory`, which may take as long as `limit`; `python` is the version of
    /// the interpreter, if any. A controller behind a network that breaks is looked for as long as
    /// `patience` says.
    pub fn join(
        directory: &Path,
        (limit, patience): (Duration, Duration),
        python: String,
        process: Process,
    ) -> io::Result<Self> {
        let runtime = transport::runtime()?;
        let home = Arc::new(Home::new(directory, python));
        let search = Search { none: limit, unheard: limit };
        let mut joined = runtime.block_on(home.clone().join(search, None))?;
        let shared = Arc::new(Shared {
            slot: Slot::default(),
            outbox: RwLock::new(joined.outbox.clone()),
            kept: Mutex::default(),
            id: AtomicU32::new(joined.accepted.number),
            leave: Notify::new(),
        });
        shared.slot.renew(joined.tally.take());
        shared.kept.lock().keep(!joined.accepted.lease.is_zero());
        let poked = shared.clone();
        let drive = Drive::new(runtime, move || poked.outbox.read().poke());
        let life = Life::new(shared.clone(), home, process, joined, patience);
        let thread = Mutex::new(Some(drive.start(life.live())?));
        Ok(Self { shared, drive, thread })
    }

    /// Its number; another one after it had to join again.
    pub fn id(&self) -> u32 {
        self.shared.id.load(Ordering::Relaxed)
    }

    /// Its slot of work.
    pub fn slot(&self) -> &Slot {
        &self.shared.slot
    }

    /// The next thing for the main thread to do, if there is any. What was queued meanwhile is
    /// sent, at once or soon.
    pub fn try_next(&self) -> Option<Work> {
        let work = self.shared.slot.try_next();
        if work.is_some() {
            self.drive.nudge(false);
        }
        work
    }

    /// The running task ended: tells how, and gives the next thing to do, if there is any. Says
    /// first whether the task had been interrupted.
    pub fn turn(&self, status: Status, parts: Parts) -> (bool, Option<Work>) {
        let turned = self.shared.slot.turn(status, parts, |message| self.send(message));
        if turned.1.is_some() {
            self.drive.nudge(false);
        }
        turned
    }

    /// Waits for the next thing to do; this thread moves the I/O meanwhile.
    pub fn next(&self) -> Work {
        self.shared.slot.next(Some(&self.drive))
    }

    /// Queues something for the controller; it is sent when the main thread comes for more, or
    /// soon.
    pub fn send(&self, message: Message<FromEngine>) {
        push(&self.shared, message, Outbox::push_quietly);
        if !self.drive.is_free() {
            self.drive.nudge(false);
        }
    }

    /// Whether what waits to be sent is within its bound.
    pub fn has_room(&self) -> bool {
        self.shared.outbox.read().queued_bytes() <= QUEUED_MAX
    }

    /// Waits until it is, or the session ends.
    pub fn wait_room(&self) {
        let outbox = self.shared.outbox.read().clone();
        self.drive.need();
        outbox.wait_queued(QUEUED_MAX);
    }

    /// Says goodbye after everything queued has been sent.
    pub fn leave(&self) {
        self.shared.leave.notify_one();
        self.drive.need();
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join();
        }
    }
}

/// A way to queue a message.
type Push = fn(&Outbox<FromEngine>, Message<FromEngine>) -> Result<(), PushError>;

/// Queues a message. If the session is over, its task is void anyway; an outcome beyond a limit of
/// the wire is replaced by the refusal to send it.
fn push(shared: &Shared, message: Message<FromEngine>, push: Push) {
    let head = message.head.clone();
    let outbox = shared.outbox.read();
    shared.kept.lock().note(&message);
    let Err(PushError::Unsendable(fault)) = push(&outbox, message) else { return };
    if let FromEngine::Result { id, ticket, started, completed, .. } = head {
        let text = format!("the outcome cannot be sent: {fault}");
        let status = Status::Refused;
        let head = FromEngine::Result { id, ticket, status, started, completed };
        let refusal = Message { head, parts: Parts::from_elem(text.into(), 1) };
        shared.kept.lock().note(&refusal);
        let _ = push(&outbox, refusal);
    }
}

/// The life of an engine's I/O, from joining to the end of the process or of its main thread.
struct Life {
    shared: Arc<Shared>,
    home: Arc<Home>,
    process: Process,
    /// The session, if there is one.
    session: Option<Session>,
    /// The next one on its way, after the session ended without a goodbye.
    joining: Option<Joining>,
    /// What this engine was in the last session.
    past: Past,
    /// How long a controller is looked for that may live behind a broken network.
    patience: Duration,
    /// See [`Joined`]; kept until there is another session.
    member: Option<File>,
    /// Whether the controller asked this engine to end.
    asked: bool,
    /// Whether the main thread has ended and wants its last words delivered.
    leaving: bool,
    /// Whether this process comes near the memory that it may have.
    memory: Watch,
    /// What it has, and may have.
    gauge: Gauge,
    /// When to look at the running task again.
    report_at: Option<Instant>,
    /// When the process ends even if its main thread does not, and its exit status then.
    end_at: Option<Instant>,
    status: i32,
}

impl Life {
    fn new(
        shared: Arc<Shared>,
        home: Arc<Home>,
        process: Process,
        joined: Joined,
        patience: Duration,
    ) -> Self {
        let Joined { accepted, identity, outbox, events, controller, member, .. } = joined;
        let session = Some(Session { events, controller, outbox });
        let past = Past { accepted, identity };
        Self {
            shared,
            home,
            process,
            session,
            joining: None,
            past,
            patience,
            member,
            asked: false,
            leaving: false,
            memory: Watch::default(),
            gauge: Gauge::default(),
            report_at: None,
            end_at: None,
            status: 0,
        }
    }

    async fn live(mut self) {
        let far = Duration::from_secs(3600);
        loop {
            let never = Instant::now() + far;
            tokio::select! {
                event = next(self.session.as_mut()) => match event {
                    Happened::Said(Some(Event::Messages(messages))) => self.take(messages),
                    Happened::Said(_) if self.leaving => return,
                    Happened::Said(Some(Event::Closed(reason))) => self.closed(&reason),
                    Happened::Said(None) => return,
                    // What it sent before is still read: the session ends when all is taken.
                    Happened::ControllerEnded => self.shared.outbox.read().abort(),
                    Happened::Tick => self.look_at_memory(),
                },
                joined = join(self.joining.as_mut()) => self.joined(joined),
                () = self.shared.leave.notified(), if !self.leaving => {
                    if self.session.is_none() {
                        return;
                    }
                    self.leaving = true;
                    self.end_at = None;
                    self.shared.outbox.read().close();
                }
                () = sleep_until(self.report_at.unwrap_or(never)), if self.report_at.is_some() => {
                    let send = |message| push(&self.shared, message, Outbox::push);
                    match self.shared.slot.report(send, &self.process.interrupt) {
                        Look::Never => self.report_at = None,
                        Look::At(moment) => self.report_at = Some(moment),
                        Look::GiveUp => self.give_up(),
                    }
                }
                () = sleep_until(self.end_at.unwrap_or(never)), if self.end_at.is_some() => {
                    // The main thread had its chance to end by itself.
                    (self.process.exit)(self.status);
                }
            }
        }
    }

    /// The running task is to end and does not: the process ends when that is told.
    fn give_up(&mut self) {
        self.report_at = None;
        self.shared.slot.give_up(|message| push(&self.shared, message, Outbox::push));
        (self.asked, self.status) = (true, FORCED);
        self.end_at = Some(Instant::now() + GRACE);
        self.shared.outbox.read().close();
    }

    /// Says when this process comes near the memory that it may have.
    fn look_at_memory(&mut self) {
        let Some(usage) = self.gauge.read() else { return };
        if let Some(scarce) = self.memory.look(usage) {
            let Usage { used, allowed } = usage;
            let head = FromEngine::Memory { used, allowed, scarce };
            push(&self.shared, Message::bare(head), Outbox::push);
        }
    }

    fn take(&mut self, messages: Vec<Message<ToEngine>>) {
        for message in &messages {
            match &message.head {
                ToEngine::Settled(tickets) => self.shared.kept.lock().settle(tickets),
                ToEngine::Signal(number) => signal_self(*number),
                _ => {}
            }
        }
        self.asked |= messages.iter().any(|m| matches!(m.head, ToEngine::Shutdown));
        let send = |message| push(&self.shared, message, Outbox::push);
        self.shared.slot.receive(messages, send, &self.process.interrupt);
        self.report_at.get_or_insert(Instant::now() + ANNOUNCE_AFTER);
    }

    /// The session is over. After a goodbye the engine ends, else it tries to come back.
    fn closed(&mut self, reason: &CloseReason) {
        self.session = None;
        if matches!(reason, CloseReason::Goodbye) || self.asked {
            if self.status == FORCED {
                (self.process.exit)(FORCED);
            }
            self.shared.slot.end();
            self.end_at.get_or_insert(Instant::now() + GRACE);
            return;
        }
        let Accepted { lease, far, .. } = self.past.accepted;
        let none = if lease.is_zero() { LEASE } else { lease };
        // On its own host a controller that is not heard is one that does not run.
        let search = Search { none, unheard: if far { none.max(self.patience) } else { none } };
        let joining = if lease.is_zero() {
            self.shared.slot.renew(None);
            self.home.clone().join(search, None)
        } else {
            self.shared.slot.suspend();
            self.home.clone().join(search, Some((self.past, self.before())))
        };
        self.joining = Some(Box::pin(joining));
    }

    /// Tells what runs, at the moment it is asked.
    fn before(&self) -> Box<dyn Fn() -> (u64, Option<Underway>) + Send + Sync> {
        let shared = self.shared.clone();
        Box::new(move || shared.slot.before())
    }

    /// There is another session, or there will be none.
    fn joined(&mut self, joined: io::Result<Joined>) {
        self.joining = None;
        let Ok(joined) = joined else {
            // The place of a controller that ended is used by nobody again. That of an embedded
            // one was cleared by `join` if it ended, and is its own otherwise.
            if !self.home.embedded {
                place::clear_if_deserted(&self.home.directory);
            }
            (self.process.exit)(1)
        };
        let Joined { accepted, identity, outbox, events, tally, controller, member } = joined;
        // Before the locks below: who writes or ends a task holds the slot and then takes these. What is
        // told meanwhile goes nowhere and, if it is an outcome, is told again.
        if accepted.resumed {
            self.shared.slot.resume(tally);
        } else {
            self.shared.slot.renew(tally);
        }
        {
            // Nobody tells anything between what is told again and what is told first.
            let mut current = self.shared.outbox.write();
            let mut kept = self.shared.kept.lock();
            if accepted.resumed {
                for message in kept.again() {
                    // It could be sent before.
                    let _ = outbox.push(message);
                }
            } else {
                kept.keep(!accepted.lease.is_zero());
            }
            *current = outbox.clone();
        }
        self.memory.tell_again();
        self.shared.id.store(accepted.number, Ordering::Relaxed);
        self.session = Some(Session { events, controller, outbox });
        self.member = member;
        self.past = Past { accepted, identity };
        self.report_at.get_or_insert(Instant::now() + ANNOUNCE_AFTER);
    }
}

/// As the controller does to processes of its own host.
fn signal_self(number: i32) {
    if let Some(signal) = Signal::from_named_raw(number) {
        let _ = kill_process(getpid(), signal);
    }
}
