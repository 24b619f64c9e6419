//! How far a process has come with what another gave it, told without a message.
//!
//! One word in memory that both map: the number of the last thing that was begun, and a bit that
//! closes it. A thing is begun by one atomic step that fails once the tally is closed, and closing
//! gives the number. So whoever gave the things out knows for certain, also of a process that was
//! killed or that does not answer, which of them it began and that it begins no other.
//!
//! Things may be given back, and the word on that be lost when a later one was begun since. So the
//! numbers of those that were given back last stand in the words after it.

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
        &self.header.spare()[0]
    }

    /// How many things were given back, and the numbers of the last of them, in turn.
    fn back(&self) -> (&AtomicU64, &[AtomicU64]) {
        let words = self.header.spare();
        (&words[1], &words[2..])
    }

    /// Begins what has this number; `false` if nothing is to be begun any more.
    pub fn begin(&self, number: u64) -> bool {
        let step = |word: u64| (word & CLOSED == 0).then_some(number & !CLOSED);
        self.word().fetch_update(Ordering::AcqRel, Ordering::Acquire, step).is_ok()
    }

    /// What has this number is given back and never begun; by whoever begins things, and by one at a
    /// time.
    pub fn give_back(&self, number: u64) {
        let (count, last) = self.back();
        let at = count.load(Ordering::Relaxed);
        last[at as usize % last.len()].store(number, Ordering::Relaxed);
        // What is begun after this is begun after it for whoever sees that.
        count.store(at + 1, Ordering::Release);
    }

    /// The numbers of what was given back last; in no order.
    pub fn given_back(&self) -> Vec<u64> {
        let (count, last) = self.back();
        let count = count.load(Ordering::Acquire).min(last.len() as u64);
        last[..count as usize].iter().map(|number| number.load(Ordering::Relaxed)).collect()
    }

    /// Closes it. Gives the number of what was begun last, 0 for nothing.
    pub fn close(&self) -> u64 {
        self.word().fetch_or(CLOSED, Ordering::AcqRel) & !CLOSED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Tally, Tally) {
        let own = Tally::new().unwrap();
        let seen = Tally::open(std::process::id(), &own.sign().unwrap()).unwrap();
        (own, seen)
    }

    #[test]
    fn what_was_given_back_is_seen_by_the_other_process() {
        let (own, seen) = pair();
        assert!(seen.given_back().is_empty());
        assert!(own.begin(3));
        own.give_back(5);
        own.give_back(4);
        assert!(own.begin(6));
        assert_eq!((seen.close(), seen.given_back()), (6, vec![5, 4]));
        assert!(!own.begin(7));
    }

    #[test]
    fn of_very_many_that_were_given_back_the_last_are_known() {
        let (own, seen) = pair();
        (1..=1000).for_each(|number| own.give_back(number));
        let mut back = seen.given_back();
        back.sort_unstable();
        assert!((256..1000).contains(&back.len()), "{}", back.len());
        assert!(back.iter().copied().eq(1001 - back.len() as u64..=1000));
        assert_eq!(seen.close(), 0);
    }
}
