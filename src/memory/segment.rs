//! Memory of this process that others can map: a header page, then what is stored.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::io;
use rustix::mm::{Advice, madvise};

use super::fresh::Way;
use super::header::{DATA, Header};
use super::map::{Map, Sight};

/// What the kernel shows as the file's name; checked before anything is opened.
pub(super) const NAME: &str = "oarlock";
/// Without these a file could shrink under a mapping, and reading it would kill the reader.
pub(super) const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);

/// See the module. It has no name in any file system: the kernel frees it with its last
/// descriptor and mapping, however the processes end.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) file: Arc<OwnedFd>,
    pub(super) header: Arc<Header>,
    data: Map,
    /// Bytes that have pages behind them.
    written: usize,
    /// Whether these pages are in the mapping's tables.
    mapped: bool,
}

impl Segment {
    /// A segment with room for `capacity` bytes, a multiple of [`DATA`].
    pub(super) fn new(capacity: usize) -> io::Result<Self> {
        let (file, header) = bare(capacity)?;
        let data = Map::new(&file, DATA as u64, capacity, Sight::Shared)?;
        let (file, header) = (Arc::new(file), Arc::new(header));
        Ok(Self { file, header, data, written: 0, mapped: false })
    }

    pub(super) fn capacity(&self) -> usize {
        self.data.len()
    }

    /// Where the stored bytes begin.
    pub(super) fn start(&self) -> *const u8 {
        self.data.start()
    }

    /// Stores bytes in a segment that has no reader.
    ///
    /// Pages come into being by writes to the file, which fail where a store to memory would kill
    /// the process, and are not filled with zeros first. Pages that are there are written through
    /// the mapping, which costs a third.
    ///
    /// # Safety
    /// `source` must be good for reads of `len` bytes, at most [`Self::capacity`], that do not lie
    /// in this segment.
    pub(super) unsafe fn fill(
        &mut self,
        source: *const u8,
        len: usize,
        nonce: u64,
    ) -> io::Result<()> {
        let known = self.written.min(len);
        if known > 0 {
            if !self.mapped {
                // One call instead of a fault for every page. It is no loss if it is refused.
                // SAFETY: the advice changes no contents, and the range is ours.
                let advised = unsafe {
                    madvise(self.data.start().cast(), self.written, Advice::LinuxPopulateRead)
                };
                self.mapped = advised.is_ok();
            }
            // SAFETY: the caller's promise; nobody reads the segment, so nobody has a reference.
            unsafe { std::ptr::copy_nonoverlapping(source, self.data.start(), known) };
        }
        if self.written < len {
            let way = Way { source, file: &self.file, data: self.data.start() };
            // From a page's beginning, whatever a page is here.
            let begin = self.written / DATA * DATA;
            // SAFETY: the caller's promise; the mapping is as long, and nobody uses it.
            unsafe { way.copy(begin..len) }?;
            self.written = len;
        }
        self.header.sign(nonce);
        Ok(())
    }
}

/// A sealed file of a header and `capacity` bytes, and its header.
pub(super) fn bare(capacity: usize) -> io::Result<(OwnedFd, Header)> {
    let file = memfd_create(NAME, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    ftruncate(&file, (DATA + capacity) as u64)?;
    Header::found(&file)?;
    fcntl_add_seals(&file, SEALS)?;
    let header = Header::map(&file)?;
    Ok((file, header))
}
