//! The processes that were started here: watched until they end, in which seat each sits, which
//! engine it became, and what is wanted of it.
//!
//! What follows the end of one is decided in `revive`; here it is carried out. A process is in
//! these books from when it is watched until it was seen to end, whatever becomes of its session.
//! Nothing here knows of sessions or tasks.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use super::incoming::{Incoming, Sender, later};
use super::revive::{Care, Departure, Seats, Wish, stillborn};
use super::spawn::{self, End, Started};
use crate::wire::EngineId;

/// A process that has not been seen to end.
struct Process {
    seat: u32,
    since: Instant,
    /// The engine it became, if it did.
    engine: Option<EngineId>,
    wish: Wish,
}

/// See the head of this file.
pub(super) struct Processes {
    /// Where they sit; shared with those who started them.
    pub(super) seats: Arc<Seats>,
    /// What is done about engines that end or fall silent.
    pub(super) care: Care,
    running: HashMap<u32, Process>,
    /// The shell is told here what became of them.
    sender: Sender,
}

impl Processes {
    pub(super) fn new(care: Care, sender: Sender) -> Self {
        Self { seats: Arc::default(), care, running: HashMap::new(), sender }
    }

    /// Looks after a process until it ends.
    pub(super) fn watch(&mut self, seat: u32, started: Started) {
        let (pid, since) = (started.pid(), Instant::now());
        self.running.insert(pid, Process { seat, since, engine: None, wish: Wish::Life });
        let sender = self.sender.clone();
        tokio::spawn(async move {
            let end = started.ended().await;
            let _ = sender.send(Incoming::Ended(pid, end)).await;
        });
    }

    /// Looks after a process that a controller before this one had started, until it ends.
    pub(super) fn adopt(&mut self, seat: u32, pid: u32) {
        if let Some(started) = Started::elsewhere(pid) {
            self.watch(seat, started);
        }
    }

    /// Whether this process was started here and has not been seen to end.
    pub(super) fn watches(&self, pid: u32) -> bool {
        self.running.contains_key(&pid)
    }

    /// This process came as an engine, whoever started it; the engine it was before.
    pub(super) fn became(&mut self, pid: u32, engine: EngineId) -> Option<EngineId> {
        self.running.get_mut(&pid)?.engine.replace(engine)
    }

    /// Whoever waits for an engine in the seat of this process may be told.
    pub(super) fn joined(&self, pid: u32) {
        if let Some(process) = self.running.get(&pid) {
            self.seats.joined(process.seat);
        }
    }

    /// Somebody wants an engine less, unless another was wanted instead of it.
    pub(super) fn wants_end(&mut self, pid: u32) {
        if let Some(process) = self.running.get_mut(&pid)
            && process.wish == Wish::Life
        {
            process.wish = Wish::End;
        }
    }

    /// Somebody wants another process instead of this one.
    pub(super) fn wants_another(&mut self, pid: u32) {
        if let Some(process) = self.running.get_mut(&pid) {
            process.wish = Wish::Another;
        }
    }

    /// Whether a process is to be killed because the engine it became is gone.
    pub(super) fn goes_with(&self, pid: u32, engine: EngineId, silent: bool) -> bool {
        let Some(process) = self.running.get(&pid) else { return false };
        // It may have come back as another engine; then it is to live. One that fell silent may do
        // so yet, unless another is to follow it.
        let may_come = silent && !self.care.restart && process.wish == Wish::Life;
        process.engine == Some(engine) && !may_come
    }

    /// A process ended, and its seat is left; the engine it had become.
    pub(super) fn ended(&mut self, pid: u32, end: &End) -> Option<EngineId> {
        let Process { seat, since, engine, mut wish } = self.running.remove(&pid)?;
        if end.forced && wish == Wish::Life {
            wish = Wish::Another;
        }
        let how = Departure { lived: since.elapsed(), joined: engine.is_some(), wish };
        self.leave(seat, how, || stillborn(pid, end));
        engine
    }

    /// A seat has become vacant.
    fn leave(&self, seat: u32, how: Departure, why: impl FnOnce() -> String) {
        if let Some(pause) = self.seats.left(seat, how, self.care.restart, why) {
            later(&self.sender, pause, Incoming::Vacant(seat));
        }
    }

    /// Starts another process in a seat, which takes a millisecond and happens rarely.
    pub(super) fn fill(&mut self, seat: u32) {
        let Some(recipe) = self.seats.recipe(seat) else { return };
        match recipe.start() {
            Ok(started) => {
                if !self.seats.take(seat, started.pid()) {
                    spawn::kill(started.pid());
                }
                self.watch(seat, started);
            }
            Err(error) => self.leave(seat, Departure::default(), || {
                format!("an engine process could not be started: {error}")
            }),
        }
    }

    /// Kills those that have become no engine: they have nothing to finish.
    pub(super) fn kill_idle(&self) {
        for (pid, _) in self.running.iter().filter(|(_, process)| process.engine.is_none()) {
            spawn::kill(*pid);
        }
    }

    /// Kills all.
    pub(super) fn kill(&self) {
        self.running.keys().for_each(|pid| spawn::kill(*pid));
    }

    /// A process ended, and nothing is to follow it.
    pub(super) fn forget(&mut self, pid: u32) {
        self.running.remove(&pid);
    }

    /// Whether all were seen to end.
    pub(super) fn is_empty(&self) -> bool {
        self.running.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PID: u32 = 10;
    const ENGINE: EngineId = EngineId(3);

    /// Books with one process that became an engine.
    fn with_one(restart: bool) -> Processes {
        let (sender, _) = tokio::sync::mpsc::channel(1);
        let mut processes = Processes::new(Care { restart, ..Care::default() }, sender);
        let process = Process { seat: 0, since: Instant::now(), engine: None, wish: Wish::Life };
        processes.running.insert(PID, process);
        assert_eq!(processes.became(PID, ENGINE), None);
        processes
    }

    #[test]
    fn a_process_goes_with_its_engine_and_not_with_one_it_was_before() {
        let mut processes = with_one(false);
        assert!(processes.goes_with(PID, ENGINE, false));
        assert_eq!(processes.became(PID, EngineId(4)), Some(ENGINE));
        assert!(!processes.goes_with(PID, ENGINE, false));
        assert!(processes.goes_with(PID, EngineId(4), false));
    }

    #[test]
    fn a_process_that_was_not_started_here_never_goes() {
        assert!(!with_one(true).goes_with(PID + 1, ENGINE, false));
    }

    #[test]
    fn one_that_fell_silent_may_come_back_unless_its_seat_is_wanted_or_its_end() {
        assert!(!with_one(false).goes_with(PID, ENGINE, true));
        assert!(with_one(true).goes_with(PID, ENGINE, true));
        let mut processes = with_one(false);
        processes.wants_end(PID);
        assert!(processes.goes_with(PID, ENGINE, true));
    }

    #[test]
    fn who_wants_another_is_not_overruled_by_who_wants_an_end() {
        let mut processes = with_one(false);
        processes.wants_another(PID);
        processes.wants_end(PID);
        assert_eq!(processes.running[&PID].wish, Wish::Another);
    }
}
