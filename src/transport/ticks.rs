//! The clock of a session: ticks that fall on the same moments in all processes of a host, so that
//! the beats of many engines wake their controller once.
//!
//! It is a timer of the kernel. One of tokio's wakes the thread twice for each tick, since its
//! wheel brings a timer near first and rings it then; and two wake-ups a second in each process are
//! most of what an idle cluster does.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

/// See the module. However late it is asked, what was missed is one tick.
pub(crate) enum Ticks {
    Kernel(AsyncFd<OwnedFd>),
    /// Where the kernel gives no timer, and in tests, whose clock is tokio's.
    Wheel(Interval),
}

impl Ticks {
    /// Ticks every `period`, which must not be zero.
    pub(crate) fn every(period: Duration) -> Self {
        if !cfg!(test)
            && let Ok(ticks) = Self::kernel(period)
        {
            return ticks;
        }
        let mut wheel = interval_at(Instant::now() + left_of(period), period);
        wheel.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self::Wheel(wheel)
    }

    pub(crate) fn kernel(period: Duration) -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        let spec = |time: Duration| Timespec {
            tv_sec: time.as_secs() as i64,
            tv_nsec: i64::from(time.subsec_nanos()),
        };
        let (it_interval, it_value) = (spec(period), spec(now() + left_of(period)));
        timerfd_settime(&timer, TimerfdTimerFlags::ABSTIME, &Itimerspec { it_interval, it_value })?;
        #[expect(deprecated, reason = "its successor is unsafe; an owned descriptor stays valid")]
        AsyncFd::new(timer).map(Self::Kernel)
    }

    /// Waits for the next one. May be dropped and called again at any time.
    pub(crate) async fn next(&mut self) {
        match self {
            Self::Wheel(wheel) => {
                wheel.tick().await;
            }
            Self::Kernel(timer) => loop {
                let Ok(mut ready) = timer.readable().await else { return };
                let mut count = [0; 8];
                let read = ready.try_io(|timer| Ok(rustix::io::read(timer, &mut count)?));
                if read.is_ok() {
                    return;
                }
            },
        }
    }
}

fn now() -> Duration {
    let now = clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32)
}

/// What is left of the current `period`, counted from the start of the host.
fn left_of(period: Duration) -> Duration {
    let past = now().as_nanos() % period.as_nanos();
    // The remainder is shorter than the period.
    period.saturating_sub(Duration::from_nanos(past as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_timer_of_the_kernel_ticks_again_and_again() {
        let mut ticks = Ticks::kernel(Duration::from_millis(1)).unwrap();
        for _ in 0..3 {
            ticks.next().await;
        }
    }

    #[test]
    fn what_is_left_of_a_period_is_never_nothing_and_never_more_than_it() {
        let period = Duration::from_micros(3);
        assert!((0..1000).all(|_| (Duration::from_nanos(1)..=period).contains(&left_of(period))));
    }
}
