//! How many strangers are heard in a time: so many at once, so many more each second, and one more for
//! each that turns out to be none.
//!
//! So a flood of strangers costs a bounded share of the time of whoever listens, those who may come in
//! are held up by each other only briefly, and a place at the gate (`waiting`) is not taken away
//! before an answer can have come.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Pace {
    most: f64,
    /// In a second.
    rate: f64,
    left: Mutex<(f64, Instant)>,
}

impl Pace {
    /// `most` at once, and `rate` a second.
    pub(crate) fn new(most: u32, rate: u32) -> Self {
        let most = f64::from(most);
        Self { most, rate: f64::from(rate), left: Mutex::new((most, Instant::now())) }
    }

    /// Takes one; if none is left, how long to wait before asking again. Then several are there, so
    /// that who waits is not woken for each.
    pub(crate) fn take(&self) -> Result<(), Duration> {
        let mut left = self.left.lock();
        let now = Instant::now();
        let more = now.duration_since(left.1).as_secs_f64() * self.rate;
        *left = (self.most.min(left.0 + more), now);
        if left.0 < 1.0 {
            return Err(Duration::from_secs_f64(self.most / 16.0 / self.rate));
        }
        left.0 -= 1.0;
        Ok(())
    }

    /// One that was taken was for no stranger.
    pub(crate) fn give_back(&self) {
        let mut left = self.left.lock();
        left.0 = self.most.min(left.0 + 1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn so_many_come_at_once_and_so_many_a_second_and_no_more() {
        let (pace, begun) = (Pace::new(100, 50), Instant::now());
        let mut taken = 0;
        while begun.elapsed() < Duration::from_secs(10) {
            match pace.take() {
                Ok(()) => taken += 1,
                Err(wait) => tokio::time::sleep(wait).await,
            }
        }
        assert!((590..=600).contains(&taken), "{taken}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_no_stranger_counts_for_nothing_and_makes_no_room_for_more() {
        let pace = Pace::new(2, 1);
        for _ in 0..1000 {
            pace.take().expect("it is given back");
            pace.give_back();
        }
        pace.give_back();
        assert!(pace.take().is_ok() && pace.take().is_ok());
        assert!(pace.take().is_err());
    }
}
