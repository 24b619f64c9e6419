//! The end of a controller: engines may finish, briefly; processes are seen to end; nothing stays.

use std::time::Duration;

use super::incoming::{Control, Incoming};
use super::run::Shell;
use super::send::send_to_engine;
use super::spawn;
use crate::clock::wall_clock;
use crate::transport::Event;
use crate::wire::{Message, ToEngine};

/// Time engines have to end by themselves when the controller stops.
const STOP_GRACE: Duration = Duration::from_millis(500);

impl Shell {
    /// Ends what was started here, says goodbye to the others, and leaves the place clean. Says what
    /// could not be written into the store, if anything could not.
    pub(super) async fn stop(mut self) -> Option<String> {
        if self.keep.is_some() {
            self.call_back().await;
        }
        for engine in self.engines.values() {
            send_to_engine(&engine.outbox, Message::bare(ToEngine::Shutdown));
            engine.outbox.close();
        }
        for guest in self.clients.values() {
            guest.outbox.close();
        }
        let deadline = tokio::time::Instant::now() + STOP_GRACE;
        self.processes.kill_idle();
        while !self.processes.is_empty() || self.open_sessions() {
            let incoming = tokio::time::timeout_at(deadline, self.incoming.recv()).await;
            match incoming {
                Ok(Some(Incoming::Ended(pid, _))) => self.processes.forget(pid),
                Ok(Some(Incoming::Engine(id, Event::Messages(messages))))
                    if self.keep.is_some() =>
                {
                    self.hear_engine(id, messages);
                    self.flush_keep();
                }
                Ok(Some(Incoming::Engine(id, Event::Closed(_)))) => {
                    self.engines.remove(&id);
                }
                Ok(Some(Incoming::Client(visit, Event::Closed(_)))) => {
                    if self.is_present(visit) {
                        self.clients.remove(&visit.client);
                    }
                }
                Ok(Some(Incoming::Arrival(arrival))) => arrival.refuse("this cluster is stopping"),
                Ok(Some(Incoming::Control(Control::Watch(seat, started)))) => {
                    spawn::kill(started.pid());
                    self.processes.watch(seat, started);
                }
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => {
                    self.processes.kill();
                    self.reap().await;
                    break;
                }
            }
        }
        let unwritten = self.write_last().await;
        if let Some(core) = &self.local {
            core.end_session("the cluster was stopped", wall_clock());
        }
        drop(self.door);
        unwritten
    }

    /// What engines have not begun is given back, so that the next controller knows that they have
    /// not; what ends meanwhile is written down.
    async fn call_back(&mut self) {
        self.handle_event(super::Event::Stopping);
        self.let_out();
        let deadline = tokio::time::Instant::now() + STOP_GRACE;
        while self.reactor.is_recalling() {
            match tokio::time::timeout_at(deadline, self.incoming.recv()).await {
                Ok(Some(Incoming::Arrival(arrival))) => arrival.refuse("this cluster is stopping"),
                Ok(Some(incoming)) => self.take(incoming),
                Ok(None) | Err(_) => break,
            }
            self.let_out();
        }
    }

    fn open_sessions(&self) -> bool {
        !self.engines.is_empty() || !self.clients.is_empty()
    }

    /// Waits for processes that were killed; the kernel ends them, so this is short.
    async fn reap(&mut self) {
        while !self.processes.is_empty() {
            match self.incoming.recv().await {
                Some(Incoming::Ended(pid, _)) => self.processes.forget(pid),
                Some(_) => {}
                None => return,
            }
        }
    }
}
