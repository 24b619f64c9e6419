//! The segments of this process that wait to be used again.
//!
//! New memory costs the kernel six times as much as memory that is there, so segments stay for a
//! while. A segment in the pool is used by nobody in this process; other processes may still read
//! it, and then it is not written. Dropping one is always safe: their mappings keep the pages. So
//! it needs no news of readers that died: what they held is dropped with time.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rustix::io;

use super::header::DATA;
use super::limits::Limits;
use super::segment::Segment;

/// How long a segment waits to be used again.
const IDLE: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Pool {
    /// In the order they came.
    parked: VecDeque<(Segment, Instant)>,
    /// Bytes and number of all segments, parked or in use.
    bytes: usize,
    count: usize,
}

/// Segments that were taken out of the pool. Freeing memory takes long, so it is done by dropping
/// this, after the lock.
pub(super) type Dropped = Vec<Segment>;

impl Pool {
    /// A segment for `len` bytes that nobody reads, or `None` if the limits leave no room for one.
    pub(super) fn take(
        &mut self,
        len: usize,
        limits: Limits,
        dropped: &mut Dropped,
    ) -> Option<Segment> {
        let capacity = class(len)?;
        let fits = |segment: &Segment| {
            (capacity..=capacity.saturating_mul(2)).contains(&segment.capacity())
                && segment.header.is_free()
        };
        let found = (0..self.parked.len())
            .filter(|index| fits(&self.parked[*index].0))
            .min_by_key(|index| self.parked[*index].0.capacity());
        if let Some((segment, _)) = found.and_then(|index| self.parked.remove(index)) {
            return Some(segment);
        }
        let room = |pool: &Self| {
            pool.bytes.saturating_add(capacity) <= limits.bytes && pool.count < limits.count
        };
        while !room(self) {
            let (oldest, _) = self.parked.pop_front()?;
            self.forget(oldest, dropped);
        }
        let made: io::Result<Segment> = Segment::new(capacity);
        let segment = made.ok()?;
        self.bytes += capacity;
        self.count += 1;
        Some(segment)
    }

    /// Nobody in this process uses this segment any more.
    pub(super) fn park(&mut self, segment: Segment, now: Instant) {
        self.parked.push_back((segment, now));
    }

    /// Takes a segment out for good.
    pub(super) fn forget(&mut self, segment: Segment, dropped: &mut Dropped) {
        self.bytes -= segment.capacity();
        self.count -= 1;
        dropped.push(segment);
    }

    /// Takes out what has waited for too long.
    pub(super) fn trim(&mut self, now: Instant, dropped: &mut Dropped) {
        while let Some((_, since)) = self.parked.front()
            && now.saturating_duration_since(*since) >= IDLE
            && let Some((segment, _)) = self.parked.pop_front()
        {
            self.forget(segment, dropped);
        }
    }

    /// Takes out everything that waits.
    pub(super) fn clear(&mut self, dropped: &mut Dropped) {
        while let Some((segment, _)) = self.parked.pop_front() {
            self.forget(segment, dropped);
        }
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.parked.is_empty()
    }

    /// Bytes and number of all segments, parked or in use.
    #[cfg(test)]
    pub(super) fn totals(&self) -> (usize, usize) {
        (self.bytes, self.count)
    }
}

/// The capacity of a segment for `len` bytes: eight classes from one power of two to the next, so
/// that at most an eighth is wasted and sizes that differ a little share segments.
fn class(len: usize) -> Option<usize> {
    let step = (len.checked_next_power_of_two()? / 16).max(DATA);
    len.checked_next_multiple_of(step)
}

#[cfg(test)]
#[path = "pool_tests.rs"]
mod tests;
