//! The books of a session's incoming side: messages that wait for parts or for their turn.
//!
//! No I/O. Streams arrive one after the other in order of mention, so incomplete messages complete
//! in the order they were announced; a message in order waits behind any such message that is
//! itself in order. Memory grows with the bytes that arrive, never with what is announced.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::wire::codec::{Item, Malformed, Run};
use crate::wire::limits::RESERVE_MAX;
use crate::wire::{Head, Message};

/// A message that cannot be delivered yet.
struct Waiting<H> {
    message: Message<H>,
    /// Streams that are still missing, last one first.
    missing: Vec<Run>,
    in_order: bool,
    size: usize,
}

/// What became of a chunk.
#[derive(Debug)]
pub(crate) enum Taken<H> {
    /// It was stored, and so many messages are complete now.
    Stored(Vec<Message<H>>),
    /// The packet that announces its stream is still on the way: offer it again.
    Early,
}

/// See the module. The first of `waiting` always lacks parts.
pub(crate) struct Inbox<H> {
    waiting: VecDeque<Waiting<H>>,
    /// How many of `waiting` are in order.
    in_order: usize,
    /// Number of the stream that arrives now or next, and what is there of it.
    stream: u64,
    bytes: Vec<u8>,
    held: usize,
}

impl<H: Head> Inbox<H> {
    pub(crate) fn new() -> Self {
        Self { waiting: VecDeque::new(), in_order: 0, stream: 0, bytes: Vec::new(), held: 0 }
    }

    /// Bytes of messages that wait, without streams.
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// Whether messages wait for parts.
    pub(crate) fn is_incomplete(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Takes the messages of a packet; returns those that can be delivered.
    pub(crate) fn packet(&mut self, items: Vec<Item<H>>) -> Vec<Message<H>> {
        let mut ready = Vec::with_capacity(items.len());
        for Item { message, runs: mut missing, size } in items {
            let in_order = message.head.in_order();
            if missing.is_empty() && !(in_order && self.in_order > 0) {
                ready.push(message);
                continue;
            }
            missing.reverse();
            self.in_order += usize::from(in_order);
            self.held += size;
            self.waiting.push_back(Waiting { message, missing, in_order, size });
        }
        ready
    }

    /// Takes a piece of a stream.
    pub(crate) fn chunk(
        &mut self,
        stream: u64,
        offset: u64,
        piece: &Bytes,
    ) -> Result<Taken<H>, Malformed> {
        let there = self.bytes.len() as u64;
        if stream != self.stream || offset != there || piece.is_empty() {
            return Err(Malformed(format!(
                "a chunk of {} bytes at {offset} of stream {stream}, due is {there} of {}",
                piece.len(),
                self.stream
            )));
        }
        let Some(run) = self.waiting.front().and_then(|waiting| waiting.missing.last()) else {
            return Ok(Taken::Early);
        };
        let end = there + piece.len() as u64;
        if end > run.len {
            return Err(Malformed(format!(
                "a stream of {} bytes is announced as {}",
                end, run.len
            )));
        }
        reserve(&mut self.bytes, piece.len(), run.len)?;
        self.bytes.extend_from_slice(piece);
        if end < run.len {
            return Ok(Taken::Stored(Vec::new()));
        }
        self.complete_stream();
        Ok(Taken::Stored(self.deliver()))
    }

    fn complete_stream(&mut self) {
        let mut bytes = Bytes::from(std::mem::take(&mut self.bytes));
        self.stream += 1;
        let Some(waiting) = self.waiting.front_mut() else { return };
        for (index, len) in waiting.missing.pop().unwrap_or_default().parts {
            waiting.message.parts[index] = bytes.split_to(len as usize);
        }
    }

    fn deliver(&mut self) -> Vec<Message<H>> {
        let mut ready = Vec::new();
        while self.waiting.front().is_some_and(|waiting| waiting.missing.is_empty()) {
            let Some(waiting) = self.waiting.pop_front() else { break };
            self.in_order -= usize::from(waiting.in_order);
            self.held -= waiting.size;
            ready.push(waiting.message);
        }
        ready
    }
}

/// Makes room for `more` bytes of a stream of `len`: at once if that is little, by doubling if it
/// is much. Pages that were never written cost nothing, and growing in place moves page tables,
/// not bytes.
fn reserve(bytes: &mut Vec<u8>, more: usize, len: u64) -> Result<(), Malformed> {
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    if bytes.capacity() - bytes.len() >= more {
        return Ok(());
    }
    let wanted = len.min(RESERVE_MAX.max(bytes.capacity().saturating_mul(2)));
    bytes
        .try_reserve_exact(wanted - bytes.len())
        .map_err(|_| Malformed(format!("no memory for {wanted} bytes of a part of {len} bytes")))
}
