//! What engines say about their tasks. Only the engine that holds a task may speak for it; what
//! any other says of it is late or twice, and dropped.

use bytes::Bytes;

use crate::memory::Usage;
use crate::wire::{EngineId, FromEngine, Message, Parts, Stamp, Status, TaskId, ToClient};

use super::event::Effect;
use super::outcomes::Outcome;
use super::state::Turn;
use super::tasks::{Task, TaskKey};
use super::texts;

impl Turn<'_> {
    pub(crate) fn on_engine(&mut self, engine: EngineId, message: Message<FromEngine>) {
        let parts = message.parts;
        match message.head {
            FromEngine::Started { id, ticket, at } => self.on_started(engine, (id, ticket), at),
            FromEngine::Progress { id, done } => {
                self.forward(engine, id, &parts, |seq| ToClient::Progress { seq, done });
            }
            FromEngine::Output { id, stream } => {
                self.forward(engine, id, &parts, |seq| ToClient::Output { seq, stream });
            }
            FromEngine::Result { id, ticket, status, started, completed } => {
                let outcome = Outcome { status, engine: Some(engine), started, completed, parts };
                self.on_result(engine, (id, ticket), outcome);
                self.heard_again(engine, id);
            }
            FromEngine::Returned(ids) => self.on_returned(engine, &ids),
            FromEngine::Back(ids) => self.on_all_told(engine, ids),
            FromEngine::Memory { used, allowed, scarce } => {
                self.on_memory(engine, Usage { used, allowed }, scarce);
            }
        }
    }

    /// A task, if this engine holds it: nobody else may speak for it.
    fn held(&self, engine: EngineId, id: TaskId) -> Option<TaskKey> {
        let key = self.state.tasks.find(id)?;
        (self.state.tasks.get(key).engine() == Some(engine)).then_some(key)
    }

    /// The same for one attempt: the task may have been given to this engine anew since.
    fn attempt(&self, engine: EngineId, (id, ticket): (TaskId, u64)) -> Option<TaskKey> {
        self.held(engine, id).filter(|key| self.state.tasks.get(*key).ticket == ticket)
    }

    /// Tells the owner and the watchers of a task what happened to it.
    fn forward(
        &mut self,
        engine: EngineId,
        id: TaskId,
        parts: &Parts,
        head: impl Fn(u64) -> ToClient,
    ) {
        let Some(key) = self.held(engine, id) else { return };
        let state = &mut *self.state;
        let watchers = state.tasks.get(key).rare.iter().flat_map(|rare| &rare.watchers);
        let hearers = watchers.map(|watcher| (watcher.client, watcher.seq));
        for (client, seq) in std::iter::once((id.client, id.seq)).chain(hearers) {
            if state.clients.is_alive(client) {
                let message = Message { head: head(seq), parts: parts.clone() };
                self.out.push(Effect::ToClient(client, message));
            }
        }
    }

    fn on_started(&mut self, engine: EngineId, attempt: (TaskId, u64), at: Stamp) {
        let Some(key) = self.attempt(engine, attempt) else { return };
        let (id, _) = attempt;
        let task = self.state.tasks.get_mut(key);
        task.started = at.max(1);
        if task.retries == 0 {
            // It will not be sent again, so its bytes need not stay here.
            task.parts = Parts::new();
        }
        self.state.refresh(key);
        self.state.publish(engine);
        self.forward(engine, id, &Parts::new(), |seq| ToClient::Started { seq, engine, at });
    }

    fn on_result(&mut self, id: EngineId, attempt: (TaskId, u64), outcome: Outcome) {
        let Some(key) = self.attempt(id, attempt) else {
            return self.on_told_again(attempt.0, attempt.1, outcome);
        };
        self.release(key);
        let state = &mut *self.state;
        let engine = state.engines.live(id);
        engine.complete();
        if outcome.status != Status::Cancelled && outcome.started > 0 {
            engine.observe(
                outcome.completed.saturating_sub(outcome.started).max(0) as u64,
                &state.limits,
            );
        }
        let answered = engine.has_answered();
        if self.state.resume.is_some() {
            // It may be an attempt of before, told once more.
            self.conclude_again(key, attempt.1, outcome);
        } else {
            self.conclude(key, attempt.1, outcome);
        }
        if answered {
            self.state.publish(id);
            self.feed_thieves(id);
        }
        self.feed(id);
    }

    /// Ends a task that stands in no list by what an engine told of it, or sees to another attempt.
    pub(crate) fn conclude(&mut self, key: TaskKey, ticket: u64, mut outcome: Outcome) {
        let Task { id, attempt, .. } = *self.state.tasks.get(key);
        let attempt = if outcome.started > 0 { attempt } else { 0 };
        let engine = outcome.engine;
        let again = outcome.status == Status::Again;
        if again {
            outcome.status = Status::Error;
        }
        if let (true, Some(engine)) = (again, engine)
            && self.try_elsewhere(key, engine)
        {
            return self.settle(engine, ticket);
        }
        let stored = self.state.limits.store;
        if let (false, Some(engine)) = (stored, engine) {
            self.expect_receipt(id, (engine, ticket, attempt));
        }
        self.finish(key, outcome);
        if let (true, Some(engine)) = (stored, engine) {
            self.settle(engine, ticket);
        }
    }

    /// Puts recalled tasks at the front of their queues, oldest first. A task that was not asked
    /// for is ignored: most likely the answer came twice and the task was given again since.
    fn on_returned(&mut self, id: EngineId, ids: &[(TaskId, u64)]) {
        let mut back = Vec::new();
        for task in ids {
            let asked = |key: &TaskKey| self.state.tasks.get(*key).recalled;
            let Some(key) = self.attempt(id, *task).filter(asked) else {
                self.state.ignored += 1;
                continue;
            };
            self.release(key);
            match self.state.tasks.get(key) {
                Task { cancelled: true, .. } => {
                    self.finish(key, Outcome::bare(Status::Cancelled, Some(id)));
                }
                task if task.lane().is_some() && !task.has_started() => back.push(key),
                // It was said to run, so its bytes are gone.
                _ => self.finish(key, Outcome::refused(&Bytes::from(texts::given_back(id)))),
            }
        }
        self.state.publish(id);
        self.put_back(&back);
        self.spread_all(&back);
        self.feed_thieves(id);
        self.feed(id);
    }
}
