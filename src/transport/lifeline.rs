//! The connection at the door once the session is open: its end is the session's end, and a byte on
//! it is a sign of life.
//!
//! It is asked for reading alone. A sender that also waits for room is woken each time its peer has
//! taken something, and in an idle cluster that would be as many wake-ups again as there are beats.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustix::net::{SendFlags, send};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, Interest, ReadBuf};
use tokio::net::UnixStream;

/// The only byte that may come.
pub(crate) const BEAT: u8 = 0;

/// See the module; this half listens.
pub(crate) struct Lifeline(Arc<AsyncFd<OwnedFd>>);

impl Lifeline {
    pub(crate) fn new(stream: UnixStream) -> io::Result<Self> {
        let stream = OwnedFd::from(stream.into_std()?);
        #[expect(deprecated, reason = "its successor is unsafe; an owned descriptor stays valid")]
        AsyncFd::with_interest(stream, Interest::READABLE).map(Arc::new).map(Self)
    }

    /// Gives signs of life. None is given to a peer that takes none: enough of them lie there.
    pub(crate) fn beats(&self) -> impl FnMut() + Send + 'static {
        let line = Arc::clone(&self.0);
        move || {
            // An end is noticed by who listens.
            let _ = send(line.as_fd(), &[BEAT], SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
        }
    }
}

impl AsyncRead for Lifeline {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut ready = ready!(self.0.poll_read_ready(context))?;
            let room = buffer.initialize_unfilled();
            if let Ok(read) = ready.try_io(|line| Ok(rustix::io::read(line, &mut *room)?)) {
                return Poll::Ready(read.map(|count| buffer.advance(count)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn beats_arrive_and_those_that_nobody_takes_hold_nobody_up() {
        let (here, there) = UnixStream::pair().unwrap();
        let (here, mut there) = (Lifeline::new(here).unwrap(), Lifeline::new(there).unwrap());
        let mut beat = here.beats();
        for _ in 0..100_000 {
            beat();
        }
        drop((here, beat));
        let mut bytes = Vec::new();
        there.read_to_end(&mut bytes).await.unwrap();
        assert!(!bytes.is_empty() && bytes.iter().all(|byte| *byte == BEAT));
    }
}
