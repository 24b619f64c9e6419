//! The sending task of a session: drains the queue as far as the credit goes, keeps the beat,
//! counts silence, and sees to it that a goodbye ends.
//!
//! Silence is counted in ticks of this task, not in time: a process that was stopped and goes on
//! sees one tick, not a minute of silence, and does not declare its peers dead.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{
    Instant, Interval, MissedTickBehavior, interval_at, sleep, sleep_until, timeout,
};

use super::flow::Outgoing;
use super::link::Sender;
use super::outbox::Shared;
use super::session::CloseReason;
use crate::memory;
use crate::wire::limits::{BEATS_UNHEARD, GOODBYE, HEARTBEAT, SEND_STALL};

/// See the module.
pub(crate) struct Writer<S> {
    shared: Arc<Shared>,
    ctl: S,
    bulk: S,
    beat: Duration,
    silence: Option<Duration>,
    /// Ticks in a row without anything from the peer.
    unheard: u32,
    /// Until when the goodbye has to come nearer, and how near it was.
    goodbye: Option<(Instant, u64)>,
}

impl<S: Sender> Writer<S> {
    pub(crate) fn new(shared: Arc<Shared>, ctl: S, bulk: S, silence: Option<Duration>) -> Self {
        // Four ticks at least, or one late packet of the peer would count as silence.
        let beat = silence.map_or(HEARTBEAT, |silence| HEARTBEAT.min(silence / 4));
        let beat = beat.max(Duration::from_millis(1));
        Self { shared, ctl, bulk, beat, silence, unheard: 0, goodbye: None }
    }

    pub(crate) async fn run(mut self) {
        let mut ticks: Interval = interval_at(Instant::now() + self.beat, self.beat);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if let Err(reason) = self.send_all().await {
                return self.shared.end(reason);
            }
            self.shared.settle();
            let deadline = self.goodbye_deadline();
            let shared = Arc::clone(&self.shared);
            tokio::select! {
                () = shared.wake.notified() => {}
                _ = ticks.tick() => if let Err(reason) = self.tick() {
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
        self.unheard = if self.shared.was_heard() { 0 } else { self.unheard.saturating_add(1) };
        if self.unheard < BEATS_UNHEARD {
            self.shared.flow.lock().beat();
        }
        match self.silence {
            Some(silence) if self.beat * self.unheard >= silence => {
                Err(CloseReason::Silent(silence))
            }
            _ => Ok(()),
        }
    }

    /// While the session is ending, it must come nearer to its end every [`GOODBYE`].
    fn goodbye_deadline(&mut self) -> Option<Instant> {
        let flow = self.shared.flow.lock();
        if !flow.is_ending() {
            return None;
        }
        let progress = flow.progress();
        if self.goodbye.is_none_or(|(_, known)| known != progress) {
            self.goodbye = Some((Instant::now() + GOODBYE, progress));
        }
        self.goodbye.map(|(deadline, _)| deadline)
    }

    fn goodbye_is_over(&self) -> CloseReason {
        if self.shared.flow.lock().has_said_all() {
            return CloseReason::Goodbye;
        }
        let waited = GOODBYE.as_millis();
        let text = format!("nothing of what is still queued was taken for {waited} ms");
        CloseReason::Stalled(text)
    }
}
