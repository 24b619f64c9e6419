//! A client of a controller in another process: its session and its I/O thread, and the session
//! after that when it broke: with the same controller, or with one that has taken the place of one
//! that was killed.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep, sleep_until};

use super::core::{Core, Lifetime, Uplink};
use crate::clock::wall_clock;
use crate::transport::{
    self, Accepted, CloseReason, ConnectError, Drive, Event, Outbox, PushError, Sink, place,
};
use crate::wire::{Before, FromClient, Hello, Message, Role, SessionId, ToClient, limits};

/// The first pause between two looks for a controller, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

/// How long a controller is looked for to which the network does not lead, unless the caller said how
/// long: it waits for its clients for as long (`controller::gone`).
const UNHEARD: Duration = Duration::from_secs(600);

type Events = mpsc::Receiver<Event<ToClient>>;

/// Who connects to what, and how it is known there.
pub struct Address {
    /// The cluster's directory, or its connection file.
    pub directory: PathBuf,
    /// `major.minor` of this process's Python.
    pub python: String,
    /// How long unfinished tasks run on when this client is gone.
    pub lease: Duration,
    /// How long to look for the controller when the session broke, or for another when it was killed;
    /// `None` for as long as it says itself.
    pub reconnect: Option<Duration>,
}

/// The way to the controller there is now. While there is none, what is said is dropped: what
/// matters is said again to the next.
struct Line {
    outbox: RwLock<Outbox<FromClient>>,
    keeps: bool,
    /// Nothing more is said, whatever session comes.
    closed: AtomicBool,
}

impl Uplink for Arc<Line> {
    fn push(&self, message: Message<FromClient>) -> Result<(), String> {
        match self.outbox.read().push_quietly(message) {
            Err(PushError::Unsendable(fault)) => Err(fault.to_string()),
            Ok(()) | Err(PushError::Closed) => Ok(()),
        }
    }

    fn wants_pieces(&self) -> bool {
        true
    }

    fn keeps(&self) -> bool {
        self.keeps
    }
}

/// A connected client.
pub struct Remote {
    /// Its books.
    pub core: Arc<Core>,
    controller: Arc<AtomicU32>,
    line: Arc<Line>,
    closing: Arc<Notify>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

impl Remote {
    /// Connects to a controller; gives up after `patience`. At most `bound` bytes of arguments are
    /// in flight.
    pub fn connect(address: Address, patience: Duration, bound: u64) -> io::Result<Self> {
        let session = place::session()?;
        let runtime = transport::runtime()?;
        let connected = runtime.block_on(address.connect(session, None, patience));
        let Connected { accepted, outbox, events, member } = connected.map_err(io::Error::other)?;
        let others = match accepted.lease {
            Duration::ZERO => Duration::ZERO,
            lease => address.reconnect.unwrap_or(lease),
        };
        // Also who does not wait for another says what arrived, so that nobody keeps it.
        let line = Line {
            outbox: RwLock::new(outbox),
            keeps: !accepted.lease.is_zero(),
            closed: AtomicBool::new(false),
        };
        let line = Arc::new(line);
        let core = Arc::new(Core::new(session, Box::new(line.clone()), bound));
        let poked = line.clone();
        let drive = Drive::new(runtime, move || poked.outbox.read().poke());
        core.driven_by(drive.clone());
        let (controller, closing) = (Arc::new(AtomicU32::new(accepted.pid)), Arc::default());
        let inside = Lifetime(core.clone());
        let mut session = Life {
            address,
            session,
            accepted,
            others,
            line: line.clone(),
            closing: Arc::clone(&closing),
            controller: controller.clone(),
            member,
        };
        let thread = drive.start(async move {
            let Lifetime(core) = &inside;
            session.live(core, events).await;
        });
        let thread = Mutex::new(Some(thread?));
        Ok(Self { core, controller, line, closing, thread })
    }

    /// The controller's process.
    pub fn controller_pid(&self) -> u32 {
        self.controller.load(Ordering::Relaxed)
    }

    /// Says goodbye after everything queued has been sent, and ends the I/O thread.
    pub fn close(&self) {
        self.core.tell_taken();
        self.closing.notify_one();
        // Before the look at the session that there is: whoever puts another in its place looks after that.
        self.line.closed.store(true, Ordering::SeqCst);
        self.line.outbox.read().close();
        if let Some(drive) = self.core.drive() {
            drive.need();
        }
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.close();
    }
}

/// A session that was just opened.
struct Connected {
    accepted: Accepted,
    outbox: Outbox<FromClient>,
    events: Events,
    /// Keeps the place from being taken for a leftover while another controller may come.
    member: Option<File>,
}

impl Address {
    async fn connect(
        &self,
        session: SessionId,
        before: Option<Before>,
        patience: Duration,
    ) -> Result<Connected, ConnectError> {
        let token = place::token_of(&self.directory).map_err(|error| {
            let (door, detail) = (self.directory.clone(), error.to_string());
            match error.kind() {
                io::ErrorKind::PermissionDenied => ConnectError::NotOurs { door, reason: detail },
                _ => ConnectError::Nobody { door, detail },
            }
        })?;
        let hello = Hello {
            token,
            role: Role::Client,
            session,
            pid: std::process::id(),
            host: place::host(),
            python: self.python.clone(),
            lease: u64::try_from(self.lease.as_nanos()).unwrap_or(u64::MAX),
            tally: None,
            before,
        };
        let (sender, events) = mpsc::channel(64);
        let sink = Sink::new(sender, |event| event);
        let silence = Some(limits::SILENCE);
        let connecting = transport::connect(&self.directory, &hello, silence, sink, patience);
        let (accepted, outbox) = connecting.await?;
        let stays = !accepted.lease.is_zero() && !accepted.far;
        let member = if stays { place::join(&self.directory).ok() } else { None };
        Ok(Connected { accepted, outbox, events, member })
    }
}

/// The life of a client's I/O: one session, or several if one breaks or its controller is followed.
struct Life {
    address: Address,
    session: SessionId,
    accepted: Accepted,
    /// How long another controller is looked for.
    others: Duration,
    line: Arc<Line>,
    closing: Arc<Notify>,
    controller: Arc<AtomicU32>,
    member: Option<File>,
}

impl Life {
    async fn live(&mut self, core: &Core, mut events: Events) {
        loop {
            let reason = listen(core, &mut events).await;
            let over = format!("the session with the controller ended: {reason}");
            if matches!(reason, CloseReason::Goodbye) || self.others.is_zero() {
                return core.end_session(&over, wall_clock());
            }
            core.set_away(true);
            let followed = tokio::select! {
                biased;
                () = self.closing.notified() => Err("the client was closed".to_owned()),
                followed = self.follow() => followed,
            };
            match followed {
                Ok(Connected { accepted, outbox, events: others, member }) => {
                    self.controller.store(accepted.pid, Ordering::Relaxed);
                    (self.accepted, self.member) = (accepted, member);
                    core.submit_again(|| *self.line.outbox.write() = outbox);
                    if self.line.closed.load(Ordering::SeqCst) {
                        self.line.outbox.read().close();
                    }
                    core.set_away(false);
                    events = others;
                }
                Err(text) => return core.end_session(&format!("{over}; {text}"), wall_clock()),
            }
        }
    }

    /// Looks for the controller, or the one that follows if it was killed, for as long as one may come.
    async fn follow(&self) -> Result<Connected, String> {
        let Accepted { controller, number, far, .. } = self.accepted;
        let before = Before { controller, number, ticket: 0, running: None };
        let longer = far && self.address.reconnect.is_none();
        let unheard = if longer { self.others.max(UNHEARD) } else { self.others };
        let begun = Instant::now();
        // Since when it is known, without a break, that none is there.
        let mut none_since = Some(begun);
        let mut pause = PAUSE.0;
        loop {
            let left = (begun + unheard).saturating_duration_since(Instant::now());
            let patience = place::attempt(&self.address.directory).min(left);
            let (deadline, nobody) =
                match self.address.connect(self.session, Some(before.clone()), patience).await {
                    Ok(connected) if connected.accepted.resumed => return Ok(connected),
                    Ok(connected) if connected.accepted.controller == controller => {
                        return Err(
                            "the controller lives and has given this client up: its lease ended \
                                before its tasks did, or it was away for more than 10 minutes; a \
                                new client can ask for the results by msg_id"
                                .to_owned(),
                        );
                    }
                    Ok(_) => return Err("the one that is there now knows nothing of it".to_owned()),
                    Err(error @ (ConnectError::Refused { .. } | ConnectError::NotOurs { .. })) => {
                        return Err(error.to_string());
                    }
                    Err(_) if !self.address.directory.exists() => {
                        return Err("nobody waits for another any more".to_owned());
                    }
                    Err(ConnectError::Unreachable { .. } | ConnectError::Timeout { .. }) => {
                        none_since = None;
                        let text = "it could not be reached within";
                        (begun + unheard, format!("{text} {} s", unheard.as_secs_f64()))
                    }
                    Err(_) => {
                        let since = *none_since.get_or_insert_with(Instant::now);
                        let text = "no other came within";
                        (since + self.others, format!("{text} {} s", self.others.as_secs_f64()))
                    }
                };
            if Instant::now() + pause >= deadline {
                return Err(nobody);
            }
            sleep(transport::jittered(pause)).await;
            pause = PAUSE.1.min(pause * 2);
        }
    }
}

/// Enters what comes in a session, until it ends.
async fn listen(core: &Core, events: &mut Events) -> CloseReason {
    loop {
        let due = core.taken_due();
        let at = due.map_or_else(Instant::now, Instant::from_std);
        tokio::select! {
            event = events.recv() => match event {
                Some(Event::Messages(messages)) => {
                    let now = wall_clock();
                    for message in messages {
                        core.receive(message, now);
                    }
                }
                Some(Event::Closed(reason)) => return reason,
                None => return CloseReason::Aborted,
            },
            () = sleep_until(at), if due.is_some() => core.tell_taken(),
        }
    }
}
