//! Where a cluster is that is to be connected to: in a directory of this host, or behind a gate that
//! a connection file tells of.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::UnixStream;

use super::bridge::{Bridge, Carrying, Shut};
use super::card::Card;
use super::dial::ConnectError;
use super::directory::{self, DOOR};
use super::link::LinkError;
use super::place;
use super::zmq::Lane;
use crate::wire::Role;
use crate::wire::limits::{FAR_DEADLINE, HELLO_DEADLINE};

/// See the head of this file.
pub(crate) enum Site {
    Near(PathBuf),
    Far(Bridge),
}

/// A connection to the door.
pub(crate) struct Knocked {
    pub(crate) stream: UnixStream,
    /// For how long the other side bears silence, if it is behind a gate. Then there is no memory
    /// that both could map, and the kernel says nothing of its process.
    pub(crate) far: Option<Duration>,
    pub(crate) carrying: Option<Carrying>,
}

/// Whether `path` is that of a connection file, and not that of a cluster's directory.
pub fn is_far(path: &Path) -> bool {
    path.is_file()
}

/// How long one attempt to connect to the cluster that `path` names may take.
pub fn attempt(path: &Path) -> Duration {
    if is_far(path) { FAR_DEADLINE } else { HELLO_DEADLINE }
}

/// The secret of the cluster that `path` names, a directory or a connection file.
///
/// # Errors
/// If there is none, or others may read it.
pub fn token(path: &Path) -> io::Result<Vec<u8>> {
    if is_far(path) { Ok(Card::read(path)?.token()) } else { Ok(place::read(path)?.token) }
}

impl Site {
    /// The cluster that `path` names.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        if is_far(path) {
            return Ok(Self::Far(Bridge::new(Card::read(path)?)));
        }
        Ok(Self::Near(path.to_owned()))
    }

    /// Its door, for people.
    pub(crate) fn door(&self) -> PathBuf {
        match self {
            Self::Near(directory) => directory.join(DOOR),
            Self::Far(bridge) => bridge.endpoint(),
        }
    }

    /// Connects to the door, after a look whether it is the right one.
    pub(crate) async fn knock(&self, role: Role) -> Result<Knocked, ConnectError> {
        let door = self.door();
        match self {
            Self::Near(directory) => {
                let failed = |error: io::Error| ConnectError::from_io(&door, error);
                let not_ours = |reason| ConnectError::NotOurs { door: door.clone(), reason };
                directory::check(directory).map_err(failed)?.map_err(not_ours)?;
                let stream = UnixStream::connect(&door).await.map_err(failed)?;
                directory::check_peer(&stream).map_err(failed)?.map_err(not_ours)?;
                Ok(Knocked { stream, far: None, carrying: None })
            }
            Self::Far(bridge) => match bridge.knock(role).await {
                Ok((stream, patience, carrying)) => {
                    Ok(Knocked { stream, far: Some(patience), carrying: Some(carrying) })
                }
                Err(Shut::Nobody(detail)) => Err(ConnectError::Nobody { door, detail }),
                Err(Shut::Unreachable(detail)) => Err(ConnectError::Unreachable { door, detail }),
                Err(Shut::NotOurs(reason)) => Err(ConnectError::NotOurs { door, reason }),
                Err(Shut::Refused(reason)) => Err(ConnectError::Refused { door, reason }),
                Err(Shut::Io(error)) => Err(ConnectError::from_io(&door, error)),
            },
        }
    }

    /// Connects to a lane of this name.
    pub(crate) async fn lane(&self, name: &str) -> Result<(Lane, Option<Carrying>), LinkError> {
        match self {
            Self::Near(directory) => Ok((Lane::dial(&directory.join(name)).await?, None)),
            Self::Far(bridge) => {
                let (lane, carrying) = bridge.lane(name).await?;
                Ok((lane, Some(carrying)))
            }
        }
    }
}
