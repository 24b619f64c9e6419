//! The other side of the door: how an engine or a client gets its session.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, sleep, timeout};

use super::directory;
use super::handshake::{Unheard, hear, kin, say};
use super::lifeline::Lifeline;
use super::link::{Lanes, LinkError};
use super::outbox::{Outbox, Shared};
use super::session::{self, Kinship, Pulse, Sink};
use super::site::{Knocked, Site};
use super::zmq::{ZmqReceiver, ZmqSender};
use crate::memory::Probe;
use crate::wire::{Head, Hello, SessionId, Sign, Welcome};

/// First and longest pause between two attempts.
const RETRY: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(500));

/// What the controller told a peer that it let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The number given: an engine's or a client's.
    pub number: u32,
    /// The controller's own session.
    pub controller: SessionId,
    /// The controller's process.
    pub pid: u32,
    /// How often it wants a sign of life.
    pub beat: Duration,
    /// How long to look for another controller if this one is killed; zero if none will come.
    pub lease: Duration,
    /// Whether it takes this process for what it said it was before.
    pub resumed: bool,
    /// Whether it is reached over a network, so that the kernel knows nothing of its process.
    pub far: bool,
}

/// Why there is no session.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// No controller listens there, now; it may later.
    #[error("no controller listens at {} ({detail})", door.display())]
    Nobody {
        /// Where it was looked for.
        door: PathBuf,
        /// What the system said.
        detail: String,
    },
    /// No way leads there, now: of a network that is broken nobody knows whether the controller lives.
    #[error("the controller at {} cannot be reached ({detail})", door.display())]
    Unreachable {
        /// Where it was looked for.
        door: PathBuf,
        /// What the system said.
        detail: String,
    },
    /// The controller does not want this process; asking again is useless.
    #[error("the controller at {} refused this process: {reason}", door.display())]
    Refused {
        /// Where it listens.
        door: PathBuf,
        /// What it said.
        reason: String,
    },
    /// What is there belongs to somebody else or is open to others, so nothing was said to it.
    #[error("the cluster at {} cannot be trusted: {reason}", door.display())]
    NotOurs {
        /// Where it listens.
        door: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The controller did not answer in time.
    #[error("the controller at {} did not answer within {} s", door.display(), after.as_secs_f64())]
    Timeout {
        /// Where it listens.
        door: PathBuf,
        /// How long was waited.
        after: Duration,
    },
    /// The connection failed.
    #[error("the connection to the controller at {} failed: {detail}", door.display())]
    Io {
        /// Where it listens.
        door: PathBuf,
        /// What the system said.
        detail: String,
    },
}

/// Connects to the controller of the cluster in `directory`, or behind the gate of which this
/// connection file tells, and opens a session. A controller that gives no sign of life for `silence`
/// is lost; `None` trusts the connection alone; behind a gate it says itself for how long. Everything
/// together takes at most `limit`. Must be called within a tokio runtime.
///
/// # Errors
/// If there is no session; [`ConnectError`] says why.
pub async fn connect<In: Head, Out: Head, T: Send + 'static>(
    directory: &Path,
    hello: &Hello,
    silence: Option<Duration>,
    sink: Sink<In, T>,
    limit: Duration,
) -> Result<(Accepted, Outbox<Out>), ConnectError> {
    let opened = knock(directory, hello, limit).await?;
    Ok(opened.start(silence, sink))
}

/// As [`connect`], but waits for a controller that is not there yet, until `limit` has passed.
///
/// # Errors
/// As [`connect`]; everything but [`ConnectError::Nobody`] and [`ConnectError::Unreachable`] at once.
pub async fn connect_with_retry<In: Head, Out: Head, T: Send + 'static>(
    directory: &Path,
    hello: &Hello,
    silence: Option<Duration>,
    sink: Sink<In, T>,
    limit: Duration,
) -> Result<(Accepted, Outbox<Out>), ConnectError> {
    let deadline = Instant::now() + limit;
    let mut pause = RETRY.0;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match knock(directory, hello, left).await {
            Ok(opened) => return Ok(opened.start(silence, sink)),
            Err(error @ (ConnectError::Nobody { .. } | ConnectError::Unreachable { .. })) => {
                let pause = jittered(pause);
                if Instant::now() + pause >= deadline {
                    return Err(error);
                }
                sleep(pause).await;
            }
            Err(error) => return Err(error),
        }
        pause = RETRY.1.min(pause * 2);
    }
}

/// Between half of `pause` and all of it, so that many processes do not knock in step.
pub(crate) fn jittered(pause: Duration) -> Duration {
    let share = directory::random::<1>().map_or(u8::MAX, |[byte]| byte);
    pause / 2 + pause.mul_f64(f64::from(share) / 510.0)
}

/// A session that is open but has no tasks yet.
struct Opened {
    accepted: Accepted,
    lanes: Lanes<ZmqSender, ZmqReceiver>,
    lifeline: Lifeline,
    kinship: Kinship,
    /// For how long both sides bear silence, over a network.
    far: Option<Duration>,
}

impl Opened {
    fn start<In: Head, Out: Head, T: Send + 'static>(
        self,
        silence: Option<Duration>,
        sink: Sink<In, T>,
    ) -> (Accepted, Outbox<Out>) {
        let (shared, stop) = Shared::new();
        let outbox = Outbox::new(Arc::clone(&shared));
        let Self { accepted, lanes, lifeline, kinship, far } = self;
        let pulse = Pulse { silence: far.or(silence), beat: accepted.beat, mutual: far.is_some() };
        let beats = lifeline.beats();
        let lifeline = (lifeline, beats);
        tokio::spawn(session::run(shared, stop, lanes, lifeline, sink, pulse, kinship));
        (accepted, outbox)
    }
}

async fn knock(directory: &Path, hello: &Hello, limit: Duration) -> Result<Opened, ConnectError> {
    let site = Site::of(directory).map_err(|error| ConnectError::from_io(directory, error))?;
    match timeout(limit, open(&site, hello)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(ConnectError::Timeout { door: site.door(), after: limit }),
    }
}

async fn open(site: &Site, hello: &Hello) -> Result<Opened, ConnectError> {
    let door = &site.door();
    let not_ours = |reason| ConnectError::NotOurs { door: door.into(), reason };
    let Knocked { stream: mut lifeline, far, carrying } = site.knock(hello.role).await?;
    let failed = |error: io::Error| match ConnectError::from_io(door, error) {
        // A way over a network that ends may have been cut anywhere.
        ConnectError::Nobody { door, detail } if far.is_some() => {
            ConnectError::Unreachable { door, detail }
        }
        error => error,
    };
    let probe = far.map_or_else(Probe::new, |_| None);
    say(&mut lifeline, &(hello, probe.as_ref().map(Probe::sign))).await.map_err(failed)?;
    let (welcome, sign, reads_us): (Welcome, Option<Sign>, bool) =
        hear(&mut lifeline).await.map_err(|fault| match fault {
            Unheard::Io(error) => failed(error),
            fault => ConnectError::Refused { door: door.into(), reason: fault.to_string() },
        })?;
    let (ctl, bulk, accepted) = match welcome {
        Welcome::Refused(reason) => {
            return Err(ConnectError::Refused { door: door.into(), reason });
        }
        Welcome::Accepted { ctl, bulk, number, controller, pid, beat, lease, resumed } => {
            let [beat, lease] = [beat, lease].map(|time| Duration::from_millis(u64::from(time)));
            let far = far.is_some();
            (ctl, bulk, Accepted { number, controller, pid, beat, lease, resumed, far })
        }
    };
    if !directory::is_name(&ctl) || !directory::is_name(&bulk) {
        return Err(not_ours("it names sockets outside of its directory".into()));
    }
    let kinship = match far {
        Some(_) => Kinship::default(),
        None => Kinship { peer: kin(&lifeline, sign.as_ref()), reads_us },
    };
    let mut byte = [0];
    let lanes = tokio::select! {
        lanes = lanes(site, &ctl, &bulk, kinship.peer.is_some()) => lanes,
        _ = lifeline.read(&mut byte) => Err(LinkError("it hung up".into())),
    };
    let mut lanes =
        lanes.map_err(|LinkError(detail)| ConnectError::Io { door: door.clone(), detail })?;
    lanes.carrying.extend(carrying);
    let lifeline = Lifeline::new(lifeline).map_err(failed)?;
    Ok(Opened { accepted, lanes, lifeline, kinship, far })
}

async fn lanes(
    site: &Site,
    ctl: &str,
    bulk: &str,
    reads: bool,
) -> Result<Lanes<ZmqSender, ZmqReceiver>, LinkError> {
    // Over a network each takes several ways to and fro.
    let ((mut ctl, one), (mut bulk, other)) = tokio::try_join!(site.lane(ctl), site.lane(bulk))?;
    ctl.greet(reads).await?;
    bulk.greet(reads).await?;
    ctl.greeted().await?;
    bulk.greeted().await?;
    let carrying = one.into_iter().chain(other).collect();
    Ok(Lanes { ctl: ctl.split(), bulk: bulk.split(), carrying })
}

impl ConnectError {
    /// A door that is missing, shut, crowded or closed on us while we spoke means that there is no
    /// controller at the moment.
    pub(crate) fn from_io(door: &Path, error: io::Error) -> Self {
        use io::ErrorKind as Kind;
        let door = door.to_path_buf();
        let detail = error.to_string();
        match error.kind() {
            Kind::NotFound
            | Kind::ConnectionRefused
            | Kind::ConnectionReset
            | Kind::BrokenPipe
            | Kind::UnexpectedEof
            | Kind::WouldBlock => Self::Nobody { door, detail },
            Kind::PermissionDenied => Self::NotOurs { door, reason: detail },
            _ => Self::Io { door, detail },
        }
    }
}
