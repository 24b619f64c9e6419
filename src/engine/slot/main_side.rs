//! The main thread's side of the slot: it takes what is to be done, and tells what came of it.

use std::sync::Arc;

use super::{Slot, Work};
use crate::clock::wall_clock;
use crate::transport::{Drive, Led, Stay};
use crate::wire::{FromEngine, Message, Parts, Status};

impl Slot {
    /// The next thing to do, if there is any.
    pub fn try_next(&self) -> Option<Work> {
        self.inner.lock().take(wall_clock)
    }

    /// Waits for the next thing to do; leads `drive` meanwhile, if there is one and nobody else
    /// does.
    pub fn next(&self, drive: Option<&Arc<Drive>>) -> Work {
        loop {
            if let Some(work) = self.try_next() {
                return work;
            }
            let led = drive.map_or(Led::Not, |drive| drive.lead(Stay::Whole, self.led()));
            if !matches!(led, Led::Done(())) {
                self.park(drive);
            }
        }
    }

    async fn led(&self) -> Option<()> {
        self.led.notified().await;
        Some(())
    }

    fn park(&self, drive: Option<&Arc<Drive>>) {
        let mut inner = self.inner.lock();
        if inner.has_work() {
            return;
        }
        if let Some(drive) = drive {
            drive.park();
        }
        inner.waiting = true;
        inner.parked = drive.cloned();
        self.filled.wait(&mut inner);
        inner.waiting = false;
        if let Some(drive) = inner.parked.take() {
            drive.unpark(false);
        }
    }

    /// The running task ended. Says whether it had been interrupted, so that a signal that came
    /// too late can be taken back.
    pub fn done(
        &self,
        status: Status,
        parts: Parts,
        send: impl FnMut(Message<FromEngine>),
    ) -> bool {
        let completed = wall_clock();
        let mut inner = self.inner.lock();
        inner.end(status, completed, parts, send)
    }

    /// As [`done`](Self::done) and [`try_next`](Self::try_next) in one.
    pub fn turn(
        &self,
        status: Status,
        parts: Parts,
        send: impl FnMut(Message<FromEngine>),
    ) -> (bool, Option<Work>) {
        let completed = wall_clock();
        let mut inner = self.inner.lock();
        let signalled = inner.end(status, completed, parts, send);
        (signalled, inner.take(|| completed))
    }

    /// Text the running task wrote; says whether one runs.
    pub fn write(&self, stream: u8, text: &str, send: impl FnMut(Message<FromEngine>)) -> bool {
        let mut inner = self.inner.lock();
        let Some(running) = &mut inner.running else { return false };
        if running.streams[usize::from(stream == 2)].write(text) {
            running.flush(send);
        }
        true
    }

    /// Items of the running chunk that are done.
    pub fn progress(&self, items: u32) {
        if let Some(running) = &mut self.inner.lock().running {
            running.progress = items;
        }
    }

    /// The running task has felt an interrupt.
    pub fn felt(&self) {
        if let Some(running) = &mut self.inner.lock().running {
            running.ending.felt();
        }
    }

    /// Which attempt to run its task runs, from 1; 0 while nothing runs.
    pub fn attempt(&self) -> u16 {
        self.inner.lock().running.as_ref().map_or(0, |running| running.attempt)
    }

    /// Whether the running task was asked to stop.
    pub fn cancelled(&self) -> bool {
        self.inner.lock().running.as_ref().is_some_and(|running| running.ending.is_asked())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{ClientId, FuncId, Kind, TaskId, ToEngine};

    fn task(seq: u64) -> Message<ToEngine> {
        let (id, func) = (TaskId { client: ClientId(0), seq }, FuncId([1; 16]));
        let (kind, ticket, attempt, timeout, force) = (Kind::Apply, seq + 1, 1, 0, false);
        Message::bare(ToEngine::Task { id, func, kind, ticket, attempt, timeout, force })
    }

    #[test]
    fn nobody_sees_that_a_task_does_not_run_before_its_outcome_is_told() {
        let (slot, mut told) = (Slot::default(), 0);
        slot.receive(vec![task(0), task(1)], |_| (), || ());
        slot.try_next();
        let mut send = |_| {
            assert!(slot.inner.is_locked(), "a hello could say that it does not run");
            told += 1;
        };
        slot.turn(Status::Ok, Parts::new(), &mut send);
        slot.done(Status::Ok, Parts::new(), &mut send);
        assert_eq!(told, 2);
    }
}
