//! The books of a session's outgoing side: queue, streams, credit, acknowledgements, goodbye.
//!
//! No I/O and no clock, so every rule can be tested by calling it. Invariants: what is on the way
//! and not acknowledged never exceeds the credit; acknowledgements never run ahead of what was
//! taken; a packet of another kind than `Data` is not counted, so that it needs no credit and
//! nothing has to answer it (two idle peers stay silent).

use std::collections::VecDeque;

use bytes::Bytes;

use super::link::Frames;
use super::outbox::PushError;
use crate::memory::{self, Lent};
use crate::wire::codec::{Acks, Kind, Malformed, Packet, Stream, chunk_header};
use crate::wire::limits::{CHUNK_CREDIT, LOANS_MAX, PACKET_CREDIT};
use crate::wire::{Head, Message, Parts};

/// What the writer is to send next.
#[derive(Debug)]
pub(crate) enum Outgoing {
    /// On the ctl lane.
    Packet(Frames),
    /// On the bulk lane.
    Chunk(Frames),
}

/// See the module.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, each said once in next()")]
pub(crate) struct Flow {
    /// Packets to send; the last one still takes messages.
    queue: VecDeque<Packet>,
    /// Streams whose packet was sent, in order, and the number of the first.
    streams: VecDeque<Stream>,
    stream: u64,
    /// Bytes in `queue` and `streams`.
    queued: usize,
    /// Packets and chunks: sent, confirmed by the peer, taken from it, told to it.
    sent: Acks,
    confirmed: Acks,
    taken: Acks,
    told: Acks,
    /// Whether a chunk has its turn, so that neither lane starves the other.
    chunk_next: bool,
    /// Whether data was sent since the last beat, and whether one is due.
    sent_since_beat: bool,
    beat_due: bool,
    /// The goodbye: we want to go; told so; the peer wants to go; told that it may; may we?
    leaving: bool,
    bye_sent: bool,
    peer_leaving: bool,
    bye_ack_sent: bool,
    bye_acked: bool,
    /// Whether messages of the peer are still incomplete.
    incomplete: bool,
    /// Whether the peer can map our memory, and what it was lent by packets that it has not
    /// confirmed, with their numbers.
    lends: bool,
    lent: VecDeque<(u64, Lent)>,
}

impl Flow {
    /// Queues a message.
    pub(crate) fn push<H: Head>(&mut self, mut message: Message<H>) -> Result<(), PushError> {
        if self.leaving || self.peer_leaving {
            return Err(PushError::Closed);
        }
        let lent = self.lend(&mut message.parts);
        let has_room =
            |packet: &Packet| packet.has_room(&message.parts) && packet.lendable() >= lent.len();
        if !self.queue.back().is_some_and(has_room) {
            let packet = Packet::new(Kind::Data);
            self.queued += packet.size();
            self.queue.push_back(packet);
        }
        let number = self.sent.ctl + self.queue.len() as u64;
        let packet = self.queue.back_mut().expect("a packet was just made if there was none");
        let before = packet.size();
        let outcome = packet.add(message);
        self.queued += packet.size() - before;
        outcome.map_err(PushError::Unsendable)?;
        for (part, lent) in lent {
            packet.lend(part, lent.loan);
            self.lent.push_back((number, lent));
        }
        Ok(())
    }

    /// The peer can map our memory.
    pub(crate) fn may_lend(&mut self) {
        self.lends = true;
    }

    /// Takes out the parts that need not travel.
    fn lend(&self, parts: &mut Parts) -> Vec<(usize, Lent)> {
        if !self.lends {
            return Vec::new();
        }
        let places = parts.iter_mut().enumerate();
        let large = places.filter(|(_, part)| part.len() >= memory::WORTH);
        let lent = large.filter_map(|(index, part)| {
            let lent = memory::lend(part)?;
            *part = Bytes::new();
            Some((index, lent))
        });
        lent.take(LOANS_MAX).collect()
    }

    /// Bytes that wait to be sent.
    pub(crate) fn queued(&self) -> usize {
        self.queued
    }

    /// What can be sent now, if anything.
    pub(crate) fn next(&mut self) -> Option<Outgoing> {
        let next = if self.chunk_next {
            self.next_chunk().or_else(|| self.next_data())
        } else {
            self.next_data().or_else(|| self.next_chunk())
        };
        self.sent_since_beat |= next.is_some();
        next.or_else(|| self.next_control())
    }

    fn next_data(&mut self) -> Option<Outgoing> {
        if self.sent.ctl - self.confirmed.ctl >= PACKET_CREDIT {
            return None;
        }
        let packet = self.queue.pop_front()?;
        let size = packet.size();
        let (header, blob, streams) = packet.seal(self.tell());
        let left: u64 = streams.iter().map(Stream::left).sum();
        self.queued -= size - usize::try_from(left).unwrap_or(size);
        self.streams.extend(streams);
        self.sent.ctl += 1;
        self.chunk_next = true;
        Some(Outgoing::Packet((header, blob)))
    }

    fn next_chunk(&mut self) -> Option<Outgoing> {
        if self.sent.bulk - self.confirmed.bulk >= CHUNK_CREDIT {
            return None;
        }
        let (offset, piece) = self.streams.front_mut()?.cut()?;
        let header = chunk_header(self.stream, offset);
        if self.streams.front().is_some_and(|stream| stream.left() == 0) {
            self.streams.pop_front();
            self.stream += 1;
        }
        self.queued -= piece.len();
        self.sent.bulk += 1;
        self.chunk_next = false;
        Some(Outgoing::Chunk((header, piece)))
    }

    /// Goodbyes once all is sent, acknowledgements and beats when nothing else carries them.
    fn next_control(&mut self) -> Option<Outgoing> {
        let kind = if self.leaving && !self.bye_sent && self.is_flushed() {
            self.bye_sent = true;
            Kind::Bye
        } else if self.owes_bye_ack() {
            self.bye_ack_sent = true;
            Kind::ByeAck
        } else if self.owes_acks() || self.beat_due {
            Kind::Ack
        } else {
            return None;
        };
        let (header, _, _) = Packet::new(kind).seal(self.tell());
        Some(Outgoing::Packet((header, Bytes::new())))
    }

    fn is_flushed(&self) -> bool {
        self.queue.is_empty() && self.streams.is_empty()
    }

    fn owes_bye_ack(&self) -> bool {
        self.peer_leaving && !self.bye_ack_sent && !self.incomplete && self.is_flushed()
    }

    fn owes_acks(&self) -> bool {
        self.taken.ctl - self.told.ctl >= PACKET_CREDIT / 4
            || self.taken.bulk - self.told.bulk >= CHUNK_CREDIT / 4
    }

    fn tell(&mut self) -> Acks {
        self.told = self.taken;
        self.beat_due = false;
        self.taken
    }

    /// Time for a sign of life, unless data was sent since the last call. It is a packet if there
    /// is something to confirm; otherwise says that a byte on the lifeline is due.
    pub(crate) fn beat(&mut self) -> bool {
        while self.lent.front().is_some_and(|(_, lent)| lent.has_arrived()) {
            self.lent.pop_front();
        }
        let is_due = !self.sent_since_beat;
        self.sent_since_beat = false;
        self.beat_due = is_due && self.taken != self.told;
        is_due && !self.beat_due
    }

    /// The peer tells what it has taken. Says whether the writer has something to do now.
    pub(crate) fn confirm(&mut self, acks: Acks) -> Result<bool, Malformed> {
        let plausible = |told, known, sent| (known..=sent).contains(&told);
        if !plausible(acks.ctl, self.confirmed.ctl, self.sent.ctl)
            || !plausible(acks.bulk, self.confirmed.bulk, self.sent.bulk)
        {
            let text = format!(
                "it confirms {} packets and {} chunks, sent were {} and {}",
                acks.ctl, acks.bulk, self.sent.ctl, self.sent.bulk
            );
            return Err(Malformed(text));
        }
        let opened = acks != self.confirmed;
        self.confirmed = acks;
        while self.lent.front().is_some_and(|(packet, _)| *packet <= acks.ctl) {
            self.lent.pop_front();
        }
        Ok(opened && !self.is_flushed())
    }

    /// A data packet of the peer arrived: may it send one now?
    pub(crate) fn admit_packet(&self) -> Result<(), Malformed> {
        within(self.taken.ctl - self.told.ctl, PACKET_CREDIT, "packets")
    }

    /// A chunk of the peer arrived: may it send one now?
    pub(crate) fn admit_chunk(&self) -> Result<(), Malformed> {
        within(self.taken.bulk - self.told.bulk, CHUNK_CREDIT, "chunks")
    }

    /// A packet (or a chunk) of the peer was taken; `incomplete` if messages of it still lack
    /// parts. Says whether the writer has something to do now.
    pub(crate) fn took(&mut self, packets: u64, chunks: u64, incomplete: bool) -> bool {
        self.taken.ctl += packets;
        self.taken.bulk += chunks;
        self.incomplete = incomplete;
        self.owes_acks() || self.owes_bye_ack()
    }

    /// Forgets what waits: the session is over.
    pub(crate) fn shut(&mut self) {
        self.leaving = true;
        self.queue = VecDeque::new();
        self.streams = VecDeque::new();
        self.lent = VecDeque::new();
        self.queued = 0;
    }

    /// We want to go, as soon as all is sent.
    pub(crate) fn leave(&mut self) {
        self.leaving = true;
    }

    /// The peer has sent all it will.
    pub(crate) fn peer_leaves(&mut self) {
        self.peer_leaving = true;
    }

    /// The peer has taken all we sent before our goodbye.
    pub(crate) fn bye_acked(&mut self) -> Result<(), Malformed> {
        if !self.bye_sent {
            return Err(Malformed("it answers a goodbye that was never said".into()));
        }
        self.bye_acked = true;
        Ok(())
    }

    /// Whether the peer is known to go on purpose, so that its end is no loss.
    pub(crate) fn is_parting(&self) -> bool {
        self.peer_leaving || self.bye_acked
    }

    /// Whether the session is about to end, in whoever's wish.
    pub(crate) fn is_ending(&self) -> bool {
        self.leaving || self.bye_ack_sent
    }

    /// Whether both sides have all they will ever get and we asked for the end: close now.
    pub(crate) fn is_over(&self) -> bool {
        self.bye_acked && !self.incomplete && (!self.peer_leaving || self.bye_ack_sent)
    }

    /// Whether everything is sent but, perhaps, the answer to our goodbye is missing.
    pub(crate) fn has_said_all(&self) -> bool {
        self.bye_sent || self.bye_ack_sent
    }

    /// A number that changes whenever the goodbye comes nearer.
    pub(crate) fn progress(&self) -> u64 {
        let said = u64::from(self.bye_sent) + u64::from(self.bye_ack_sent);
        let moved = self.sent.ctl + self.sent.bulk + self.confirmed.ctl + self.confirmed.bulk;
        moved + self.taken.ctl + self.taken.bulk + said
    }
}

fn within(ahead: u64, credit: u64, what: &str) -> Result<(), Malformed> {
    if ahead < credit {
        return Ok(());
    }
    Err(Malformed(format!("it sends more than {credit} {what} ahead of their confirmation")))
}
