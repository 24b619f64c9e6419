//! Messages become packets and streams, and back.
//!
//! A packet is two frames. The *header* is the kind, the two acks, the number of messages, and the
//! messages. Each is a head, in its short form (see [`compact`](super::compact)) or as code 0, four
//! bytes of length and so much msgpack, then the number of its parts and one tag for each: `length
//! << 1` for a part that lies in the *blob* (the second frame, all such parts end to end), `length
//! << 1 | 1` for one that travels on the bulk lane. Numbers whose size is not said are written as
//! in short forms. Bulk parts of a message are grouped into streams by [`runs`], a rule both sides
//! apply, and streams are numbered by order of mention: nothing else has to be told. What is left
//! of the header behind the messages are the *loans* of parts that do not travel: see [`loan`].
//!
//! Invariants: nothing is allocated from an announced length, only from bytes that are there; what
//! [`decode`] returns obeys every limit; a packet that [`Packet::seal`] made is one it accepts.

use bytes::{Bytes, BytesMut};
use serde::Deserialize;
use serde::de::IgnoredAny;
use smallvec::SmallVec;
use thiserror::Error;

use super::compact::{GENERAL, Reader, Writer, push_number};
use super::limits::{
    CHUNK, FRAME_MAX, HEADER_MAX, INLINE_MAX, INLINE_PART, LOANS_MAX, PACKET_MESSAGES, PART_MAX,
    PARTS_MAX, RUN_MAX,
};
use super::loan::{self, Loan, Place};
use super::message::{Head, Message, Parts};

/// What a packet is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// It carries messages; it is counted and acknowledged.
    Data = 0,
    /// It carries acknowledgements only and is a sign of life; not counted.
    Ack = 1,
    /// The sender has sent all it will; not counted.
    Bye = 2,
    /// All that was sent before the peer's `Bye` was delivered; not counted.
    ByeAck = 3,
}

/// How many data packets and chunks of the peer were taken since the session began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Acks {
    /// Packets.
    pub ctl: u64,
    /// Chunks.
    pub bulk: u64,
}

/// A message that cannot be sent, and why.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub struct Unsendable(String);

/// A frame that breaks the rules, and which.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub struct Malformed(pub String);

/// Kind, acks and number of messages: fixed, so that they go in last.
const PREFIX: usize = 1 + 8 + 8 + 4;
/// Reserved for a header at once: enough for one message, which is what an idle cluster sends.
const HEADER: usize = 128;
/// Nesting of a head; real ones stay below ten.
const DEPTH: usize = 64;

/// A packet under construction.
#[derive(Debug)]
pub struct Packet {
    kind: Kind,
    header: Vec<u8>,
    blob: Vec<u8>,
    messages: usize,
    streams: Vec<Stream>,
    streamed: u64,
    loans: Vec<Place>,
}

impl Packet {
    /// An empty packet.
    pub fn new(kind: Kind) -> Self {
        let mut header = Vec::with_capacity(HEADER);
        header.resize(PREFIX, 0);
        let (streams, loans) = (Vec::new(), Vec::new());
        Self { kind, header, blob: Vec::new(), messages: 0, streams, streamed: 0, loans }
    }

    /// Whether a message with these parts belongs into this packet rather than into the next.
    pub fn has_room(&self, parts: &[Bytes]) -> bool {
        if self.messages == 0 {
            return true;
        }
        let inline = parts.iter().map(Bytes::len).fold(0, usize::saturating_add);
        self.messages < PACKET_MESSAGES
            && self.header.len() < INLINE_MAX
            && (inline > INLINE_MAX || self.blob.len() + inline <= INLINE_MAX)
    }

    /// Adds a message; call it only if [`Packet::has_room`].
    ///
    /// # Errors
    /// If the message exceeds a limit; the packet is then as it was.
    pub fn add<H: Head>(&mut self, message: Message<H>) -> Result<(), Unsendable> {
        let Message { head, parts } = message;
        if parts.len() > PARTS_MAX {
            let text = format!("a message has {} parts, the limit is {PARTS_MAX}", parts.len());
            return Err(Unsendable(text));
        }
        let whole = parts.iter().map(Bytes::len).fold(0, usize::saturating_add) <= INLINE_MAX;
        let mut room = INLINE_MAX.saturating_sub(self.blob.len());
        let mut tags = SmallVec::<[u64; 4]>::new();
        for part in &parts {
            let len = part.len() as u64;
            if len > PART_MAX {
                let text = format!("a part is {len} bytes long, the limit is {PART_MAX}");
                return Err(Unsendable(text));
            }
            let inline = part.is_empty() || whole || part.len() <= INLINE_PART.min(room);
            room = room.saturating_sub(if inline { part.len() } else { 0 });
            tags.push(len << 1 | u64::from(!inline));
        }
        self.write_item(&head, &tags)?;
        for (part, tag) in parts.iter().zip(&tags) {
            if tag & 1 == 0 {
                self.blob.extend_from_slice(part);
            }
        }
        for run in runs(&tags) {
            self.streamed += run.len;
            self.streams.push(Stream::new(&run, &parts));
        }
        self.messages += 1;
        Ok(())
    }

    /// Says where a part of the message added last lies; it was added empty. At most
    /// [`LOANS_MAX`] may be lent in one packet.
    pub fn lend(&mut self, part: usize, loan: Loan) {
        self.loans.push((self.messages - 1, part, loan));
    }

    /// How many more parts can be lent in this packet.
    pub fn lendable(&self) -> usize {
        LOANS_MAX.saturating_sub(self.loans.len())
    }

    fn write_item<H: Head>(&mut self, head: &H, tags: &[u64]) -> Result<(), Unsendable> {
        let mark = self.header.len();
        let written = write_head(head, &mut self.header);
        push_number(&mut self.header, tags.len() as u64);
        for tag in tags {
            push_number(&mut self.header, *tag);
        }
        let fault = match written {
            Err(error) => format!("a message cannot be encoded: {error}"),
            Ok(()) if self.header.len() > HEADER_MAX => {
                let len = self.header.len() - mark;
                format!("the head of a message is {len} bytes long, the limit is {HEADER_MAX}")
            }
            Ok(()) => return Ok(()),
        };
        self.header.truncate(mark);
        Err(Unsendable(fault))
    }

    /// Bytes that wait here: header, blob and streams.
    pub fn size(&self) -> usize {
        let streamed = usize::try_from(self.streamed).unwrap_or(usize::MAX);
        (self.header.len() + self.blob.len()).saturating_add(streamed)
    }

    /// The two frames, and the streams that are to follow on the bulk lane, in order.
    pub fn seal(mut self, acks: Acks) -> (Bytes, Bytes, Vec<Stream>) {
        let prefix = &mut self.header[..PREFIX];
        prefix[0] = self.kind as u8;
        prefix[1..9].copy_from_slice(&acks.ctl.to_le_bytes());
        prefix[9..17].copy_from_slice(&acks.bulk.to_le_bytes());
        prefix[17..].copy_from_slice(&(self.messages as u32).to_le_bytes());
        for place in &self.loans {
            loan::write(place, &mut self.header);
        }
        (self.header.into(), self.blob.into(), self.streams)
    }
}

/// Writes a head in the shortest form it has.
pub(crate) fn write_head<H: Head>(
    head: &H,
    out: &mut Vec<u8>,
) -> Result<(), rmp_serde::encode::Error> {
    let mut short = Writer::default();
    if head.write_short(&mut short) {
        out.extend_from_slice(short.as_slice());
        return Ok(());
    }
    out.extend_from_slice(&[GENERAL, 0, 0, 0, 0]);
    let begin = out.len();
    rmp_serde::encode::write(out, head)?;
    // A length that does not fit is that of a head that is refused for it.
    let len = (out.len() - begin) as u32;
    out[begin - 4..begin].copy_from_slice(&len.to_le_bytes());
    Ok(())
}

/// Bulk parts of one message that travel end to end as one stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Run {
    /// Index and length of each part.
    pub parts: SmallVec<[(usize, u64); 1]>,
    /// Sum of the lengths.
    pub len: u64,
}

/// Groups the bulk parts among these tags: a part longer than [`CHUNK`] is a stream of its own, so
/// that it can be freed alone; shorter neighbours share one of at most [`RUN_MAX`].
pub fn runs(tags: &[u64]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut open = false;
    for (index, tag) in tags.iter().enumerate().filter(|(_, tag)| *tag & 1 == 1) {
        let len = tag >> 1;
        let short = len <= CHUNK as u64;
        match runs.last_mut() {
            Some(run) if open && short && run.len + len <= RUN_MAX => {
                run.parts.push((index, len));
                run.len += len;
            }
            _ => runs.push(Run { parts: SmallVec::from_slice(&[(index, len)]), len }),
        }
        open = short;
    }
    runs
}

/// A stream on its way out, cut into pieces as they are asked for.
#[derive(Debug)]
pub struct Stream {
    /// What is still to be sent, last part first.
    rest: SmallVec<[Bytes; 1]>,
    offset: u64,
    len: u64,
}

impl Stream {
    fn new(run: &Run, parts: &Parts) -> Self {
        let rest = run.parts.iter().rev().map(|&(index, _)| parts[index].clone()).collect();
        Self { rest, offset: 0, len: run.len }
    }

    /// Bytes not yet cut off.
    pub fn left(&self) -> u64 {
        self.len - self.offset
    }

    /// The next piece and its offset; long parts are sliced, only short ones are copied together.
    pub fn cut(&mut self) -> Option<(u64, Bytes)> {
        let offset = self.offset;
        let next = self.rest.last_mut()?;
        let piece = if next.len() >= CHUNK / 2 || next.len() as u64 == self.len - offset {
            let piece = next.split_to(next.len().min(CHUNK));
            self.rest.truncate(self.rest.len() - usize::from(self.rest.last()?.is_empty()));
            piece
        } else {
            self.gather()
        };
        self.offset += piece.len() as u64;
        Some((offset, piece))
    }

    fn gather(&mut self) -> Bytes {
        let left = usize::try_from(self.left()).unwrap_or(CHUNK);
        let mut piece = BytesMut::with_capacity(left.min(CHUNK));
        while let Some(next) = self.rest.last_mut() {
            let taken = next.split_to(next.len().min(CHUNK - piece.len()));
            piece.extend_from_slice(&taken);
            if !next.is_empty() {
                break;
            }
            self.rest.pop();
        }
        piece.freeze()
    }
}

/// First frame of a message on the bulk lane: the stream's number and the offset of the piece.
pub fn chunk_header(stream: u64, offset: u64) -> Bytes {
    let mut header = [0; 16];
    header[..8].copy_from_slice(&stream.to_le_bytes());
    header[8..].copy_from_slice(&offset.to_le_bytes());
    Bytes::copy_from_slice(&header)
}

/// Reads what [`chunk_header`] wrote.
pub fn read_chunk_header(header: &[u8]) -> Result<(u64, u64), Malformed> {
    let fault = || Malformed(format!("a chunk header has {} bytes instead of 16", header.len()));
    let (stream, offset) = header.split_at_checked(8).ok_or_else(fault)?;
    let stream = stream.try_into().map_err(|_| fault())?;
    let offset = offset.try_into().map_err(|_| fault())?;
    Ok((u64::from_le_bytes(stream), u64::from_le_bytes(offset)))
}

/// A packet as it arrived.
#[derive(Debug)]
pub struct Arrived<H> {
    /// What it is for.
    pub kind: Kind,
    /// What the peer has taken.
    pub acks: Acks,
    /// Its messages.
    pub items: Vec<Item<H>>,
    /// Parts that are lent, each once; their places are still empty.
    pub loans: Vec<Place>,
}

/// A message as it arrived, perhaps without some of its parts.
#[derive(Debug)]
pub struct Item<H> {
    /// The message; parts that travel on the bulk lane are still empty.
    pub message: Message<H>,
    /// The streams that bring them.
    pub runs: Vec<Run>,
    /// Bytes it occupies as long as it is held.
    pub size: usize,
}

/// Reads a packet. Inline parts share one copy of the blob, so a part that is kept for long holds
/// on to its packet at most and never to the socket's buffer.
///
/// # Errors
/// If anything breaks a rule; the session is then to be closed.
pub fn decode<H: Head>(header: &[u8], blob: &[u8]) -> Result<Arrived<H>, Malformed> {
    if header.len() > FRAME_MAX || blob.len() > FRAME_MAX {
        let (header, blob) = (header.len(), blob.len());
        return broken(format!("frames of {header} and {blob} bytes, the limit is {FRAME_MAX}"));
    }
    let (kind, acks, count) = read_prefix(header)?;
    if count > PACKET_MESSAGES {
        return broken(format!("{count} messages in a packet, the limit is {PACKET_MESSAGES}"));
    }
    let mut reader = Reader::new(&header[PREFIX..]);
    let mut blob = Bytes::copy_from_slice(blob);
    let mut items = Vec::with_capacity(count.min(header.len() - PREFIX));
    for _ in 0..count {
        let head = read_head(&mut reader)?;
        let tags = read_tags(&mut reader)?;
        items.push(read_item(head, &tags, &mut blob)?);
    }
    if !blob.is_empty() {
        return broken("a packet with bytes that no message claims".into());
    }
    let loans = loan::read(&mut reader, &items)?;
    Ok(Arrived { kind, acks, items, loans })
}

fn read_prefix(header: &[u8]) -> Result<(Kind, Acks, usize), Malformed> {
    let fault = || Malformed(format!("a packet header of {} bytes", header.len()));
    if header.len() < PREFIX {
        return Err(fault());
    }
    let mut reader = Reader::new(header);
    let kind = match reader.byte().ok_or_else(fault)? {
        0 => Kind::Data,
        1 => Kind::Ack,
        2 => Kind::Bye,
        3 => Kind::ByeAck,
        other => return broken(format!("a packet of unknown kind {other}")),
    };
    let ctl = u64::from_le_bytes(reader.fixed().ok_or_else(fault)?);
    let bulk = u64::from_le_bytes(reader.fixed().ok_or_else(fault)?);
    let count = u32::from_le_bytes(reader.fixed().ok_or_else(fault)?);
    Ok((kind, Acks { ctl, bulk }, count as usize))
}

pub(crate) fn read_head<H: Head>(reader: &mut Reader) -> Result<H, Malformed> {
    let cut = || Malformed("an unreadable message: it is cut off".into());
    let code = reader.byte().ok_or_else(cut)?;
    if code != GENERAL {
        let fault = || Malformed(format!("an unreadable message: no head of short form {code}"));
        return H::read_short(code, reader).ok_or_else(fault);
    }
    let len = u32::from_le_bytes(reader.fixed().ok_or_else(cut)?);
    let bytes = reader.slice(len as usize).ok_or_else(cut)?;
    let mut general = rmp_serde::Deserializer::from_read_ref(bytes);
    general.set_max_depth(DEPTH);
    let head = H::deserialize(&mut general)
        .map_err(|error| Malformed(format!("an unreadable message: {error}")))?;
    if IgnoredAny::deserialize(&mut general).is_ok() {
        return broken("an unreadable message: more than a head".into());
    }
    Ok(head)
}

/// The tags of one message; grows with the bytes that are there, whatever their count says.
fn read_tags(reader: &mut Reader) -> Result<SmallVec<[u64; 4]>, Malformed> {
    let cut = || Malformed("an unreadable message: its tags are cut off".into());
    let count = reader.number().ok_or_else(cut)?;
    if count > PARTS_MAX as u64 {
        return broken(format!("a message of {count} parts, the limit is {PARTS_MAX}"));
    }
    let mut tags = SmallVec::new();
    for _ in 0..count {
        tags.push(reader.number().ok_or_else(cut)?);
    }
    Ok(tags)
}

fn read_item<H>(head: H, tags: &[u64], blob: &mut Bytes) -> Result<Item<H>, Malformed> {
    let mut parts = Parts::with_capacity(tags.len());
    let mut size = size_of::<Item<H>>() + tags.len() * size_of::<Bytes>();
    for tag in tags {
        let len = tag >> 1;
        if len > PART_MAX || (tag & 1 == 1 && len == 0) {
            return broken(format!("a part of {len} bytes, allowed are 1 to {PART_MAX}"));
        }
        if tag & 1 == 1 {
            parts.push(Bytes::new());
            continue;
        }
        match usize::try_from(len) {
            Ok(len) if len <= blob.len() => {
                size += len;
                parts.push(blob.split_to(len));
            }
            _ => return broken(format!("a part of {len} bytes in a blob of {}", blob.len())),
        }
    }
    Ok(Item { message: Message { head, parts }, runs: runs(tags), size })
}

fn broken<T>(text: String) -> Result<T, Malformed> {
    Err(Malformed(text))
}

#[cfg(test)]
#[path = "codec_tests.rs"]
mod tests;
