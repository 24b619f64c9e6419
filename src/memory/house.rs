//! What this process has of shared memory, and what a fork makes of it.
//!
//! One lock guards the pool and the table of address ranges. The table tells of bytes, by their
//! address alone, that they lie in a segment, so that nobody else needs to know of segments.
//!
//! A fork copies all mappings without telling anybody. So the parent's side of it *retires* the
//! segments that are mapped here: they are never written again, whoever unmaps them. The child
//! begins with nothing: what it inherited stays as it is, and it gives nothing back.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
use std::sync::{Arc, Once};
use std::time::Instant;

use parking_lot::{Mutex, MutexGuard};

use super::borrowed::Kept;
use super::header::Header;
use super::pool::{Dropped, Pool};

/// A descriptor through which a segment can be reached.
#[derive(Clone, Debug)]
pub(super) enum Access {
    Own(Arc<OwnedFd>),
    Kept(Arc<Kept>),
}

impl AsFd for Access {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Own(file) => file.as_fd(),
            Self::Kept(file) => file.as_fd(),
        }
    }
}

impl Access {
    pub(super) fn number(&self) -> u32 {
        self.as_fd().as_raw_fd().cast_unsigned()
    }
}

/// An address range that lies in a segment.
#[derive(Clone, Debug)]
pub(super) struct Range {
    pub(super) len: usize,
    /// Where in the segment it begins.
    pub(super) offset: u64,
    pub(super) header: Arc<Header>,
    /// None if there were too many descriptors.
    pub(super) access: Option<Access>,
    /// The slot of the mapping, if the segment is another's.
    pub(super) slot: Option<u32>,
    /// Whether somebody may have written to it, privately.
    pub(super) writable: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct House {
    pub(super) pool: Pool,
    ranges: BTreeMap<usize, Range>,
    /// Sessions whose peers can map our memory; without any, nothing is kept.
    pub(super) sessions: usize,
}

/// Leaked at a fork: its lock may be held by a thread that the child does not have.
static HOUSE: AtomicPtr<Mutex<House>> = AtomicPtr::new(std::ptr::null_mut());
static FORKS: AtomicU32 = AtomicU32::new(0);

/// Forks between this process and the one in which everything began.
pub(super) fn generation() -> u32 {
    FORKS.load(Ordering::Relaxed)
}

fn house() -> &'static Mutex<House> {
    static WATCH: Once = Once::new();
    WATCH.call_once(|| {
        // SAFETY: the handlers only lock, swap and count. Refused for want of memory, forks would
        // go unseen, so the process does not go on.
        let refused =
            unsafe { libc::pthread_atfork(Some(before_fork), Some(in_parent), Some(in_child)) };
        assert!(refused == 0, "the system has no memory to register a fork handler");
    });
    let present = HOUSE.load(Ordering::Acquire);
    let present = if present.is_null() {
        let new = Box::into_raw(Box::default());
        match HOUSE.compare_exchange(present, new, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => new,
            Err(other) => {
                // SAFETY: nobody else has seen it.
                drop(unsafe { Box::from_raw(new) });
                other
            }
        }
    } else {
        present
    };
    // SAFETY: made by `Box::into_raw` and never freed.
    unsafe { &*present }
}

pub(super) fn lock() -> MutexGuard<'static, House> {
    house().lock()
}

extern "C" fn before_fork() {
    let house = lock();
    for range in house.ranges.values() {
        if let Some(slot) = range.slot {
            range.header.retire(slot);
        }
    }
    // Held until the fork is done, so that nothing is mapped in between.
    std::mem::forget(house);
}

extern "C" fn in_parent() {
    // SAFETY: locked by this thread in `before_fork`.
    unsafe { house().force_unlock() };
}

extern "C" fn in_child() {
    FORKS.fetch_add(1, Ordering::Relaxed);
    HOUSE.store(std::ptr::null_mut(), Ordering::Release);
}

impl House {
    pub(super) fn enter(&mut self, start: *const u8, range: Range) {
        self.ranges.insert(start.addr(), range);
    }

    pub(super) fn leave(&mut self, start: *const u8) -> Option<Range> {
        self.ranges.remove(&start.addr())
    }

    /// The range that holds these bytes, cut to them.
    pub(super) fn find(&self, start: *const u8, len: usize) -> Option<Range> {
        let (first, range) = self.ranges.range(..=start.addr()).next_back()?;
        let skip = start.addr() - first;
        if skip.checked_add(len)? > range.len {
            return None;
        }
        Some(Range { len, offset: range.offset + skip as u64, ..range.clone() })
    }
}

/// Drops what has waited for long; called now and then, and cheap when nothing waits.
pub fn trim() {
    let mut dropped = Dropped::new();
    let mut house = lock();
    if !house.pool.is_empty() {
        house.pool.trim(Instant::now(), &mut dropped);
    }
    drop(house);
}

/// A session with a peer that can map our memory. With its end everything that waits is dropped.
#[derive(Debug)]
pub struct Presence(u32);

impl Presence {
    /// There is such a session, as long as this lives.
    #[expect(clippy::new_without_default, reason = "it changes the books")]
    pub fn new() -> Self {
        lock().sessions += 1;
        Self(generation())
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        if self.0 != generation() {
            return;
        }
        let mut dropped = Dropped::new();
        let mut house = lock();
        house.sessions -= 1;
        // Which of them this session would have used nobody knows; the others fill the pool anew.
        house.pool.clear(&mut dropped);
        drop(house);
    }
}
