//! The sending task of a session: drains the queue as far as the credit goes, keeps the beat,
//! counts silence, and sees to it that a goodbye ends.
//!
//! One side of a session counts the other's silence, and the other side beats for it; back it hears
//! a beat now and then, enough to know that its own are taken. Over a network both count and both
//! beat. Silence is counted in ticks of this
//! task, not in time: a process that was stopped and goes on sees one tick, not a minute of silence,
//! and does not declare its peers dead.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::flow::Outgoing;
use super::link::Sender;
use super::outbox::Shared;
use super::session::{CloseReason, Pulse};
use super::ticks::Ticks;
use crate::memory;
use crate::wire::limits::{BEATS_UNHEARD, FAR_GOODBYE, GOODBYE, SEND_STALL};

/// Ticks in which a silent peer is found to be lost. More of them find it sooner after its time,
/// and each is a wake-up.
pub(crate) const TICKS_OF_SILENCE: u32 = 5;
/// Who counts silence beats at one of so many ticks, which is often enough for the other side: it
/// goes on for [`BEATS_UNHEARD`] of its own. Every beat wakes both processes.
const RARELY: u32 = 15;

/// See the module.
pub(crate) struct Writer<S, B> {
    shared: Arc<Shared>,
    ctl: S,
    bulk: S,
    /// Gives a sign of life on the lifeline.
    beat: B,
    period: Duration,
    silence: Option<Duration>,
    mutual: bool,
    ticks: u32,
    /// Ticks in a row without anything from the peer.
    unheard: u32,
    /// Until when the goodbye has to come nearer, and how near it was.
    goodbye: Option<(Instant, u64)>,
}

impl<S: Sender, B: FnMut() + Send + 'static> Writer<S, B> {
    pub(crate) fn new(shared: Arc<Shared>, ctl: S, bulk: S, beat: B, pulse: Pulse) -> Self {
        let Pulse { silence, beat: often, mutual } = pulse;
        let counts = silence.filter(|_| !mutual);
        let period = counts.map_or(often, |silence| silence / TICKS_OF_SILENCE);
        let period = period.max(Duration::from_millis(1));
        let (ticks, unheard, goodbye) = (0, 0, None);
        Self { shared, ctl, bulk, beat, period, silence, mutual, ticks, unheard, goodbye }
    }

    pub(crate) async fn run(mut self) {
        let mut ticks = Ticks::every(self.period);
        loop {
            if let Err(reason) = self.send_all().await {
                return self.shared.end(reason);
            }
            self.shared.settle();
            let deadline = self.goodbye_deadline();
            let shared = Arc::clone(&self.shared);
            tokio::select! {
                () = shared.wake.notified() => {}
                () = ticks.next() => if let Err(reason) = self.tick() {
                    return self.shared.end(reason);
                },
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                    return self.shared.end(self.goodbye_is_over());
                }
            }
        }
    }

    async fn send_all(&mut self) -> Result<(), CloseReason> {
        loop {
            let next = self.shared.flow.lock().next();
            self.shared.drained.notify_all();
            let sent = match next {
                None => return Ok(()),
                Some(Outgoing::Packet(frames)) => timeout(SEND_STALL, self.ctl.send(frames)).await,
                Some(Outgoing::Chunk(frames)) => timeout(SEND_STALL, self.bulk.send(frames)).await,
            };
            match sent {
                Ok(Ok(())) => {}
                Ok(Err(_)) => {
                    // A lane takes nothing more when the peer has ended. The reader is about to
                    // see that too and first takes what the peer still sent: leave it the time.
                    sleep(SEND_STALL).await;
                    return Err(CloseReason::Vanished);
                }
                Err(_) => {
                    let text = format!("a send was pending for {} ms", SEND_STALL.as_millis());
                    return Err(CloseReason::Stalled(text));
                }
            }
        }
    }

    fn tick(&mut self) -> Result<(), CloseReason> {
        memory::trim();
        self.shared.tick.notify_one();
        self.ticks = self.ticks.wrapping_add(1);
        self.unheard = if self.shared.was_heard() { 0 } else { self.unheard.saturating_add(1) };
        self.shared.bound_silence(self.period.saturating_mul(self.unheard.saturating_add(1)));
        // Silence is answered, too: the other side fell silent if it heard nothing for too long,
        // as from a process that was stopped, and goes on when it hears something.
        let is_due = self.mutual
            || self.silence.is_none()
            || self.unheard > 0
            || self.ticks.is_multiple_of(RARELY);
        if is_due && self.unheard < BEATS_UNHEARD && self.shared.flow.lock().beat() {
            (self.beat)();
        }
        match self.silence {
            Some(silence) if self.period * self.unheard >= silence => {
                Err(CloseReason::Silent(silence))
            }
            _ => Ok(()),
        }
    }

    /// How soon a goodbye has to come nearer.
    fn parting(&self) -> Duration {
        if self.mutual { FAR_GOODBYE } else { GOODBYE }
    }

    /// While the session is ending, it must come nearer to its end every so often.
    fn goodbye_deadline(&mut self) -> Option<Instant> {
        let flow = self.shared.flow.lock();
        if !flow.is_ending() {
            return None;
        }
        let progress = flow.progress();
        if self.goodbye.is_none_or(|(_, known)| known != progress) {
            self.goodbye = Some((Instant::now() + self.parting(), progress));
        }
        self.goodbye.map(|(deadline, _)| deadline)
    }

    fn goodbye_is_over(&self) -> CloseReason {
        if self.shared.flow.lock().has_said_all() {
            return CloseReason::Goodbye;
        }
        let waited = self.parting().as_millis();
        let text = format!("nothing of what is still queued was taken for {waited} ms");
        CloseReason::Stalled(text)
    }
}
