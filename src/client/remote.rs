//! A client of a controller in another process: its session and its I/O thread.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::core::{Core, Lifetime, Uplink};
use crate::clock::wall_clock;
use crate::transport::{self, Drive, Event, Outbox, PushError, Sink, place};
use crate::wire::{FromClient, Hello, Message, Role, ToClient, limits};

struct Session(Outbox<FromClient>);

impl Uplink for Session {
    fn push(&self, message: Message<FromClient>) -> Result<(), String> {
        match self.0.push_quietly(message) {
            Err(PushError::Unsendable(fault)) => Err(fault.to_string()),
            Ok(()) | Err(PushError::Closed) => Ok(()),
        }
    }

    fn wants_pieces(&self) -> bool {
        true
    }
}

/// A connected client.
pub struct Remote {
    /// Its books.
    pub core: Arc<Core>,
    /// The controller's process.
    pub controller_pid: u32,
    outbox: Outbox<FromClient>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

impl Remote {
    /// Connects to the controller in `directory`; gives up after `patience`. Unfinished tasks run on
    /// for `lease` when this client is gone.
    pub fn connect(
        directory: &Path,
        patience: Duration,
        python: String,
        bound: u64,
        lease: Duration,
    ) -> io::Result<Self> {
        let connection = place::read(directory)?;
        let session = place::session()?;
        let hello = Hello {
            tally: None,
            lease: u64::try_from(lease.as_nanos()).unwrap_or(u64::MAX),
            token: connection.token,
            role: Role::Client,
            session,
            pid: std::process::id(),
            host: place::host(),
            python,
        };
        let runtime = transport::runtime()?;
        let (sender, events) = mpsc::channel(64);
        let sink = Sink::new(sender, |event| event);
        let silence = Some(limits::SILENCE);
        let connecting = transport::connect(directory, &hello, silence, sink, patience);
        let (accepted, outbox) = runtime.block_on(connecting).map_err(io::Error::other)?;
        let core = Arc::new(Core::new(session, Box::new(Session(outbox.clone())), bound));
        let poked = outbox.clone();
        let drive = Drive::new(runtime, move || poked.poke());
        core.driven_by(drive.clone());
        let inside = Lifetime(core.clone());
        let thread = drive.start(async move {
            let Lifetime(core) = &inside;
            live(core, events).await;
        });
        let thread = Mutex::new(Some(thread?));
        Ok(Self { core, controller_pid: accepted.pid, outbox, thread })
    }

    /// Says goodbye after everything queued has been sent, and ends the I/O thread.
    pub fn close(&self) {
        self.outbox.close();
        if let Some(drive) = self.core.drive() {
            drive.need();
        }
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.close();
    }
}

async fn live(core: &Core, mut events: mpsc::Receiver<Event<ToClient>>) {
    while let Some(event) = events.recv().await {
        match event {
            Event::Messages(messages) => {
                let now = wall_clock();
                for message in messages {
                    core.receive(message, now);
                }
            }
            Event::Closed(reason) => {
                core.end_session(
                    &format!("the session with the controller ended: {reason}"),
                    wall_clock(),
                );
                return;
            }
        }
    }
}
