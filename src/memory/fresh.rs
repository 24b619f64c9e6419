//! Copying into a file that has no pages yet, from both ends at once.
//!
//! Making pages takes the kernel six times as long as copying into them, so a second thread is worth
//! its start where much is to be copied. It has a way of its own to pages, through the mapping, since
//! the file lets in one writer at a time; and as that way is the longer one, nobody is given a fixed
//! share: each takes the next piece, one from the front and one from the back. Where no core is idle
//! there is no helper, as it would take one from somebody and make pages the dearer way.
//!
//! Stores through the mapping are made to pages that were asked for before, since a store that gets
//! none kills the process.

use std::fs;
use std::num::NonZero;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::LazyLock;
use std::thread;

use parking_lot::Mutex;
use rustix::io::{self, Errno, pwrite};
use rustix::mm::{Advice, madvise};

use super::header::DATA;

/// What is taken at once; who is done waits for the last piece of the other.
const PIECE: usize = 1024 * 1024;
/// Less than this is copied before a second thread has begun.
const SHARED: usize = 16 * PIECE;

/// Cores that this process may use.
static CORES: LazyLock<usize> =
    LazyLock::new(|| thread::available_parallelism().map_or(1, NonZero::get));

/// Whether there is a core for a second thread just now, as far as the kernel tells.
fn is_core_idle() -> bool {
    // The fourth field: threads that run or wait for a core, and all threads. This one runs.
    let running = fs::read_to_string("/proc/loadavg").ok().and_then(|text| {
        let (running, _) = text.split(' ').nth(3)?.split_once('/')?;
        running.parse::<usize>().ok()
    });
    *CORES > 1 && running.is_some_and(|running| running < *CORES)
}

/// Where bytes come from and go to.
#[derive(Clone, Copy)]
pub(super) struct Way<'a> {
    pub(super) source: *const u8,
    pub(super) file: &'a OwnedFd,
    /// The mapping of the file after its header.
    pub(super) data: *mut u8,
}

// SAFETY: addresses without any thread's state; who copies promises that they are good.
unsafe impl Sync for Way<'_> {}

impl Way<'_> {
    /// Copies these bytes by writing to the file.
    ///
    /// # Safety
    /// The source must be good for reads of them.
    unsafe fn write(self, mut bytes: Range<usize>) -> io::Result<()> {
        while !bytes.is_empty() {
            // SAFETY: the caller's promise.
            let rest =
                unsafe { std::slice::from_raw_parts(self.source.add(bytes.start), bytes.len()) };
            match pwrite(self.file, rest, (DATA + bytes.start) as u64) {
                Ok(0) => return Err(Errno::NOSPC),
                Ok(more) => bytes.start += more,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Copies these bytes, which begin at a page, through the mapping. Fails without having copied
    /// any if there are no pages to be had.
    ///
    /// # Safety
    /// The source must be good for reads of them, and the mapping for writes.
    unsafe fn store(self, bytes: Range<usize>) -> io::Result<()> {
        // SAFETY: the caller's promise; the advice changes no contents.
        unsafe {
            let into = self.data.add(bytes.start);
            madvise(into.cast(), bytes.len(), Advice::LinuxPopulateWrite)?;
            std::ptr::copy_nonoverlapping(self.source.add(bytes.start), into, bytes.len());
        }
        Ok(())
    }

    /// Copies these bytes, which begin at a page.
    ///
    /// # Safety
    /// The source must be good for reads of them, and the mapping for writes by nobody else.
    pub(super) unsafe fn copy(self, bytes: Range<usize>) -> io::Result<()> {
        if bytes.len() < SHARED || !is_core_idle() {
            // SAFETY: the caller's promise.
            return unsafe { self.write(bytes) };
        }
        // SAFETY: the caller's promise.
        unsafe { self.copy_together(bytes) }
    }

    /// As [`copy`](Self::copy), with a second thread.
    unsafe fn copy_together(self, bytes: Range<usize>) -> io::Result<()> {
        let pieces = Pieces::new(bytes);
        thread::scope(|scope| {
            let way = &self;
            let help = || {
                while let Some(piece) = pieces.last() {
                    // SAFETY: the caller's promise, for a piece that nobody else has.
                    if unsafe { way.store(piece.clone()) }.is_err() {
                        return Some(piece);
                    }
                }
                None
            };
            // If the system has no thread to give, there is one less.
            let helper =
                thread::Builder::new().name("oarlock-copy".into()).spawn_scoped(scope, help);
            let mut written = Ok(());
            while written.is_ok()
                && let Some(piece) = pieces.first()
            {
                // SAFETY: as above.
                written = unsafe { self.write(piece) };
            }
            pieces.drop_rest();
            let left = helper.ok().and_then(|helper| helper.join().unwrap_or_default());
            written?;
            // SAFETY: as above.
            left.map_or(Ok(()), |piece| unsafe { self.write(piece) })
        })
    }
}

/// What nobody has taken yet.
struct Pieces(Mutex<Range<usize>>);

impl Pieces {
    fn new(bytes: Range<usize>) -> Self {
        Self(Mutex::new(bytes))
    }

    fn first(&self) -> Option<Range<usize>> {
        let mut rest = self.0.lock();
        let start = rest.start;
        rest.start = rest.end.min(start + PIECE);
        (start < rest.start).then_some(start..rest.start)
    }

    /// All but the last one begin at a multiple of [`PIECE`].
    fn last(&self) -> Option<Range<usize>> {
        let mut rest = self.0.lock();
        if rest.is_empty() {
            return None;
        }
        let end = rest.end;
        rest.end = rest.start.max((end - 1) / PIECE * PIECE);
        Some(rest.end..end)
    }

    fn drop_rest(&self) {
        let mut rest = self.0.lock();
        rest.end = rest.start;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::map::{Map, Sight};
    use crate::memory::segment::bare;

    #[test]
    fn what_two_threads_copy_into_new_memory_is_all_there() {
        let len = SHARED + PIECE + 4321;
        let source: Vec<u8> = (0..len).map(|index| (index / 4096 + index) as u8).collect();
        for _ in 0..4 {
            let (file, _) = bare((len + DATA).next_multiple_of(DATA)).unwrap();
            let map = Map::new(&file, DATA as u64, len, Sight::Shared).unwrap();
            let way = Way { source: source.as_ptr(), file: &file, data: map.start() };
            // SAFETY: a vector is good for reads, and nobody else uses the mapping.
            unsafe { way.copy_together(0..len) }.unwrap();
            // SAFETY: so many bytes were just stored, and nobody writes to them.
            let stored = unsafe { std::slice::from_raw_parts(map.start(), len) };
            assert!(stored == source);
        }
    }

    #[test]
    fn pieces_from_both_ends_are_everything_once() {
        for bytes in [0..10 * PIECE + 3, 4096..3 * PIECE, 4096..PIECE + 4096, 0..1, 0..0] {
            let pieces = Pieces::new(bytes.clone());
            let (mut front, mut back) = (bytes.start, bytes.end);
            while let Some(piece) = pieces.last() {
                assert!(piece.end == back && (piece.start % 4096 == 0));
                back = piece.start;
                if let Some(piece) = pieces.first() {
                    assert_eq!(piece.start, front);
                    front = piece.end;
                }
            }
            assert!(front == back && pieces.first().is_none());
        }
    }
}
