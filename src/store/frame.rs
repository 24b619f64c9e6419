//! Bytes of a file: its header, and how a record lies in it.
//!
//! A file is a header and records, end to end. A record is a *frame* (sort, lengths, checksum of the
//! head, checksum of the frame itself), the *head* (the record, then the length and the checksum of
//! each part), the *parts*, and frame and head once more. So a length is never believed before a
//! checksum said that it is what was written, damage to the arguments of one task leaves those of its
//! neighbours readable, and whose a record is is known if either end of it is whole.
//!
//! The checksum of a frame covers the number of its file and its position there as well: bytes that
//! lie in the wrong place are no record, and behind damage the next frame can be told from data.
//! Checksums are CRC-32 and find what chance does to a disk; they do not keep out who may write there.

use bytes::Bytes;
use crc32fast::Hasher;

use crate::wire::Message;
use crate::wire::codec::{read_head, write_head};
use crate::wire::compact::{Reader, push_number};
use crate::wire::limits::{FRAME_MAX, PART_MAX, PARTS_MAX};

use super::record::{Record, Sort};

/// Version of everything in a file.
pub const FORMAT: u32 = 2;
const MAGIC: [u8; 8] = *b"oarstore";
/// Bytes of a file before its first record.
pub const FILE_HEADER: usize = 24;
/// Bytes of a frame.
pub const FRAME: usize = 24;
/// Longest head: a record as long as a message may be, and a length and a checksum for each part.
pub const HEAD_MAX: usize = FRAME_MAX + 14 * PARTS_MAX;

/// The header of the file with this number.
pub fn file_header(number: u64) -> [u8; FILE_HEADER] {
    let mut bytes = [0; FILE_HEADER];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    bytes[12..20].copy_from_slice(&number.to_le_bytes());
    let sum = crc32fast::hash(&bytes[..20]);
    bytes[20..].copy_from_slice(&sum.to_le_bytes());
    bytes
}

/// Version and number that a file's header says; `None` if it is damaged.
pub fn read_file_header(bytes: [u8; FILE_HEADER]) -> Option<(u32, u64)> {
    let mut reader = Reader::new(&bytes);
    let magic = reader.fixed::<8>()?;
    let format = u32::from_le_bytes(reader.fixed()?);
    let number = u64::from_le_bytes(reader.fixed()?);
    let sum = u32::from_le_bytes(reader.fixed()?);
    (magic == MAGIC && sum == crc32fast::hash(&bytes[..20])).then_some((format, number))
}

/// Which of the two frames of a record it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum End {
    /// The one before it.
    Front = 0,
    /// The copy behind its parts.
    Back = 1,
}

/// What stands before a record, and behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What kind of record it is.
    pub sort: Sort,
    /// Length of the head.
    pub head: usize,
    /// Checksum of the head.
    pub sum: u32,
    /// Length of all parts.
    pub parts: u64,
}

impl Frame {
    /// Bytes of frame and head.
    pub fn before(&self) -> u64 {
        (FRAME + self.head) as u64
    }

    /// Bytes from the first frame to the second.
    pub fn to_back(&self) -> u64 {
        self.before().saturating_add(self.parts)
    }

    /// Bytes of the whole record.
    pub fn bytes(&self) -> u64 {
        self.to_back().saturating_add(self.before())
    }

    /// The bytes of a frame at this position of the file with this number.
    pub fn encode(&self, number: u64, at: u64, end: End) -> [u8; FRAME] {
        let mut bytes = [0; FRAME];
        let lens = (self.head as u32, self.parts);
        bytes[..4].copy_from_slice(&lens.0.to_le_bytes());
        bytes[4..12].copy_from_slice(&lens.1.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.sum.to_le_bytes());
        (bytes[16], bytes[17]) = (self.sort as u8, end as u8);
        let sum = frame_sum(&bytes, number, at);
        bytes[20..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// Reads a frame; `None` if these bytes are none that was written at this place.
    pub fn decode(bytes: &[u8; FRAME], number: u64, at: u64) -> Option<(Self, End)> {
        let mut reader = Reader::new(bytes);
        let head = u32::from_le_bytes(reader.fixed()?) as usize;
        let parts = u64::from_le_bytes(reader.fixed()?);
        let sum = u32::from_le_bytes(reader.fixed()?);
        let sort = Sort::of(reader.byte()?)?;
        let end = match reader.byte()? {
            0 => End::Front,
            1 => End::Back,
            _ => return None,
        };
        let spare = reader.fixed::<2>()?;
        let own = u32::from_le_bytes(reader.fixed()?);
        let whole = own == frame_sum(bytes, number, at) && spare == [0; 2];
        let frame = Self { sort, head, sum, parts };
        (whole && head <= HEAD_MAX && parts <= PART_MAX).then_some((frame, end))
    }
}

fn frame_sum(bytes: &[u8; FRAME], number: u64, at: u64) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(&number.to_le_bytes());
    hasher.update(&at.to_le_bytes());
    hasher.update(&bytes[..20]);
    hasher.finalize()
}

/// Length and checksum of a part.
pub type Part = (u64, u32);

/// The frame and the head of a record, ready to be written, or why there is none.
pub fn encode(entry: &Message<Record>) -> Result<(Frame, Vec<u8>), String> {
    let parts = entry.parts.len();
    if parts > PARTS_MAX {
        return Err(format!("a record of {parts} parts, the limit is {PARTS_MAX}"));
    }
    if let Some(fault) = entry.head.fault(parts) {
        return Err(fault);
    }
    let mut head = Vec::with_capacity(64 + 8 * parts);
    write_head(&entry.head, &mut head).map_err(|error| error.to_string())?;
    if head.len() > FRAME_MAX {
        return Err(format!("a head of {} bytes, the limit is {FRAME_MAX}", head.len()));
    }
    push_number(&mut head, parts as u64);
    let mut sum = 0;
    for part in &entry.parts {
        push_number(&mut head, part.len() as u64);
        head.extend_from_slice(&crc32fast::hash(part).to_le_bytes());
        sum += part.len() as u64;
    }
    if sum > PART_MAX {
        return Err(format!("parts of {sum} bytes, the limit is {PART_MAX}"));
    }
    let sort = entry.head.sort();
    let frame = Frame { sort, head: head.len(), sum: crc32fast::hash(&head), parts: sum };
    Ok((frame, head))
}

/// Reads a head whose checksum is right: the record and its parts.
///
/// # Errors
/// If anything in it breaks a rule, and which.
pub fn decode(head: &[u8]) -> Result<(Record, Vec<Part>), String> {
    let mut reader = Reader::new(head);
    let record = read_head::<Record>(&mut reader).map_err(|error| error.to_string())?;
    let cut = || "a head that is cut off".to_string();
    let count = reader.number().ok_or_else(cut)?;
    if count > PARTS_MAX as u64 {
        return Err(format!("a record of {count} parts, the limit is {PARTS_MAX}"));
    }
    // Each takes five bytes or more.
    let mut parts = Vec::with_capacity((count as usize).min(reader.left() / 5));
    for _ in 0..count {
        let len = reader.number().ok_or_else(cut)?;
        parts.push((len, u32::from_le_bytes(reader.fixed().ok_or_else(cut)?)));
    }
    if reader.left() > 0 {
        return Err("a head with bytes that nothing claims".into());
    }
    match record.fault(parts.len()) {
        Some(fault) => Err(fault),
        None => Ok((record, parts)),
    }
}

/// Appends a record to bytes that are to become the file with this number; for tests.
///
/// # Errors
/// If the record breaks a limit.
pub fn push(number: u64, file: &mut Vec<u8>, entry: &Message<Record>) -> Result<(), String> {
    let (frame, head) = encode(entry)?;
    file.extend_from_slice(&frame.encode(number, file.len() as u64, End::Front));
    file.extend_from_slice(&head);
    entry.parts.iter().for_each(|part: &Bytes| file.extend_from_slice(part));
    file.extend_from_slice(&frame.encode(number, file.len() as u64, End::Back));
    file.extend_from_slice(&head);
    Ok(())
}
