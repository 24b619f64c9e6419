//! How far a process has come with what another gave it, told without a message.
//!
//! One word in memory that both map: the number of the last thing that was begun, and a bit that
//! closes it. A thing is begun by one atomic step that fails once the tally is closed, and closing
//! gives the number. So whoever gave the things out knows for certain, also of a process that was
//! killed or that does not answer, which of them it began and that it begins no other.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use super::borrowed::reach;
use super::header::Header;
use super::{segment, unique};
use crate::wire::Sign;

/// Nothing is begun any more.
const CLOSED: u64 = 1 << 63;

/// See the module.
#[derive(Debug)]
pub struct Tally {
    header: Header,
    /// What the other process opens; none on its side.
    file: Option<OwnedFd>,
}

impl Tally {
    /// A new one; `None` if the system has no such memory.
    pub fn new() -> Option<Self> {
        let (file, header) = segment::bare(0).ok()?;
        header.sign(unique());
        Some(Self { header, file: Some(file) })
    }

    /// What the other process is to look for, see [`Tally::open`]; `None` on its side.
    pub fn sign(&self) -> Option<Sign> {
        let descriptor = self.file.as_ref()?.as_raw_fd().cast_unsigned();
        Some(Sign { descriptor, nonce: self.header.nonce() })
    }

    /// The tally of the process `pid` with this sign, if it can be reached.
    pub fn open(pid: u32, sign: &Sign) -> Option<Self> {
        let (file, _) = reach(pid, sign.descriptor).ok()?;
        let header = Header::map(&file).ok()?;
        header.is_signed(sign.nonce).then_some(Self { header, file: None })
    }

    fn word(&self) -> &AtomicU64 {
        self.header.spare()
    }

    /// Begins what has this number; `false` if nothing is to be begun any more.
    pub fn begin(&self, number: u64) -> bool {
        let step = |word: u64| (word & CLOSED == 0).then_some(number & !CLOSED);
        self.word().fetch_update(Ordering::AcqRel, Ordering::Acquire, step).is_ok()
    }

    /// Closes it. Gives the number of what was begun last, 0 for nothing.
    pub fn close(&self) -> u64 {
        self.word().fetch_or(CLOSED, Ordering::AcqRel) & !CLOSED
    }
}
