//! What is said at the door: one message each way, `magic, version, length, msgpack`. With it comes
//! a sign by which the other finds out whether it can map the sender's memory; whether it can, the
//! door adds to its answer and the peer says when it greets.
//!
//! Magic and version come first and keep their place for ever, so that peers of different
//! versions can at least tell each other so. The length is checked before anything is allocated.

use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::memory;
use crate::wire::Sign;
use crate::wire::limits::{HELLO_MAX, PROTOCOL};

const MAGIC: [u8; 8] = *b"oarlock\n";
const PREFACE: usize = MAGIC.len() + 2 + 4;

/// Why a message at the door was not understood.
#[derive(Debug, Error)]
pub(crate) enum Unheard {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("it does not speak the protocol of oarlock")]
    Stranger,
    #[error("it speaks version {0} of the protocol, this process speaks version {PROTOCOL}")]
    Version(u16),
    #[error("its message is {0} bytes long, the limit is {HELLO_MAX}")]
    TooLong(u32),
    #[error("its message is unreadable: {0}")]
    Unreadable(String),
}

/// The process at the other end, if its memory can be mapped here. The kernel says which it is.
pub(crate) fn kin(stream: &UnixStream, sign: Option<&Sign>) -> Option<u32> {
    let pid = peer(stream)?;
    memory::can_borrow(pid, sign?).then_some(pid)
}

/// The process at the other end, if it has a number here.
pub(crate) fn peer(stream: &UnixStream) -> Option<u32> {
    let pid = stream.peer_cred().ok()?.pid()?;
    u32::try_from(pid).ok().filter(|pid| *pid != 0)
}

/// Sends `message`.
pub(crate) async fn say<W, M>(stream: &mut W, message: &M) -> io::Result<()>
where
    W: AsyncWrite + Unpin,
    M: Serialize,
{
    let body = rmp_serde::to_vec(message).map_err(io::Error::other)?;
    if body.len() > HELLO_MAX {
        let text = format!("a message of {} bytes at the door, allowed {HELLO_MAX}", body.len());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    let mut bytes = Vec::with_capacity(PREFACE + body.len());
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&PROTOCOL.to_le_bytes());
    bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&body);
    stream.write_all(&bytes).await
}

/// Receives a message.
pub(crate) async fn hear<R, M>(stream: &mut R) -> Result<M, Unheard>
where
    R: AsyncRead + Unpin,
    M: DeserializeOwned,
{
    let mut magic = [0; MAGIC.len()];
    stream.read_exact(&mut magic).await?;
    if magic != MAGIC {
        return Err(Unheard::Stranger);
    }
    let version = stream.read_u16_le().await?;
    if version != PROTOCOL {
        return Err(Unheard::Version(version));
    }
    let len = stream.read_u32_le().await?;
    let mut body = [0; HELLO_MAX];
    let body = body.get_mut(..len as usize).ok_or(Unheard::TooLong(len))?;
    stream.read_exact(body).await?;
    rmp_serde::from_slice(body).map_err(|error| Unheard::Unreadable(error.to_string()))
}
