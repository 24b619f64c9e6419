//! What engines say about their tasks. Only the engine that holds a task may speak for it; what
//! any other says of it is late or twice, and dropped.

use bytes::Bytes;

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
            FromEngine::Started { id, at } => self.on_started(engine, id, at),
            FromEngine::Progress { id, done } => {
                self.forward(engine, id, &parts, |seq| ToClient::Progress { seq, done });
            }
            FromEngine::Output { id, stream } => {
                self.forward(engine, id, &parts, |seq| ToClient::Output { seq, stream });
            }
            FromEngine::Result { id, status, started, completed } => {
                let outcome = Outcome { status, engine: Some(engine), started, completed, parts };
                self.on_result(engine, id, outcome);
            }
            FromEngine::Returned(ids) => self.on_returned(engine, &ids),
        }
    }

    /// A task, if this engine holds it: nobody else may speak for it.
    fn held(&self, engine: EngineId, id: TaskId) -> Option<TaskKey> {
        let key = self.state.tasks.find(id)?;
        (self.state.tasks.get(key).engine == Some(engine)).then_some(key)
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
        let watchers = state.tasks.get(key).watchers.as_deref().into_iter().flatten();
        let hearers = watchers.map(|watcher| (watcher.client, watcher.seq));
        for (client, seq) in std::iter::once((id.client, id.seq)).chain(hearers) {
            if state.clients.is_alive(client) {
                let message = Message { head: head(seq), parts: parts.clone() };
                self.out.push(Effect::ToClient(client, message));
            }
        }
    }

    fn on_started(&mut self, engine: EngineId, id: TaskId, at: Stamp) {
        let Some(key) = self.held(engine, id) else { return };
        let task = self.state.tasks.get_mut(key);
        task.started = at.max(1);
        // It will not be sent again, so its bytes need not stay here.
        task.parts = Parts::new();
        self.state.refresh(key);
        self.state.publish(engine);
        self.forward(engine, id, &Parts::new(), |seq| ToClient::Started { seq, engine, at });
    }

    fn on_result(&mut self, id: EngineId, task: TaskId, outcome: Outcome) {
        let Some(key) = self.held(id, task) else {
            self.state.duplicates += 1;
            return;
        };
        self.release(key);
        let state = &mut *self.state;
        let engine = state.engines.live(id);
        engine.completed += 1;
        engine.stalled = false;
        if outcome.status != Status::Cancelled && outcome.started > 0 {
            engine.observe(
                outcome.completed.saturating_sub(outcome.started).max(0) as u64,
                &state.limits,
            );
        }
        let answered = engine.recalled == 0 && !engine.thieves.is_empty();
        self.finish(key, outcome);
        if answered {
            self.state.publish(id);
            self.feed_thieves(id);
        }
        self.feed(id);
    }

    /// Puts recalled tasks at the front of their queues, oldest first. A task that was not asked
    /// for is ignored: most likely the answer came twice and the task was given again since.
    fn on_returned(&mut self, id: EngineId, ids: &[TaskId]) {
        let mut back = Vec::new();
        for task in ids {
            let asked = |key: &TaskKey| self.state.tasks.get(*key).recalled;
            let Some(key) = self.held(id, *task).filter(asked) else {
                self.state.ignored += 1;
                continue;
            };
            self.release(key);
            match self.state.tasks.get(key) {
                Task { cancelled: true, .. } => {
                    self.finish(key, Outcome::bare(Status::Cancelled, Some(id)));
                }
                Task { lane: Some(lane), started: 0, order, .. } => {
                    back.push((*order, *lane, key));
                }
                // It was said to run, so its bytes are gone.
                _ => self.finish(key, Outcome::refused(&Bytes::from(texts::given_back(id)))),
            }
        }
        self.state.publish(id);
        back.sort_unstable_by_key(|(order, ..)| *order);
        for (_, lane, key) in back.iter().rev() {
            let state = &mut *self.state;
            state.lanes.get_mut(*lane).queue.push_front(&mut state.tasks, *key);
        }
        let mut lanes: Vec<_> = back.iter().map(|(_, lane, _)| *lane).collect();
        lanes.sort_unstable();
        lanes.dedup();
        for lane in lanes {
            self.spread(lane);
        }
        self.feed_thieves(id);
        self.feed(id);
    }
}
