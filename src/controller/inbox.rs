//! The way of the embedded client's messages to the shell: a function call, no socket.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::client::Uplink;
use crate::wire::{FromClient, Message};

/// Messages of the embedded client on their way to the shell.
#[derive(Default)]
pub(super) struct Inbox {
    messages: Mutex<Vec<Message<FromClient>>>,
    filled: Notify,
}

impl Inbox {
    /// Wakes the shell if there is something for it.
    pub(super) fn poke(&self) {
        if !self.messages.lock().is_empty() {
            self.wake();
        }
    }

    /// Wakes the shell.
    pub(super) fn wake(&self) {
        self.filled.notify_one();
    }

    /// Waits to be woken.
    pub(super) async fn woken(&self) {
        self.filled.notified().await;
    }

    /// All that lies here.
    pub(super) fn take(&self) -> Vec<Message<FromClient>> {
        std::mem::take(&mut *self.messages.lock())
    }
}

/// The embedded client's way to the controller.
pub(super) struct Direct(pub(super) Arc<Inbox>);

impl Uplink for Direct {
    fn push(&self, message: Message<FromClient>) -> Result<(), String> {
        self.0.messages.lock().push(message);
        Ok(())
    }

    fn wants_pieces(&self) -> bool {
        // A message is taken in as a whole, and what engines say meanwhile waits for that.
        true
    }
}
