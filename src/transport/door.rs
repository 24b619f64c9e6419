//! The door: where peers of the cluster knock and are asked who they are.
//!
//! A stranger gets at most [`HELLO_MAX`](crate::wire::limits::HELLO_MAX) bytes read, one of
//! [`HELLO_CONCURRENT`] places for at most [`HELLO_DEADLINE`] and only until somebody else needs it,
//! and nothing parsed beyond that. Whoever is turned away is counted (`refusals`).

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use subtle::ConstantTimeEq;
use thiserror::Error;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::accept::{self, accept};
use super::arrival::{Arrival, Far, refuse};
use super::directory::{self, DOOR, SocketFile};
use super::handshake::{Unheard, hear, peer};
use super::refusals::{Fault, Refusals, Who};
use crate::wire::limits::{HELLO_CONCURRENT, HELLO_DEADLINE};
use crate::wire::{Hello, SessionId, Sign};

/// Who listens.
#[derive(Clone)]
pub struct Keeper {
    /// The cluster's secret; whoever does not know it is refused.
    pub token: Vec<u8>,
    /// The controller's own session.
    pub session: SessionId,
    /// The controller's process.
    pub pid: u32,
    /// How long peers are to look for another controller if this one is killed; zero if none will
    /// come.
    pub lease: Duration,
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper")
            .field("session", &self.session)
            .field("pid", &self.pid)
            .finish_non_exhaustive()
    }
}

/// Why a door cannot be opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DoorError {
    /// The directory is not ours alone, or its path is too long.
    #[error("no cluster can live here: {0}")]
    NotOurs(String),
    /// Another controller lives here.
    #[error("a controller already listens at {}", .0.display())]
    InUse(PathBuf),
    /// The system refused something.
    #[error("cannot listen at {}: {error}", path.display())]
    Io {
        /// The door, or its directory.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

/// Takes in a peer that has passed the gate.
pub(crate) type Enter = Arc<dyn Fn(UnixStream, Far) + Send + Sync>;

/// An open door; closed, and its socket removed, when this is dropped. Sessions go on without it.
pub struct Door {
    path: PathBuf,
    accepting: AbortHandle,
    enter: Enter,
    refusals: Arc<Refusals>,
    // Dropped in this order: whoever gets the lock next finds no file.
    _file: SocketFile,
    _lock: File,
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Door {
    /// Opens the door of the cluster in `directory`, which must exist, be ours and closed to
    /// others. Peers that know the token go to `sender`, after `map` made them the caller's; as
    /// long as the channel is full, they wait. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// If the directory is not fit, somebody else listens there, or the system refuses.
    pub fn open<T: Send + 'static>(
        directory: &Path,
        keeper: Keeper,
        sender: mpsc::Sender<T>,
        map: impl Fn(Arrival) -> T + Send + Sync + 'static,
    ) -> Result<Self, DoorError> {
        let io = |error| DoorError::Io { path: directory.into(), error };
        directory::check(directory).map_err(io)?.map_err(DoorError::NotOurs)?;
        let path = directory.join(DOOR);
        let in_use = || DoorError::InUse(path.clone());
        let lock = directory::lock(directory).map_err(io)?.ok_or_else(in_use)?;
        if answers(&path).map_err(io)? {
            return Err(in_use());
        }
        let (listener, file) = listen(&path).map_err(io)?;
        let refusals = Arc::new(Refusals::new(directory));
        let porter = Arc::new(Porter {
            directory: directory.into(),
            keeper: Arc::new(keeper),
            sender,
            map,
            refusals: Arc::clone(&refusals),
        });
        let inner = Arc::clone(&porter);
        let enter: Enter = Arc::new(move |stream, far| {
            tokio::spawn(Arc::clone(&inner).hear_far(stream, far));
        });
        let accepting = accept(porter, listener, Arc::clone(&refusals));
        let accepting = tokio::spawn(accepting).abort_handle();
        Ok(Self { path, accepting, enter, refusals, _file: file, _lock: lock })
    }

    /// Writes a line about a peer that was let in and misbehaved to where those are told that
    /// were not.
    pub fn note(&self, text: &str) {
        self.refusals.note(text);
    }

    /// How a peer comes in that has passed the gate.
    pub(crate) fn enter(&self) -> Enter {
        Arc::clone(&self.enter)
    }

    /// Who was turned away.
    pub(crate) fn refusals(&self) -> Arc<Refusals> {
        Arc::clone(&self.refusals)
    }

    /// The door's socket.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Whether somebody listens at `path`; what a dead controller left there is removed.
fn answers(path: &Path) -> io::Result<bool> {
    use io::ErrorKind::{ConnectionRefused, NotFound};
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == NotFound => Ok(false),
        Err(error) if error.kind() == ConnectionRefused => fs::remove_file(path).map(|()| false),
        Err(error) => Err(error),
    }
}

fn listen(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    let (listener, file): (StdListener, _) = SocketFile::bind(path.into())?;
    listener.set_nonblocking(true)?;
    Ok((UnixListener::from_std(listener)?, file))
}

/// What every handshake needs.
struct Porter<T, F> {
    directory: Arc<Path>,
    keeper: Arc<Keeper>,
    sender: mpsc::Sender<T>,
    map: F,
    refusals: Arc<Refusals>,
}

impl accept::Listener for UnixListener {
    type Stream = UnixStream;

    async fn next(&self) -> io::Result<(UnixStream, Who)> {
        let (stream, _) = self.accept().await?;
        let who = Who::process(stream.peer_cred().ok());
        Ok((stream, who))
    }
}

impl<T, F> accept::Porter for Porter<T, F>
where
    T: Send + 'static,
    F: Fn(Arrival) -> T + Send + Sync + 'static,
{
    type Listener = UnixListener;
    type Guest = Arrival;
    const PLACES: usize = HELLO_CONCURRENT;

    async fn ask(&self, stream: UnixStream) -> Result<Arrival, Fault> {
        self.hear(stream, None).await
    }

    async fn welcome(&self, arrival: Arrival, _who: Who) {
        // The caller has gone if this fails, and with it the peer.
        let _ = self.sender.send((self.map)(arrival)).await;
    }
}

impl<T, F> Porter<T, F>
where
    T: Send + 'static,
    F: Fn(Arrival) -> T + Send + Sync + 'static,
{
    /// Hears a peer that has passed the gate, and so has the secret.
    async fn hear_far(self: Arc<Self>, stream: UnixStream, far: Far) {
        use accept::Porter as _;

        let who = far.who;
        match timeout(HELLO_DEADLINE, self.hear(stream, Some(far))).await {
            Ok(Ok(arrival)) => self.welcome(arrival, who).await,
            Ok(Err(fault)) => self.refusals.count(fault, who),
            Err(_) => self.refusals.count(Fault::Silent, who),
        }
    }

    /// Asks who is there. Faults of a peer that speaks the protocol are told to it.
    async fn hear(&self, mut stream: UnixStream, far: Option<Far>) -> Result<Arrival, Fault> {
        if !matches!(directory::check_peer(&stream), Ok(Ok(()))) {
            return Err(Fault::User);
        }
        let (mut hello, sign): (Hello, Option<Sign>) = match hear(&mut stream).await {
            Ok(hello) => hello,
            Err(unheard) => {
                let fault = match unheard {
                    Unheard::Io(_) => return Err(Fault::Left),
                    Unheard::Stranger => return Err(Fault::Noise),
                    Unheard::Unreadable(_) => Fault::Noise,
                    Unheard::TooLong(_) => Fault::TooLong,
                    Unheard::Version(_) => Fault::Version,
                };
                let text = format!("the controller does not understand this process: {unheard}");
                refuse(&mut stream, &text).await;
                return Err(fault);
            }
        };
        if !bool::from(hello.token.ct_eq(&self.keeper.token)) {
            refuse(&mut stream, "the token is not that of the cluster here").await;
            return Err(Fault::Token);
        }
        if let Some(far) = &far {
            if far.role != hello.role {
                return Err(Fault::Noise);
            }
        } else if let Some(pid) = peer(&stream) {
            // The kernel knows better who it is, unless it lives in another namespace.
            hello.pid = pid;
        }
        let (directory, keeper) = (Arc::clone(&self.directory), Arc::clone(&self.keeper));
        Ok(Arrival::new(hello, sign, stream, far, (directory, keeper)))
    }
}
