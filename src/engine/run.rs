//! The engine's I/O: one session with the controller, and the clock of the slot. The main thread
//! drives it while it has nothing to do, its I/O thread while a task runs.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep_until};

use super::slot::{ANNOUNCE_AFTER, Look, Slot, Work};
use crate::memory::Tally;
use crate::transport::{
    self, CloseReason, ConnectError, Drive, Event, Outbox, PushError, Sink, place,
};
use crate::wire::limits::{FORCED, QUEUED_MAX};
use crate::wire::{FromEngine, Hello, Message, Parts, Role, Status, ToEngine};

/// How long an engine whose session broke knocks again. If the controller lives, it comes back as
/// a new engine; if not, nobody is there to wait for.
const LEASE: Duration = Duration::from_millis(500);
/// How long one attempt to join takes at most, and the pause before the next.
const ATTEMPT: Duration = Duration::from_millis(200);
const RETRY: Duration = Duration::from_millis(100);
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
    outbox: RwLock<Outbox<FromEngine>>,
    id: AtomicU32,
    leave: Notify,
}

/// An engine that has joined a cluster.
pub struct Engine {
    shared: Arc<Shared>,
    drive: Arc<Drive>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

struct Home {
    directory: PathBuf,
    embedded: bool,
    python: String,
}

type Events = mpsc::Receiver<Event<ToEngine>>;

/// A session that was just joined.
struct Joined {
    number: u32,
    outbox: Outbox<FromEngine>,
    events: Events,
    tally: Option<Tally>,
    /// The controller's process. Its end is the session's end even if a child it forked keeps its
    /// sockets open; none if the system does not tell.
    controller: Option<AsyncFd<OwnedFd>>,
}

impl Home {
    /// Whether this place belonged to a process that has ended.
    fn is_abandoned(&self) -> bool {
        place::read(&self.directory)
            .is_ok_and(|connection| connection.embedded && has_ended(connection.pid))
    }

    async fn join(&self, patience: Duration) -> io::Result<Joined> {
        let deadline = Instant::now() + patience;
        loop {
            let error = match self.try_join(ATTEMPT.min(patience)).await {
                Ok(joined) => return Ok(joined),
                Err(error) => error,
            };
            if self.is_abandoned() {
                place::clear(&self.directory);
                return Err(error);
            }
            // A controller that comes anew has a new secret, so it is read at each attempt.
            let gone = matches!(error.kind(), io::ErrorKind::NotFound);
            if !gone || !self.directory.exists() || Instant::now() + RETRY >= deadline {
                return Err(error);
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn try_join(&self, limit: Duration) -> io::Result<Joined> {
        let tally = Tally::new();
        let hello = Hello {
            token: place::read(&self.directory)?.token,
            role: Role::Engine,
            session: place::session()?,
            pid: std::process::id(),
            host: place::host(),
            python: self.python.clone(),
            lease: 0,
            tally: tally.as_ref().and_then(Tally::sign),
        };
        let (sender, events) = mpsc::channel(64);
        let sink = Sink::new(sender, |event| event);
        // Silence is no reason to leave a controller on the same host: if it ended, the
        // connection says so.
        let joined =
            transport::connect_with_retry(&self.directory, &hello, None, sink, limit).await;
        let (accepted, outbox) = joined.map_err(|error| match error {
            ConnectError::Nobody { .. } => io::Error::new(io::ErrorKind::NotFound, error),
            error => io::Error::other(error),
        })?;
        let controller = watch_process(accepted.pid);
        Ok(Joined { number: accepted.number, outbox, events, tally, controller })
    }
}

impl Engine {
    /// Joins the cluster in `directory`; `python` is the version of the interpreter, if any.
    pub fn join(
        directory: &Path,
        patience: Duration,
        python: String,
        process: Process,
    ) -> io::Result<Self> {
        let runtime = transport::runtime()?;
        let embedded = place::read(directory).is_ok_and(|connection| connection.embedded);
        let home = Home { directory: directory.to_owned(), embedded, python };
        let joined = runtime.block_on(home.join(patience))?;
        let shared = Arc::new(Shared {
            slot: Slot::default(),
            outbox: RwLock::new(joined.outbox),
            id: AtomicU32::new(joined.number),
            leave: Notify::new(),
        });
        shared.slot.renew(joined.tally);
        let poked = shared.clone();
        let drive = Drive::new(runtime, move || poked.outbox.read().poke());
        let life = Life::new(shared.clone(), home, process, joined.events, joined.controller);
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

/// Whether a process of this host has ended, reaped or not.
fn has_ended(pid: u32) -> bool {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return true };
    let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { return true };
    let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
}

/// Notices the end of a process of this host.
fn watch_process(pid: u32) -> Option<AsyncFd<OwnedFd>> {
    let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
    let pidfd = pidfd_open(pid, PidfdFlags::NONBLOCK).ok()?;
    #[expect(deprecated, reason = "its successor is unsafe; an owned descriptor stays valid")]
    AsyncFd::new(pidfd).ok()
}

/// Waits for the end of a process; for ever if there is none to watch.
async fn ended(process: Option<&AsyncFd<OwnedFd>>) {
    match process {
        Some(process) => drop(process.readable().await),
        None => std::future::pending().await,
    }
}

/// A way to queue a message.
type Push = fn(&Outbox<FromEngine>, Message<FromEngine>) -> Result<(), PushError>;

/// Queues a message. If the session is over, its task is void anyway; an outcome beyond a limit of
/// the wire is replaced by the refusal to send it.
fn push(shared: &Shared, message: Message<FromEngine>, push: Push) {
    let head = message.head.clone();
    let outbox = shared.outbox.read();
    let Err(PushError::Unsendable(fault)) = push(&outbox, message) else { return };
    if let FromEngine::Result { id, ticket, started, completed, .. } = head {
        let text = format!("the outcome cannot be sent: {fault}");
        let status = Status::Refused;
        let head = FromEngine::Result { id, ticket, status, started, completed };
        let _ = push(&outbox, Message { head, parts: Parts::from_elem(text.into(), 1) });
    }
}

/// The life of an engine's I/O, from joining to the end of the process or of its main thread.
struct Life {
    shared: Arc<Shared>,
    home: Home,
    process: Process,
    events: Events,
    controller: Option<AsyncFd<OwnedFd>>,
    /// Whether there is a session, or will be.
    open: bool,
    /// Whether the controller asked this engine to end.
    asked: bool,
    /// Whether the main thread has ended and wants its last words delivered.
    leaving: bool,
    /// When to look at the running task again.
    report_at: Option<Instant>,
    /// When the process ends even if its main thread does not, and its exit status then.
    end_at: Option<Instant>,
    status: i32,
}

impl Life {
    fn new(
        shared: Arc<Shared>,
        home: Home,
        process: Process,
        events: Events,
        controller: Option<AsyncFd<OwnedFd>>,
    ) -> Self {
        let (open, asked, leaving) = (true, false, false);
        let (report_at, end_at, status) = (None, None, 0);
        Self {
            shared,
            home,
            process,
            events,
            controller,
            open,
            asked,
            leaving,
            report_at,
            end_at,
            status,
        }
    }

    async fn live(mut self) {
        let far = Duration::from_secs(3600);
        loop {
            let never = Instant::now() + far;
            tokio::select! {
                event = self.events.recv(), if self.open => match event {
                    Some(Event::Messages(messages)) => self.take(messages),
                    Some(Event::Closed(_)) | None if self.leaving => return,
                    Some(Event::Closed(reason)) => self.closed(&reason).await,
                    None => return,
                },
                () = ended(self.controller.as_ref()), if self.open => {
                    // What it sent before is still read: the session ends when all is taken.
                    self.controller = None;
                    self.shared.outbox.read().abort();
                }
                () = self.shared.leave.notified(), if !self.leaving => {
                    if !self.open {
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

    fn take(&mut self, messages: Vec<Message<ToEngine>>) {
        self.asked |= messages.iter().any(|m| matches!(m.head, ToEngine::Shutdown));
        let send = |message| push(&self.shared, message, Outbox::push);
        self.shared.slot.receive(messages, send, &self.process.interrupt);
        self.report_at.get_or_insert(Instant::now() + ANNOUNCE_AFTER);
    }

    /// The session is over. After a goodbye the engine ends, else it tries to come back.
    async fn closed(&mut self, reason: &CloseReason) {
        if matches!(reason, CloseReason::Goodbye) || self.asked {
            if self.status == FORCED {
                (self.process.exit)(FORCED);
            }
            self.open = false;
            self.shared.slot.end();
            self.end_at.get_or_insert(Instant::now() + GRACE);
            return;
        }
        self.shared.slot.renew(None);
        let Ok(joined) = self.home.join(LEASE).await else {
            // The place of a controller that ended is used by nobody again. That of an embedded
            // one was cleared by `join` if it ended, and is its own otherwise.
            if !self.home.embedded {
                place::clear(&self.home.directory);
            }
            (self.process.exit)(1)
        };
        self.shared.slot.renew(joined.tally);
        *self.shared.outbox.write() = joined.outbox;
        self.shared.id.store(joined.number, Ordering::Relaxed);
        (self.events, self.controller) = (joined.events, joined.controller);
    }
}
