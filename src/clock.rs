//! The clock on the wall, by which stamps are taken that people look at.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::wire::Stamp;

/// Nanoseconds since 1970 (UTC). It may jump, so nothing waits by it.
pub fn wall_clock() -> Stamp {
    #[cfg(test)]
    if let Some(stamp) = SIMULATED.get() {
        return stamp;
    }
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_nanos() as Stamp
}

#[cfg(test)]
thread_local! {
    /// What this thread's clock shows where time is simulated.
    pub(crate) static SIMULATED: std::cell::Cell<Option<Stamp>> = const { std::cell::Cell::new(None) };
}
