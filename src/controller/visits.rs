//! The sessions of clients. A client may come back under its number before the end of the session it
//! had is noticed here; what is still to be heard of that one is void then, since the client says
//! again whatever matters.

use super::Event;
use super::incoming::Incoming;
use super::run::Shell;
use crate::transport::{Arrival, CloseReason, Outbox, Sink};
use crate::wire::{Before, ClientId, Hello, SessionId, ToClient};

/// One session of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Visit {
    pub(super) client: ClientId,
    /// Different for all that there ever were.
    number: u64,
}

/// A client that is here.
pub(super) struct Guest {
    pub(super) outbox: Outbox<ToClient>,
    visit: Visit,
}

impl Shell {
    /// A client is let in.
    pub(super) fn receive_client(&mut self, arrival: Arrival) {
        let Hello { session, lease, ref before, .. } = arrival.hello;
        let again = self.client_again(before.as_ref(), session);
        let client = again.unwrap_or(ClientId(self.next_client));
        self.visits += 1;
        let visit = Visit { client, number: self.visits };
        let sink = Sink::new(self.sender.clone(), move |event| Incoming::Client(visit, event));
        // A client may be stopped for a while (Ctrl-Z); its end is told by the door.
        let Ok(outbox) = arrival.admit((client.0, again.is_some()), None, sink) else { return };
        if let Some(before) = self.clients.insert(client, Guest { outbox, visit }) {
            before.outbox.abort();
            self.full.remove(&client);
        }
        if again.is_some() {
            self.handle_event(Event::ClientBack { client, session, lease });
        } else {
            self.next_client += 1;
            self.handle_event(Event::ClientJoined { client, session, lease });
        }
    }

    /// The number under which a client comes back, if it does: from a controller before this one, or
    /// because its session broke.
    fn client_again(&self, before: Option<&Before>, session: SessionId) -> Option<ClientId> {
        let before = before?;
        let (client, here) = (ClientId(before.number), before.controller == self.session);
        let known = here || self.heritage.was_with_another(before, self.session);
        (known && self.reactor.may_return(client, session, here)).then_some(client)
    }

    /// Whether a session is the one that its client has.
    pub(super) fn is_present(&self, visit: Visit) -> bool {
        self.clients.get(&visit.client).is_some_and(|guest| guest.visit == visit)
    }

    /// The session of a client is over.
    pub(super) fn client_closed(&mut self, visit: Visit, reason: &CloseReason) {
        let client = visit.client;
        if matches!(reason, CloseReason::Protocol(_)) {
            self.door.note(&format!("client session {} was ended: {reason}", client.0));
        }
        if self.is_present(visit) {
            self.clients.remove(&client);
            self.full.remove(&client);
            let for_good = matches!(reason, CloseReason::Goodbye);
            self.handle_event(Event::ClientLost { client, for_good });
        }
    }
}
