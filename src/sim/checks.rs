//! What is true of each task, written down where it happens, and what must follow from it.
//!
//! A task is begun at most once more often than it has retries, whoever is killed and whatever becomes
//! of the sessions of its client. Only these attempts are *forgiven*: those of a task whose client was
//! away for longer than its lease, if it comes to the next controller, since its tasks were cancelled;
//! and those of a task whose outcome was purged, or dropped for want of room, before it arrived.
//!
//! Where there is a store none is forgiven: whatever a controller knows is written there first. Only a
//! task whose outcome was told while there was no room at all may be given again.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::network::Line;
use crate::client::State;
use crate::wire::message::WATCHED;
use crate::wire::{
    ClientId, FromClient, Message, Request, SessionId, Status, TaskId, ToClient, ToEngine,
};

/// One time a task was given to an engine.
struct Gift {
    engine: u32,
    /// By which controller.
    era: u32,
    ticket: u64,
    begun: bool,
}

/// A task as its owner meant it, and what became of it.
#[expect(clippy::struct_excessive_bools, reason = "facts that are true or not by themselves")]
pub(super) struct Task {
    id: TaskId,
    retries: u16,
    /// Whether it may run on any engine.
    anywhere: bool,
    gifts: Vec<Gift>,
    /// Attempts of which the controller cannot know whether they were begun.
    unknown: usize,
    /// A controller has heard that it is not wanted, and the one there is has.
    cancelled: bool,
    barred: bool,
    /// That it is not wanted stands in the store.
    is_kept: bool,
    /// Its outcome was told while the store had no room for it.
    is_loose: bool,
    /// Attempts that are not counted, see the module.
    forgiven: usize,
    /// Outcomes were purged while it had none that arrived, or may be dropped at any time.
    purged: bool,
}

/// See the module.
#[derive(Default)]
pub(super) struct Book {
    tasks: Vec<Task>,
    numbers: HashMap<TaskId, usize>,
    /// What this controller told, by the number the hearer gave, in which of its sessions, and what
    /// arrived first.
    told: HashMap<(ClientId, u64), (Status, u32)>,
    visits: HashMap<ClientId, u32>,
    arrived: HashMap<(ClientId, u64), Status>,
    fates: BTreeSet<u8>,
    /// Clients by their sessions, and whose tasks are watched under a number.
    sessions: HashMap<SessionId, u32>,
    watched: HashMap<(ClientId, u64), SessionId>,
    /// There is a store.
    pub(super) is_stored: bool,
    /// Tasks that a controller with a store took in.
    acknowledged: BTreeSet<TaskId>,
    /// Engines that are gone for good, and clients that cannot come back to the controller they were with.
    gone: HashSet<u32>,
    given_up: HashSet<ClientId>,
    /// When there was last no engine, and when clients were last away.
    deserted: Option<u64>,
    away: HashMap<ClientId, u64>,
    /// There is room for few outcomes.
    tight: bool,
}

impl Task {
    fn begun(&self) -> usize {
        self.gifts.iter().filter(|gift| gift.begun).count()
    }
}

/// The value of a task.
pub(super) fn value(argument: &str) -> String {
    argument.chars().rev().collect()
}

impl Book {
    /// An empty one; of a `tight` controller that has room for few outcomes.
    pub(super) fn new(tight: bool) -> Self {
        Self { tight, ..Self::default() }
    }

    /// The argument of the next task: its number here.
    pub(super) fn argument(&mut self, id: TaskId, retries: u16, anywhere: bool) -> String {
        let number = self.tasks.len();
        let gifts = Vec::new();
        self.tasks.push(Task {
            id,
            retries,
            anywhere,
            gifts,
            unknown: 0,
            cancelled: false,
            barred: false,
            is_kept: false,
            is_loose: false,
            forgiven: 0,
            purged: self.tight,
        });
        self.numbers.insert(id, number);
        number.to_string()
    }

    fn task(&mut self, id: TaskId) -> Option<&mut Task> {
        self.numbers.get(&id).map(|number| &mut self.tasks[*number])
    }

    /// The controller takes this in.
    pub(super) fn said(&mut self, client: ClientId, message: &Message<FromClient>) {
        match &message.head {
            FromClient::Cancel { tasks, .. } => {
                for seq in tasks {
                    if let Some(task) = self.task(TaskId { client, seq: *seq }) {
                        (task.cancelled, task.barred) = (true, true);
                    }
                }
            }
            FromClient::Watch { first, tasks } => {
                let all = (*first..).zip(tasks);
                self.watched.extend(all.map(|(seq, (session, _))| ((client, seq), *session)));
            }
            FromClient::Request { body: Request::Purge(_), .. } => {
                for task in &mut self.tasks {
                    let arrived = self.arrived.contains_key(&(task.id.client, task.id.seq));
                    task.purged |= !arrived;
                }
            }
            _ => {}
        }
    }

    /// A client comes.
    pub(super) fn comes(&mut self, session: SessionId) {
        *self.sessions.entry(session).or_default() += 1;
    }

    /// Whether several clients have had the session of what is watched under this number: the latest that
    /// has such a task counts, which may be another than before.
    fn is_anybodys(&self, client: ClientId, seq: u64) -> bool {
        let session = self.watched.get(&(client, seq));
        session.and_then(|session| self.sessions.get(session)).is_some_and(|count| *count > 1)
    }

    /// The controller is killed.
    pub(super) fn orphaned(&mut self) {
        for task in &mut self.tasks {
            task.barred = task.is_kept;
        }
        self.told.clear();
    }

    /// Whether an engine is gone for good.
    pub(super) fn is_gone(&self, engine: u32) -> bool {
        self.gone.contains(&engine)
    }

    /// The controller knows no engine now.
    pub(super) fn deserted(&mut self, now: u64) {
        self.deserted = Some(now);
    }

    /// The controller has lost a client.
    pub(super) fn lost_client(&mut self, client: ClientId, now: u64) {
        self.away.insert(client, now);
    }

    /// A controller with a store has written down what was said.
    pub(super) fn kept(&mut self, client: ClientId, head: &FromClient) {
        let FromClient::Cancel { tasks, .. } = head else { return };
        for seq in tasks {
            let id = TaskId { client, seq: *seq };
            let is_there = self.acknowledged.contains(&id);
            if let Some(task) = self.task(id).filter(|_| is_there) {
                task.is_kept = true;
            }
        }
    }

    /// A controller with a store has taken in these tasks.
    pub(super) fn acknowledged(&mut self, tasks: impl Iterator<Item = TaskId>) {
        self.acknowledged.extend(tasks.filter(|id| self.numbers.contains_key(id)));
    }

    pub(super) fn all_acknowledged(&self) -> Vec<TaskId> {
        self.acknowledged.iter().copied().collect()
    }

    /// The value of a task.
    pub(super) fn value(&self, id: TaskId) -> String {
        value(&self.numbers[&id].to_string())
    }

    /// The controller that is killed would not have a client back.
    pub(super) fn given_up(&mut self, client: ClientId) {
        self.given_up.insert(client);
    }

    /// A client comes back, perhaps to another controller.
    pub(super) fn client_back(&mut self, client: ClientId) {
        *self.visits.entry(client).or_default() += 1;
        let given_up = self.given_up.remove(&client);
        for task in self.tasks.iter_mut().filter(|task| task.id.client == client) {
            if given_up || task.purged {
                if !self.is_stored {
                    task.forgiven = task.begun();
                }
                // Its lease has ended.
                task.cancelled |= given_up;
            }
        }
    }

    /// The controller waits no longer for an engine of before, which was given these.
    pub(super) fn missing(&mut self, engine: u32, given: impl Iterator<Item = (TaskId, u64)>) {
        self.gone.insert(engine);
        for (id, ticket) in given {
            let Some(task) = self.task(id) else { continue };
            let begun = |g: &Gift| g.engine == engine && g.ticket == ticket && g.begun;
            task.unknown += usize::from(!task.gifts.iter().any(begun));
        }
    }

    /// The controller sends this to an engine.
    pub(super) fn given(&mut self, line: Line, message: &Message<ToEngine>) {
        let Line { id: engine, era, .. } = line;
        let ToEngine::Task { id, ticket, attempt, .. } = message.head else { return };
        let key = (id.client, id.seq);
        assert!(!self.told.contains_key(&key), "{id} is given after its outcome");
        let has = self.arrived.contains_key(&key);
        let task = self.task(id).expect("a task that was submitted");
        assert!(!has || task.is_loose, "{id} is given though its owner has its outcome");
        assert!(!task.barred, "{id} was cancelled and is given to engine {engine}");
        let counted = task.begun() + task.unknown;
        assert!(usize::from(attempt) <= 1 + counted, "{id} paid for an attempt never begun");
        task.gifts.push(Gift { engine, era, ticket, begun: false });
    }

    /// An engine begins the task with this argument; `blind` if the controller has lost that engine
    /// without a tally, so that it could not keep it from that.
    pub(super) fn begins(&mut self, line: Line, argument: &str, blind: bool) -> (TaskId, bool) {
        let engine = line.id;
        let task = &mut self.tasks[argument.parse::<usize>().expect("a number")];
        let id = task.id;
        let mut gifts = task.gifts.iter_mut().rev();
        let gift = gifts.find(|gift| gift.engine == engine).expect("it was given there");
        assert!(!gift.begun, "{id} is begun twice for one ticket");
        gift.begun = true;
        let most = 1 + usize::from(task.retries) + task.forgiven;
        assert!(task.begun() <= most, "{id} is begun too often");
        let key = (id.client, id.seq);
        let over = self.told.contains_key(&key) || self.arrived.contains_key(&key);
        assert!(blind || !over || task.is_loose, "{id} is begun after its outcome");
        (id, task.retries > 0)
    }

    /// The controller loses an engine; without a tally it cannot tell what was begun.
    pub(super) fn lost(&mut self, line: Line, readable: bool) {
        let engine = line.id;
        self.gone.insert(engine);
        // What it was given by another controller it may not have told yet.
        for task in self.tasks.iter_mut().filter(|_| readable) {
            let old = |g: &Gift| g.engine == engine && g.era < line.era && !g.begun;
            task.unknown += usize::from(task.gifts.last().is_some_and(old));
        }
        for task in self.tasks.iter_mut().filter(|_| !readable) {
            task.unknown += usize::from(task.gifts.last().is_some_and(|g| g.engine == engine));
        }
        if readable {
            // One that was cancelled before a later one was begun cannot be told from one that ended,
            // if neither was heard of.
            let gifts = self.tasks.iter().flat_map(|task| &task.gifts);
            let last = gifts.filter(|gift| gift.engine == engine && gift.begun);
            let last = last.map(|gift| gift.ticket).max().unwrap_or(0);
            for task in &mut self.tasks {
                let unclear = |g: &Gift| g.engine == engine && !g.begun && g.ticket < last;
                let unclear = task.cancelled && task.gifts.last().is_some_and(unclear);
                task.unknown += usize::from(unclear);
            }
        }
    }

    /// The controller tells this to a client.
    pub(super) fn told(&mut self, client: ClientId, message: &Message<ToClient>, now: u64) {
        let ToClient::Result { seq, status, .. } = message.head else { return };
        let is_loose = self.task(TaskId { client, seq }).is_some_and(|task| task.is_loose);
        let is_anybodys = self.is_anybodys(client, seq);
        let has = self.arrived.contains_key(&(client, seq));
        assert!(!has || is_loose || is_anybodys, "{client:?} asks for {seq} again");
        let visit = self.visits.get(&client).copied().unwrap_or(0);
        let before = self.told.insert((client, seq), (status, visit));
        if let Some((before, then)) = before.filter(|_| !is_anybodys) {
            assert!(then < visit, "{client:?} hears of {seq} once in a session");
            if before == status {
                return;
            }
            // It may be kept no longer, or what is watched has come to be known.
            let is_known_now = seq >= WATCHED && before == Status::Refused;
            let is_over = status == Status::Refused || is_known_now;
            assert!(is_over, "{client:?} hears of {seq} the same again");
        }
        self.fates.insert(status as u8);
        // It may have been so while nobody was there to be told.
        let since = self.away.get(&client).copied().unwrap_or(now);
        let deserted = self.deserted.is_some_and(|at| at >= since);
        let is_stored = self.is_stored;
        let Some(task) = self.task(TaskId { client, seq }) else { return };
        let (id, begun) = (task.id, task.begun());
        let all = begun + task.unknown > usize::from(task.retries);
        match status {
            Status::Ok | Status::Error | Status::TimedOut => {
                assert!(begun > 0, "{id} has a value and was never begun");
            }
            Status::Lost if task.anywhere => assert!(all, "{id} had retries left"),
            Status::Poison => assert!(begun + task.unknown >= 3, "{id} was blamed too early"),
            // The lease of its client may have ended before it was back.
            Status::Cancelled => assert!(task.cancelled || is_stored, "{id} was not cancelled"),
            // The disk may be full, or damaged.
            Status::Refused if task.anywhere => {
                assert!(deserted || task.purged || is_stored, "{id} may run anywhere");
            }
            _ => {}
        }
    }

    /// This is told to a client though it is not written down, since there is no room.
    pub(super) fn told_only(&mut self, client: ClientId, message: &Message<ToClient>) {
        let ToClient::Result { seq, .. } = message.head else { return };
        if let Some(task) = self.task(TaskId { client, seq }) {
            task.is_loose = true;
        }
    }

    /// A client hears this.
    pub(super) fn arrives(&mut self, client: ClientId, message: &Message<ToClient>) {
        if let ToClient::Result { seq, status, .. } = message.head {
            self.arrived.entry((client, seq)).or_insert(status);
        }
    }

    /// In which ways tasks ended.
    pub(super) fn fates(&self) -> BTreeSet<u8> {
        self.fates.clone()
    }

    /// What a client has for one of its tasks in the end.
    pub(super) fn ended(&self, id: TaskId, state: State, value_there: Option<&[u8]>) {
        let first = self.arrived.get(&(id.client, id.seq));
        let first = first.unwrap_or_else(|| panic!("{id} has no outcome"));
        assert_eq!(state, State::from(*first), "{id} is what arrived first");
        if state == State::Ok {
            let own = value(&self.numbers[&id].to_string());
            assert_eq!(value_there, Some(own.as_bytes()), "{id} has its own value");
        }
    }
}
