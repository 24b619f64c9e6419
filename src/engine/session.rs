//! What moves an engine's session along, and the next session on its way. It waits only; what is done
//! about it is in `run`.

use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;

use tokio::io::unix::AsyncFd;

use super::home::{Events, Joined, ended};
use crate::transport::{Event, Outbox};
use crate::wire::{FromEngine, ToEngine};

/// What moves a session along.
pub(super) struct Session {
    pub(super) events: Events,
    /// See [`Joined`].
    pub(super) controller: Option<AsyncFd<OwnedFd>>,
    pub(super) outbox: Outbox<FromEngine>,
}

/// The next session on its way, after one ended without a goodbye.
pub(super) type Joining = Pin<Box<dyn Future<Output = io::Result<Joined>> + Send>>;

pub(super) enum Happened {
    Said(Option<Event<ToEngine>>),
    ControllerEnded,
    /// A beat is due, so the thread is awake anyway.
    Tick,
}

/// What happens next in a session; nothing without one.
pub(super) async fn next(session: Option<&mut Session>) -> Happened {
    let Some(session) = session else { return std::future::pending().await };
    tokio::select! {
        event = session.events.recv() => Happened::Said(event),
        () = ended(session.controller.as_ref()) => {
            session.controller = None;
            Happened::ControllerEnded
        }
        () = session.outbox.tick() => Happened::Tick,
    }
}

/// The session that is being joined; for ever if there is none.
pub(super) async fn join(joining: Option<&mut Joining>) -> io::Result<Joined> {
    match joining {
        Some(joining) => joining.await,
        None => std::future::pending().await,
    }
}
