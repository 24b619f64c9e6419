//! Engines that come near the memory that they may have: clients are told once when one does, and once
//! when it no longer is; who joins meanwhile is told at the start.

use crate::memory::Usage;
use crate::wire::{ClientId, EngineId, Message, ToClient};

use super::state::Turn;

fn told(engine: EngineId, Usage { used, allowed }: Usage, scarce: bool) -> Message<ToClient> {
    Message::bare(ToClient::Memory { engine, used, allowed, scarce })
}

impl Turn<'_> {
    /// An engine says how it is, perhaps twice.
    pub(crate) fn on_memory(&mut self, engine: EngineId, usage: Usage, scarce: bool) {
        let Some(known) = self.state.engines.get_mut(engine) else { return };
        let before = known.cold.scarce.take().is_some();
        known.cold.scarce = scarce.then_some(usage);
        if before != scarce {
            for client in self.state.clients.present() {
                self.tell_client(client, told(engine, usage, scarce));
            }
        }
    }

    /// A client has come and knows which engines there are.
    pub(crate) fn tell_scarce(&mut self, client: ClientId) {
        let state = &*self.state;
        let near = |engine: &super::engines::Engine| {
            Some(told(engine.cold.info.id, engine.cold.scarce?, true))
        };
        let all: Vec<_> = state.engines.iter().filter_map(near).collect();
        for message in all {
            self.tell_client(client, message);
        }
    }
}
