//! The end of an engine, told to the reactor once and with the best reason there is.
//!
//! It ends in two places, in either order: its session, which says little, and its process, whose
//! exit status says why. The second is waited for, but not for long: a session may be held open by
//! a child of a process that ended, and a process may live on without its session.

use std::time::Duration;

use super::incoming::{Incoming, later};
use super::run::Shell;
use super::spawn::End;
use super::{Begun, Event};
use crate::memory::Tally;
use crate::transport::{CloseReason, Outbox};
use crate::wire::{EngineId, ToEngine};

/// Time between the end of an engine's session and the end of its process.
const MERGE: Duration = Duration::from_millis(500);
/// Time without a message after which the session of a process that ended has run out, though a
/// child of that process may hold it open.
const RUN_OUT: Duration = Duration::from_millis(50);

/// An engine as the shell knows it.
pub(super) struct Engine {
    pub(super) outbox: Outbox<ToEngine>,
    pub(super) pid: u32,
    /// Where it tells what it has begun.
    tally: Option<Tally>,
    /// Why its session is over, if it is.
    closed: Option<String>,
    /// How its process ended, if that is known.
    end: Option<End>,
    /// Something came since its process ended or was last looked at.
    pub(super) heard: bool,
    /// It was given up because it fell silent.
    pub(super) silent: bool,
}

impl Engine {
    /// One that has just joined.
    pub(super) fn new(outbox: Outbox<ToEngine>, pid: u32, tally: Option<Tally>) -> Self {
        Self { outbox, pid, tally, closed: None, end: None, heard: false, silent: false }
    }
}

impl Shell {
    /// The session of an engine is over. If its process was started here, its end says why.
    pub(super) fn session_closed(&mut self, id: EngineId, reason: &CloseReason) {
        if matches!(reason, CloseReason::Protocol(_)) {
            self.door.note(&format!("session of engine {id} was ended: {reason}"));
        }
        let Some(engine) = self.engines.get_mut(&id) else { return };
        engine.closed = Some(reason.to_string());
        engine.silent = matches!(reason, CloseReason::Silent(_));
        if engine.end.is_none() && !engine.silent && self.processes.watches(engine.pid) {
            later(&self.sender, MERGE, Incoming::Overdue(id));
        } else {
            self.lose(id);
        }
    }

    /// A process started here ended. What it sent before still counts, so its session is let
    /// run out.
    pub(super) fn process_ended(&mut self, pid: u32, end: End) {
        let Some(id) = self.processes.ended(pid, &end) else { return };
        let Some(engine) = self.engines.get_mut(&id) else { return };
        engine.end = Some(end);
        if engine.closed.is_some() {
            self.lose(id);
        } else {
            engine.heard = false;
            later(&self.sender, RUN_OUT, Incoming::Overdue(id));
        }
    }

    /// One half of an engine ended and the other has not followed; what still comes is let come.
    pub(super) fn overdue(&mut self, id: EngineId) {
        let Some(engine) = self.engines.get_mut(&id) else { return };
        if engine.closed.is_none() && std::mem::take(&mut engine.heard) {
            later(&self.sender, RUN_OUT, Incoming::Overdue(id));
        } else {
            self.lose(id);
        }
    }

    /// Tells the reactor that an engine is gone, with the best reason there is.
    pub(super) fn lose(&mut self, engine: EngineId) {
        let Some(Engine { closed, end, tally, .. }) = self.engines.get_mut(&engine) else { return };
        // From here on it begins nothing, whatever has become of it.
        let begun = tally.as_ref().map(how_far);
        let (closed, end) = (closed.take(), end.take());
        let End { cause, output, .. } = end.unwrap_or_else(|| End {
            cause: closed.unwrap_or_else(|| "it ended for an unknown reason".to_owned()),
            output: String::new(),
            forced: false,
        });
        self.heritage.strike_out(engine);
        self.handle_event(Event::EngineLost { engine, begun, cause, output });
        self.engines.remove(&engine);
    }
}

/// Lets nothing more be begun, and tells what was.
fn how_far(tally: &Tally) -> Begun {
    let last = tally.close();
    Begun { last, returned: tally.given_back() }
}
