//! What is true of each task, written down where it happens, and what must follow from it.

use std::collections::{BTreeSet, HashMap};

use crate::client::State;
use crate::wire::{ClientId, FromClient, Message, Status, TaskId, ToClient, ToEngine};

/// One time a task was given to an engine.
struct Gift {
    engine: u32,
    ticket: u64,
    begun: bool,
}

/// A task as its owner meant it, and what became of it.
pub(super) struct Task {
    id: TaskId,
    retries: u16,
    /// Whether it may run on any engine.
    anywhere: bool,
    gifts: Vec<Gift>,
    /// Attempts of which the controller cannot know whether they were begun.
    unknown: usize,
    /// The controller has heard that it is not wanted.
    cancelled: bool,
}

/// See the module.
#[derive(Default)]
pub(super) struct Book {
    tasks: Vec<Task>,
    numbers: HashMap<TaskId, usize>,
    /// What the controller told, by the number the hearer gave.
    told: HashMap<(ClientId, u64), Status>,
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
    /// The argument of the next task: its number here.
    pub(super) fn argument(&mut self, id: TaskId, retries: u16, anywhere: bool) -> String {
        let number = self.tasks.len();
        let gifts = Vec::new();
        self.tasks.push(Task { id, retries, anywhere, gifts, unknown: 0, cancelled: false });
        self.numbers.insert(id, number);
        number.to_string()
    }

    fn task(&mut self, id: TaskId) -> Option<&mut Task> {
        self.numbers.get(&id).map(|number| &mut self.tasks[*number])
    }

    /// The controller takes this in.
    pub(super) fn said(&mut self, client: ClientId, message: &Message<FromClient>) {
        if let FromClient::Cancel { tasks, .. } = &message.head {
            for seq in tasks {
                if let Some(task) = self.task(TaskId { client, seq: *seq }) {
                    task.cancelled = true;
                }
            }
        }
    }

    /// The controller sends this to an engine.
    pub(super) fn given(&mut self, engine: u32, message: &Message<ToEngine>) {
        let ToEngine::Task { id, ticket, attempt, .. } = message.head else { return };
        assert!(!self.told.contains_key(&(id.client, id.seq)), "{id} is given after its outcome");
        let task = self.task(id).expect("a task that was submitted");
        assert!(!task.cancelled, "{id} was cancelled and is given to engine {engine}");
        let counted = task.begun() + task.unknown;
        assert!(usize::from(attempt) <= 1 + counted, "{id} paid for an attempt never begun");
        task.gifts.push(Gift { engine, ticket, begun: false });
    }

    /// An engine begins the task with this argument; `blind` if the controller has lost that engine
    /// without a tally, so that it could not keep it from that.
    pub(super) fn begins(&mut self, engine: u32, argument: &str, blind: bool) -> (TaskId, bool) {
        let task = &mut self.tasks[argument.parse::<usize>().expect("a number")];
        let id = task.id;
        let mut gifts = task.gifts.iter_mut().rev();
        let gift = gifts.find(|gift| gift.engine == engine).expect("it was given there");
        assert!(!gift.begun, "{id} is begun twice for one ticket");
        gift.begun = true;
        assert!(task.begun() <= 1 + usize::from(task.retries), "{id} is begun too often");
        let over = self.told.contains_key(&(id.client, id.seq));
        assert!(blind || !over, "{id} is begun after its outcome");
        (id, task.retries > 0)
    }

    /// The controller loses an engine; without a tally it cannot tell what was begun.
    pub(super) fn lost(&mut self, engine: u32, readable: bool) {
        for task in self.tasks.iter_mut().filter(|_| !readable) {
            task.unknown += usize::from(task.gifts.last().is_some_and(|g| g.engine == engine));
        }
        if readable {
            // One that was given back before a later one was begun cannot be told from one that
            // ended, if neither was heard of.
            let gifts = self.tasks.iter().flat_map(|task| &task.gifts);
            let last = gifts.filter(|gift| gift.engine == engine && gift.begun);
            let last = last.map(|gift| gift.ticket).max().unwrap_or(0);
            for task in &mut self.tasks {
                let unclear = |g: &Gift| g.engine == engine && !g.begun && g.ticket < last;
                task.unknown += usize::from(task.gifts.last().is_some_and(unclear));
            }
        }
    }

    /// The controller tells this to a client; `deserted` while it knows no engine.
    pub(super) fn told(&mut self, client: ClientId, message: &Message<ToClient>, deserted: bool) {
        let ToClient::Result { seq, status, .. } = message.head else { return };
        let before = self.told.insert((client, seq), status);
        assert_eq!(before, None, "{client:?} hears of {seq} once");
        let Some(task) = self.task(TaskId { client, seq }) else { return };
        let (id, begun) = (task.id, task.begun());
        let all = begun + task.unknown > usize::from(task.retries);
        match status {
            Status::Ok | Status::Error | Status::TimedOut => {
                assert!(begun > 0, "{id} has a value and was never begun");
            }
            Status::Lost if task.anywhere => assert!(all, "{id} had retries left"),
            Status::Poison => assert!(begun + task.unknown >= 3, "{id} was blamed too early"),
            Status::Cancelled => assert!(task.cancelled, "{id} was not cancelled"),
            Status::Refused if task.anywhere => assert!(deserted, "{id} may run anywhere"),
            _ => {}
        }
    }

    /// In which ways tasks ended.
    pub(super) fn fates(&self) -> BTreeSet<u8> {
        self.told.values().map(|status| *status as u8).collect()
    }

    /// What a client has for one of its tasks in the end.
    pub(super) fn ended(&self, id: TaskId, state: State, value_there: Option<&[u8]>) {
        let told = self.told.get(&(id.client, id.seq));
        let told = told.unwrap_or_else(|| panic!("{id} has no outcome"));
        assert_eq!(state, State::from(*told), "{id} is what was told first");
        if state == State::Ok {
            let own = value(&self.numbers[&id].to_string());
            assert_eq!(value_there, Some(own.as_bytes()), "{id} has its own value");
        }
    }
}
