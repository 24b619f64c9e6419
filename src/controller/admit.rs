//! Who is let in as a client or an engine. The door has seen already that it has the secret.

use super::Event;
use super::incoming::Incoming;
use super::inherit::NOWHERE;
use super::keep::Keep;
use super::losses::Engine;
use super::run::Shell;
use crate::transport::{Arrival, Sink};
use crate::wire::{Before, EngineId, EngineInfo, Hello, Role};

impl Shell {
    /// Somebody is at the door, and the door says that it has the secret.
    pub(super) fn arrive(&mut self, arrival: Arrival) {
        let theirs = arrival.hello.python.clone();
        if !theirs.is_empty() && !self.python.is_empty() && theirs != self.python {
            let ours = &self.python;
            arrival.refuse(format!(
                "this cluster runs Python {ours}, and functions cannot be exchanged with Python \
                 {theirs}; hint: start client and engines with the same version"
            ));
            return;
        }
        let sender = self.sender.clone();
        let Hello { role, session, pid, host, before, .. } = arrival.hello.clone();
        // A peer for which the system has no sockets left is turned away without a word; it
        // will ask again.
        match role {
            Role::Client => self.receive_client(arrival),
            Role::Engine => {
                let again = self.engine_again(before.as_ref(), session);
                let is_first = before.is_none();
                // What it was elsewhere counts only if it goes on.
                let before = before.filter(|_| again.is_some());
                let id = again.unwrap_or(EngineId(self.next_engine));
                let info = EngineInfo { id, session, pid, host };
                // Only of a process of this host the number is worth anything here.
                let here = arrival.pid();
                let mut entered = self.heritage.enter(&info, here, before.as_ref());
                if entered.is_err() && self.keep.as_mut().is_some_and(Keep::spare) {
                    entered = self.heritage.enter(&info, here, before.as_ref());
                }
                if let Err(fault) = entered {
                    if !is_first {
                        // It asks again, and runs on until there is room.
                        return;
                    }
                    let why = format!("what it is given could not be written down: {fault}");
                    return arrival.refuse(why);
                }
                let sink = Sink::new(sender, move |event| Incoming::Engine(id, event));
                let tally = arrival.tally();
                let patience = Some(self.processes.care.patience);
                let number = (id.0, again.is_some());
                let Ok(outbox) = arrival.admit(number, patience, sink) else { return };
                let pid = here.unwrap_or(NOWHERE);
                self.is_back(id, pid);
                if is_first {
                    self.never_knew(pid, &info.host);
                }
                let known = self.processes.became(pid, id);
                self.engines.insert(id, Engine::new(outbox, pid, tally));
                if let Some(Before { ticket, running, .. }) = before {
                    self.handle_event(Event::EngineBack { info, ticket, running });
                } else {
                    self.next_engine += 1;
                    self.handle_event(Event::EngineJoined { info });
                }
                // Now that clients know it, whoever waits for it may be told.
                self.processes.joined(pid);
                // The same process comes anew: what it was before is gone.
                if let Some(known) = known {
                    self.lose(known);
                }
            }
        }
    }
}
