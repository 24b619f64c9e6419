//! An engine's process: a real slot, its main thread and its I/O thread, as `engine::run` and the
//! Python around it do.

use std::cell::Cell;
use std::collections::HashSet;

use bytes::Bytes;
use tokio::time::Instant;

use super::checks::value;
use super::network::MS;
use super::world::{What, World};
use crate::controller::Event;
use crate::engine::{ANNOUNCE_AFTER, Look, Slot, Work};
use crate::memory::Tally;
use crate::wire::{
    EngineId, EngineInfo, FromEngine, FuncId, Message, Parts, SessionId, Stamp, Status, TaskId,
    ToEngine,
};

/// Something that happens to a process.
#[derive(Debug)]
pub(super) enum Affair {
    /// A message of this session is here.
    Hears(u32, Message<ToEngine>),
    /// The main thread has time, unless it was told otherwise since.
    Main(u64),
    /// The running task is looked at.
    Report,
    /// It notices that this session is over.
    Over(u32),
    /// It knocks again.
    Rejoin,
    /// A stopped process goes on.
    Continue,
}

/// What the main thread is at.
struct Job {
    argument: String,
    status: Status,
    /// It takes no notice of interrupts.
    stubborn: bool,
}

/// See the module.
#[expect(clippy::struct_excessive_bools, reason = "facts that are true or not by themselves")]
pub(super) struct Process {
    slot: Slot,
    /// The number of its session, if it has one.
    pub(super) session: Option<u32>,
    /// The number it joined with last.
    joined: u32,
    pub(super) alive: bool,
    pub(super) stopped: bool,
    /// Started by the controller, which may kill it.
    own: bool,
    pub(super) skew: Stamp,
    job: Option<Job>,
    /// Number of the next appointment of the main thread, and whether there is one.
    turn: u64,
    awaited: bool,
    reporting: bool,
    /// It was asked to end.
    asked: bool,
    funcs: HashSet<FuncId>,
    /// Tasks that it heard in this session are not to be begun.
    barred: HashSet<TaskId>,
    /// What waits while it is stopped.
    held: Vec<Affair>,
}

impl World {
    pub(super) fn start_engine(&mut self) {
        let process = self.processes.len();
        let own = !self.chance.one_in(3);
        let skew = match self.chance.below(3) {
            0 => 0,
            _ => self.chance.below(7200 * 1000 * MS) as Stamp - (3600 * 1000 * MS) as Stamp,
        };
        self.processes.push(Process {
            slot: Slot::default(),
            session: None,
            joined: 0,
            alive: true,
            stopped: false,
            own,
            skew,
            job: None,
            turn: 0,
            awaited: false,
            reporting: false,
            asked: false,
            funcs: HashSet::new(),
            barred: HashSet::new(),
            held: Vec::new(),
        });
        self.join(process);
    }

    fn join(&mut self, at: usize) {
        let tally = Tally::new();
        let id = self.admit(at, tally.as_ref());
        let process = &mut self.processes[at];
        process.slot.renew(tally);
        process.session = Some(id);
        let before = std::mem::replace(&mut process.joined, id);
        let own = process.own;
        let (session, pid, host) = (SessionId([id as u8; 16]), at as u32, String::new());
        let info = EngineInfo { id: EngineId(id), session, pid, host };
        self.handle(Event::EngineJoined { info });
        if own && before != id && self.engines[before as usize].process == at {
            self.lose(before);
        }
    }

    /// The controller wants nothing more of an engine.
    pub(super) fn end_engine(&mut self, id: u32) {
        let now = self.now;
        let session = &mut self.engines[id as usize];
        let at = session.process;
        // What is on the way may still arrive, or not.
        let more = self.chance.mostly_below(20 * MS);
        session.down.cut(now + more);
        session.up.cut(now);
        let process = &mut self.processes[at];
        if process.own && process.joined == id {
            process.alive = false;
        }
        self.later(more + 1, What::Engine(at, Affair::Over(id)));
    }

    /// A process is killed.
    pub(super) fn kill(&mut self, at: usize) {
        self.processes[at].alive = false;
        let Some(id) = self.processes[at].session else { return };
        let until = self.now + self.chance.mostly_below(50 * MS);
        self.engines[id as usize].up.cut(until);
        let after = until - self.now + self.chance.mostly_below(50 * MS);
        self.later(after, What::EngineGone(id));
    }

    /// A process says goodbye: everything it said arrives.
    fn leave(&mut self, at: usize) {
        self.processes[at].alive = false;
        let Some(id) = self.processes[at].session else { return };
        let after = self.engines[id as usize].up.latest.saturating_sub(self.now) + 1;
        self.later(after, What::EngineGone(id));
    }

    /// A session breaks and both sides live.
    pub(super) fn part(&mut self, at: usize) {
        let Some(id) = self.processes[at].session else { return };
        let session = &mut self.engines[id as usize];
        session.up.cut(self.now);
        session.down.cut(self.now);
        let (there, here) = (self.chance.below(200 * MS), self.chance.below(200 * MS));
        self.later(there, What::EngineGone(id));
        self.later(here, What::Engine(at, Affair::Over(id)));
    }

    /// A process stops.
    pub(super) fn stop(&mut self, at: usize) {
        let process = &mut self.processes[at];
        if std::mem::replace(&mut process.stopped, true) {
            return;
        }
        let session = process.session;
        let long = self.chance.below(400 * MS);
        self.later(long, What::Engine(at, Affair::Continue));
        if let Some(id) = session {
            self.later(100 * MS, What::Silence(id));
        }
    }

    pub(super) fn engine_affair(&mut self, at: usize, affair: Affair) {
        let process = &mut self.processes[at];
        if !process.alive {
            return;
        }
        if matches!(affair, Affair::Continue) {
            process.stopped = false;
            for affair in std::mem::take(&mut process.held) {
                self.engine_affair(at, affair);
            }
            return;
        }
        if process.stopped {
            return process.held.push(affair);
        }
        let skew = process.skew;
        self.pass();
        self.set_clocks(skew);
        match affair {
            Affair::Hears(id, message) if self.processes[at].session == Some(id) => {
                self.hears(at, message);
            }
            Affair::Main(turn) if self.processes[at].turn == turn => self.main(at),
            Affair::Report => self.report(at),
            Affair::Over(id) if self.processes[at].session == Some(id) => self.over(at),
            Affair::Rejoin => self.join(at),
            _ => {}
        }
    }

    /// The main thread's next moment, instead of any other.
    fn appoint(&mut self, at: usize, after: u64) {
        let process = &mut self.processes[at];
        process.turn += 1;
        process.awaited = true;
        let turn = process.turn;
        self.later(after, What::Engine(at, Affair::Main(turn)));
    }

    fn say(&mut self, at: usize, messages: Vec<Message<FromEngine>>) {
        // Without a session, nobody hears it.
        let Some(id) = self.processes[at].session else { return };
        for message in messages {
            self.send_from_engine(id, message);
        }
    }

    fn hears(&mut self, at: usize, message: Message<ToEngine>) {
        let (mut said, interrupted) = (Vec::new(), Cell::new(false));
        let process = &mut self.processes[at];
        process.asked |= matches!(message.head, ToEngine::Shutdown);
        if let ToEngine::Cancel { tasks, .. } = &message.head {
            process.barred.extend(tasks);
        }
        process.slot.receive(vec![message], |message| said.push(message), || interrupted.set(true));
        let (idle, reporting) = (!process.awaited, std::mem::replace(&mut process.reporting, true));
        self.say(at, said);
        if interrupted.get() {
            self.interrupt(at);
        } else if idle {
            let soon = self.chance.mostly_below(MS);
            self.appoint(at, soon);
        }
        if !reporting {
            self.later(ANNOUNCE_AFTER.as_nanos() as u64, What::Engine(at, Affair::Report));
        }
    }

    fn interrupt(&mut self, at: usize) {
        let process = &mut self.processes[at];
        let Some(job) = process.job.as_mut().filter(|job| !job.stubborn) else { return };
        job.status = Status::Cancelled;
        process.slot.felt();
        let soon = self.chance.below(MS);
        self.appoint(at, soon);
    }

    fn report(&mut self, at: usize) {
        let (mut said, interrupted) = (Vec::new(), Cell::new(false));
        let process = &mut self.processes[at];
        process.reporting = false;
        let look = process.slot.report(|message| said.push(message), || interrupted.set(true));
        if let Look::At(moment) = look {
            process.reporting = true;
            let after = moment.saturating_duration_since(Instant::now()).as_nanos() as u64;
            self.later(after.max(1), What::Engine(at, Affair::Report));
        }
        if look == Look::GiveUp {
            let process = &mut self.processes[at];
            process.slot.give_up(|message| said.push(message));
        }
        self.say(at, said);
        if interrupted.get() {
            self.interrupt(at);
        }
        if look == Look::GiveUp {
            self.leave(at);
        }
    }

    /// The session is over.
    fn over(&mut self, at: usize) {
        let process = &mut self.processes[at];
        process.session = None;
        if process.asked {
            process.slot.end();
            return self.appoint(at, 1);
        }
        process.slot.renew(None);
        process.barred.clear();
        if self.chance.one_in(5) {
            process.alive = false;
            return;
        }
        let after = self.chance.mostly_below(300 * MS);
        self.later(after, What::Engine(at, Affair::Rejoin));
    }

    /// The main thread ends what it is at and goes on.
    fn main(&mut self, at: usize) {
        let mut said = Vec::new();
        let pause = self.chance.one_in(4);
        let process = &mut self.processes[at];
        process.awaited = false;
        let mut work = None;
        if let Some(job) = process.job.take() {
            let text = match job.status {
                Status::Ok => value(&job.argument),
                _ => "no value".to_owned(),
            };
            let parts = Parts::from_elem(Bytes::from(text), 1);
            let send = |message| said.push(message);
            if pause {
                process.slot.done(job.status, parts, send);
            } else {
                work = process.slot.turn(job.status, parts, send).1;
            }
        } else {
            work = process.slot.try_next();
        }
        self.say(at, said);
        if pause && work.is_none() {
            let soon = 1 + self.chance.below(MS);
            return self.appoint(at, soon);
        }
        while let Some(next) = work {
            let process = &mut self.processes[at];
            match next {
                Work::Func(func, _) => drop(process.funcs.insert(func)),
                Work::Forget(func) => drop(process.funcs.remove(&func)),
                Work::Task { func, parts, .. } => {
                    assert!(process.funcs.contains(&func), "its function came before it");
                    return self.begin(at, &parts);
                }
                Work::End => return self.leave(at),
            }
            work = process.slot.try_next();
        }
    }

    fn begin(&mut self, at: usize, parts: &Parts) {
        let argument = String::from_utf8(parts[0].to_vec()).expect("a number");
        let id = self.processes[at].session.expect("what came in a session is void without it");
        let session = &self.engines[id as usize];
        assert!(!(session.gone && session.readable), "begun though the tally was closed");
        let (task, again) = self.book.begins(id, &argument, session.gone);
        self.log(|| format!("process {at}, engine {id} begins {task}"));
        let process = &self.processes[at];
        assert!(!process.barred.contains(&task), "{task} was cancelled before it began");
        let status = match self.chance.below(8) {
            0 => Status::Error,
            1 | 2 if again => Status::Again,
            _ => Status::Ok,
        };
        let stubborn = self.chance.one_in(4);
        let long = [20_000, MS, 10 * MS, 200 * MS][self.chance.below(4) as usize];
        let long = self.chance.below(long);
        self.processes[at].job = Some(Job { argument, status, stubborn });
        self.appoint(at, long);
    }
}
