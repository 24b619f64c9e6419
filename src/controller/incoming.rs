//! What the shell is told, by whom: its one queue, and the hand that others have on it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::revive::Seats;
use super::spawn::{End, Started};
use super::visits::Visit;
use crate::transport::{Arrival, Event};
use crate::wire::{EngineId, FromClient, FromEngine};

/// Something for the shell to do.
pub(super) enum Incoming {
    Control(Control),
    Client(Visit, Event<FromClient>),
    Engine(EngineId, Event<FromEngine>),
    Arrival(Arrival),
    /// A process that was started here ended.
    Ended(u32, End),
    /// An engine of a controller before this one will not come back, for this reason, unless it
    /// has.
    Missing(EngineId, String),
    /// Another process is to be started in this seat.
    Vacant(u32),
    /// The session or the process of this engine ended some time ago, and the other has not been
    /// seen to.
    Overdue(EngineId),
}

/// What is wanted of the shell by who has a [`Handle`].
pub(super) enum Control {
    Watch(u32, Started),
    Stop,
}

/// The shell's queue, for who tells it something.
pub(super) type Sender = mpsc::Sender<Incoming>;

/// Tells the shell something after a time.
pub(super) fn later(sender: &Sender, time: Duration, incoming: Incoming) {
    let sender = sender.clone();
    tokio::spawn(async move {
        tokio::time::sleep(time).await;
        let _ = sender.send(incoming).await;
    });
}

/// Waits for a moment; for ever if there is none.
pub(super) async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}

/// A hand on a running controller.
#[derive(Clone)]
pub(super) struct Handle {
    pub(super) sender: Sender,
    /// The processes started here.
    pub(super) seats: Arc<Seats>,
}

impl Handle {
    /// Watches a process that is to become an engine. Must not be called on the I/O thread.
    pub(super) fn watch(&self, seat: u32, started: Started) {
        let _ = self.sender.blocking_send(Incoming::Control(Control::Watch(seat, started)));
    }

    /// Ends the engines and then the controller. Must not be called on the I/O thread.
    pub(super) fn stop(&self) {
        let _ = self.sender.blocking_send(Incoming::Control(Control::Stop));
    }

    /// As [`Handle::stop`], on the I/O thread.
    pub(super) async fn stop_soon(&self) {
        let _ = self.sender.send(Incoming::Control(Control::Stop)).await;
    }
}
