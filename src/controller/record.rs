//! What is written down where there is a store, as far as the books decide it.
//!
//! New tasks are written before they are entered: the shell asks [`Reactor::admit`] what of a message
//! is new, and [`Reactor::record`] what its records are. All else is written because the reactor says so, by
//! [`Effect::Keep`]. An outcome is kept until it arrived somewhere, and then for as long as it is among
//! the newest of those that did.

use bytes::Bytes;

use crate::store::{self, Forgotten, Record, Spread, Submitted};
use crate::wire::message::WATCHED;
use crate::wire::{ClientId, FromClient, Message, Parts, SessionId, Stamp, TaskId, ToClient};

use super::Reactor;
use super::event::Effect;
use super::outcomes::{Kept, Outcome, Outcomes, Standing};
use super::receipts::at;
use super::state::{Limits, State, Turn};
use super::tasks::Watcher;

/// What has to be in the store for new tasks to be there.
pub struct Admitted<'a> {
    /// The tasks.
    pub tasks: Submitted,
    /// The session of their client, and its lease.
    pub client: (SessionId, u64),
    /// The pickle of their function.
    pub func: &'a Bytes,
}

impl State {
    /// Whether these may be the numbers of new tasks, or of new watches, of a client.
    pub(crate) fn accepts(&self, client: ClientId, first: u64, count: u64) -> bool {
        let Some(owner) = self.clients.get(client).filter(|owner| owner.alive) else {
            return false;
        };
        let watched = first >= WATCHED;
        let (next, limit) =
            if watched { (owner.next_watched, u64::MAX) } else { (owner.next, WATCHED) };
        first.checked_add(count).is_some_and(|end| end <= limit) && first >= next
    }

    /// The outcome of a task is told to somebody who watches it.
    pub(crate) fn lend(&mut self, watcher: Watcher, id: TaskId) {
        self.lent.insert((watcher.client, watcher.seq), id);
    }

    /// What was told to a client that is gone did not arrive, as far as is known.
    pub(crate) fn take_back_lent(&mut self, client: ClientId) {
        let all = (client, 0)..=(client, u64::MAX);
        let lent: Vec<_> = self.lent.range(all).map(|(place, _)| *place).collect();
        for place in lent {
            self.lent.remove(&place);
        }
    }
}

impl Reactor {
    /// What is to be written down before these new tasks are entered; `None` if they will not be.
    pub fn record(
        &self,
        client: ClientId,
        message: &Message<FromClient>,
        at: Stamp,
    ) -> Option<Admitted<'_>> {
        let (first, count) = message.head.numbers()?;
        let there = count > 0 && self.state.accepts(client, first, count);
        let owner = self.state.clients.get(client).filter(|_| there)?;
        let (func, kind, rules, spread) = match &message.head {
            FromClient::Submit { func, kind, target, counts, rules, .. } => {
                let said: u64 = counts.iter().copied().map(u64::from).sum();
                (said == message.parts.len() as u64).then_some(())?;
                (*func, *kind, *rules, Spread::Balanced(target.clone(), counts.clone()))
            }
            FromClient::Direct { func, kind, engines, rules, .. } => {
                (*func, *kind, *rules, Spread::Direct(engines.clone()))
            }
            _ => return None,
        };
        let tasks = Submitted { client, runs: vec![(first, count)], func, kind, rules, at, spread };
        let func = self.state.funcs.body(func)?;
        Some(Admitted { tasks, client: (owner.session, owner.lease), func })
    }
}

impl Turn<'_> {
    /// Has something written down, if there is where.
    pub(crate) fn keep(&mut self, head: Record, parts: Parts) {
        if self.state.limits.store {
            self.out.push(Effect::Keep(Message { head, parts }));
        }
    }

    pub(crate) fn forgotten(&mut self, what: Forgotten) {
        self.keep(Record::Forgotten(what), Parts::new());
    }

    pub(crate) fn write_outcome(&mut self, id: TaskId, submitted: Stamp, outcome: &Outcome) {
        let Outcome { status, engine, started, completed, ref parts } = *outcome;
        let head = store::Outcome { id, status, engine, submitted, started, completed };
        self.keep(Record::Outcome(head), parts.clone());
    }

    /// Tells an outcome whose parts are here or, of this task, in the store.
    pub(crate) fn tell_kept(
        &mut self,
        client: ClientId,
        message: Message<ToClient>,
        stored: Option<TaskId>,
    ) {
        match stored {
            Some(id) => self.out.push(Effect::TellKept(client, message, id)),
            None => self.tell_client(client, message),
        }
    }

    /// Has outcomes dropped, and sees to what follows from it.
    pub(crate) fn drop_outcomes(
        &mut self,
        drop: impl FnOnce(&mut Outcomes, &Limits, &mut dyn FnMut(TaskId, &Kept)),
    ) {
        let (mut gone, mut settled, mut unspent) = (Forgotten::default(), Vec::new(), Vec::new());
        let State { outcomes, clients, limits, receipts, spent, .. } = &mut *self.state;
        drop(outcomes, limits, &mut |id, kept| {
            if kept.standing == Standing::Orphan {
                // Here was the place where its owner would have looked for it.
                settled.extend(receipts.as_mut().and_then(|receipts| receipts.remove(&id)).map(at));
                unspent.extend(spent.contains_key(&id).then_some(id));
            }
            if kept.stored {
                match gone.tasks.last_mut() {
                    Some((client, first, count))
                        if *client == id.client && *first + *count == id.seq =>
                    {
                        *count += 1;
                    }
                    _ => gone.tasks.push((id.client, id.seq, 1)),
                }
            }
            if clients.forget(id.client) {
                gone.clients.push(id.client);
            }
        });
        if !gone.tasks.is_empty() || !gone.clients.is_empty() {
            self.forgotten(gone);
        }
        self.settle_all(settled);
        for id in unspent {
            self.forget_spent_task(id);
        }
    }

    /// An outcome is to stand among these from now on, if it is kept.
    pub(crate) fn stands(&mut self, id: TaskId, standing: Standing) {
        let until = self.now.mono.saturating_add(self.state.limits.orphan_time);
        self.drop_outcomes(|outcomes, limits, dropped| {
            outcomes.shift(id, (standing, until), limits, dropped);
        });
    }

    /// Outcomes have arrived at a client: its own, or those it watched.
    pub(crate) fn take_arrived(&mut self, client: ClientId, runs: &[(u64, u64)]) {
        let mut taken = Vec::new();
        for &(first, count) in runs {
            if first >= WATCHED {
                let last = (client, first.saturating_add(count.saturating_sub(1)));
                let lent: Vec<_> = self.state.lent.range((client, first)..=last).collect();
                let lent: Vec<_> = lent.into_iter().map(|(place, id)| (*place, *id)).collect();
                for (place, id) in lent {
                    self.state.lent.remove(&place);
                    // Who is there is told itself.
                    if !self.state.clients.is_alive(id.client) {
                        taken.push(id);
                    }
                }
            } else if count <= self.state.outcomes.len() as u64 {
                let seqs = first..first.saturating_add(count);
                taken.extend(seqs.map(|seq| TaskId { client, seq }));
            } else {
                // A client may name more than it can have been told.
                let named = |id: &TaskId| id.client == client && id.seq.wrapping_sub(first) < count;
                taken.extend(self.state.outcomes.iter().map(|(id, _)| id).filter(named));
            }
        }
        self.take_outcomes(&taken);
    }

    /// Outcomes have arrived where they are wanted: they are no longer all there is.
    pub(crate) fn take_outcomes(&mut self, taken: &[TaskId]) {
        self.drop_outcomes(|outcomes, limits, dropped| {
            for id in taken {
                outcomes.shift(*id, (Standing::Told, 0), limits, &mut *dropped);
            }
        });
    }

    /// The store has no room for new tasks.
    pub(crate) fn on_no_room(&mut self, client: ClientId, first: u64, count: usize, why: String) {
        if let Some(seqs) = self.numbers(client, first, count) {
            self.refuse(client, seqs, why, false);
        }
    }
}
