//! What people and machines do in a run: one step after the other, chosen by chance. At the end
//! the network calms down, and everything has to finish.

use super::network::{MS, Weather};
use super::world::{What, World};
use crate::wire::{EngineId, Request, Rules};

/// Sessions of clients.
const SESSIONS: u64 = 3;

impl World {
    /// Lets the script run to its end and looks at what is there then.
    pub(super) fn play(&mut self) {
        self.start_client(0, u64::MAX);
        for _ in 0..=self.chance.below(3) {
            self.start_engine();
        }
        self.later(1, What::Script);
        self.run();
        self.assert_quiet();
        self.audit_store();
    }

    /// One step, and the next is due.
    pub(super) fn step(&mut self) {
        if self.steps == 0 {
            self.log(|| "the network is calm".to_owned());
            self.weather = Weather::CALM;
            self.empty_disk();
            return self.start_engine();
        }
        self.steps -= 1;
        if self.mortal && self.up && self.chance.one_in(8) {
            let after = self.chance.mostly_below(50 * MS);
            self.later(after, What::Death(self.era));
            if self.store.is_some() && self.chance.one_in(2) {
                self.light_fuse();
            }
        }
        if self.store.is_some() && self.chance.one_in(10) {
            self.fill_disk();
        }
        let pause = [MS / 20, 2 * MS, 100 * MS][self.chance.below(3) as usize];
        let pause = self.chance.below(pause);
        self.later(pause, What::Script);
        let clients = (0..self.clients.len()).filter(|at| self.clients[*at].alive);
        let clients: Vec<_> = clients.collect();
        let Some(client) = self.chance.pick(&clients) else { return self.come() };
        match self.chance.below(20) {
            0..7 => self.some_tasks(client),
            7..10 => {
                let force = self.chance.one_in(3).then_some(30);
                self.cancel(client, force);
            }
            10 => {
                let (session, seq) = (self.chance.below(SESSIONS), self.chance.below(20));
                self.watch(client, session as u8, seq);
            }
            11 => self.shut_down(client),
            12 => match self.chance.below(5) {
                0 => self.part_client(client),
                1 => self.fill(client),
                2 if self.store.is_none() => self.ask(client, Request::Purge(None)),
                3 => {
                    let patience = [0, 30 * MS, u64::MAX][self.chance.below(3) as usize];
                    self.ask(client, Request::Patience(patience));
                }
                _ => self.come(),
            },
            13 | 14 => self.start_engine(),
            _ => self.harm(),
        }
    }

    /// Another client comes, or one comes again.
    fn come(&mut self) {
        let session = self.chance.below(SESSIONS) as u8;
        let lease = [u64::MAX, 50 * MS, 0][self.chance.below(3) as usize];
        self.start_client(session, lease);
    }

    /// What a client is told piles up.
    fn fill(&mut self, client: usize) {
        let id = self.clients[client].id;
        let line = self.sessions[id as usize].line(id);
        self.later(0, What::ClientFull(line));
    }

    fn some_tasks(&mut self, client: usize) {
        let retries = [0, 0, 1, 2, 5][self.chance.below(5) as usize];
        let timeout = if self.chance.one_in(6) { 40 } else { 0 };
        let rules = Rules { retries, timeout, force: self.chance.one_in(2) };
        let count = 1 + self.chance.mostly_below(12) as usize;
        let to = self.chance.one_in(3).then(|| {
            let known = self.clients[client].core.engine_ids();
            let chance = &mut self.chance;
            // One that never was is named now and then.
            let mut to: Vec<_> = known.into_iter().filter(|_| chance.one_in(2)).collect();
            to.extend(chance.one_in(8).then_some(1000));
            to
        });
        self.submit(client, count, rules, to);
    }

    fn shut_down(&mut self, client: usize) {
        let known = self.clients[client].core.engine_ids();
        if let Some(engine) = self.chance.pick(&known) {
            self.ask(client, Request::Shutdown(vec![EngineId(engine)]));
        }
    }

    /// Something happens to an engine.
    fn harm(&mut self) {
        let living = (0..self.processes.len()).filter(|at| self.processes[*at].alive);
        let living: Vec<_> = living.collect();
        let Some(at) = self.chance.pick(&living) else { return self.start_engine() };
        self.log(|| format!("harm to process {at}"));
        match self.chance.below(6) {
            0 | 1 => self.kill(at),
            2 => self.part(at),
            3 | 4 => self.stop(at),
            _ => self.processes[at].skew -= 3_600_000 * MS as i64,
        }
    }
}
