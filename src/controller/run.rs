//! The controller's shell: the only file of this room with sockets, clocks and processes.
//!
//! It turns what arrives into events, hands them to the reactor, and carries out the effects. The
//! same shell serves an embedded controller, whose own client is a function call away, and one that
//! runs alone.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};

use super::revive::{Care, Departure, Seats, Wish, stillborn};
use super::spawn::{self, End, Started};
use super::{Effect, Event, Limits, Now, Reactor};
use crate::client::{Core, Uplink};
use crate::clock::wall_clock;
use crate::memory::Tally;
use crate::transport::{
    self, Arrival, CloseReason, Door, DoorError, Keeper, Outbox, PushError, Sink, place,
};
use crate::wire::message::EMBEDDED;
use crate::wire::{
    ClientId, EngineId, EngineInfo, FromClient, FromEngine, Hello, Message, Parts, Reply, Role,
    SessionId, Status, ToClient, ToEngine, limits,
};

/// Time engines have to end by themselves when the controller stops.
const STOP_GRACE: Duration = Duration::from_millis(500);
/// Time between the end of an engine's session and the end of its process.
const MERGE: Duration = Duration::from_millis(500);
/// Time without a message after which the session of a process that ended has run out, though a
/// child of that process may hold it open.
const RUN_OUT: Duration = Duration::from_millis(50);

/// How often a client that takes nothing is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// Tasks of the embedded client that are taken in before the sockets are looked at again.
const PORTION: usize = 1024;

/// Something for the shell to do.
enum Incoming {
    Control(Control),
    Client(ClientId, transport::Event<FromClient>),
    Engine(EngineId, transport::Event<FromEngine>),
    Arrival(Arrival),
    /// A process that was started here ended.
    Ended(u32, End),
    /// Another process is to be started in this seat.
    Vacant(u32),
    /// The session or the process of this engine ended some time ago, and the other has not been
    /// seen to.
    Overdue(EngineId),
}

enum Control {
    Watch(u32, Started),
    Stop,
}

/// Messages of the embedded client on their way to the shell.
#[derive(Default)]
pub(super) struct Inbox {
    messages: Mutex<Vec<Message<FromClient>>>,
    filled: Notify,
}

impl Inbox {
    /// Wakes the shell if there is something for it.
    pub(super) fn poke(&self) {
        if !self.messages.lock().is_empty() {
            self.filled.notify_one();
        }
    }
}

/// The embedded client's way to the controller.
pub(super) struct Direct(Arc<Inbox>);

impl Uplink for Direct {
    fn push(&self, message: Message<FromClient>) -> Result<(), String> {
        self.0.messages.lock().push(message);
        Ok(())
    }

    fn wants_pieces(&self) -> bool {
        false
    }
}

/// A hand on a running controller.
#[derive(Clone)]
pub(super) struct Handle {
    sender: mpsc::Sender<Incoming>,
    /// The processes started here.
    pub(super) seats: Arc<Seats>,
}

impl Handle {
    /// Watches a process that is to become an engine. Must not be called on the I/O thread.
    pub(super) fn watch(&self, seat: u32, started: Started) {
        let _ = self.sender.blocking_send(Incoming::Control(Control::Watch(seat, started)));
    }

    /// Ends the engines and then the controller. Must not be called on the I/O thread.
    pub(super) fn stop(&self) {
        let _ = self.sender.blocking_send(Incoming::Control(Control::Stop));
    }

    /// As [`Handle::stop`], on the I/O thread.
    pub(super) async fn stop_soon(&self) {
        let _ = self.sender.send(Incoming::Control(Control::Stop)).await;
    }
}

struct Engine {
    outbox: Outbox<ToEngine>,
    pid: u32,
    /// Where it tells what it has begun.
    tally: Option<Tally>,
    /// Why its session is over, if it is.
    closed: Option<String>,
    /// How its process ended, if that is known.
    end: Option<End>,
    /// Something came since its process ended or was last looked at.
    heard: bool,
    /// It was given up because it fell silent.
    silent: bool,
}

/// A process that was started here.
struct Process {
    seat: u32,
    since: Instant,
    /// The engine it became, if it did.
    engine: Option<EngineId>,
    wish: Wish,
}

/// A controller that has not been started yet.
pub(super) struct Shell {
    reactor: Reactor,
    door: Door,
    python: String,
    session: SessionId,
    sender: mpsc::Sender<Incoming>,
    incoming: mpsc::Receiver<Incoming>,
    inbox: Arc<Inbox>,
    /// What was taken out of the inbox and not handled yet.
    submitted: VecDeque<Message<FromClient>>,
    local: Option<Arc<Core>>,
    seats: Arc<Seats>,
    care: Care,
    clients: HashMap<ClientId, Outbox<ToClient>>,
    /// Those that were told more than they take.
    full: HashSet<ClientId>,
    engines: HashMap<EngineId, Engine>,
    /// Processes started here that have not been seen to end.
    processes: HashMap<u32, Process>,
    next_client: u32,
    next_engine: u32,
    epoch: Instant,
    effects: Vec<Effect>,
    /// Outcomes of tasks that could not be sent.
    refused: Vec<Event>,
    stopping: bool,
}

impl Shell {
    /// Opens the door of a cluster in `directory`. Must be called inside a runtime.
    pub(super) fn open(
        directory: &Path,
        python: String,
        embedded: bool,
        care: Care,
    ) -> io::Result<Self> {
        let (session, pid, token) = (place::session()?, std::process::id(), place::token()?);
        place::prepare(directory)?;
        let (sender, incoming) = mpsc::channel(256);
        let keeper = Keeper { token: token.clone(), session, pid };
        // The door comes first: its lock says whether the place is free.
        let door = Door::open(directory, keeper, sender.clone(), Incoming::Arrival);
        let door = door.map_err(in_words)?;
        place::write(directory, &place::Connection { token, pid, embedded })?;
        Ok(Self {
            reactor: Reactor::new(Limits::default()),
            door,
            python,
            session,
            sender,
            incoming,
            inbox: Arc::default(),
            submitted: VecDeque::new(),
            local: None,
            seats: Arc::default(),
            care,
            clients: HashMap::new(),
            full: HashSet::new(),
            engines: HashMap::new(),
            processes: HashMap::new(),
            next_client: EMBEDDED.0 + 1,
            next_engine: 0,
            epoch: Instant::now(),
            effects: Vec::new(),
            refused: Vec::new(),
            stopping: false,
        })
    }

    /// A hand to keep while the shell runs.
    pub(super) fn handle(&self) -> Handle {
        Handle { sender: self.sender.clone(), seats: self.seats.clone() }
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

    /// Runs until it is stopped.
    pub(super) async fn run(mut self) {
        let mut batch = Vec::with_capacity(64);
        let inbox = self.inbox.clone();
        while !self.stopping {
            self.weigh();
            let deadline = self.reactor.deadline().map(|at| self.epoch + Duration::from_nanos(at));
            let look = (!self.full.is_empty()).then(|| Instant::now() + LOOK);
            let deadline = deadline.into_iter().chain(look).min();
            tokio::select! {
                biased;
                () = inbox.filled.notified() => {}
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
                inbox.filled.notify_one();
                tokio::task::yield_now().await;
            }
        }
        self.stop().await;
    }

    /// Handles what the client of this process said, up to so many tasks.
    fn take_in(&mut self, most: usize) {
        let messages = std::mem::take(&mut *self.inbox.messages.lock());
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
            self.handle_at(now, Event::FromClient(EMBEDDED, message));
        }
    }

    /// Looks which clients take what they are told.
    fn weigh(&mut self) {
        let (mut heavy, mut light) = (Vec::new(), Vec::new());
        for (client, outbox) in &self.clients {
            let (queued, full) = (outbox.queued_bytes(), self.full.contains(client));
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

    fn now(&self) -> Now {
        Now { mono: self.epoch.elapsed().as_nanos() as u64, wall: wall_clock() }
    }

    fn handle_event(&mut self, event: Event) {
        self.handle_at(self.now(), event);
    }

    /// What came together came at one time: the clock is read for a packet, not for a message.
    fn handle_at(&mut self, now: Now, event: Event) {
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
        match effect {
            Effect::ToClient(EMBEDDED, message) => {
                if let Some(core) = &self.local {
                    core.receive(message, now.wall);
                }
            }
            Effect::ToClient(client, message) => {
                if let Some(outbox) = self.clients.get(&client) {
                    send_to_client(outbox, message);
                }
            }
            Effect::ToEngine(engine, message) => {
                if matches!(message.head, ToEngine::Shutdown)
                    && let Some(process) = self.process_of(engine)
                    && process.wish == Wish::Life
                {
                    process.wish = Wish::End;
                }
                if let Some(peer) = self.engines.get(&engine)
                    && let Some(refused) = send_to_engine(&peer.outbox, message)
                {
                    self.refused.push(Event::FromEngine(engine, refused));
                }
            }
            Effect::EndEngine(id) => {
                if let Some(engine) = self.engines.remove(&id) {
                    engine.outbox.abort();
                    let Some(process) = self.processes.get(&engine.pid) else { return };
                    // The process may have come back as another engine; then it is to live. One
                    // that fell silent may do so yet, unless another is to follow it.
                    let may_come =
                        engine.silent && !self.care.restart && process.wish == Wish::Life;
                    if process.engine == Some(id) && !may_come {
                        spawn::kill(engine.pid);
                    }
                }
            }
            Effect::SignalEngine(engine, number) => {
                if let Some(engine) = self.engines.get(&engine) {
                    spawn::signal(engine.pid, number);
                }
            }
            Effect::ReplaceEngine(engine) => {
                if let Some(process) = self.process_of(engine) {
                    process.wish = Wish::Another;
                }
            }
            Effect::TellHealth(client, id, mut health) => {
                for engine in &mut health {
                    if let Some(peer) = self.engines.get(&engine.id) {
                        let silence = peer.outbox.silence();
                        engine.silent = silence.as_secs_f64();
                        engine.suspect = silence >= self.care.patience.suspect;
                    }
                }
                let body = Reply::EngineStatus(health, self.seats.failures());
                let reply = Message::bare(ToClient::Reply { id, body });
                self.carry_out(Effect::ToClient(client, reply), now);
            }
            Effect::Stop => self.stopping = true,
        }
    }

    fn take(&mut self, incoming: Incoming) {
        match incoming {
            Incoming::Control(Control::Watch(seat, started)) => self.watch(seat, started),
            Incoming::Control(Control::Stop) => self.stopping = true,
            Incoming::Arrival(arrival) => self.arrive(arrival),
            Incoming::Client(client, transport::Event::Messages(messages)) => {
                let now = self.now();
                for message in messages {
                    self.handle_at(now, Event::FromClient(client, message));
                }
            }
            Incoming::Client(client, transport::Event::Closed(reason)) => {
                if matches!(reason, CloseReason::Protocol(_)) {
                    self.door.note(&format!("client session {} was ended: {reason}", client.0));
                }
                self.full.remove(&client);
                if self.clients.remove(&client).is_some() {
                    self.handle_event(Event::ClientLost { client });
                }
            }
            Incoming::Engine(engine, transport::Event::Messages(messages)) => {
                if let Some(engine) = self.engines.get_mut(&engine) {
                    engine.heard = true;
                }
                let now = self.now();
                for message in messages {
                    self.handle_at(now, Event::FromEngine(engine, message));
                }
            }
            Incoming::Engine(engine, transport::Event::Closed(reason)) => {
                self.session_closed(engine, &reason);
            }
            Incoming::Ended(pid, end) => self.process_ended(pid, end),
            Incoming::Vacant(seat) => self.fill(seat),
            Incoming::Overdue(engine) => self.overdue(engine),
        }
    }

    /// The session of an engine is over. If its process was started here, its end says why.
    fn session_closed(&mut self, id: EngineId, reason: &CloseReason) {
        if matches!(reason, CloseReason::Protocol(_)) {
            self.door.note(&format!("session of engine {id} was ended: {reason}"));
        }
        let Some(engine) = self.engines.get_mut(&id) else { return };
        engine.closed = Some(reason.to_string());
        engine.silent = matches!(reason, CloseReason::Silent(_));
        if engine.end.is_none() && !engine.silent && self.processes.contains_key(&engine.pid) {
            self.later(MERGE, Incoming::Overdue(id));
        } else {
            self.lose(id);
        }
    }

    /// A process started here ended. What it sent before still counts, so its session is let
    /// run out.
    fn process_ended(&mut self, pid: u32, end: End) {
        let Some(process) = self.processes.remove(&pid) else { return };
        let Process { seat, since, engine, mut wish } = process;
        if end.forced && wish == Wish::Life {
            wish = Wish::Another;
        }
        let how = Departure { lived: since.elapsed(), joined: engine.is_some(), wish };
        self.leave(seat, how, || stillborn(pid, &end));
        let Some(id) = engine else { return };
        let Some(engine) = self.engines.get_mut(&id) else { return };
        engine.end = Some(end);
        if engine.closed.is_some() {
            self.lose(id);
        } else {
            engine.heard = false;
            self.later(RUN_OUT, Incoming::Overdue(id));
        }
    }

    /// A seat has become vacant.
    fn leave(&self, seat: u32, how: Departure, why: impl FnOnce() -> String) {
        if let Some(pause) = self.seats.left(seat, how, self.care.restart, why) {
            self.later(pause, Incoming::Vacant(seat));
        }
    }

    /// Starts another process in a seat, which takes a millisecond and happens rarely.
    fn fill(&mut self, seat: u32) {
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

    fn watch(&mut self, seat: u32, started: Started) {
        let (pid, since) = (started.pid(), Instant::now());
        self.processes.insert(pid, Process { seat, since, engine: None, wish: Wish::Life });
        let sender = self.sender.clone();
        tokio::spawn(async move {
            let end = started.ended().await;
            let _ = sender.send(Incoming::Ended(pid, end)).await;
        });
    }

    /// The process of an engine, if it was started here.
    fn process_of(&mut self, engine: EngineId) -> Option<&mut Process> {
        let engine = self.engines.get(&engine)?;
        self.processes.get_mut(&engine.pid)
    }

    /// One half of an engine ended and the other has not followed; what still comes is let come.
    fn overdue(&mut self, id: EngineId) {
        let Some(engine) = self.engines.get_mut(&id) else { return };
        if engine.closed.is_none() && std::mem::take(&mut engine.heard) {
            self.later(RUN_OUT, Incoming::Overdue(id));
        } else {
            self.lose(id);
        }
    }

    fn later(&self, time: Duration, incoming: Incoming) {
        let sender = self.sender.clone();
        tokio::spawn(async move {
            tokio::time::sleep(time).await;
            let _ = sender.send(incoming).await;
        });
    }

    /// Tells the reactor that an engine is gone, with the best reason there is.
    fn lose(&mut self, engine: EngineId) {
        let Some(Engine { closed, end, tally, .. }) = self.engines.get_mut(&engine) else { return };
        // From here on it begins nothing, whatever has become of it.
        let begun = tally.as_ref().map(Tally::close);
        let (closed, end) = (closed.take(), end.take());
        let End { cause, output, .. } = end.unwrap_or_else(|| End {
            cause: closed.unwrap_or_else(|| "it ended for an unknown reason".to_owned()),
            output: String::new(),
            forced: false,
        });
        self.handle_event(Event::EngineLost { engine, begun, cause, output });
        self.engines.remove(&engine);
    }

    /// Somebody is at the door, and the door says that it has the secret.
    fn arrive(&mut self, arrival: Arrival) {
        let theirs = arrival.hello.python.clone();
        if !theirs.is_empty() && !self.python.is_empty() && theirs != self.python {
            let ours = &self.python;
            arrival.refuse(format!(
                "this cluster runs Python {ours}, and functions cannot be exchanged with Python \
                 {theirs}; hint: start client and engines with the same version"
            ));
            return;
        }
        let sender = self.sender.clone();
        let Hello { role, session, pid, host, lease, .. } = arrival.hello.clone();
        // A peer for which the system has no sockets left is turned away without a word; it
        // will ask again.
        match role {
            Role::Client => {
                let client = ClientId(self.next_client);
                let sink = Sink::new(sender, move |event| Incoming::Client(client, event));
                // A client may be stopped for a while (Ctrl-Z); its end is told by the door.
                let Ok(outbox) = arrival.admit(client.0, None, sink) else { return };
                self.next_client += 1;
                self.clients.insert(client, outbox);
                self.handle_event(Event::ClientJoined { client, session, lease });
            }
            Role::Engine => {
                let id = EngineId(self.next_engine);
                let sink = Sink::new(sender, move |event| Incoming::Engine(id, event));
                let tally = arrival.tally();
                let Ok(outbox) = arrival.admit(id.0, Some(self.care.patience), sink) else {
                    return;
                };
                self.next_engine += 1;
                let process = self.processes.get_mut(&pid);
                let seat = process.as_ref().map(|process| process.seat);
                let before = process.and_then(|process| process.engine.replace(id));
                let (closed, end, heard, silent) = (None, None, false, false);
                let engine = Engine { outbox, pid, tally, closed, end, heard, silent };
                self.engines.insert(id, engine);
                let info = EngineInfo { id, session, pid, host };
                self.handle_event(Event::EngineJoined { info });
                // Now that clients know it, whoever waits for it may be told.
                if let Some(seat) = seat {
                    self.seats.joined(seat);
                }
                // The same process comes anew: what it was before is gone.
                if let Some(before) = before {
                    self.lose(before);
                }
            }
        }
    }

    /// Ends what was started here, says goodbye to the others, and leaves the place clean.
    async fn stop(mut self) {
        for engine in self.engines.values() {
            send_to_engine(&engine.outbox, Message::bare(ToEngine::Shutdown));
            engine.outbox.close();
        }
        for client in self.clients.values() {
            client.close();
        }
        let deadline = tokio::time::Instant::now() + STOP_GRACE;
        // Processes that have not joined yet have nothing to finish.
        for (pid, _) in self.processes.iter().filter(|(_, process)| process.engine.is_none()) {
            spawn::kill(*pid);
        }
        while !self.processes.is_empty() || self.open_sessions() {
            let incoming = tokio::time::timeout_at(deadline, self.incoming.recv()).await;
            match incoming {
                Ok(Some(Incoming::Ended(pid, _))) => {
                    self.processes.remove(&pid);
                }
                Ok(Some(Incoming::Engine(id, transport::Event::Closed(_)))) => {
                    self.engines.remove(&id);
                }
                Ok(Some(Incoming::Client(id, transport::Event::Closed(_)))) => {
                    self.clients.remove(&id);
                }
                Ok(Some(Incoming::Arrival(arrival))) => arrival.refuse("this cluster is stopping"),
                Ok(Some(Incoming::Control(Control::Watch(seat, started)))) => {
                    spawn::kill(started.pid());
                    self.watch(seat, started);
                }
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => {
                    self.processes.keys().for_each(|pid| spawn::kill(*pid));
                    self.reap().await;
                    break;
                }
            }
        }
        if let Some(core) = &self.local {
            core.end_session("the cluster was stopped", wall_clock());
        }
        drop(self.door);
    }

    fn open_sessions(&self) -> bool {
        !self.engines.is_empty() || !self.clients.is_empty()
    }

    /// Waits for processes that were killed; the kernel ends them, so this is short.
    async fn reap(&mut self) {
        while !self.processes.is_empty() {
            match self.incoming.recv().await {
                Some(Incoming::Ended(pid, _)) => {
                    self.processes.remove(&pid);
                }
                Some(_) => {}
                None => return,
            }
        }
    }
}

/// Sends a message. If it exceeds a limit of the wire, what is told instead is that it does, so
/// that nobody waits for ever. A session that is over is told by its last event.
fn send_to_client(outbox: &Outbox<ToClient>, message: Message<ToClient>) {
    let head = message.head.clone();
    let Err(PushError::Unsendable(fault)) = outbox.push(message) else { return };
    let text = fault.to_string();
    let instead = match head {
        ToClient::Result { seq, engine, submitted, started, completed, .. } => {
            let status = Status::Refused;
            let head = ToClient::Result { seq, status, engine, submitted, started, completed };
            Message { head, parts: Parts::from_elem(Bytes::from(text), 1) }
        }
        ToClient::Reply { id, .. } => {
            Message::bare(ToClient::Reply { id, body: Reply::Refused(text) })
        }
        _ => return,
    };
    // It is short; if it cannot be sent, the session is over.
    let _ = outbox.push(instead);
}

/// As [`send_to_client`]; a task that cannot be sent comes back as its own outcome.
fn send_to_engine(
    outbox: &Outbox<ToEngine>,
    message: Message<ToEngine>,
) -> Option<Message<FromEngine>> {
    let task = match message.head {
        ToEngine::Task { id, ticket, .. } => Some((id, ticket)),
        _ => None,
    };
    let Err(PushError::Unsendable(fault)) = outbox.push(message) else { return None };
    let ((id, ticket), status) = (task?, Status::Refused);
    let head = FromEngine::Result { id, ticket, status, started: 0, completed: 0 };
    Some(Message { head, parts: Parts::from_elem(Bytes::from(fault.to_string()), 1) })
}

/// Waits for a moment; for ever if there is none.
async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}

fn in_words(error: DoorError) -> io::Error {
    match error {
        DoorError::InUse(_) => io::Error::new(io::ErrorKind::AddrInUse, error.to_string()),
        DoorError::NotOurs(_) => io::Error::new(io::ErrorKind::PermissionDenied, error.to_string()),
        DoorError::Io { error: ref inner, .. } => io::Error::new(inner.kind(), error.to_string()),
    }
}
