//! An engine's process: a real slot, its main thread and its I/O thread, as `engine::run` and the
//! Python around it do.

use std::cell::Cell;
use std::collections::HashSet;

use bytes::Bytes;
use tokio::time::Instant;

use super::checks::value;
use super::heir::identity;
use super::network::{Line, MS};
use super::world::{What, World};
use crate::controller::Event;
use crate::engine::{ANNOUNCE_AFTER, Kept, Look, Slot, Work};
use crate::memory::Tally;
use crate::wire::{
    EngineId, EngineInfo, FromEngine, FuncId, Message, Parts, Stamp, Status, TaskId, ToEngine,
    Underway,
};

/// Something that happens to a process.
#[derive(Debug)]
pub(super) enum Affair {
    /// A message of this session is here.
    Hears(Line, Message<ToEngine>),
    /// The main thread has time, unless it was told otherwise since.
    Main(u64),
    /// The running task is looked at.
    Report,
    /// It notices that this session is over.
    Over(Line),
    /// It was let in again as what it was.
    Welcome(Line),
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
    /// What it told and may have to tell again.
    kept: Kept,
    /// Its session, if it has one; one that it was let in to and does not know of yet; the last it
    /// had; and the last that a controller knows of.
    session: Option<Line>,
    opening: Option<Line>,
    pub(super) past: Option<Line>,
    pub(super) joined: Option<Line>,
    /// The tally it showed at the door.
    pub(super) tally: Option<Tally>,
    /// Until when it looks for another controller.
    until: u64,
    pub(super) alive: bool,
    pub(super) stopped: bool,
    /// Started by the controller, which may kill it.
    pub(super) own: bool,
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

impl Process {
    /// The session it has or is about to have.
    pub(super) fn line(&self) -> Option<Line> {
        self.session.or(self.opening)
    }

    /// What it was, the highest ticket that came there, and what it runs.
    pub(super) fn before(&self) -> Option<(Line, u64, Option<Underway>)> {
        let past = self.past?;
        let (ticket, running) = self.slot.before();
        Some((past, ticket, running))
    }

    /// It is let in under the number it had; gives its new tally.
    pub(super) fn comes_back(&mut self, line: Line) -> Option<Tally> {
        (self.opening, self.joined) = (Some(line), Some(line));
        Tally::new()
    }

    /// Nothing that it told waits to be told again, and it is with this controller.
    pub(super) fn assert_quiet(&self, era: u32) {
        assert_eq!(self.kept.again().count(), 1, "all that was told has arrived");
        assert!(self.session.is_some_and(|line| line.era == era), "an engine has a session");
    }
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
            kept: Kept::default(),
            session: None,
            opening: None,
            past: None,
            joined: None,
            tally: None,
            until: self.now + 1000 * MS,
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
        if self.up { self.join(process) } else { self.knock(process) }
    }

    /// An engine joins as a new one.
    pub(super) fn join(&mut self, at: usize) {
        let tally = Tally::new();
        let id = self.engines.len() as u32;
        self.admit(id, at, tally.as_ref(), None);
        let line = self.line(id);
        let process = &mut self.processes[at];
        process.slot.renew(tally);
        process.kept.keep(self.mortal);
        (process.session, process.past) = (Some(line), Some(line));
        let before = process.joined.replace(line);
        let own = process.own;
        let (session, pid, host) = (identity(id), at as u32, String::new());
        let info = EngineInfo { id: EngineId(id), session, pid, host };
        if self.mortal {
            self.enter(at, &info);
        }
        self.handle(Event::EngineJoined { info });
        if let Some(before) = before.filter(|before| own && self.is_here(*before)) {
            self.lose(before.id);
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
            Affair::Hears(line, message) if self.processes[at].session == Some(line) => {
                self.hears(at, message);
            }
            Affair::Main(turn) if self.processes[at].turn == turn => self.main(at),
            Affair::Report => self.report(at),
            Affair::Over(line) if self.processes[at].session == Some(line) => self.over(at),
            Affair::Over(line) if self.processes[at].opening == Some(line) => {
                self.processes[at].opening = None;
                self.knock_later(at);
            }
            Affair::Welcome(line) if self.processes[at].opening == Some(line) => {
                self.welcome(at, line);
            }
            Affair::Rejoin if self.mortal => self.knock(at),
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
        let process = &mut self.processes[at];
        for message in &messages {
            process.kept.note(message);
        }
        // Without a session, nobody hears it.
        let Some(id) = process.session else { return };
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
        if let ToEngine::Settled(tickets) = &message.head {
            process.kept.settle(tickets);
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
        if self.mortal {
            process.slot.suspend();
        } else {
            process.slot.renew(None);
        }
        process.barred.clear();
        if self.chance.one_in(5) {
            process.alive = false;
            return;
        }
        if self.mortal {
            let lease = [300 * MS, 3000 * MS, 10_000 * MS][self.chance.below(3) as usize];
            self.processes[at].until = self.now + lease;
        }
        let after = self.chance.mostly_below(300 * MS);
        self.later(after, What::Engine(at, Affair::Rejoin));
    }

    /// Nobody let it in; it tries again for as long as it looks for another controller.
    pub(super) fn knock_later(&mut self, at: usize) {
        let pause = 1 + self.chance.mostly_below(200 * MS);
        if self.now + pause >= self.processes[at].until {
            self.processes[at].alive = false;
        } else {
            self.later(pause, What::Engine(at, Affair::Rejoin));
        }
    }

    /// It was let in as what it was, and tells again what it keeps.
    fn welcome(&mut self, at: usize, line: Line) {
        if !self.engines[line.id as usize].down.delivers(self.now) {
            return;
        }
        let process = &mut self.processes[at];
        process.opening = None;
        (process.session, process.past) = (Some(line), Some(line));
        process.slot.resume(process.tally.take());
        let again: Vec<_> = process.kept.again().collect();
        let idle = !process.awaited;
        let reporting = std::mem::replace(&mut process.reporting, true);
        for message in again {
            self.send_from_engine(line, message);
        }
        if idle {
            self.appoint(at, 1);
        }
        if !reporting {
            self.later(ANNOUNCE_AFTER.as_nanos() as u64, What::Engine(at, Affair::Report));
        }
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
        let line = self.processes[at].session.expect("what came in a session is void without it");
        let id = line.id;
        let session = &self.engines[id as usize];
        assert!(!(session.gone && session.readable), "begun though the tally was closed");
        // Of one whose controller ended the next may have given up the engine.
        let blind = session.gone || self.book.is_gone(id);
        let (task, again) = self.book.begins(line, &argument, blind);
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
