//! What a session does to messages, as `transport` promises it: each arrives once and those in
//! order stay so; one with parts may be late, and what need not be in order passes it. When a
//! session ends, what is on the way may be gone.

use super::chance::Chance;
use crate::wire::Stamp;

/// A millisecond of virtual time.
pub(super) const MS: u64 = 1_000_000;

/// The calendar at the beginning.
const START: Stamp = 1_700_000_000_000_000_000;

/// A session: the number its peer has, with which controller it is, and which of a client's sessions
/// there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) id: u32,
    pub(super) era: u32,
    pub(super) visit: u32,
}

/// One direction of a session.
#[derive(Default)]
pub(super) struct Link {
    /// When the last packet arrives.
    packet: u64,
    /// When the last message that is in order arrives.
    ordered: u64,
    /// When everything that was sent has arrived.
    pub(super) latest: u64,
    /// What arrives after this is lost, if the session has ended.
    cut: Option<u64>,
}

/// How slow the network is.
#[derive(Clone, Copy)]
pub(super) struct Weather {
    /// Longest delay of a packet.
    pub(super) delay: u64,
    /// Longest further delay of parts.
    pub(super) parts: u64,
    /// One in so many messages comes again later, or none.
    pub(super) twice: Option<u64>,
}

impl Weather {
    pub(super) const CALM: Self = Self { delay: MS / 10, parts: 0, twice: None };

    pub(super) fn any(chance: &mut Chance) -> Self {
        let delay = [MS / 100, MS, 30 * MS][chance.below(3) as usize];
        let parts = [0, MS, 50 * MS][chance.below(3) as usize];
        let twice = [None, Some(20), Some(3)][chance.below(3) as usize];
        Self { delay, parts, twice }
    }
}

impl Link {
    /// One through which everything arrives after this.
    pub(super) fn from(at: u64) -> Self {
        Self { packet: at + 1, ordered: at + 1, latest: at + 1, cut: None }
    }

    /// When a message that is sent now arrives.
    pub(super) fn send(
        &mut self,
        now: u64,
        (in_order, parts): (bool, bool),
        weather: Weather,
        chance: &mut Chance,
    ) -> u64 {
        self.packet = self.packet.max(now + 1 + chance.mostly_below(weather.delay));
        let mut at = self.packet;
        if parts && weather.parts > 0 && chance.one_in(3) {
            at += chance.below(weather.parts);
        }
        if in_order {
            at = at.max(self.ordered);
            self.ordered = at;
        }
        self.latest = self.latest.max(at);
        at
    }

    /// What arrives later than this is lost.
    pub(super) fn cut(&mut self, at: u64) {
        self.cut = Some(self.cut.map_or(at, |before| before.min(at)));
    }

    pub(super) fn delivers(&self, now: u64) -> bool {
        self.cut.is_none_or(|cut| now <= cut)
    }
}

/// The calendar at this moment.
pub(super) fn wall(now: u64) -> Stamp {
    START + now as Stamp
}
