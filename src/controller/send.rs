//! Sending from the shell: what exceeds a limit of the wire is answered for, so that nobody waits
//! for ever.

use bytes::Bytes;

use crate::transport::{Outbox, PushError};
use crate::wire::{FromEngine, Message, Parts, Reply, Status, ToClient, ToEngine};

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
