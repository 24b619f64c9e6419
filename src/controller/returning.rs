//! A client that comes back: to this controller, which had lost it, or from one before it.
//!
//! It submits again what has no outcome on its side, by growing numbers, and then says that this was
//! all. What came here before has numbers below those that had been heard of; for what is asked for
//! among these there are three cases, and in none of them it is run again:
//!
//! - it is pending: it stays where it is, and its outcome is told when it comes;
//! - its outcome is kept: that is told, perhaps again, since it may have been lost on the way;
//! - neither: it ended, and its outcome was dropped since. That is told.
//!
//! All else never came here, and is new. What is not asked for has arrived. An outcome that comes in
//! between waits until it is asked for, so that each is told once in a session.

use std::ops::Range;

use bytes::Bytes;
use smallvec::{SmallVec, smallvec};

use crate::wire::message::WATCHED;
use crate::wire::{ClientId, FromClient, Message, SessionId, TaskId, ToClient};

use super::Reactor;
use super::outcomes::{Outcome, Standing};
use super::state::{State, Turn};
use super::texts;

/// What a client that is about to submit again has said so far.
pub(crate) struct Returning {
    /// What came here before has lower numbers: of tasks, and of watches.
    pub(super) heard: (u64, u64),
    /// What it asked for again: runs of first number and end, ascending.
    asked: Vec<Range<u64>>,
}

impl Returning {
    /// One that begins.
    pub(crate) fn new(heard: (u64, u64)) -> Self {
        Self { heard, asked: Vec::new() }
    }

    /// It asks for these, whose numbers are higher than those before.
    pub(crate) fn ask(&mut self, seqs: Range<u64>) {
        match self.asked.last_mut() {
            Some(last) if last.end == seqs.start => last.end = seqs.end,
            _ => self.asked.push(seqs),
        }
    }

    fn has_asked(&self, seq: u64) -> bool {
        let after = self.asked.partition_point(|run| run.start <= seq);
        self.asked[..after].last().is_some_and(|run| seq < run.end)
    }
}

/// A part of a message that submits tasks.
#[derive(Debug, PartialEq)]
pub enum Piece {
    /// What is new, and to be handled after it was written down.
    New(Message<FromClient>),
    /// The numbers of what is not.
    Known(Range<u64>),
}

impl State {
    /// Whether a client is about to submit again what it wants.
    pub(crate) fn is_returning(&self, client: ClientId) -> bool {
        self.clients.get(client).is_some_and(|client| client.returning.is_some())
    }

    /// Whether a client is there for the outcome of this task or watch of its own.
    pub(crate) fn hears(&self, client: ClientId, seq: u64) -> bool {
        let Some(client) = self.clients.get(client).filter(|client| client.alive) else {
            return false;
        };
        let next = if seq >= WATCHED { client.next_watched } else { client.next };
        client.returning.is_none() || seq < next
    }

    /// Whether a task that is submitted again came here before.
    fn is_old(&self, id: TaskId) -> bool {
        let back = self.clients.get(id.client).and_then(|client| client.returning.as_ref());
        let heard = back.map_or(0, |back| back.heard.0);
        id.seq < heard || self.tasks.find(id).is_some() || self.outcomes.get(id).is_some()
    }
}

impl Reactor {
    /// Whether a client that says so may have its number again: of this controller, if it was `here`, or
    /// of one before it.
    pub fn may_return(&self, client: ClientId, session: SessionId, here: bool) -> bool {
        self.state.limits.receipts
            && match self.state.clients.get(client) {
                Some(known) => known.session == session && !known.lapsed,
                None => !here && self.is_resuming(),
            }
    }

    /// What is new of a message of a client, in the order of its tasks. Only one that comes back says
    /// anything twice.
    pub fn admit(&self, client: ClientId, message: Message<FromClient>) -> SmallVec<[Piece; 1]> {
        self.state.admit(client, message)
    }
}

impl State {
    /// See [`Reactor::admit`].
    fn admit(&self, client: ClientId, message: Message<FromClient>) -> SmallVec<[Piece; 1]> {
        let numbers = message.head.numbers().filter(|_| self.is_returning(client));
        let numbers = numbers.filter(|(first, count)| self.accepts(client, *first, *count));
        let Some((first, count)) = numbers else { return smallvec![Piece::New(message)] };
        let is_old = |seq: u64| self.is_old(TaskId { client, seq });
        let seqs: Vec<(u64, bool)> = (first..first + count).map(|seq| (seq, is_old(seq))).collect();
        if !seqs.iter().any(|(_, old)| *old) {
            return smallvec![Piece::New(message)];
        }
        let runs = seqs.chunk_by(|(_, one), (_, other)| one == other);
        let piece = |run: &[(u64, bool)]| match run[0] {
            (from, true) => Piece::Known(from..from + run.len() as u64),
            (from, false) => Piece::New(message.piece(from, run.len())),
        };
        runs.map(piece).collect()
    }
}

impl Turn<'_> {
    /// A client comes back and is about to submit again what it wants.
    pub(crate) fn on_client_back(&mut self, client: ClientId, session: SessionId, lease: u64) {
        if self.state.clients.session(client) == Some(session) {
            // It noticed the end of its session earlier.
            self.on_client_lost(client, false);
        }
        if self.state.clients.revive(client, session, lease) {
            self.state.leases.retain(|(_, gone)| *gone != client);
            self.state.awaited.retain(|(_, gone)| *gone != client);
            self.state.deserted.wait_anew(client, self.now.mono);
            let engines = self.state.engines_told();
            self.tell_client(client, Message::bare(ToClient::Engines(engines)));
            self.tell_scarce(client);
        } else {
            self.on_client_joined(client, session, lease);
        }
        self.on_client_room(client);
        if let Some(client) = self.state.clients.alive(client) {
            let heard = (client.next, client.next_watched);
            // What it says twice in this session is noticed as ever.
            (client.next, client.next_watched) = (0, WATCHED);
            client.returning = Some(Box::new(Returning::new(heard)));
        }
    }

    /// A client that is about to submit again says something with numbers.
    pub(crate) fn on_submitted_again(&mut self, client: ClientId, message: Message<FromClient>) {
        for piece in self.state.admit(client, message) {
            match piece {
                Piece::New(message) => self.on_new(client, message),
                Piece::Known(seqs) => self.on_asked_again(client, seqs),
            }
        }
    }

    /// A client that came back asks for tasks that came here before.
    pub(crate) fn on_asked_again(&mut self, client: ClientId, seqs: Range<u64>) {
        let count = seqs.end.saturating_sub(seqs.start);
        let Some(seqs) = self.numbers(client, seqs.start, count as usize) else { return };
        for seq in seqs {
            let id = TaskId { client, seq };
            if let Some(kept) = self.state.outcomes.get(id) {
                let message = kept.outcome.clone().message(seq, None);
                let stored = kept.stored;
                self.tell_kept(client, message, stored.then_some(id));
                self.stands(id, if stored { Standing::Orphan } else { Standing::Unheard });
            } else if let Some(key) = self.state.tasks.find(id) {
                let task = self.state.tasks.get(key);
                if let (Some(engine), true) = (task.engine(), task.has_started()) {
                    let at = task.started;
                    self.tell_client(client, Message::bare(ToClient::Started { seq, engine, at }));
                }
            } else {
                let text = Bytes::from_static(texts::DROPPED.as_bytes());
                self.tell_client(client, Outcome::refused(&text).message(seq, None));
            }
        }
    }

    /// A client has submitted again what it wants: what else there is of its has arrived, or is wanted
    /// by nobody.
    pub(crate) fn on_all_submitted(&mut self, client: ClientId) {
        let Some(there) = self.state.clients.alive(client) else { return };
        let Some(back) = there.end_return() else { return };
        self.forget_unasked(client);
        let unasked = |id: &TaskId| id.client == client && !back.has_asked(id.seq);
        let kept = self.state.outcomes.iter();
        let taken = kept.filter(|(_, kept)| kept.standing != Standing::Told);
        let taken: Vec<_> = taken.map(|(id, _)| id).filter(unasked).collect();
        self.take_outcomes(&taken);
        self.settle_where(|id, _| unasked(&id));
    }
}
