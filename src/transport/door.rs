//! The door: where peers of the cluster knock and are asked who they are.
//!
//! A stranger gets at most [`HELLO_MAX`](crate::wire::limits::HELLO_MAX) bytes read, one of
//! [`HELLO_CONCURRENT`] places for at most [`HELLO_DEADLINE`], and nothing parsed beyond that.

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
use tokio::sync::{Semaphore, mpsc};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use super::arrival::{Arrival, refuse};
use super::directory::{self, DOOR, SocketFile};
use super::handshake::{Unheard, hear};
use crate::wire::limits::{HELLO_CONCURRENT, HELLO_DEADLINE};
use crate::wire::{Hello, SessionId, Sign};

/// Pause after an accept that failed, for instance because the process has no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Who listens.
#[derive(Clone)]
pub struct Keeper {
    /// The cluster's secret; whoever does not know it is refused.
    pub token: Vec<u8>,
    /// The controller's own session.
    pub session: SessionId,
    /// The controller's process.
    pub pid: u32,
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

/// An open door; closed, and its socket removed, when this is dropped. Sessions go on without it.
#[derive(Debug)]
pub struct Door {
    path: PathBuf,
    accepting: AbortHandle,
    // Dropped in this order: whoever gets the lock next finds no file.
    _file: SocketFile,
    _lock: File,
}

impl Door {
    /// Opens the door of the cluster in `directory`, which must exist, be ours and closed to
    /// others. Peers that know the token go to `sender`, after `map` made them the caller's; as
    /// long as the channel is full, nobody else is let in. Must be called within a tokio runtime.
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
        let porter = Porter {
            directory: directory.into(),
            keeper: Arc::new(keeper),
            sender,
            map,
            places: Arc::new(Semaphore::new(HELLO_CONCURRENT)),
        };
        let accepting = tokio::spawn(Arc::new(porter).accept(listener)).abort_handle();
        Ok(Self { path, accepting, _file: file, _lock: lock })
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
    places: Arc<Semaphore>,
}

impl<T, F> Porter<T, F>
where
    T: Send + 'static,
    F: Fn(Arrival) -> T + Send + Sync + 'static,
{
    async fn accept(self: Arc<Self>, listener: UnixListener) {
        loop {
            let Ok(place) = Arc::clone(&self.places).acquire_owned().await else { return };
            let Ok((stream, _)) = listener.accept().await else {
                sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let porter = Arc::clone(&self);
            tokio::spawn(async move {
                // Out of time or at fault: the connection is dropped, which is answer enough.
                if let Ok(Some(arrival)) = timeout(HELLO_DEADLINE, porter.ask(stream)).await {
                    // The caller has gone if this fails, and with it the peer.
                    let _ = porter.sender.send((porter.map)(arrival)).await;
                }
                drop(place);
            });
        }
    }

    /// Asks who is there. Faults of a peer that speaks the protocol are told to it.
    async fn ask(&self, mut stream: UnixStream) -> Option<Arrival> {
        if !matches!(directory::check_peer(&stream), Ok(Ok(()))) {
            return None;
        }
        let (mut hello, sign): (Hello, Option<Sign>) = match hear(&mut stream).await {
            Ok(hello) => hello,
            Err(Unheard::Io(_) | Unheard::Stranger) => return None,
            Err(fault) => {
                let text = format!("the controller does not understand this process: {fault}");
                refuse(&mut stream, &text).await;
                return None;
            }
        };
        if !bool::from(hello.token.ct_eq(&self.keeper.token)) {
            refuse(&mut stream, "the token is not that of the cluster here").await;
            return None;
        }
        // The kernel knows better who it is, unless it lives in another namespace.
        if let Some(pid) =
            stream.peer_cred().ok().and_then(|peer| peer.pid()).filter(|pid| *pid > 0)
        {
            hello.pid = pid.cast_unsigned();
        }
        let (directory, keeper) = (Arc::clone(&self.directory), Arc::clone(&self.keeper));
        Some(Arrival::new(hello, sign, stream, directory, keeper))
    }
}
