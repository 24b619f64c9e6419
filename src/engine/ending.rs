//! How a running task is made to stop: it is asked, interrupted a few times, and where the caller
//! allows it, the engine is given up.

use std::time::Duration;

use tokio::time::Instant;

use crate::wire::Status;

/// How often a task that feels no interrupt is interrupted; one may catch the signal in a way of
/// its own.
const INTERRUPTS: u8 = 5;
/// How long a task that ran too long is given to take notice before its engine is ended.
const NOTICE: Duration = Duration::from_secs(2);

/// What an attempt is allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Limit {
    /// Milliseconds it may run, 0 for any time.
    pub(super) timeout: u32,
    /// Whether the engine may be ended after that.
    pub(super) force: bool,
}

impl Limit {
    fn time(self) -> Option<Duration> {
        (self.timeout > 0).then(|| Duration::from_millis(self.timeout.into()))
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Ending {
    /// When it has run too long, and whether its engine may be ended then.
    due: Option<Instant>,
    force: bool,
    /// How it is to end, if it was asked to: cancelled or out of time.
    asked: Option<Status>,
    /// Whether it has felt the interrupt, and how often it was sent.
    felt: bool,
    interrupts: u8,
    /// When its engine is given up.
    give_up: Option<Instant>,
}

/// What is to be done about a task that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing yet.
    Wait,
    /// Interrupt it.
    Interrupt,
    /// End the engine.
    GiveUp,
}

impl Ending {
    /// An attempt that begins now.
    pub(super) fn new(limit: Limit) -> Self {
        // The clock is read only for those that need it.
        let due = limit.time().map(|time| Instant::now() + time);
        Self { due, force: limit.force, asked: None, felt: false, interrupts: 0, give_up: None }
    }

    /// Somebody wants it cancelled, by force after so many milliseconds. Says whether it is to be
    /// interrupted for that.
    pub(super) fn cancel(&mut self, force: Option<u32>) -> bool {
        let after = force.map(|notice| Duration::from_millis(notice.into()));
        self.ask(Status::Cancelled, after)
    }

    fn ask(&mut self, how: Status, force: Option<Duration>) -> bool {
        if let Some(notice) = force {
            let at = Instant::now() + notice;
            self.give_up = Some(self.give_up.map_or(at, |before| before.min(at)));
        }
        if self.asked.is_some() {
            return false;
        }
        (self.asked, self.interrupts) = (Some(how), 1);
        true
    }

    /// What is due now. An interrupt that came just before the call went to sleep in the system
    /// does not wake it; so one that was not felt is sent again.
    pub(super) fn step(&mut self) -> Step {
        let now = Instant::now();
        if self.give_up.is_some_and(|at| now >= at) {
            return Step::GiveUp;
        }
        if self.asked.is_none() {
            let force = self.force.then_some(NOTICE);
            if self.due.is_some_and(|due| now >= due) && self.ask(Status::TimedOut, force) {
                return Step::Interrupt;
            }
        } else if !self.felt && self.interrupts < INTERRUPTS {
            self.interrupts += 1;
            return Step::Interrupt;
        }
        Step::Wait
    }

    /// When it has to be looked at again, at the latest.
    pub(super) fn next(&self) -> Option<Instant> {
        self.give_up.or_else(|| self.due.filter(|_| self.asked.is_none()))
    }

    /// It has felt an interrupt.
    pub(super) fn felt(&mut self) {
        self.felt = true;
    }

    /// Whether it was asked to stop.
    pub(super) fn is_asked(&self) -> bool {
        self.asked.is_some()
    }

    /// How it ended, by how the call ended: one that was interrupted says cancelled.
    pub(super) fn status(&self, status: Status) -> Status {
        match self.asked {
            Some(how) if status == Status::Cancelled => how,
            _ => status,
        }
    }
}
