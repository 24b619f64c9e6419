//! What happens to an engine's process: it is killed, ends, is cut off or stopped.

use super::engine::Affair;
use super::network::MS;
use super::world::{What, World};

impl World {
    /// The controller wants nothing more of an engine.
    pub(super) fn end_engine(&mut self, id: u32) {
        let (now, line) = (self.now, self.line(id));
        let session = &mut self.engines[id as usize];
        let at = session.process;
        // What is on the way may still arrive, or not.
        let more = self.chance.mostly_below(20 * MS);
        session.down.cut(now + more);
        session.up.cut(now);
        let process = &mut self.processes[at];
        if process.own && process.joined == Some(line) {
            process.alive = false;
        }
        self.later(more + 1, What::Engine(at, Affair::Over(line)));
    }

    /// A process is killed.
    pub(super) fn kill(&mut self, at: usize) {
        self.processes[at].alive = false;
        if let Some(past) =
            self.processes[at].past.filter(|past| self.expected.contains_key(&past.id))
        {
            let after = self.chance.mostly_below(50 * MS);
            self.later(after, What::Missing(self.line(past.id)));
        }
        let Some(line) = self.processes[at].line() else { return };
        let until = self.now + self.chance.mostly_below(50 * MS);
        self.engines[line.id as usize].up.cut(until);
        let after = until - self.now + self.chance.mostly_below(50 * MS);
        self.later(after, What::EngineGone(line));
    }

    /// A process says goodbye: everything it said arrives.
    pub(super) fn leave(&mut self, at: usize) {
        self.processes[at].alive = false;
        let Some(line) = self.processes[at].line() else { return };
        let after = self.engines[line.id as usize].up.latest.saturating_sub(self.now) + 1;
        self.later(after, What::EngineGone(line));
    }

    /// A session breaks and both sides live.
    pub(super) fn part(&mut self, at: usize) {
        let Some(line) = self.processes[at].line() else { return };
        let session = &mut self.engines[line.id as usize];
        session.up.cut(self.now);
        session.down.cut(self.now);
        let (there, here) = (self.chance.below(200 * MS), self.chance.below(200 * MS));
        self.later(there, What::EngineGone(line));
        self.later(here, What::Engine(at, Affair::Over(line)));
    }

    /// A process stops.
    pub(super) fn stop(&mut self, at: usize) {
        let process = &mut self.processes[at];
        if std::mem::replace(&mut process.stopped, true) {
            return;
        }
        let line = process.line();
        let long = self.chance.below(400 * MS);
        self.later(long, What::Engine(at, Affair::Continue));
        if let Some(line) = line {
            self.later(100 * MS, What::Silence(line));
        }
    }
}
