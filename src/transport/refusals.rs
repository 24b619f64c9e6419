//! Who was turned away at the door: counted by reason, and told once per peer and reason in a file
//! of the cluster's directory.
//!
//! Invariant: whatever strangers do, the file and the memory of whom it named stay below a fixed
//! size. Nothing a stranger *said* is ever written, only what the kernel says of it.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use chrono::{SecondsFormat, Utc};
use parking_lot::Mutex;
use rustix::fs::FallocateFlags;
use tokio::net::unix::UCred;

/// The file, beside the door.
pub(crate) const LOG: &str = "door.log";
/// Peers named, each once per reason; of further ones only the number is told.
pub(crate) const NAMED_MAX: usize = 256;

/// Bytes of the disk that the file has beforehand: for whom it names, and for what a cluster that stops
/// on a full disk could not write elsewhere.
pub(crate) const ROOM: u64 = 32 << 10;

/// Why somebody was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Fault {
    /// A process of another user.
    User,
    /// It said nothing, or not all, before its time was up or others needed its place.
    Silent,
    /// It hung up in the middle of its first message.
    Left,
    /// What it said is not the protocol, or no message of it.
    Noise,
    /// It said that more would come than may.
    TooLong,
    /// It speaks another version.
    Version,
    /// It does not know the token.
    Token,
    /// It did not complete an encrypted handshake.
    Sealed,
}

/// Who was turned away: what the kernel says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Who {
    /// A process of a user of this host; zero if it has no number here.
    Process(u32, i32),
    /// A peer over a network.
    Address(IpAddr),
}

impl Who {
    /// The process at the other end of a socket of this host.
    pub(crate) fn process(peer: Option<UCred>) -> Self {
        let (user, pid) = peer.map_or((u32::MAX, 0), |p| (p.uid(), p.pid().unwrap_or(0)));
        Self::Process(user, pid)
    }
}

impl std::fmt::Display for Who {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Process(user, pid) => write!(f, "process {pid} of user {user}"),
            Self::Address(address) => write!(f, "a peer at {address}"),
        }
    }
}

const FAULTS: [(Fault, &str); 8] = [
    (Fault::User, "belongs to another user"),
    (Fault::Silent, "did not finish its first message in time"),
    (Fault::Left, "hung up in its first message"),
    (Fault::Noise, "does not speak the protocol"),
    (Fault::TooLong, "announced a message beyond the limit"),
    (Fault::Version, "speaks another version of the protocol"),
    (Fault::Token, "does not know the token of this cluster"),
    (Fault::Sealed, "did not complete an encrypted handshake"),
];

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Refusals(Mutex<Book>);

#[derive(Debug)]
struct Book {
    counts: [u64; FAULTS.len()],
    named: HashSet<(Who, Fault)>,
    /// Whether the lack of descriptors has been told and not ended.
    crowded: bool,
    /// Whether it has been told that more come than are heard.
    hurried: bool,
    /// Open from the start, since it is needed when no descriptor is left.
    log: Option<File>,
}

impl Refusals {
    /// Begins the file in `directory`. Without one, for instance on a full disk, there are only
    /// the numbers.
    pub(crate) fn new(directory: &Path) -> Self {
        let log = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
            .open(directory.join(LOG))
            .ok();
        if let Some(log) = &log {
            let end = log.metadata().map_or(0, |log| log.len());
            // Its length stays. Where that cannot be done there is the room that there is.
            let _ = rustix::fs::fallocate(log, FallocateFlags::KEEP_SIZE, end, ROOM);
        }
        let (counts, named) = ([0; FAULTS.len()], HashSet::new());
        Self(Mutex::new(Book { counts, named, crowded: false, hurried: false, log }))
    }

    /// Counts a peer that was turned away.
    pub(crate) fn count(&self, fault: Fault, who: Who) {
        let mut book = self.0.lock();
        book.counts[fault as usize] += 1;
        if book.named.len() < NAMED_MAX && book.named.insert((who, fault)) {
            let text = FAULTS[fault as usize].1;
            book.tell(&format!("turned away {who}: it {text}"));
            if book.named.len() == NAMED_MAX {
                book.tell("from here on peers are counted and not named");
            }
        }
        let total: u64 = book.counts.iter().sum();
        if total >= 16 && total.is_power_of_two() {
            let text = book.sums();
            book.tell(&text);
        }
    }

    /// No descriptor is left for who knocks.
    pub(crate) fn crowded(&self, error: &io::Error) {
        let mut book = self.0.lock();
        if !std::mem::replace(&mut book.crowded, true) {
            book.tell(&format!("nobody can be let in for now: {error}; those inside go on"));
        }
    }

    /// Somebody could be let in again.
    pub(crate) fn roomy(&self) {
        let mut book = self.0.lock();
        if std::mem::take(&mut book.crowded) {
            book.tell("peers can be let in again");
        }
    }

    /// More come than are heard in a time; told once.
    pub(crate) fn hurried(&self) {
        let mut book = self.0.lock();
        if !std::mem::replace(&mut book.hurried, true) {
            book.tell("more strangers connect than are heard at a time; those inside go on");
        }
    }

    /// Writes a line about a peer that had been let in.
    pub(crate) fn note(&self, text: &str) {
        self.0.lock().tell(text);
    }

    /// How many were turned away for this.
    #[cfg(test)]
    pub(crate) fn of(&self, fault: Fault) -> u64 {
        self.0.lock().counts[fault as usize]
    }
}

impl Book {
    fn sums(&self) -> String {
        let total: u64 = self.counts.iter().sum();
        let mut text = format!("turned away {total} so far");
        for ((_, why), count) in FAULTS.iter().zip(self.counts).filter(|(_, count)| *count > 0) {
            let _ = write!(text, "; {why}: {count}");
        }
        text
    }

    fn tell(&mut self, text: &str) {
        if let Some(log) = &mut self.log {
            let now = Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true);
            // A full disk is no reason to serve nobody.
            let _ = log.write_all(format!("{now} {text}\n").as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_text() {
        for (index, (fault, _)) in FAULTS.iter().enumerate() {
            assert_eq!(*fault as usize, index);
        }
    }
}
