//! The task that runs: how it is to end, and what of its output and progress is told already.

use std::time::Duration;

use bytes::Bytes;

use super::Queued;
use crate::clock::wall_clock;
use crate::engine::ending::Ending;
use crate::engine::output::Output;
use crate::wire::{FromEngine, Message, Parts, Stamp, Status, TaskId};

pub(super) struct Running {
    pub(super) id: TaskId,
    pub(super) ticket: u64,
    pub(super) attempt: u16,
    pub(super) ending: Ending,
    pub(super) started: Stamp,
    pub(super) announced: bool,
    /// Its session is over. Nothing is said of it in another: tickets begin anew there, and one of
    /// the same task may be the same.
    pub(super) void: bool,
    pub(super) progress: u32,
    pub(super) progress_sent: u32,
    pub(super) streams: [Output; 2],
}

impl Running {
    pub(super) fn new(task: &Queued, started: Stamp) -> Self {
        Self {
            id: task.id,
            ticket: task.ticket,
            attempt: task.attempt,
            ending: Ending::new(task.limit),
            started,
            announced: false,
            void: false,
            progress: 0,
            progress_sent: 0,
            streams: Default::default(),
        }
    }

    pub(super) fn flush(&mut self, mut send: impl FnMut(Message<FromEngine>)) {
        let id = self.id;
        for (stream, output) in (1..).zip(&mut self.streams) {
            output.flush(|text| {
                if !self.void {
                    send(written(id, stream, text));
                }
            });
        }
    }

    /// By the clock on the wall, which was read anyway; if it jumps, that is taken for a long time.
    pub(super) fn has_run_for(&self, time: Duration) -> bool {
        u128::from((wall_clock() - self.started).unsigned_abs()) >= time.as_nanos()
    }

    /// Sends what is left of its output, then its outcome.
    pub(super) fn tell(
        mut self,
        status: Status,
        completed: Stamp,
        parts: Parts,
        mut send: impl FnMut(Message<FromEngine>),
    ) {
        if self.void {
            return;
        }
        for (stream, output) in (1..).zip(&mut self.streams) {
            output.finish(|text| send(written(self.id, stream, text)));
        }
        let (id, ticket, started) = (self.id, self.ticket, self.started);
        let status = self.ending.status(status);
        let head = FromEngine::Result { id, ticket, status, started, completed };
        send(Message { head, parts });
    }
}

fn written(id: TaskId, stream: u8, text: Bytes) -> Message<FromEngine> {
    Message { head: FromEngine::Output { id, stream }, parts: Parts::from_elem(text, 1) }
}
