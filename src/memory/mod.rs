//! Large bytes that do not travel: memory that processes of one host share.
//!
//! Knows: segments, mappings, who reads what and when memory may be used anew.
//! Never knows: sockets, sessions, what the bytes are, Python.
//! Who talks to it: the bindings, where bytes come from Python ([`store`], [`lent_before`]) and go
//! to it ([`Private`]); the transport, which sends where bytes lie instead of the bytes ([`lend`])
//! and maps what a peer lends ([`borrow`]).
//!
//! In between, stored and borrowed bytes are [`Bytes`] like all others; whoever knows nothing of
//! segments can keep, slice, copy and send them. The last of them to go gives the memory back.
//!
//! - `segment`, `header`, `map`: a segment, how readers are counted in it, a mapping; `fresh`: how
//!   bytes get into a new one;
//! - `pool`, `limits`: segments that wait to be used again, and how many there may be;
//! - `borrowed`: segments of others; `house`: what this process has of all that, and forks;
//! - `pages`: whether a private mapping was written to;
//! - `tally`: how far a process has come, told through memory;
//! - `usage`: how much memory a process has, and may have; `watch`: whether the one comes near the other.

mod borrowed;
mod fresh;
mod header;
mod house;
mod limits;
mod map;
mod pages;
mod pool;
mod segment;
mod tally;
pub mod usage;
mod watch;

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;

pub use borrowed::{BorrowError, can_borrow};
pub use house::{Presence, trim};
pub use tally::Tally;
pub use watch::{Gauge, Usage, Watch};

use borrowed::Borrowed;
use header::{Header, TOKEN};
use house::{Access, Range, generation, lock};
use limits::Limits;
use pool::Dropped;
use segment::Segment;

use crate::wire::{Loan, Sign};

/// Bytes at least this long are worth a segment; copying fewer through a socket is faster.
pub const WORTH: usize = 1024 * 1024;

/// Numbers that no other process gives, or hardly: a segment is known by them.
fn unique() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let seed = || {
        let mut bytes = [0; 8];
        let flags = rustix::rand::GetRandomFlags::empty();
        // Without, the numbers can be foreseen, which only this user's processes could use.
        let _ = rustix::rand::getrandom(&mut bytes, flags);
        u64::from_ne_bytes(bytes) | 1
    };
    if NEXT.load(Ordering::Relaxed) == 0 {
        let _ = NEXT.compare_exchange(0, seed(), Ordering::Relaxed, Ordering::Relaxed);
    }
    NEXT.fetch_add(1, Ordering::Relaxed)
}

// --- what this process stores

/// Stored bytes in use by this process.
struct Lease {
    /// There until this is dropped.
    segment: Option<Segment>,
    len: usize,
    born: u32,
}

impl AsRef<[u8]> for Lease {
    fn as_ref(&self) -> &[u8] {
        let Some(segment) = &self.segment else { return &[] };
        // SAFETY: so many bytes were stored there, and nobody writes to a segment that is leased.
        unsafe { std::slice::from_raw_parts(segment.start(), self.len) }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(segment) = self.segment.take() else { return };
        if self.born != generation() {
            // The parent's; its numbers are in the books of the parent.
            return std::mem::forget(segment);
        }
        let mut dropped = Dropped::new();
        let mut house = lock();
        let range = house.leave(segment.start());
        if house.sessions == 0 {
            house.pool.forget(segment, &mut dropped);
        } else {
            house.pool.park(segment, Instant::now());
        }
        drop(house);
        drop(range);
    }
}

/// Copies bytes to where a peer can map them; `None` if they are few, no peer could, or there is no
/// room, and then they must travel.
///
/// # Safety
/// `source` must be good for reads of `len` bytes.
pub unsafe fn store(source: *const u8, len: usize) -> Option<Bytes> {
    if len < WORTH {
        return None;
    }
    let mut dropped = Dropped::new();
    let mut house = lock();
    if house.sessions == 0 {
        return None;
    }
    let taken = house.pool.take(len, Limits::get(), &mut dropped);
    drop(house);
    drop(dropped);
    let mut segment = taken?;
    // SAFETY: the caller's promise; nobody but us knows the segment, so they do not overlap.
    let filled = unsafe { segment.fill(source, len, unique()) };
    if filled.is_err() {
        let mut dropped = Dropped::new();
        lock().pool.forget(segment, &mut dropped);
        return None;
    }
    let start = segment.start();
    let range = Range {
        len,
        offset: 0,
        header: Arc::clone(&segment.header),
        access: Some(Access::Own(Arc::clone(&segment.file))),
        slot: None,
        writable: false,
    };
    lock().enter(start, range);
    Some(Bytes::from_owner(Lease { segment: Some(segment), len, born: generation() }))
}

// --- what is on its way

/// Bytes that a peer was told of. Until it has mapped them, this keeps them; dropped before, it
/// takes the loan back.
#[derive(Debug)]
pub struct Lent {
    /// What the peer is to be told.
    pub loan: Loan,
    header: Arc<Header>,
    _bytes: Bytes,
    born: u32,
}

impl Lent {
    /// Whether the peer has mapped them.
    pub fn has_arrived(&self) -> bool {
        self.header.is_settled(self.loan.slot, self.loan.token)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if self.born == generation() {
            self.header.revoke(self.loan.slot, self.loan.token);
        }
    }
}

/// Lends bytes to one peer, if they lie where it can map them.
pub fn lend(bytes: &Bytes) -> Option<Lent> {
    if bytes.len() < WORTH {
        return None;
    }
    let range = lock().find(bytes.as_ptr(), bytes.len())?;
    let descriptor = range.access.as_ref()?.number();
    let token = unique() | TOKEN;
    let slot = range.header.claim(token)?;
    let (offset, len) = (range.offset, range.len as u64);
    let loan = Loan { descriptor, nonce: range.header.nonce(), slot, token, offset, len };
    Some(Lent { loan, header: range.header, _bytes: bytes.clone(), born: generation() })
}

// --- what others lend

/// Borrowed bytes in use by this process.
struct Guest(Borrowed);

impl Guest {
    /// Enters a mapping into the books.
    fn enter(mapped: Borrowed, access: Option<Access>, writable: bool) -> Self {
        let range = Range {
            len: mapped.len(),
            offset: mapped.offset,
            header: Arc::clone(&mapped.header),
            access,
            slot: Some(mapped.slot),
            writable,
        };
        lock().enter(mapped.start(), range);
        Self(mapped)
    }
}

impl AsRef<[u8]> for Guest {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: so many bytes are mapped; nobody here writes to them, and the owner of the
        // segment does not as long as the slot is taken.
        unsafe { std::slice::from_raw_parts(self.0.start(), self.0.len()) }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // In a forked child the books are others, and know nothing of it.
        let range = lock().leave(self.0.start());
        drop(range);
    }
}

/// Maps what the peer with this process lends. Nothing is copied, and no page is touched.
///
/// # Errors
/// If it cannot be reached or is not what it says.
pub fn borrow(pid: u32, loan: &Loan) -> Result<Bytes, BorrowError> {
    let (mapped, kept) = borrowed::open(pid, loan)?;
    Ok(Bytes::from_owner(Guest::enter(mapped, kept.map(Access::Kept), false)))
}

/// Borrowed bytes that one user may write to: he sees his own changes, and nobody else does.
pub struct Private(Guest);

impl Private {
    /// Maps borrowed bytes once more; `None` if these are not, or the system refuses.
    pub fn of(bytes: &Bytes) -> Option<Self> {
        if bytes.len() < WORTH {
            return None;
        }
        let range = lock().find(bytes.as_ptr(), bytes.len())?;
        range.slot?;
        let access = range.access?;
        let mapped = Borrowed::again(&access, &range.header, range.offset, range.len)?;
        Some(Self(Guest::enter(mapped, Some(access), true)))
    }

    /// The first byte.
    pub fn start(&self) -> *mut u8 {
        self.0.0.start()
    }

    /// Number of bytes.
    #[expect(clippy::len_without_is_empty, reason = "it never is")]
    pub fn len(&self) -> usize {
        self.0.0.len()
    }
}

/// The bytes at this address, if they were borrowed and nobody has written to them since: they need
/// not be copied to be sent.
pub fn lent_before(start: *const u8, len: usize) -> Option<Bytes> {
    if len < WORTH {
        return None;
    }
    let range = lock().find(start, len)?;
    if !range.writable || pages::were_written(start, len) {
        return None;
    }
    let access = range.access?;
    let mapped = Borrowed::again(&access, &range.header, range.offset, range.len)?;
    Some(Bytes::from_owner(Guest::enter(mapped, Some(access), false)))
}

// --- whether it works

/// A segment with nothing in it: who can map it can map the others.
#[derive(Debug)]
pub struct Probe {
    file: OwnedFd,
    nonce: u64,
}

impl Probe {
    /// A new one; `None` if the system has no such memory.
    pub fn new() -> Option<Self> {
        let (file, header) = segment::bare(0).ok()?;
        let nonce = unique();
        header.sign(nonce);
        Some(Self { file, nonce })
    }

    /// What the peer is to look for, see [`can_borrow`].
    pub fn sign(&self) -> Sign {
        Sign { descriptor: self.file.as_raw_fd().cast_unsigned(), nonce: self.nonce }
    }
}

#[cfg(test)]
mod tests;
