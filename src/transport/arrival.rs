//! A peer that said its hello and waits to be let in.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::directory::{SocketFile, random_name};
use super::door::Keeper;
use super::handshake::{kin, peer, say};
use super::lifeline::Lifeline;
use super::link::{Lanes, LinkError};
use super::outbox::{Outbox, Shared};
use super::refusals::Who;
use super::session::{self, CloseReason, Kinship, Patience, Pulse, Sink};
use super::zmq::{Lane, ZmqReceiver, ZmqSender};
use crate::memory::{Probe, Tally};
use crate::wire::limits::{HEARTBEAT, HELLO_DEADLINE, HELLO_MAX, SUSPECT};
use crate::wire::{Head, Hello, Role, Sign, Welcome};

/// A peer that came through the gate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Far {
    /// As what it proved to know the secret.
    pub(crate) role: Role,
    pub(crate) who: Who,
    /// How much silence is borne on both sides.
    pub(crate) patience: Duration,
}

/// See the module. Dropping it turns the peer away without a word.
pub struct Arrival {
    /// What it said; the token has been checked and is gone.
    pub hello: Hello,
    sign: Option<Sign>,
    stream: UnixStream,
    /// In a box, since there is none in most.
    far: Option<Box<Far>>,
    directory: Arc<Path>,
    keeper: Arc<Keeper>,
}

impl Arrival {
    pub(crate) fn new(
        mut hello: Hello,
        sign: Option<Sign>,
        stream: UnixStream,
        far: Option<Far>,
        (directory, keeper): (Arc<Path>, Arc<Keeper>),
    ) -> Self {
        hello.token = Vec::new();
        // The memory of a peer behind the gate is out of reach, whatever it says.
        let sign = sign.filter(|_| far.is_none());
        Self { hello, sign, stream, far: far.map(Box::new), directory, keeper }
    }

    /// The peer's process, if it is one of this host: only then is its number worth anything here.
    pub fn pid(&self) -> Option<u32> {
        peer(&self.stream).filter(|_| self.far.is_none())
    }

    /// The peer's tally, if it has one that can be seen here.
    pub fn tally(&self) -> Option<Tally> {
        Tally::open(self.pid()?, self.hello.tally.as_ref()?)
    }

    /// Lets the peer in under `number`. Returns at once; what is pushed meanwhile goes out when
    /// the session is open, and if it never opens, the sink is told so. A peer that gives no sign
    /// of life for too long is lost; `None` trusts the connection alone. `resumed` says whether it is
    /// taken for what it says it was before.
    ///
    /// # Errors
    /// If the system has no sockets or names left.
    pub fn admit<In: Head, Out: Head, T: Send + 'static>(
        self,
        (number, resumed): (u32, bool),
        patience: Option<Patience>,
        sink: Sink<In, T>,
    ) -> io::Result<Outbox<Out>> {
        let far = self.far.as_ref().map(|far| far.patience);
        let patience = far.map_or(patience, |lost| {
            let suspect = patience.map_or(SUSPECT, |patience| patience.suspect).min(lost);
            Some(Patience { suspect, lost })
        });
        let beat = patience.map_or(HEARTBEAT, Patience::beat);
        let silence = patience.map(|patience| patience.lost);
        let pulse = Pulse { silence, beat, mutual: far.is_some() };
        let entry = Entry::prepare(self, (number, resumed), beat.as_millis() as u32)?;
        let (shared, mut stop) = Shared::new();
        let outbox = Outbox::new(Arc::clone(&shared));
        tokio::spawn(async move {
            match entry.open(&mut stop).await {
                Ok((lanes, lifeline, kinship)) => {
                    let beats = lifeline.beats();
                    let lifeline = (lifeline, beats);
                    session::run(shared, stop, lanes, lifeline, sink, pulse, kinship).await;
                }
                Err(reason) => {
                    shared.end(reason);
                    sink.closed(shared.shut()).await;
                }
            }
        });
        Ok(outbox)
    }

    /// Turns the peer away and tells it why; it will not ask again.
    pub fn refuse(mut self, reason: impl Into<String>) {
        let reason = reason.into();
        tokio::spawn(async move { refuse(&mut self.stream, &reason).await });
    }
}

impl fmt::Debug for Arrival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arrival").field("hello", &self.hello).finish_non_exhaustive()
    }
}

/// Tells `reason` to whoever is at the other end, if it listens.
pub(crate) async fn refuse(stream: &mut UnixStream, reason: &str) {
    // Cut to what fits, with room for the frame around it.
    let reason: String = reason.chars().take(HELLO_MAX / 8).collect();
    let refusal = (Welcome::Refused(reason), None::<Sign>, false);
    let _ = timeout(HELLO_DEADLINE, say(stream, &refusal)).await;
}

/// The sockets of a session that is about to open.
struct Entry {
    stream: UnixStream,
    sign: Option<Sign>,
    welcome: Welcome,
    ctl: (std::os::unix::net::UnixListener, SocketFile),
    bulk: (std::os::unix::net::UnixListener, SocketFile),
}

impl Entry {
    fn prepare(arrival: Arrival, (number, resumed): (u32, bool), beat: u32) -> io::Result<Self> {
        let Arrival { stream, sign, directory, keeper, .. } = arrival;
        let (ctl, bulk) = (random_name()?, random_name()?);
        let sockets = [&ctl, &bulk].map(|name| SocketFile::bind(directory.join(name)));
        let [ctl_socket, bulk_socket] = sockets;
        let (controller, pid) = (keeper.session, keeper.pid);
        let lease = u32::try_from(keeper.lease.as_millis()).unwrap_or(u32::MAX);
        let welcome =
            Welcome::Accepted { ctl, bulk, number, controller, pid, beat, lease, resumed };
        Ok(Self { stream, sign, welcome, ctl: ctl_socket?, bulk: bulk_socket? })
    }

    /// Lets the peer connect its lanes; what takes too long, fails.
    async fn open(
        self,
        stop: &mut oneshot::Receiver<()>,
    ) -> Result<(Lanes<ZmqSender, ZmqReceiver>, Lifeline, Kinship), CloseReason> {
        let Self { mut stream, sign, welcome, ctl, bulk } = self;
        let ((ctl, ctl_file), (bulk, bulk_file)) = (ctl, bulk);
        let peer = kin(&stream, sign.as_ref());
        let probe = Probe::new();
        let greeting = async {
            let mut ctl = Lane::listen(ctl).await?;
            let mut bulk = Lane::listen(bulk).await?;
            let welcome = (&welcome, probe.as_ref().map(Probe::sign), peer.is_some());
            if say(&mut stream, &welcome).await.is_err() {
                return Ok(None);
            }
            let mut byte = [0];
            let reads_us = tokio::select! {
                greeted = async {
                    bulk.greeted().await?;
                    ctl.greeted().await
                } => greeted?,
                _ = stream.read(&mut byte) => return Ok(None),
            };
            ctl.greet(peer.is_some()).await?;
            bulk.greet(peer.is_some()).await?;
            let kinship = Kinship { peer, reads_us };
            Ok(Some((
                Lanes { ctl: ctl.split(), bulk: bulk.split(), carrying: Vec::new() },
                kinship,
            )))
        };
        let greeted = tokio::select! {
            _ = stop => return Err(CloseReason::Aborted),
            greeted = timeout(HELLO_DEADLINE, greeting) => greeted,
        };
        drop((ctl_file, bulk_file));
        match greeted {
            Ok(Ok(Some((lanes, kinship)))) => match Lifeline::new(stream) {
                Ok(lifeline) => Ok((lanes, lifeline, kinship)),
                Err(error) => Err(CloseReason::Failed(error.to_string())),
            },
            Ok(Ok(None)) => Err(CloseReason::Vanished),
            Ok(Err(LinkError(text))) => Err(CloseReason::Failed(text)),
            Err(_) => Err(CloseReason::Silent(HELLO_DEADLINE)),
        }
    }
}
