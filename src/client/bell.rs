//! How the I/O thread wakes those who wait, and only those.

use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, Ordering};
use std::time::Instant;

use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

use crate::transport::{Drive, Led, Stay};

/// A bell rung at most once, and the thread that may be waiting for it: parked, or leading the
/// runtime in which the bell is rung.
#[derive(Default)]
pub struct Bell {
    state: Mutex<BellState>,
    changed: Condvar,
    rung: Notify,
}

#[derive(Default)]
struct BellState {
    rung: bool,
    /// What the thread parked at, if it would rather lead.
    parked: Option<Arc<Drive>>,
}

impl Bell {
    /// Wakes whoever waits, now or later.
    pub fn ring(&self) {
        let mut state = self.state.lock();
        state.rung = true;
        let parked = state.parked.take();
        drop(state);
        self.changed.notify_all();
        self.rung.notify_one();
        if let Some(drive) = parked {
            drive.unpark(true);
        }
    }

    /// Waits until the bell rings, at most to the deadline; says whether it rang. The thread leads
    /// `drive` meanwhile, if there is one and nobody else does; then it may return before.
    pub fn wait_until(&self, deadline: Instant, drive: Option<&Arc<Drive>>) -> bool {
        let Some(drive) = drive else { return self.parked_until(deadline, None) };
        if self.state.lock().rung {
            return true;
        }
        let rung = drive.lead(Stay::Slices, async {
            tokio::select! {
                biased;
                () = self.rung.notified() => Some(()),
                () = drive.timeout(deadline) => None,
            }
        });
        match rung {
            Led::Done(()) => true,
            // The time may not be over yet: who waits on leads again.
            Led::Ended => self.state.lock().rung,
            Led::Not => self.parked_until(deadline, Some(drive)),
        }
    }

    fn parked_until(&self, deadline: Instant, drive: Option<&Arc<Drive>>) -> bool {
        let mut state = self.state.lock();
        if state.rung {
            return true;
        }
        if let Some(drive) = drive {
            drive.park();
            state.parked = Some(drive.clone());
        }
        while !state.rung {
            if self.changed.wait_until(&mut state, deadline).timed_out() {
                break;
            }
        }
        let rung = state.rung;
        if let Some(drive) = state.parked.take() {
            drive.unpark(false);
        }
        rung
    }
}

/// Tokens on their way to the thread that runs callbacks.
#[derive(Default)]
pub struct Tokens {
    state: Mutex<TokenState>,
    changed: Condvar,
}

#[derive(Default)]
struct TokenState {
    waiting: Vec<u64>,
    closed: bool,
}

impl Tokens {
    pub(crate) fn push(&self, token: u64) {
        self.state.lock().waiting.push(token);
        self.changed.notify_one();
    }

    /// Takes all tokens there are; waits for the first until the deadline.
    /// `None` when closed and empty.
    pub fn take(&self, deadline: Instant) -> Option<Vec<u64>> {
        let mut state = self.state.lock();
        while state.waiting.is_empty() && !state.closed {
            if self.changed.wait_until(&mut state, deadline).timed_out() {
                break;
            }
        }
        if state.waiting.is_empty() && state.closed {
            return None;
        }
        Some(std::mem::take(&mut state.waiting))
    }

    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.changed.notify_all();
    }
}

/// What happens when a countdown reaches zero.
pub enum Ring {
    /// A thread wakes.
    Bell(Arc<Bell>),
    /// A token is queued for the thread that runs callbacks.
    Token(Arc<Tokens>, u64),
}

impl Ring {
    fn ring(&self) {
        match self {
            Self::Bell(bell) => bell.ring(),
            Self::Token(tokens, token) => tokens.push(*token),
        }
    }
}

/// A number of completions still to come, over any number of batches, and what then happens.
///
/// It starts with a bias so that completions that happen while it is being set up cannot make it
/// ring early: the one who sets it up adds what is pending, batch by batch, and takes the bias
/// away at the end.
pub struct Countdown {
    left: AtomicIsize,
    ring: Ring,
}

const BIAS: isize = isize::MAX / 2;

impl Countdown {
    pub(crate) fn new(ring: Ring) -> Self {
        Self { left: AtomicIsize::new(BIAS), ring }
    }

    /// So many more completions to wait for.
    pub(crate) fn expect(&self, more: isize) {
        self.left.fetch_add(more, Ordering::Relaxed);
    }

    /// Ends the set-up; rings if nothing is left.
    pub(crate) fn arm(&self) {
        self.take(BIAS);
    }

    /// One completion.
    pub(crate) fn one(&self) {
        self.take(1);
    }

    /// Rings whatever is left, as when a failure ends the wait.
    pub(crate) fn all(&self) {
        if self.left.swap(0, Ordering::AcqRel) > 0 {
            self.ring.ring();
        }
    }

    fn take(&self, count: isize) {
        let before = self.left.fetch_sub(count, Ordering::AcqRel);
        if before > 0 && before - count <= 0 {
            self.ring.ring();
        }
    }
}
