//! Bytes that stay where they are: what a message says of a part that lies in shared memory.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::codec::{Item, Malformed};
use super::compact::{Reader, push_number};
use super::limits::{LOANS_MAX, PART_MAX};

/// Where the bytes of a part lie. Everything here is of the sender's choice, so whoever maps the
/// memory checks all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loan {
    /// The sender's descriptor of the segment.
    pub descriptor: u32,
    /// What the segment's header must say, so that another segment is not taken for it.
    pub nonce: u64,
    /// The place in the header that keeps the segment from being used anew, and what is in it
    /// until the receiver has it.
    pub slot: u32,
    /// See `slot`.
    pub token: u64,
    /// First byte, counted from behind the header.
    pub offset: u64,
    /// Number of bytes.
    pub len: u64,
}

/// A segment with nothing in it, by which two peers find out whether they can share memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sign {
    /// The sender's descriptor of it.
    pub descriptor: u32,
    /// What its header says.
    pub nonce: u64,
}

/// A part that is lent: its message in the packet, its place there, and where it lies.
pub type Place = (usize, usize, Loan);

/// Writes a loan behind the messages of a packet.
pub(super) fn write((message, part, loan): &Place, out: &mut Vec<u8>) {
    let Loan { descriptor, nonce, slot, token, offset, len } = *loan;
    for number in [*message as u64, *part as u64, descriptor.into(), slot.into(), offset, len] {
        push_number(out, number);
    }
    out.extend_from_slice(&nonce.to_le_bytes());
    out.extend_from_slice(&token.to_le_bytes());
}

fn read_one(reader: &mut Reader) -> Option<Place> {
    let (message, part) = (reader.small()?, reader.small()?);
    let (descriptor, slot) = (reader.small()?, reader.small()?);
    let (offset, len) = (reader.number()?, reader.number()?);
    let nonce = u64::from_le_bytes(reader.fixed()?);
    let token = u64::from_le_bytes(reader.fixed()?);
    let loan = Loan { descriptor, nonce, slot, token, offset, len };
    Some((message as usize, part as usize, loan))
}

/// Reads the loans of a packet with these messages: all that is left.
pub(super) fn read<H>(reader: &mut Reader, items: &[Item<H>]) -> Result<Vec<Place>, Malformed> {
    let mut loans = Vec::<Place>::new();
    while reader.left() > 0 {
        let cut = || Malformed("a loan that is cut off".into());
        let place = read_one(reader).ok_or_else(cut)?;
        let (message, part, loan) = &place;
        let there = items.get(*message).and_then(|item| item.message.parts.get(*part));
        let fits = there.is_some_and(Bytes::is_empty) && (1..=PART_MAX).contains(&loan.len);
        // In order, so that no place is named twice.
        let late = loans.last().is_some_and(|last| (last.0, last.1) >= (*message, *part));
        if !fits || late {
            return Err(Malformed(format!("a loan for part {part} of message {message}")));
        }
        if loans.len() == LOANS_MAX {
            return Err(Malformed(format!("more than {LOANS_MAX} loans in a packet")));
        }
        loans.push(place);
    }
    Ok(loans)
}
