//! The first page of a segment: whose it is, and who reads it.
//!
//! All processes that know the segment map this page and change it by atomic operations only. A
//! *slot* is a word that stands for one reader. It goes from 0 to a *token* when a reader is on the
//! way, to [`TAKEN`] when it has mapped the segment, and back to 0 when it has unmapped it. A
//! segment may be written anew only while all slots are 0: the readers' mappings show what is
//! written to pages that they did not write themselves.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::io;

use super::map::{Map, Sight};

/// Size of the header.
const SIZE: usize = 4096;
/// Where what is stored begins; a multiple of the page size wherever this runs. There is no memory
/// behind the gap.
pub(super) const DATA: usize = 64 * 1024;
const MAGIC: u64 = u64::from_le_bytes(*b"oarlock\x01");
const WORDS: usize = SIZE / size_of::<u64>();
const NONCE: usize = 1;
const SLOTS: usize = 2;
/// In a slot: a reader has the segment.
const TAKEN: u64 = 1;
/// In a slot: a reader was copied by a fork and cannot be followed; the segment is never written
/// again.
const RETIRED: u64 = 2;
/// Tokens have this bit, so that they are none of the above.
pub(super) const TOKEN: u64 = 1 << 63;

/// See the module.
#[derive(Debug)]
pub(super) struct Header(Map);

impl Header {
    /// Maps the header of a segment, which is at least [`DATA`] bytes long and cannot shrink.
    pub(super) fn map(file: impl AsFd) -> io::Result<Self> {
        Map::new(file, 0, SIZE, Sight::Shared).map(Self)
    }

    fn words(&self) -> &[AtomicU64; WORDS] {
        // SAFETY: the mapping has this size, aligned to pages, lives as long as `self`, and is
        // accessed by atomic operations only, in all processes.
        unsafe { &*self.0.start().cast() }
    }

    /// Gives the header of a new segment its memory, or touching it could fail where nothing can
    /// be told.
    pub(super) fn found(file: impl AsFd) -> io::Result<()> {
        rustix::io::pwrite(file, &[0; SIZE], 0).map(drop)
    }

    /// Marks a segment that was just made or is to be filled anew.
    pub(super) fn sign(&self, nonce: u64) {
        self.words()[NONCE].store(nonce, Ordering::Release);
        self.words()[0].store(MAGIC, Ordering::Release);
    }

    /// Whether this is the header of a segment that was signed so.
    pub(super) fn is_signed(&self, nonce: u64) -> bool {
        let words = self.words();
        words[0].load(Ordering::Acquire) == MAGIC && words[NONCE].load(Ordering::Acquire) == nonce
    }

    pub(super) fn nonce(&self) -> u64 {
        self.words()[NONCE].load(Ordering::Acquire)
    }

    /// The words of a segment that nobody stores anything in, and so has no readers.
    pub(super) fn spare(&self) -> &[AtomicU64] {
        &self.words()[SLOTS..]
    }

    fn slot(&self, slot: u32) -> Option<&AtomicU64> {
        self.words()[SLOTS..].get(slot as usize)
    }

    fn turn(&self, slot: u32, from: u64, to: u64) -> bool {
        let word = self.slot(slot);
        word.is_some_and(|word| {
            word.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
        })
    }

    fn occupy(&self, with: u64) -> Option<u32> {
        (0..(WORDS - SLOTS) as u32).find(|slot| self.turn(*slot, 0, with))
    }

    /// A slot for a reader on the way; `None` if there are too many.
    pub(super) fn claim(&self, token: u64) -> Option<u32> {
        self.occupy(token)
    }

    /// The reader on the way does not come. Nothing happens if it has come already.
    pub(super) fn revoke(&self, slot: u32, token: u64) {
        self.turn(slot, token, 0);
    }

    /// Whether the reader on the way has come, or never will.
    pub(super) fn is_settled(&self, slot: u32, token: u64) -> bool {
        self.slot(slot).is_none_or(|word| word.load(Ordering::Acquire) != token)
    }

    /// The reader on the way is here; `false` if it is not expected any more.
    pub(super) fn take(&self, slot: u32, token: u64) -> bool {
        token & TOKEN != 0 && self.turn(slot, token, TAKEN)
    }

    /// Another reader in this process, beside one that is here.
    pub(super) fn join(&self) -> Option<u32> {
        self.occupy(TAKEN)
    }

    /// A reader has gone: its mapping is no more.
    pub(super) fn give_back(&self, slot: u32) {
        self.turn(slot, TAKEN, 0);
    }

    /// A reader is being copied by a fork.
    pub(super) fn retire(&self, slot: u32) {
        self.turn(slot, TAKEN, RETIRED);
    }

    /// Whether there is no reader, so that the segment may be written.
    pub(super) fn is_free(&self) -> bool {
        self.words()[SLOTS..].iter().all(|word| word.load(Ordering::Acquire) == 0)
    }
}
