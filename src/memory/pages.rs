//! Which pages of a private mapping are its own.

use std::fs::File;
use std::os::unix::fs::FileExt;

/// What the kernel says of a page: it is in memory, it is swapped out, it is a file's.
const PRESENT: u64 = 1 << 63;
const SWAPPED: u64 = 1 << 62;
const OF_FILE: u64 = 1 << 61;
/// Pages asked for at once.
const BATCH: usize = 8192;

/// Whether any page of these bytes, which lie in a private mapping of a file, was written to: it is
/// no page of the file then. Whatever is not sure counts as written.
pub(super) fn were_written(start: *const u8, len: usize) -> bool {
    look(start.addr(), len).unwrap_or(true)
}

fn look(start: usize, len: usize) -> std::io::Result<bool> {
    let map = File::open("/proc/self/pagemap")?;
    let size = rustix::param::page_size();
    let (first, end) = (start / size, (start + len).div_ceil(size));
    let mut words = vec![0; BATCH.min(end - first) * 8];
    let mut page = first;
    while page < end {
        let count = BATCH.min(end - page);
        let words = &mut words[..count * 8];
        map.read_exact_at(words, page as u64 * 8)?;
        let own = |word: &[u8]| {
            let word = u64::from_ne_bytes(word.try_into().unwrap_or([0xff; 8]));
            word & SWAPPED != 0 || (word & PRESENT != 0 && word & OF_FILE == 0)
        };
        if words.chunks_exact(8).any(own) {
            return Ok(true);
        }
        page += count;
    }
    Ok(false)
}
