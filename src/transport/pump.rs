//! Carries the bytes of one connection to another and back, and their ends.
//!
//! Of what was read and not yet written at most [`ROOM`] is held in each direction, so who is slow at
//! one end slows down the other. It knows nothing of what it carries; what comes from afar on a lane is
//! looked through on the way (`guard`).

use std::io;
use std::time::Duration;

use rustix::net::sockopt;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::error::Elapsed;
use tokio::time::timeout;

use super::guard::{Guard, Unlawful};

/// Bytes held in one direction.
const ROOM: usize = 64 * 1024;
/// Time for the second direction after the end of the first: nobody who is here half-closes for long.
const LINGER: Duration = Duration::from_secs(2);
/// A connection on which nothing is said is looked at after so long, and so often.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(5));
/// The least time for which what was sent may stay unconfirmed.
const UNCONFIRMED: Duration = Duration::from_secs(30);

/// Carries until both ends have ended, or soon after one has, or the far end has taken nothing for twice
/// `patience`: the near end may have given it up, which nobody sees who waits to write. `said` is
/// dropped when all that the near end said has been carried. What comes from the far end passes
/// `guard`, if there is one; a fault ends it all at once.
pub(crate) async fn pump<S, G>(
    near: UnixStream,
    far: S,
    guard: Option<Guard>,
    patience: Duration,
    said: G,
) -> Result<(), Unlawful>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (near_in, near_out) = near.into_split();
    let (far_in, far_out) = split(far);
    let limit = Some(2 * patience);
    let (out, back) = (carry(near_in, far_out, None, limit), carry(far_in, near_out, guard, None));
    tokio::pin!(out, back);
    // How else a direction ended does not matter: what it leads to learns that it did.
    let ended = tokio::select! {
        _ = &mut out => {
            drop(said);
            timeout(LINGER, back).await.unwrap_or(Ok(()))
        }
        ended = &mut back => {
            if !matches!(ended, Err(Stopped::Unlawful(_))) {
                let _ = timeout(LINGER, out).await;
            }
            ended
        }
    };
    match ended {
        Err(Stopped::Unlawful(fault)) => Err(fault),
        Err(Stopped::Io(_) | Stopped::Late(_)) | Ok(()) => Ok(()),
    }
}

/// Why a direction ended before its end.
#[derive(Debug, Error)]
enum Stopped {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Unlawful(#[from] Unlawful),
    #[error("nothing was taken for too long")]
    Late(#[from] Elapsed),
}

async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut guard: Option<Guard>,
    limit: Option<Duration>,
) -> Result<(), Stopped> {
    let limit = limit.unwrap_or(Duration::MAX);
    let mut bytes = vec![0; ROOM];
    let carried = loop {
        match from.read(&mut bytes).await {
            Ok(0) => break Ok(()),
            Ok(count) => {
                if let Some(guard) = &mut guard {
                    guard.pass(&bytes[..count])?;
                }
                let mut left = &bytes[..count];
                while !left.is_empty() {
                    let taken = timeout(limit, to.write(left)).await??;
                    if taken == 0 {
                        return Err(io::Error::from(io::ErrorKind::WriteZero).into());
                    }
                    left = &left[taken..];
                }
                timeout(limit, to.flush()).await??;
            }
            Err(error) => break Err(error),
        }
    };
    timeout(limit, to.shutdown()).await??;
    carried.map_err(Stopped::Io)
}

/// Sets up a connection over a network: small messages leave at once, and the end of a peer that
/// says nothing any more is noticed, though only well after `patience`: sessions count silence.
pub(crate) fn prepare(stream: &TcpStream, patience: Duration) {
    let _ = stream.set_nodelay(true);
    // Where the system has none of these, sessions notice still.
    let _ = sockopt::set_socket_keepalive(stream, true);
    let _ = sockopt::set_tcp_keepidle(stream, KEEPALIVE.0);
    let _ = sockopt::set_tcp_keepintvl(stream, KEEPALIVE.1);
    let limit = UNCONFIRMED.max(patience * 2).as_millis();
    let _ = sockopt::set_tcp_user_timeout(stream, u32::try_from(limit).unwrap_or(u32::MAX));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_ends_when_the_far_end_takes_nothing_though_there_is_more_to_say() {
        let (near, mut speaker) = UnixStream::pair().expect("a pair");
        let (far, _silent) = tokio::io::duplex(16);
        let patience = Duration::from_secs(10);
        let carrying = tokio::spawn(pump(near, far, None, patience, ()));
        speaker.write_all(&[7; 1024]).await.expect("there is room for it");
        let ended = timeout(Duration::from_secs(60), carrying).await.expect("it ends");
        assert_eq!(ended.expect("no panic"), Ok(()));
        assert!(speaker.write_all(&vec![7; 1 << 20]).await.is_err(), "and so does its near end");
    }
}
