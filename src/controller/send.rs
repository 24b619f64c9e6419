//! Sending from the shell. What is given to engines leaves after it was written down; what exceeds a
//! limit of the wire is answered for, so that nobody waits for ever.

use std::collections::HashSet;

use bytes::Bytes;

use super::Event;
use super::keep::Keep;
use super::run::Shell;
use crate::transport::{Outbox, PushError};
use crate::wire::{EngineId, FromEngine, Message, Parts, Reply, Status, ToClient, ToEngine};

impl Shell {
    /// Writes down what is to be, then lets leave what waited for that. As long as what engines are
    /// given cannot be written, tasks wait here, and so does what follows them to the same engine.
    pub(super) fn let_out(&mut self) {
        loop {
            self.flush_keep();
            let is_written = self.flush_heritage();
            let mut waiting = HashSet::new();
            for (engine, message) in std::mem::take(&mut self.outgoing) {
                let is_task = matches!(message.head, ToEngine::Task { .. });
                if !is_written && (is_task || waiting.contains(&engine)) {
                    waiting.insert(engine);
                    self.outgoing.push_back((engine, message));
                } else {
                    self.send_out(engine, message);
                }
            }
            // What cannot be sent at all has ended, which is to be written down, too.
            if self.refused.is_empty() {
                return;
            }
            while let Some(refused) = self.refused.pop() {
                self.handle_event(refused);
            }
        }
    }

    /// Writes down what engines are given; says whether nothing is left to be written.
    fn flush_heritage(&mut self) -> bool {
        let all = self.is_kept();
        let mut written = self.heritage.flush(all);
        if written.is_err() && self.keep.as_mut().is_some_and(Keep::spare) {
            written = self.heritage.flush(all);
        }
        if let Some(fault) = self.heritage.news(written.as_ref().err()) {
            self.door.note(&format!(
                "what is given to engines cannot be written down ({fault}); it waits until it can, \
                 and what runs goes on"
            ));
        }
        written.is_ok()
    }

    /// Hands a message to the session of an engine, if it has one.
    pub(super) fn send_out(&mut self, id: EngineId, message: Message<ToEngine>) {
        let Some(engine) = self.engines.get(&id) else { return };
        if matches!(message.head, ToEngine::Shutdown) {
            self.processes.wants_end(engine.pid);
        }
        if let Some(refused) = send_to_engine(&engine.outbox, message) {
            self.refused.push(Event::FromEngine(id, refused));
        }
    }
}

/// Sends a message. If it exceeds a limit of the wire, what is told instead is that it does. A
/// session that is over is told by its last event.
pub(super) fn send_to_client(outbox: &Outbox<ToClient>, message: Message<ToClient>) {
    let head = message.head.clone();
    let Err(PushError::Unsendable(fault)) = outbox.push(message) else { return };
    let text = fault.to_string();
    let instead = match head {
        ToClient::Result { seq, engine, submitted, started, completed, .. } => {
            let status = Status::Refused;
            let head = ToClient::Result { seq, status, engine, submitted, started, completed };
            Message { head, parts: Parts::from_elem(Bytes::from(text), 1) }
        }
        ToClient::Reply { id, .. } => {
            Message::bare(ToClient::Reply { id, body: Reply::Refused(text) })
        }
        _ => return,
    };
    // It is short; if it cannot be sent, the session is over.
    let _ = outbox.push(instead);
}

/// As [`send_to_client`]; a task that cannot be sent comes back as its own outcome.
pub(super) fn send_to_engine(
    outbox: &Outbox<ToEngine>,
    message: Message<ToEngine>,
) -> Option<Message<FromEngine>> {
    let task = match message.head {
        ToEngine::Task { id, ticket, .. } => Some((id, ticket)),
        _ => None,
    };
    let Err(PushError::Unsendable(fault)) = outbox.push(message) else { return None };
    let ((id, ticket), status) = (task?, Status::Refused);
    let head = FromEngine::Result { id, ticket, status, started: 0, completed: 0 };
    Some(Message { head, parts: Parts::from_elem(Bytes::from(fault.to_string()), 1) })
}
