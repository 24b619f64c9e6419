//! Whether a process comes near the memory that it may have: looked at now and then, said when that
//! changes.
//!
//! It comes near at 80 % and is far again below 70 %, so that one which breathes is not named at each
//! breath. What is compared is what the process itself has with what it may have together with others.

use super::usage;

/// Percent of what a process may have at which it is near, and below which it is far again.
const NEAR: (u64, u64) = (80, 70);

/// What a process has in memory of what it may have, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// What it has.
    pub used: u64,
    /// What it and others in its control groups may have.
    pub allowed: u64,
}

impl Usage {
    fn has(self, percent: u64) -> bool {
        u128::from(self.used) * 100 >= u128::from(self.allowed) * u128::from(percent)
    }
}

/// Reads what this process has and may have.
///
/// The files of control groups are behind a lock of the kernel for all of them, at which engines that look
/// at the same moment wait for each other: two idle ones had 0.45 wake-ups a second more. So the limit
/// is read again only when the process has changed, and now and then.
#[derive(Debug, Default)]
pub struct Gauge {
    /// As it was when the limit was read.
    known: Option<Usage>,
    /// Looks since then.
    looks: u32,
}

/// Bytes by which a process has changed if it is not idle.
const CHANGE: u64 = 1024 * 1024;
/// Looks after which the limit is read whatever was.
const LOOKS: u32 = 32;

impl Gauge {
    /// None if the system does not tell.
    pub fn read(&mut self) -> Option<Usage> {
        let pid = std::process::id();
        Some(self.take(usage::resident(pid)?, || usage::allowed(pid)))
    }

    fn take(&mut self, used: u64, allowed: impl FnOnce() -> u64) -> Usage {
        self.looks += 1;
        let fresh = |known: &Usage| known.used.abs_diff(used) < CHANGE && self.looks < LOOKS;
        if let Some(Usage { allowed, .. }) = self.known.filter(fresh) {
            return Usage { used, allowed };
        }
        let usage = Usage { used, allowed: allowed() };
        (self.known, self.looks) = (Some(usage), 0);
        usage
    }
}

/// See the head of this file.
#[derive(Debug)]
pub struct Watch {
    near: bool,
    /// What whoever listens takes it for; nothing after it was another.
    told: Option<bool>,
}

impl Default for Watch {
    /// Of a process that nobody takes for near.
    fn default() -> Self {
        Self { near: false, told: Some(false) }
    }
}

impl Watch {
    /// Takes note; says whether it is near if that is to be told.
    pub fn look(&mut self, usage: Usage) -> Option<bool> {
        self.near = usage.has(if self.near { NEAR.1 } else { NEAR.0 });
        (self.told.replace(self.near) != Some(self.near)).then_some(self.near)
    }

    /// Somebody else listens, or the same with gaps: the next look is told in any case.
    pub fn tell_again(&mut self) {
        self.told = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(watch: &mut Watch, used: u64) -> Option<bool> {
        watch.look(Usage { used, allowed: 100 })
    }

    #[test]
    fn it_is_near_at_eighty_percent_once_and_again_only_after_it_was_below_seventy() {
        let mut watch = Watch::default();
        let told = [50, 79, 80, 99, 75, 70, 85, 69, 79, 81].map(|used| look(&mut watch, used));
        let [up, down] = [Some(true), Some(false)];
        assert_eq!(told, [None, None, up, None, None, None, None, down, None, up]);
    }

    #[test]
    fn whoever_listens_anew_is_told_how_it_is_and_not_again() {
        let mut watch = Watch::default();
        assert_eq!(look(&mut watch, 90), Some(true));
        watch.tell_again();
        assert_eq!([75, 75].map(|used| look(&mut watch, used)), [Some(true), None]);
        watch.tell_again();
        assert_eq!([20, 20].map(|used| look(&mut watch, used)), [Some(false), None]);
    }

    #[test]
    fn numbers_without_sense_are_borne() {
        assert!(Usage { used: u64::MAX, allowed: u64::MAX }.has(80));
        assert!(Usage { used: 0, allowed: 0 }.has(80));
    }

    #[test]
    fn the_limit_is_read_when_the_process_has_changed_and_now_and_then() {
        let (mut gauge, mut read) = (Gauge::default(), 0);
        let mut look = |used| {
            let usage = gauge.take(used, || {
                read += 1;
                read
            });
            assert_eq!(usage.used, used);
            usage.allowed
        };
        assert_eq!([0, CHANGE - 1, CHANGE, CHANGE + 1, 1].map(&mut look), [1, 1, 2, 2, 2]);
        assert_eq!(look(0), 3, "it grew and shrank");
        assert!((1..LOOKS).all(|_| look(0) == 3));
        assert_eq!(look(0), 4);
        assert!(Gauge::default().read().is_some_and(|own| own.used > 0 && own.used < own.allowed));
    }
}
