//! Memory of another process, mapped here.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::fs::{OFlags, fcntl_get_seals, fstat};
use thiserror::Error;

use super::header::{DATA, Header};
use super::limits::Limits;
use super::map::{Map, Sight};
use super::segment::{NAME, SEALS};
use crate::wire::{Loan, Sign};

/// Why memory of a peer cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BorrowError {
    /// It cannot be reached: the peer has ended, or this process lacks something.
    #[error("memory of process {pid} cannot be mapped: {error}")]
    Unreachable {
        /// The peer.
        pid: u32,
        /// What the system said.
        error: io::Error,
    },
    /// It is not what the peer says it is.
    #[error("memory of process {pid} is not what it says: {fault}")]
    Untrue {
        /// The peer.
        pid: u32,
        /// What is wrong.
        fault: &'static str,
    },
}

/// Descriptors of others' segments that are kept.
static KEPT: AtomicUsize = AtomicUsize::new(0);

/// A descriptor of another's segment, kept to map it once more or to lend it on.
#[derive(Debug)]
pub(super) struct Kept(OwnedFd);

impl Kept {
    /// Keeps it unless too many are kept already.
    fn new(file: OwnedFd) -> Option<Arc<Self>> {
        let kept = KEPT.fetch_add(1, Ordering::Relaxed);
        let kept_one = Self(file);
        // Dropped, it counts down again.
        (kept < Limits::get().count).then(|| Arc::new(kept_one))
    }
}

impl AsFd for Kept {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        KEPT.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A private mapping of a part of a segment, and the slot that keeps the segment from being
/// written. Pages that nobody wrote here are shared with everybody else.
#[derive(Debug)]
pub(super) struct Borrowed {
    /// Taken out when dropped: the slot is given back only when the mapping is gone.
    data: Option<Map>,
    pub(super) header: Arc<Header>,
    pub(super) slot: u32,
    /// Of the first byte in the segment, and from the start of the mapping.
    pub(super) offset: u64,
    lead: usize,
    len: usize,
}

impl Borrowed {
    /// Maps `len` bytes from `offset` of a segment; `slot` is taken, and given back if this fails.
    fn map(
        file: impl AsFd,
        header: Arc<Header>,
        slot: u32,
        offset: u64,
        len: usize,
    ) -> io::Result<Self> {
        let lead = (offset % DATA as u64) as usize;
        let mut borrowed = Self { data: None, header, slot, offset, lead, len };
        let start = DATA as u64 + offset - lead as u64;
        borrowed.data = Some(Map::new(file, start, lead + len, Sight::Private)?);
        Ok(borrowed)
    }

    /// Maps a part of the same segment once more.
    pub(super) fn again(
        file: impl AsFd,
        header: &Arc<Header>,
        offset: u64,
        len: usize,
    ) -> Option<Self> {
        let slot = header.join()?;
        Self::map(file, Arc::clone(header), slot, offset, len).ok()
    }

    pub(super) fn start(&self) -> *mut u8 {
        let start = self.data.as_ref().map_or(std::ptr::dangling_mut(), Map::start);
        // SAFETY: the mapping is `lead + len` bytes long.
        unsafe { start.add(if self.data.is_some() { self.lead } else { 0 }) }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        drop(self.data.take());
        self.header.give_back(self.slot);
    }
}

/// Maps what a peer lends, after checking that it is what it says. The descriptor is kept if there
/// is room for it.
pub(super) fn open(pid: u32, loan: &Loan) -> Result<(Borrowed, Option<Arc<Kept>>), BorrowError> {
    let unreachable = |error| BorrowError::Unreachable { pid, error };
    let untrue = |fault| BorrowError::Untrue { pid, fault };
    let Loan { descriptor, nonce, slot, token, offset, len } = *loan;
    let (file, size) = reach(pid, descriptor)?;
    let end = offset.checked_add(len).and_then(|end| end.checked_add(DATA as u64));
    if len == 0 || end.is_none_or(|end| end > size) {
        return Err(untrue("it is too short"));
    }
    let len = usize::try_from(len).map_err(|_| untrue("it is too long"))?;
    let header = Header::map(&file).map_err(|error| unreachable(error.into()))?;
    if !header.is_signed(nonce) {
        return Err(untrue("it holds something else"));
    }
    if !header.take(slot, token) {
        return Err(untrue("it was lent to nobody"));
    }
    let mapped = Borrowed::map(&file, Arc::new(header), slot, offset, len);
    let mapped = mapped.map_err(unreachable)?;
    Ok((mapped, Kept::new(file.into())))
}

/// Whether memory of the peer with this sign can be mapped here.
pub fn can_borrow(pid: u32, sign: &Sign) -> bool {
    let Ok((file, _)) = reach(pid, sign.descriptor) else { return false };
    Header::map(&file).is_ok_and(|header| header.is_signed(sign.nonce))
}

/// Opens a segment of a peer, which cannot shrink; its size.
pub(super) fn reach(pid: u32, descriptor: u32) -> Result<(File, u64), BorrowError> {
    let unreachable = |error| BorrowError::Unreachable { pid, error };
    let untrue = |fault| Err(BorrowError::Untrue { pid, fault });
    let path = format!("/proc/{pid}/fd/{descriptor}");
    // Opening a device or a pipe may do something; a file like ours is known by its name.
    let name = std::fs::read_link(&path).map_err(unreachable)?;
    if !name.to_string_lossy().starts_with(&format!("/memfd:{NAME}")) {
        return untrue("it is no segment");
    }
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path);
    let file = file.map_err(unreachable)?;
    if !fcntl_get_seals(&file).is_ok_and(|seals| seals.contains(SEALS)) {
        return untrue("it could shrink");
    }
    let size = fstat(&file).map_err(|error| unreachable(error.into()))?.st_size;
    match u64::try_from(size) {
        Ok(size) if size >= DATA as u64 => Ok((file, size)),
        _ => untrue("it is too short"),
    }
}
