//! The clients there are, and those that are gone but whose tasks are still known.

use smallvec::SmallVec;

use crate::wire::message::WATCHED;
use crate::wire::{ClientId, SessionId};

use super::deserted::PATIENCE;
use super::hash::{Map, Set};
use super::returning::Returning;

/// One client.
pub(crate) struct Client {
    pub(crate) session: SessionId,
    /// Whether it is there.
    pub(crate) alive: bool,
    /// Nanoseconds its unfinished tasks run on when it is not.
    pub(crate) lease: u64,
    /// Nanoseconds its tasks wait while no engine is there; `u64::MAX` for ever.
    pub(crate) patience: u64,
    /// The lowest number it may use next. Numbers only grow, so that whatever arrives twice is
    /// noticed without remembering what has finished.
    pub(crate) next: u64,
    /// The same for the numbers under which it watches.
    pub(crate) next_watched: u64,
    /// Functions it put.
    pub(crate) funcs: Set<u32>,
    /// Its tasks that are unfinished or whose outcomes are kept.
    pub(crate) known: u64,
    /// Gone without a goodbye: until when it is waited for, by the monotonic clock, though nothing of
    /// it may be known.
    pub(crate) awaited: Option<u64>,
    /// Its lease ended before its tasks did, so there is nothing to come back to.
    pub(crate) lapsed: bool,
    /// It is back and has not submitted again all that it wants.
    pub(crate) returning: Option<Box<Returning>>,
}

impl Client {
    /// It has submitted again what it wants, or is gone: its numbers go on where they were.
    pub(crate) fn end_return(&mut self) -> Option<Box<Returning>> {
        let back = self.returning.take()?;
        self.next = self.next.max(back.heard.0);
        self.next_watched = self.next_watched.max(back.heard.1);
        Some(back)
    }
}

/// All clients.
#[derive(Default)]
pub(crate) struct Clients {
    map: Map<ClientId, Client>,
    /// The numbers of each session's clients, oldest first.
    sessions: Map<SessionId, SmallVec<[ClientId; 2]>>,
}

impl Clients {
    /// Enters a client; `false` if the number is in use.
    pub(crate) fn join(&mut self, id: ClientId, session: SessionId, lease: u64) -> bool {
        if self.map.contains_key(&id) {
            return false;
        }
        let client = Client {
            session,
            alive: true,
            lease,
            patience: PATIENCE,
            next: 0,
            next_watched: WATCHED,
            funcs: Set::default(),
            known: 0,
            awaited: None,
            lapsed: false,
            returning: None,
        };
        self.map.insert(id, client);
        self.sessions.entry(session).or_default().push(id);
        true
    }

    /// Enters a client that is gone, as a store knows it.
    pub(crate) fn restore(&mut self, id: ClientId, session: SessionId, lease: u64) {
        if self.join(id, session, lease)
            && let Some(client) = self.map.get_mut(&id)
        {
            client.alive = false;
            // Nobody is there to start engines for it, nor to submit again what was given up.
            client.patience = u64::MAX;
        }
    }

    /// A client that is gone comes back; `false` if none of this number and session is.
    pub(crate) fn revive(&mut self, id: ClientId, session: SessionId, lease: u64) -> bool {
        let Some(client) = self.map.get_mut(&id) else { return false };
        let comes = !client.alive && client.session == session;
        if comes {
            (client.alive, client.lease) = (true, lease);
            (client.awaited, client.lapsed) = (None, false);
            // It says its own, if that is another.
            client.patience = PATIENCE;
        }
        comes
    }

    /// A client that is there.
    pub(crate) fn alive(&mut self, id: ClientId) -> Option<&mut Client> {
        self.map.get_mut(&id).filter(|client| client.alive)
    }

    /// A client of which something is known.
    pub(crate) fn get(&self, id: ClientId) -> Option<&Client> {
        self.map.get(&id)
    }

    /// The same, to be changed.
    pub(crate) fn get_mut(&mut self, id: ClientId) -> Option<&mut Client> {
        self.map.get_mut(&id)
    }

    /// Whether a client is there.
    pub(crate) fn is_alive(&self, id: ClientId) -> bool {
        self.map.get(&id).is_some_and(|client| client.alive)
    }

    /// Whether a client is gone and may come back.
    pub(crate) fn is_awaited(&self, id: ClientId) -> bool {
        self.map.get(&id).is_some_and(|client| client.awaited.is_some())
    }

    /// Counts tasks that have become known.
    pub(crate) fn learn(&mut self, id: ClientId, tasks: u64) {
        if let Some(client) = self.map.get_mut(&id) {
            client.known += tasks;
        }
    }

    /// Counts a task that is no longer known; says whether its client is no longer, either.
    pub(crate) fn forget(&mut self, id: ClientId) -> bool {
        let Some(client) = self.map.get_mut(&id) else { return false };
        client.known -= 1;
        self.drop_unneeded(id)
    }

    /// Removes a client that is gone, of which nothing is known any more and for which nobody waits; says
    /// whether it was.
    pub(crate) fn drop_unneeded(&mut self, id: ClientId) -> bool {
        let Some(client) = self.map.get(&id) else { return false };
        if client.alive || client.known > 0 || client.awaited.is_some() {
            return false;
        }
        let session = client.session;
        self.map.remove(&id);
        if let Some(ids) = self.sessions.get_mut(&session) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.sessions.remove(&session);
            }
        }
        true
    }

    /// The clients a session has had, the latest first.
    pub(crate) fn of_session(&self, session: SessionId) -> impl Iterator<Item = ClientId> {
        self.sessions.get(&session).into_iter().flat_map(|ids| ids.iter().rev().copied())
    }

    /// Nanoseconds the tasks of a client wait while no engine is there; 0 if none of it is known.
    pub(crate) fn patience(&self, id: ClientId) -> u64 {
        self.map.get(&id).map_or(0, |client| client.patience)
    }

    /// The session of a client of which something is known.
    pub(crate) fn session(&self, id: ClientId) -> Option<SessionId> {
        self.map.get(&id).map(|client| client.session)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (ClientId, &Client)> {
        self.map.iter().map(|(id, client)| (*id, client))
    }

    /// Those that are there, by number.
    pub(crate) fn present(&self) -> Vec<ClientId> {
        let mut ids: Vec<_> =
            self.iter().filter(|(_, client)| client.alive).map(|(id, _)| id).collect();
        ids.sort_unstable();
        ids
    }
}
