//! The controller's shell, around the reactor: sessions, the clock, and what is wanted of processes.
//!
//! It turns what arrives into events, hands them to the reactor, and carries out the effects. The
//! same shell serves an embedded controller, whose own client is a function call away, and one that
//! runs alone. Its parts: `incoming` (what it is told), `inbox` (by the embedded client), `admit`
//! (who is let in), `visits` (sessions of clients), `send`, `processes` and `losses` (the processes behind engines, and how the end
//! of an engine is told), `stop`.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::inbox::{Direct, Inbox};
use super::incoming::{Control, Handle, Incoming, Sender, until};
use super::inherit::Heritage;
use super::keep::{self, Keep, Keeping};
use super::losses::Engine;
use super::processes::Processes;
use super::revive::Care;
use super::send::send_to_client;
use super::spawn;
use super::visits::Guest;
use super::{Effect, Event, Limits, Now, Reactor};
use crate::client::Core;
use crate::clock::wall_clock;
use crate::memory::usage;
use crate::transport::{self, Door, DoorError, Keeper, place};
use crate::wire::message::EMBEDDED;
use crate::wire::{
    ClientId, EngineId, FromClient, FromEngine, Message, Reply, SessionId, ToClient, ToEngine,
    limits,
};

/// How often a client that takes nothing is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// Tasks of the embedded client that are taken in before the sockets are looked at again.
const PORTION: usize = 512;

/// A controller that has not been started yet.
pub(super) struct Shell {
    pub(super) directory: PathBuf,
    pub(super) reactor: Reactor,
    pub(super) door: Door,
    pub(super) python: String,
    pub(super) session: SessionId,
    pub(super) sender: Sender,
    pub(super) incoming: mpsc::Receiver<Incoming>,
    inbox: Arc<Inbox>,
    /// What was taken out of the inbox and not handled yet.
    submitted: VecDeque<Message<FromClient>>,
    pub(super) local: Option<Arc<Core>>,
    pub(super) clients: HashMap<ClientId, Guest>,
    /// Sessions of clients there ever were.
    pub(super) visits: u64,
    /// Those that were told more than they take.
    pub(super) full: HashSet<ClientId>,
    pub(super) engines: HashMap<EngineId, Engine>,
    pub(super) processes: Processes,
    pub(super) heritage: Heritage,
    pub(super) keep: Option<Keep>,
    pub(super) next_client: u32,
    pub(super) next_engine: u32,
    epoch: Instant,
    effects: Vec<Effect>,
    /// What leaves for engines once it is written down what they are given.
    pub(super) outgoing: VecDeque<(EngineId, Message<ToEngine>)>,
    /// Outcomes of tasks that could not be sent.
    pub(super) refused: Vec<Event>,
    stopping: bool,
}

impl Shell {
    /// Opens the door of a cluster in `directory`. Must be called inside a runtime.
    pub(super) fn open(
        directory: &Path,
        python: String,
        embedded: bool,
        care: Care,
        keeping: Option<&Keeping>,
    ) -> io::Result<Self> {
        let (session, pid) = (place::session()?, std::process::id());
        place::prepare(directory)?;
        // What is there was left by a controller that was killed. Who comes back knows its secret.
        let before = place::read(directory).ok();
        let is_heir = before.is_some();
        let token = before.map_or_else(place::token, |before| Ok(before.token))?;
        let (sender, incoming) = mpsc::channel(256);
        let lease = care.lease;
        let keeper = Keeper { token: token.clone(), session, pid, lease };
        // The door comes first: its lock says whether the place is free.
        let door = Door::open(directory, keeper, sender.clone(), Incoming::Arrival);
        let door = door.map_err(in_words)?;
        place::write(directory, &place::Connection { token, pid, embedded })?;
        let followed = !embedded && !lease.is_zero();
        let limits = Limits { receipts: followed, ..Limits::default() };
        let limits = keeping.map_or(limits, |keeping| keeping.limits(limits));
        let (mut keep, mut restored, mut lowest) = (None, None, 0);
        if let Some(keeping) = keeping {
            let (opened, found, next, notes) = Keep::open(keeping)?;
            keep::tell(&notes, |text| door.note(text));
            (keep, restored, lowest) = (Some(opened), Some(found), next);
        }
        let home = keep.as_ref().map(Keep::directory);
        let (heritage, left) =
            if followed { Heritage::open(directory, home, is_heir)? } else { Default::default() };
        // Numbers of clients that may come back, or are known, are not given to others.
        let next_client = if is_heir || keep.is_some() { place::number()? } else { EMBEDDED.0 + 1 };
        let mut shell = Self {
            directory: directory.to_owned(),
            reactor: Reactor::new(limits),
            door,
            python,
            session,
            processes: Processes::new(care, sender.clone()),
            sender,
            incoming,
            inbox: Arc::default(),
            submitted: VecDeque::new(),
            local: None,
            clients: HashMap::new(),
            visits: 0,
            full: HashSet::new(),
            engines: HashMap::new(),
            next_client: next_client.max(lowest),
            next_engine: heritage.next_engine(),
            heritage,
            keep,
            epoch: Instant::now(),
            effects: Vec::new(),
            outgoing: VecDeque::new(),
            refused: Vec::new(),
            stopping: false,
        };
        for event in left {
            shell.handle_event(event);
        }
        if let Some(restored) = restored {
            shell.handle_event(Event::Restored(Box::new(restored)));
        }
        Ok(shell)
    }

    /// A hand to keep while the shell runs.
    pub(super) fn handle(&self) -> Handle {
        Handle { sender: self.sender.clone(), seats: self.processes.seats.clone() }
    }

    /// Where the messages of the client of this process lie.
    pub(super) fn inbox(&self) -> Arc<Inbox> {
        self.inbox.clone()
    }

    /// Takes in the client of this process.
    pub(super) fn embed(&mut self, bound: u64) -> Arc<Core> {
        let uplink = Box::new(Direct(self.inbox.clone()));
        let core = Arc::new(Core::new(self.session, uplink, bound));
        self.local = Some(core.clone());
        self.handle_event(Event::ClientJoined {
            client: EMBEDDED,
            session: self.session,
            lease: u64::MAX,
        });
        core
    }

    /// Runs until it is stopped; says what could not be written into the store then.
    pub(super) async fn run(mut self) -> Option<String> {
        let mut batch = Vec::with_capacity(64);
        let inbox = self.inbox.clone();
        while !self.stopping {
            self.weigh();
            // What was given and what ended is written down before it leaves, which it does in the
            // pause below.
            self.let_out();
            let deadline = self.reactor.deadline().map(|at| self.epoch + Duration::from_nanos(at));
            let look = (!self.full.is_empty()).then(|| Instant::now() + LOOK);
            let again = (!self.outgoing.is_empty()).then(|| Instant::now() + keep::AGAIN);
            let deadline = deadline.into_iter().chain(look).chain(self.keep_deadline());
            let deadline = deadline.chain(again).min();
            tokio::select! {
                biased;
                () = inbox.woken() => {}
                _ = self.incoming.recv_many(&mut batch, 64) => {}
                () = until(deadline) => self.handle_event(Event::Tick),
            }
            // The select may have passed them over.
            while batch.len() < 64
                && let Ok(incoming) = self.incoming.try_recv()
            {
                batch.push(incoming);
            }
            self.take_in(PORTION);
            for incoming in batch.drain(..) {
                if matches!(incoming, Incoming::Client(..)) {
                    // It may ask for what this process submitted before.
                    self.take_in(usize::MAX);
                }
                self.take(incoming);
            }
            if !self.submitted.is_empty() {
                // What engines say in the meantime is not to wait for all of it.
                inbox.wake();
                tokio::task::yield_now().await;
            }
        }
        self.stop().await
    }

    /// Handles what the client of this process said, up to so many tasks.
    fn take_in(&mut self, most: usize) {
        let messages = self.inbox.take();
        if self.submitted.is_empty() {
            // Gives back the room of the last burst.
            self.submitted = messages.into();
        } else {
            self.submitted.extend(messages);
        }
        let now = self.now();
        let mut tasks = 0;
        while tasks < most
            && let Some(message) = self.submitted.pop_front()
        {
            tasks += match &message.head {
                FromClient::Submit { counts, .. } => counts.len(),
                _ => 1,
            };
            self.hear_client(now, EMBEDDED, message);
        }
    }

    /// Looks which clients take what they are told.
    fn weigh(&mut self) {
        let (mut heavy, mut light) = (Vec::new(), Vec::new());
        for (client, guest) in &self.clients {
            let (queued, full) = (guest.outbox.queued_bytes(), self.full.contains(client));
            if !full && queued > limits::QUEUED_MAX {
                heavy.push(*client);
            } else if full && queued <= limits::QUEUED_MAX / 2 {
                light.push(*client);
            }
        }
        for client in heavy {
            self.full.insert(client);
            self.handle_event(Event::ClientFull { client });
        }
        for client in light {
            self.full.remove(&client);
            self.handle_event(Event::ClientRoom { client });
        }
    }

    pub(super) fn now(&self) -> Now {
        Now { mono: self.epoch.elapsed().as_nanos() as u64, wall: wall_clock() }
    }

    pub(super) fn handle_event(&mut self, event: Event) {
        self.handle_at(self.now(), event);
    }

    /// What came together came at one time: the clock is read for a packet, not for a message.
    pub(super) fn handle_at(&mut self, now: Now, event: Event) {
        self.reactor.handle(now, event, &mut self.effects);
        let mut effects = std::mem::take(&mut self.effects);
        for effect in effects.drain(..) {
            self.carry_out(effect, now);
        }
        self.effects = effects;
        while let Some(refused) = self.refused.pop() {
            self.handle_at(now, refused);
        }
    }

    fn carry_out(&mut self, effect: Effect, now: Now) {
        let effect = self.carry_out_kept(effect).and_then(|effect| self.heritage.carry_out(effect));
        if let Some(effect) = effect {
            self.carry_out_now(effect, now);
        }
    }

    /// As [`Shell::carry_out`], whatever is still to be written.
    pub(super) fn carry_out_now(&mut self, effect: Effect, now: Now) {
        match effect {
            Effect::ToClient(EMBEDDED, message) => {
                if let Some(core) = &self.local {
                    core.receive(message, now.wall);
                }
            }
            Effect::ToClient(client, message) => {
                if let Some(guest) = self.clients.get(&client) {
                    send_to_client(&guest.outbox, message);
                }
            }
            Effect::ToEngine(id, message) => {
                if !self.engines.contains_key(&id) {
                    return;
                }
                if self.heritage.sent(id, &message.head) {
                    self.outgoing.push_back((id, message));
                } else {
                    self.send_out(id, message);
                }
            }
            Effect::EndEngine(id) => {
                let Some(engine) = self.engines.remove(&id) else { return };
                engine.outbox.abort();
                if self.processes.goes_with(engine.pid, id, engine.silent) {
                    spawn::kill(engine.pid);
                }
            }
            Effect::SignalEngine(engine, number) => self.signal_engine(engine, number),
            Effect::ReplaceEngine(engine) => {
                if let Some(engine) = self.engines.get(&engine) {
                    self.processes.wants_another(engine.pid);
                }
            }
            Effect::TellHealth(client, id, mut health) => {
                for engine in &mut health {
                    if let Some(peer) = self.engines.get(&engine.id) {
                        let silence = peer.outbox.silence();
                        engine.silent = silence.as_secs_f64();
                        engine.suspect = silence >= self.processes.care.patience.suspect;
                        if let Some(used) = usage::resident(peer.pid) {
                            engine.memory = Some(used);
                            engine.memory_limit = Some(usage::allowed(peer.pid));
                        }
                    }
                }
                let body = Reply::EngineStatus(health, self.processes.seats.failures());
                let reply = Message::bare(ToClient::Reply { id, body });
                self.carry_out(Effect::ToClient(client, reply), now);
            }
            Effect::Stop => self.stopping = true,
            // Without a store, or a ledger, there is nothing that these are about.
            Effect::Keep(_)
            | Effect::TellKept(..)
            | Effect::Spent(..)
            | Effect::Unspent(_)
            | Effect::Gone(_) => {}
        }
    }

    /// Handles what an engine said.
    pub(super) fn hear_engine(&mut self, engine: EngineId, messages: Vec<Message<FromEngine>>) {
        if let Some(engine) = self.engines.get_mut(&engine) {
            engine.heard = true;
        }
        let now = self.now();
        for message in messages {
            self.heritage.heard(engine, &message.head);
            self.handle_at(now, Event::FromEngine(engine, message));
        }
    }

    pub(super) fn take(&mut self, incoming: Incoming) {
        match incoming {
            Incoming::Control(Control::Watch(seat, started)) => self.processes.watch(seat, started),
            Incoming::Control(Control::Stop) => self.stopping = true,
            Incoming::Arrival(arrival) => self.arrive(arrival),
            Incoming::Client(visit, transport::Event::Messages(messages)) => {
                let now = self.now();
                let messages = if self.is_present(visit) { messages } else { Vec::new() };
                for message in messages {
                    self.hear_client(now, visit.client, message);
                }
            }
            Incoming::Client(visit, transport::Event::Closed(reason)) => {
                self.client_closed(visit, &reason);
            }
            Incoming::Engine(engine, transport::Event::Messages(messages)) => {
                self.hear_engine(engine, messages);
            }
            Incoming::Engine(engine, transport::Event::Closed(reason)) => {
                self.session_closed(engine, &reason);
            }
            Incoming::Ended(pid, end) => self.process_ended(pid, end),
            Incoming::Missing(engine, cause) => self.missing(engine, cause),
            Incoming::Vacant(seat) => self.processes.fill(seat),
            Incoming::Overdue(engine) => self.overdue(engine),
        }
    }
}

fn in_words(error: DoorError) -> io::Error {
    match error {
        DoorError::InUse(_) => io::Error::new(io::ErrorKind::AddrInUse, error.to_string()),
        DoorError::NotOurs(_) => io::Error::new(io::ErrorKind::PermissionDenied, error.to_string()),
        DoorError::Io { error: ref inner, .. } => io::Error::new(inner.kind(), error.to_string()),
    }
}
