//! The receiving task of a session: packets, chunks, and the lifeline.
//!
//! A packet is confirmed after the caller took its messages, so a caller that is slow slows the
//! peer down and nothing piles up here. Any error ends the session; nothing is skipped.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio::time::timeout;

use super::inbox::{Inbox, Taken};
use super::lifeline::BEAT;
use super::link::{Frames, LinkError, Receiver};
use super::outbox::Shared;
use super::session::{CloseReason, Event, Sink};
use crate::memory::{self, BorrowError};
use crate::wire::codec::{Arrived, Kind, Malformed, decode, read_chunk_header};
use crate::wire::limits::{FRAME_MAX, HELD_MAX, SEND_STALL};
use crate::wire::{Head, Message};

/// See the module.
pub(crate) struct Reader<'a, In, T, R, L> {
    shared: Arc<Shared>,
    stop: oneshot::Receiver<()>,
    ctl: R,
    bulk: R,
    lifeline: L,
    sink: &'a Sink<In, T>,
    inbox: Inbox<In>,
    /// The peer's process, if its memory can be mapped.
    lender: Option<u32>,
    /// A chunk whose packet is still on the way; until then the bulk lane is not read.
    early: Option<Frames>,
    /// An event that the caller had no room for when the session was stopped.
    undelivered: Option<T>,
}

impl<'a, In, T, R, L> Reader<'a, In, T, R, L>
where
    In: Head,
    T: Send + 'static,
    R: Receiver,
    L: AsyncRead + Unpin + Send,
{
    pub(crate) fn new(
        shared: Arc<Shared>,
        stop: oneshot::Receiver<()>,
        ctl: R,
        bulk: R,
        lifeline: L,
        sink: &'a Sink<In, T>,
        lender: Option<u32>,
    ) -> Self {
        let (inbox, early, undelivered) = (Inbox::new(), None, None);
        Self { shared, stop, ctl, bulk, lifeline, sink, inbox, lender, early, undelivered }
    }

    /// Reads until the session ends. Returns an event that could not be delivered, if any.
    pub(crate) async fn run(mut self) -> Option<T> {
        let reason = loop {
            let step = self.step().await;
            if let Err(reason) = step {
                break reason;
            }
        };
        self.shared.end(reason);
        self.undelivered
    }

    async fn step(&mut self) -> Result<(), CloseReason> {
        let mut bytes = [0; 16];
        // Messages that wait for parts have been announced, so the bulk lane brings them even
        // when the ctl lane is not read.
        let has_room = self.inbox.held() < HELD_MAX;
        let frames = tokio::select! {
            biased;
            _ = &mut self.stop => return Err(CloseReason::Aborted),
            read = self.lifeline.read(&mut bytes) => {
                return self.on_lifeline(read.map(|count| &bytes[..count])).await;
            }
            frames = self.ctl.recv(), if has_room => frames.map(|frames| (true, frames)),
            frames = self.bulk.recv(), if self.early.is_none() => {
                frames.map(|frames| (false, frames))
            }
        };
        match frames {
            Ok((true, frames)) => match self.on_packet(frames).await {
                // If the peer has ended, the memory it lent is gone with it.
                Err(CloseReason::Failed(text)) => self.on_error(LinkError(text)).await,
                taken => taken,
            },
            Ok((false, frames)) => self.on_chunk(frames).await,
            Err(error) => self.on_error(error).await,
        }
    }

    async fn on_packet(&mut self, (header, blob): Frames) -> Result<(), CloseReason> {
        self.shared.hear();
        let mut arrived = decode::<In>(&header, &blob).map_err(protocol)?;
        drop((header, blob));
        if arrived.kind == Kind::Data {
            self.confirm(|flow| {
                flow.admit_packet()?;
                flow.confirm(arrived.acks)
            })?;
            self.borrow(&mut arrived)?;
            let ready = self.inbox.packet(arrived.items);
            self.deliver(ready).await?;
            self.took(1, 0);
            return match self.early.take() {
                Some(frames) => self.on_chunk(frames).await,
                None => Ok(()),
            };
        }
        if !arrived.items.is_empty() {
            return Err(CloseReason::Protocol("messages in a packet that carries none".into()));
        }
        self.confirm(|flow| {
            let opened = flow.confirm(arrived.acks)?;
            match arrived.kind {
                Kind::Bye => flow.peer_leaves(),
                Kind::ByeAck => flow.bye_acked()?,
                Kind::Data | Kind::Ack => return Ok(opened),
            }
            Ok(true)
        })?;
        self.shared.settle();
        Ok(())
    }

    /// Puts what is lent into its places.
    fn borrow(&self, arrived: &mut Arrived<In>) -> Result<(), CloseReason> {
        for (message, part, loan) in &arrived.loans {
            let text = "it lends memory that this process cannot map";
            let pid = self.lender.ok_or_else(|| CloseReason::Protocol(text.into()))?;
            let borrowed = memory::borrow(pid, loan).map_err(|error| match error {
                BorrowError::Unreachable { .. } => CloseReason::Failed(error.to_string()),
                BorrowError::Untrue { .. } => CloseReason::Protocol(error.to_string()),
            })?;
            arrived.items[*message].message.parts[*part] = borrowed;
        }
        Ok(())
    }

    async fn on_chunk(&mut self, (header, piece): Frames) -> Result<(), CloseReason> {
        self.shared.hear();
        if piece.len() > FRAME_MAX {
            let text = format!("a chunk of {} bytes, the limit is {FRAME_MAX}", piece.len());
            return Err(CloseReason::Protocol(text));
        }
        self.confirm(|flow| flow.admit_chunk().map(|()| false))?;
        let (stream, offset) = read_chunk_header(&header).map_err(protocol)?;
        match self.inbox.chunk(stream, offset, &piece).map_err(protocol)? {
            Taken::Early => self.early = Some((header, piece)),
            Taken::Stored(ready) => {
                drop((header, piece));
                self.deliver(ready).await?;
                self.took(0, 1);
            }
        }
        Ok(())
    }

    /// Changes the books by what the peer says, and wakes the writer if that gives it work.
    fn confirm(
        &self,
        change: impl FnOnce(&mut super::flow::Flow) -> Result<bool, Malformed>,
    ) -> Result<(), CloseReason> {
        let wanted = change(&mut self.shared.flow.lock()).map_err(protocol)?;
        if wanted {
            self.shared.wake.notify_one();
        }
        Ok(())
    }

    fn took(&self, packets: u64, chunks: u64) {
        let incomplete = self.inbox.is_incomplete();
        if self.shared.flow.lock().took(packets, chunks, incomplete) {
            self.shared.wake.notify_one();
        }
        self.shared.settle();
    }

    async fn deliver(&mut self, messages: Vec<Message<In>>) -> Result<(), CloseReason> {
        if messages.is_empty() {
            return Ok(());
        }
        let event = (self.sink.map)(Event::Messages(messages));
        if let Ok(permit) = self.sink.sender.try_reserve() {
            permit.send(event);
            return Ok(());
        }
        self.shared.busy.store(true, Ordering::Relaxed);
        let outcome = tokio::select! {
            permit = self.sink.sender.reserve() => match permit {
                Ok(permit) => {
                    permit.send(event);
                    Ok(())
                }
                Err(_) => Err(CloseReason::Aborted),
            },
            _ = &mut self.stop => {
                self.undelivered = Some(event);
                Err(CloseReason::Aborted)
            }
        };
        self.shared.busy.store(false, Ordering::Relaxed);
        outcome
    }

    async fn on_lifeline(&mut self, read: std::io::Result<&[u8]>) -> Result<(), CloseReason> {
        match read {
            Ok([]) | Err(_) => Err(self.on_end().await),
            Ok(bytes) if bytes.iter().all(|byte| *byte == BEAT) => {
                self.shared.hear();
                Ok(())
            }
            Ok(_) => Err(CloseReason::Protocol("data on the lifeline".into())),
        }
    }

    /// A lane broke. If that is because the peer ended, the lifeline says so within moments.
    async fn on_error(&mut self, error: LinkError) -> Result<(), CloseReason> {
        let end = async {
            let mut bytes = [0; 16];
            while let Ok(1..) = self.lifeline.read(&mut bytes).await {}
        };
        match timeout(SEND_STALL, end).await {
            Ok(()) => Err(self.on_end().await),
            Err(_) => Err(CloseReason::Failed(error.to_string())),
        }
    }

    /// The peer has ended. What it sent before is in our sockets and still counts: a task whose
    /// result was sent is not lost. Yielding once lets the runtime look at the sockets again.
    async fn on_end(&mut self) -> CloseReason {
        loop {
            let frames = tokio::select! {
                biased;
                Ok(frames) = self.ctl.recv() => (true, frames),
                Ok(frames) = self.bulk.recv(), if self.early.is_none() => (false, frames),
                () = yield_now() => break,
            };
            let taken = match frames {
                (true, frames) => self.on_packet(frames).await,
                (false, frames) => self.on_chunk(frames).await,
            };
            if taken.is_err() {
                break;
            }
        }
        if self.shared.flow.lock().is_parting() {
            CloseReason::Goodbye
        } else {
            CloseReason::Vanished
        }
    }
}

fn protocol(error: Malformed) -> CloseReason {
    CloseReason::Protocol(error.0)
}
