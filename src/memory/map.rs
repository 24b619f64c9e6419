//! A piece of a file in this process's addresses.

use std::os::fd::AsFd;
use std::ptr::NonNull;

use rustix::io;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// Who sees what is written, and who may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sight {
    /// Everybody, and what others write is seen here.
    Shared,
    /// Nobody else: a page that is written becomes this mapping's own.
    Private,
}

/// See the module. Unmapped when dropped; the bytes are reached by address alone, so that no
/// reference claims more than its user knows.
#[derive(Debug)]
pub(super) struct Map {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: an address range without any thread's state; who may touch what is said by the owners.
unsafe impl Send for Map {}
// SAFETY: as above.
unsafe impl Sync for Map {}

impl Map {
    /// Maps `len` bytes of `file` from `offset`, a multiple of the page size, readable and
    /// writable. The caller has seen to it that the file has them and can never shrink.
    pub(super) fn new(file: impl AsFd, offset: u64, len: usize, sight: Sight) -> io::Result<Self> {
        let flags = match sight {
            Sight::Shared => MapFlags::SHARED,
            Sight::Private => MapFlags::PRIVATE | MapFlags::NORESERVE,
        };
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the kernel chooses the address, so nothing that is there is replaced.
        let start = unsafe { mmap(std::ptr::null_mut(), len, access, flags, file, offset)? };
        let start = NonNull::new(start.cast()).ok_or(io::Errno::NOMEM)?;
        Ok(Self { start, len })
    }

    pub(super) fn start(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: the range is this mapping's, and its owner lets nobody use it any more.
        let unmapped = unsafe { munmap(self.start.as_ptr().cast(), self.len) };
        debug_assert!(unmapped.is_ok(), "a mapping of ours can be unmapped");
    }
}
