//! The shell's part in going on where a controller ended that was killed: what it left in the
//! directory, who of its engines still lives, and who comes back.
//!
//! What follows from it for tasks is decided in `resume`.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::incoming::{Incoming, later};
use super::ledger::{self, Ledger};
use super::moved;
use super::run::Shell;
use super::spawn::{self, Recipe, watch};
use super::{Begun, Effect, Event};
use crate::wire::{Before, EngineId, EngineInfo, FromEngine, Message, SessionId, ToEngine};

/// The process of an engine that is not of this host, or that the kernel does not tell of: none.
pub(super) const NOWHERE: u32 = 0;

/// What there is of a controller before this one, and for one after it.
#[derive(Default)]
pub(super) struct Heritage {
    /// Whether there was one.
    is_heir: bool,
    /// Its engines that have not come back.
    expected: HashMap<EngineId, Expected>,
    /// What is written down for the next one; none if none is to follow.
    ledger: Option<Ledger>,
    /// Whether it could not be written the last time.
    is_failing: bool,
}

/// An engine of before that has not come back.
struct Expected {
    /// By which it is known; its number may have been another's.
    session: SessionId,
    /// Its process, and the seat this is to have.
    pid: u32,
    seat: Option<u32>,
}

impl Heritage {
    /// Reads what a controller left in `directory` and at `home`, if there is one, and begins to
    /// write there. Gives what the reactor is to know.
    pub(super) fn open(
        directory: &Path,
        home: Option<&Path>,
        is_heir: bool,
    ) -> io::Result<(Self, Vec<Event>)> {
        let mut left = if is_heir { ledger::read(directory) } else { Vec::new() };
        let here: HashSet<_> = left.iter().map(|engine| engine.info.id).collect();
        let there = home.map_or_else(Vec::new, ledger::read).into_iter();
        left.extend(there.filter(|engine| !here.contains(&engine.info.id)));
        let expected = left.iter().map(|engine| {
            let EngineInfo { id, session, pid, .. } = engine.info;
            (id, Expected { session, pid, seat: None })
        });
        if let Some(home) = home {
            // What is spent counts as well, whoever wrote it down.
            moved::bring(directory, home)?;
        }
        let (mut ledger, spent) = Ledger::new(home.unwrap_or(directory))?;
        if home.is_some() {
            ledger.show(directory)?;
        }
        let (expected, ledger) = (expected.collect(), Some(ledger));
        let known = if is_heir || !left.is_empty() {
            let (attempts, ends) = spent;
            vec![Event::Inherited(left), Event::SpentBefore(attempts, ends)]
        } else {
            Vec::new()
        };
        Ok((Self { is_heir, expected, ledger, is_failing: false }, known))
    }

    /// The lowest number that no engine ever had.
    pub(super) fn next_engine(&self) -> u32 {
        let next = self.ledger.as_ref().map_or(0, Ledger::next);
        self.expected.keys().map(|engine| engine.0.saturating_add(1)).fold(next, u32::max)
    }

    /// Writes down what was done, and what could not be written before. `all` says whether the store, if
    /// there is one, has what it is to have.
    pub(super) fn flush(&mut self, all: bool) -> io::Result<()> {
        self.ledger.as_mut().map_or(Ok(()), |ledger| ledger.flush(all))
    }

    /// Of faults in a row the first.
    pub(super) fn news<'a>(&mut self, fault: Option<&'a io::Error>) -> Option<&'a io::Error> {
        let first = !std::mem::replace(&mut self.is_failing, fault.is_some());
        fault.filter(|_| first)
    }

    /// Something is about to leave for an engine; says whether that waits for [`Heritage::flush`].
    pub(super) fn sent(&mut self, engine: EngineId, head: &ToEngine) -> bool {
        let Some(ledger) = &mut self.ledger else { return false };
        match head {
            ToEngine::Task { id, ticket, attempt, .. } => {
                ledger.give(engine, (*ticket, *id, *attempt));
            }
            ToEngine::Settled(tickets) => {
                for ticket in tickets {
                    ledger.settle(engine, *ticket);
                }
            }
            _ => {}
        }
        true
    }

    /// Something came from an engine.
    pub(super) fn heard(&mut self, engine: EngineId, head: &FromEngine) {
        let Some(ledger) = &mut self.ledger else { return };
        match head {
            FromEngine::Returned(tasks) => {
                for (_, ticket) in tasks {
                    ledger.take_back(engine, *ticket);
                }
            }
            FromEngine::Back(ids) => ledger.told(engine, ids),
            _ => {}
        }
    }

    /// An engine is let in.
    pub(super) fn enter(
        &mut self,
        info: &EngineInfo,
        here: Option<u32>,
        before: Option<&Before>,
    ) -> io::Result<()> {
        let Some(ledger) = &mut self.ledger else { return Ok(()) };
        let info = &EngineInfo { pid: here.unwrap_or(NOWHERE), ..info.clone() };
        let before = before.map(|before| {
            let running = before.running.map(|run| (run.ticket, run.id, run.attempt));
            (before.ticket, running)
        });
        ledger.enter(info, before)
    }

    /// What the reactor wants written down. Gives back what is nothing of that.
    pub(super) fn carry_out(&mut self, effect: Effect) -> Option<Effect> {
        let ledger = self.ledger.as_mut();
        match (effect, ledger) {
            (Effect::Spent(id, engine, attempts), Some(ledger)) => {
                ledger.notes.spend(id, engine, attempts);
            }
            (Effect::Unspent(ids), Some(ledger)) => ledger.notes.drop(&ids),
            (Effect::Gone(loss), Some(ledger)) => ledger.notes.ended(loss),
            (effect, _) => return Some(effect),
        }
        None
    }

    /// An engine is gone.
    pub(super) fn strike_out(&mut self, engine: EngineId) {
        if let Some(ledger) = &mut self.ledger {
            ledger.strike_out(engine);
        }
    }

    /// Whether a peer was with a controller that is no more: a number given there may go on.
    pub(super) fn was_with_another(&self, before: &Before, this: SessionId) -> bool {
        self.is_heir && before.controller != this
    }
}

impl Shell {
    /// Starts engines until there are `count`, those of before included that still live. Must be
    /// called inside the runtime, before the shell runs.
    pub(super) fn await_engines(&mut self, recipe: &Arc<Recipe>, patience: Duration) -> usize {
        let mut alive = 0;
        let is_heir = self.heritage.is_heir;
        for (engine, Expected { pid, seat, .. }) in &mut self.heritage.expected {
            let gone = Incoming::Missing(
                *engine,
                "its process ended while there was no controller".to_owned(),
            );
            let text = format!("it did not come back within {} s", patience.as_secs_f64());
            // Its number is none here; it may live elsewhere.
            if is_heir && *pid == NOWHERE {
                later(&self.sender, patience, Incoming::Missing(*engine, text));
                continue;
            }
            // Where the cluster's directory is gone nobody finds back, and numbers of processes may
            // be those of others.
            let Some(ended) = is_heir.then(|| watch(*pid)).flatten() else {
                later(&self.sender, Duration::ZERO, gone);
                continue;
            };
            alive += 1;
            *seat = Some(self.processes.seats.open(recipe.clone(), *pid));
            let sender = self.sender.clone();
            tokio::spawn(async move {
                ended.await;
                let _ = sender.send(gone).await;
            });
            later(&self.sender, patience, Incoming::Missing(*engine, text));
        }
        alive
    }

    /// The number under which an engine comes back, if it does.
    pub(super) fn engine_again(
        &self,
        before: Option<&Before>,
        session: SessionId,
    ) -> Option<EngineId> {
        let before = before.filter(|b| self.heritage.was_with_another(b, self.session))?;
        let engine = EngineId(before.number);
        let expected = self.heritage.expected.get(&engine)?;
        (expected.session == session && !self.engines.contains_key(&engine)).then_some(engine)
    }

    /// An engine of before is back: its process is followed as if it had been started here.
    pub(super) fn is_back(&mut self, engine: EngineId, pid: u32) {
        let Some(known) = self.heritage.expected.remove(&engine) else { return };
        if let Some(seat) = known.seat
            && known.pid == pid
        {
            self.processes.adopt(seat, pid);
        }
    }

    /// A process joins for the first time. If the controller before this one had let it in, it never
    /// knew: it is no engine of before, and began nothing as that one.
    pub(super) fn never_knew(&mut self, pid: u32, host: &str) {
        let here = |(_, expected): &(&EngineId, &Expected)| pid != NOWHERE && expected.pid == pid;
        let found = self.heritage.expected.iter().find(here).map(|(engine, _)| *engine);
        let Some(engine) = found else { return };
        let Some(Expected { session, seat, .. }) = self.heritage.expected.remove(&engine) else {
            return;
        };
        self.heritage.strike_out(engine);
        if let Some(seat) = seat {
            self.processes.adopt(seat, pid);
        }
        // It comes back, has nothing to tell, and is gone.
        let info = EngineInfo { id: engine, session, pid, host: host.to_owned() };
        self.handle_event(Event::EngineBack { info, ticket: 0, running: None });
        let all = Message::bare(FromEngine::Back(Vec::new()));
        self.handle_event(Event::FromEngine(engine, all));
        let (cause, output) = ("its process is another engine now".to_owned(), String::new());
        self.handle_event(Event::EngineLost {
            engine,
            begun: Some(Begun::default()),
            cause,
            output,
        });
    }

    /// An engine of before will not come; another sits in its place if one was counted on.
    pub(super) fn missing(&mut self, engine: EngineId, cause: String) {
        let Some(Expected { pid, seat, .. }) = self.heritage.expected.remove(&engine) else {
            return;
        };
        self.heritage.strike_out(engine);
        self.handle_event(Event::EngineMissing { engine, cause });
        if let Some(seat) = seat {
            // Two are not to sit there, as with one that falls silent.
            spawn::kill_of(pid, &self.directory);
            self.processes.fill(seat);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{ClientId, Loss, TaskId};

    #[test]
    fn what_is_spent_counts_though_the_cluster_is_started_again_with_a_store() {
        let (here, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let task = |seq| TaskId { client: ClientId(1), seq };
        let loss = |engine| Loss { engine, cause: "killed".to_owned(), ..Loss::default() };
        // Another cluster had left something in the store; its engines had higher numbers.
        for (place, id, engine, attempts) in
            [(&home, task(1), 9, 1), (&home, task(2), 9, 3), (&here, task(2), 4, 2)]
        {
            let (mut before, _) = Heritage::open(place.path(), None, false).unwrap();
            let info = EngineInfo {
                id: EngineId(engine),
                session: SessionId([1; 16]),
                pid: NOWHERE,
                host: "here".to_owned(),
            };
            before.enter(&info, None, None).unwrap();
            before.carry_out(Effect::Spent(id, EngineId(engine), attempts));
            before.carry_out(Effect::Spent(task(u64::from(engine)), EngineId(engine), 1));
            before.carry_out(Effect::Gone(loss(engine)));
            before.flush(true).unwrap();
        }
        for is_moved in [false, true] {
            let (heir, events) = Heritage::open(here.path(), Some(home.path()), true).unwrap();
            assert_eq!(heir.next_engine(), 10);
            let [Event::Inherited(left), Event::SpentBefore(all, ends)] = &events[..] else {
                panic!("what was left")
            };
            assert_eq!(left.len(), 2);
            let (four, nine) = (EngineId(4), EngineId(9));
            let spent = [(1, nine, 1), (2, nine, 3), (4, four, 1), (9, nine, 1)];
            let spent = spent.map(|(seq, engine, attempts)| (task(seq), engine, attempts));
            assert_eq!(all[..], spent, "moved before: {is_moved}");
            let mut ends = ends.clone();
            ends.sort_by_key(|loss| loss.engine);
            assert_eq!(ends, [loss(4), loss(9)]);
        }
    }
}
