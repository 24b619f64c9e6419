//! The way into a cluster: once at the start, and again after a session ended without a goodbye.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::memory::Tally;
use crate::transport::{self, Accepted, ConnectError, Event, Outbox, Sink, place};
use crate::wire::{Before, FromEngine, Hello, Role, SessionId, ToEngine, Underway};

/// The first pause between two attempts to join, and the longest while it is hardly over.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(500));
/// Later they grow with the time that has passed, to this share of it and no further than that.
const LATER: (u32, Duration) = (16, Duration::from_secs(10));

/// How long a controller is looked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Search {
    /// While it is known that none is there.
    pub(super) none: Duration,
    /// While nothing is known of it: it may live behind a network that is broken.
    pub(super) unheard: Duration,
}

/// Why there is no session.
enum Missed {
    /// No controller is there.
    None(io::Error),
    /// Nobody knows.
    Unheard(io::Error),
    /// Asking again is useless.
    Final(io::Error),
}

impl From<io::Error> for Missed {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::NotFound { Self::None(error) } else { Self::Final(error) }
    }
}

/// Where an engine lives.
pub(super) struct Home {
    pub(super) directory: PathBuf,
    /// Whether the controller lives and dies with a client's process.
    pub(super) embedded: bool,
    python: String,
}

pub(super) type Events = mpsc::Receiver<Event<ToEngine>>;

/// What an engine was in a session.
#[derive(Clone, Copy)]
pub(super) struct Past {
    pub(super) accepted: Accepted,
    /// The engine's own session.
    pub(super) identity: SessionId,
}

/// A past to go on with, and how to see what it was given last and runs.
type Resumed = (Past, Box<dyn Fn() -> (u64, Option<Underway>) + Send + Sync>);

/// A session that was just joined.
pub(super) struct Joined {
    pub(super) accepted: Accepted,
    pub(super) identity: SessionId,
    pub(super) outbox: Outbox<FromEngine>,
    pub(super) events: Events,
    pub(super) tally: Option<Tally>,
    /// The controller's process. Its end is the session's end even if a child it forked keeps its
    /// sockets open; none if the system does not tell.
    pub(super) controller: Option<AsyncFd<OwnedFd>>,
    /// Keeps the place from being taken for a leftover while another controller may come.
    pub(super) member: Option<File>,
}

impl Home {
    /// The cluster in `directory`; `python` is the version of the interpreter, if any.
    pub(super) fn new(directory: &Path, python: String) -> Self {
        let embedded = place::read(directory).is_ok_and(|connection| connection.embedded);
        Self { directory: directory.to_owned(), embedded, python }
    }

    /// Whether this place belonged to a process that has ended.
    fn is_abandoned(&self) -> bool {
        place::read(&self.directory)
            .is_ok_and(|connection| connection.embedded && has_ended(connection.pid))
    }

    /// Joins, as what it was before if it says so; tries again as long as `search` says.
    pub(super) async fn join(
        self: Arc<Self>,
        search: Search,
        past: Option<Resumed>,
    ) -> io::Result<Joined> {
        let begun = Instant::now();
        let longest = place::attempt(&self.directory);
        // Since when it is known, without a break, that none is there.
        let mut none_since = Some(begun);
        let mut pause = PAUSE.0;
        loop {
            let limit = longest.min((begun + search.unheard) - Instant::now());
            let (error, deadline) = match self.try_join(limit, past.as_ref()).await {
                Ok(joined) => return Ok(joined),
                Err(Missed::Final(error)) => (error, begun),
                Err(Missed::Unheard(error)) => {
                    none_since = None;
                    (error, begun + search.unheard)
                }
                Err(Missed::None(error)) => {
                    (error, *none_since.get_or_insert_with(Instant::now) + search.none)
                }
            };
            if self.is_abandoned() {
                place::clear(&self.directory);
                return Err(error);
            }
            if !self.directory.exists() || Instant::now() + pause >= deadline {
                return Err(error);
            }
            tokio::time::sleep(transport::jittered(pause)).await;
            let later = (begun.elapsed() / LATER.0).min(LATER.1);
            pause = PAUSE.1.max(later).min(pause * 2);
        }
    }

    async fn try_join(&self, limit: Duration, past: Option<&Resumed>) -> Result<Joined, Missed> {
        let tally = Tally::new();
        let identity = past.map_or_else(place::session, |(past, _)| Ok(past.identity))?;
        let before = past.map(|(past, state)| {
            let (ticket, running) = state();
            let Accepted { controller, number, .. } = past.accepted;
            Before { controller, number, ticket, running }
        });
        let hello = Hello {
            // A controller that comes anew may have a new secret, so it is read at each attempt.
            token: place::token_of(&self.directory)?,
            role: Role::Engine,
            session: identity,
            pid: std::process::id(),
            host: place::host(),
            python: self.python.clone(),
            lease: 0,
            tally: tally.as_ref().and_then(Tally::sign),
            before,
        };
        let (sender, events) = mpsc::channel(64);
        let sink = Sink::new(sender, |event| event);
        // Silence is no reason to leave a controller on the same host: if it ended, the
        // connection says so. One behind a gate says itself what is borne.
        let joined = transport::connect(&self.directory, &hello, None, sink, limit).await;
        let (accepted, outbox) = joined.map_err(|error| match error {
            ConnectError::Refused { .. } | ConnectError::NotOurs { .. } => {
                Missed::Final(io::Error::other(error))
            }
            ConnectError::Nobody { .. } => {
                Missed::None(io::Error::new(io::ErrorKind::NotFound, error))
            }
            error => Missed::Unheard(io::Error::new(io::ErrorKind::NotFound, error)),
        })?;
        let controller = if accepted.far { None } else { watch_process(accepted.pid) };
        let stays = !accepted.lease.is_zero() && !accepted.far;
        let member = if stays { place::join(&self.directory).ok() } else { None };
        Ok(Joined { accepted, identity, outbox, events, tally, controller, member })
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
pub(super) async fn ended(process: Option<&AsyncFd<OwnedFd>>) {
    match process {
        Some(process) => drop(process.readable().await),
        None => std::future::pending().await,
    }
}
