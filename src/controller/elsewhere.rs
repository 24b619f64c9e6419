//! Engines that run elsewhere: of their processes the shell knows no number that is worth anything
//! here, and nobody here can start another. What is wanted of one is done by the engine itself, or
//! refused with the reason.

use super::inherit::NOWHERE;
use super::run::Shell;
use super::send::send_to_engine;
use super::spawn;
use crate::wire::{EngineId, Message, Reply, Request, ToEngine};

impl Shell {
    /// Sends a signal to an engine's process, or has it do that itself.
    pub(super) fn signal_engine(&self, id: EngineId, number: i32) {
        let Some(engine) = self.engines.get(&id) else { return };
        if engine.pid == NOWHERE {
            send_to_engine(&engine.outbox, Message::bare(ToEngine::Signal(number)));
        } else {
            spawn::signal(engine.pid, number);
        }
    }

    /// The answer to a request that cannot be granted for an engine that was not started here.
    pub(super) fn refuse_elsewhere(&self, request: &Request) -> Option<Reply> {
        let Request::Restart(engines) = request else { return None };
        let is_stranger = |id: &&EngineId| {
            self.engines.get(id).is_some_and(|engine| !self.processes.watches(engine.pid))
        };
        let id = engines.iter().find(is_stranger)?;
        Some(Reply::Refused(format!(
            "engine {id} was not started by this cluster, so nothing here can start another in its \
             place\n\nhint: shut it down without restart, and start one where it ran"
        )))
    }
}
