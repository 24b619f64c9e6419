//! Questions of clients and their answers.

use crate::wire::message::{Run, runs};
use crate::wire::{
    ClientId, EngineId, Health, Message, Reply, Request, TaskId, ToClient, ToEngine,
};

use super::event::Effect;
use super::state::{State, Turn};
use super::texts;

impl Turn<'_> {
    pub(crate) fn on_request(&mut self, client: ClientId, id: u64, request: Request) {
        let mut stop = false;
        let body = match request {
            Request::QueueStatus => self.state.queue_status(),
            Request::History => Reply::History(self.state.history()),
            Request::Purge(tasks) => self.purge(tasks),
            Request::Shutdown(engines) => self.shut_down(&engines),
            Request::Restart(engines) => self.restart(&engines),
            Request::Signal(engines, signal) => self.signal(&engines, signal),
            Request::EngineStatus => {
                let health = self.health();
                self.out.push(Effect::TellHealth(client, id, health));
                return;
            }
            Request::Patience(patience) => {
                if let Some(client) = self.state.clients.alive(client) {
                    client.patience = patience;
                }
                Reply::Done
            }
            Request::Stop => {
                stop = true;
                Reply::Done
            }
        };
        self.tell_client(client, Message::bare(ToClient::Reply { id, body }));
        if stop {
            self.out.push(Effect::Stop);
        }
    }

    fn purge(&mut self, tasks: Option<Vec<Run>>) -> Reply {
        // What is kept is bounded, what is named is not.
        let named = tasks.map(|mut runs| {
            runs.sort_unstable();
            runs
        });
        let is_named = |id: &TaskId| {
            let Some(runs) = &named else { return true };
            let Some(of) = self.state.clients.session(id.client) else { return false };
            let after =
                runs.partition_point(|(session, first, _)| (*session, *first) <= (of, id.seq));
            let run = runs[..after].last();
            run.is_some_and(|(session, first, count)| *session == of && id.seq - first < *count)
        };
        let kept = self.state.outcomes.iter().map(|(id, _)| id);
        let ids: Vec<TaskId> = kept.filter(is_named).collect();
        self.drop_outcomes(|outcomes, _, dropped| {
            for id in ids {
                if let Some(kept) = outcomes.remove(id) {
                    dropped(id, &kept);
                }
            }
        });
        Reply::Done
    }

    /// What an engine has not started goes to others while it ends.
    pub(crate) fn shut_down(&mut self, engines: &[EngineId]) -> Reply {
        if let Some(refusal) = self.refuse_unknown(engines) {
            return refusal;
        }
        for id in engines {
            if self.state.engines.live(*id).drain() {
                continue;
            }
            self.state.publish(*id);
            self.recall(*id, |_| true, usize::MAX);
            self.tell_engine(*id, Message::bare(ToEngine::Shutdown));
        }
        Reply::Done
    }

    /// Every engine gives back what it has not begun, and ends.
    pub(crate) fn on_stopping(&mut self) {
        let engines: Vec<_> = self.state.engines.list().iter().map(|info| info.id).collect();
        self.shut_down(&engines);
    }

    /// As [`Turn::shut_down`], with another process in place of each.
    fn restart(&mut self, engines: &[EngineId]) -> Reply {
        let reply = self.shut_down(engines);
        if reply == Reply::Done {
            self.out.extend(engines.iter().copied().map(Effect::ReplaceEngine));
        }
        reply
    }

    fn health(&self) -> Vec<Health> {
        let engines = self.state.engines.iter().map(|engine| {
            let since = self.now.mono.saturating_sub(engine.front_since);
            let busy = (engine.held() > 0).then_some(since as f64 / 1e9);
            // As it said itself; whoever can look knows better.
            let said = engine.cold.scarce;
            Health {
                id: engine.cold.info.id,
                silent: 0.0,
                suspect: false,
                busy,
                memory: said.map(|usage| usage.used),
                memory_limit: said.map(|usage| usage.allowed),
                scarce: said.is_some(),
            }
        });
        engines.collect()
    }

    fn signal(&mut self, engines: &[EngineId], signal: i32) -> Reply {
        if let Some(refusal) = self.refuse_unknown(engines) {
            return refusal;
        }
        self.out.extend(engines.iter().map(|id| Effect::SignalEngine(*id, signal)));
        Reply::Done
    }

    /// All of the engines or none, so that a refused request has done nothing.
    fn refuse_unknown(&self, engines: &[EngineId]) -> Option<Reply> {
        let unknown = engines.iter().find(|id| self.state.engines.get(**id).is_none())?;
        Some(Reply::Refused(texts::no_engine(*unknown, self.state.engines.list())))
    }
}

impl State {
    fn queue_status(&self) -> Reply {
        let engines = self.engines.iter().map(|engine| {
            let (direct, balanced) = (engine.direct().len(), engine.balanced.len());
            (engine.cold.info.id, u64::from(direct), u64::from(balanced), engine.completed)
        });
        // Those that are about to come back are engines to everybody else.
        let absent = self.absent_engines().map(|(id, waiting)| (id, 0, waiting, 0));
        let mut engines: Vec<_> = engines.chain(absent).collect();
        engines.sort_unstable();
        Reply::QueueStatus(self.waiting(), engines)
    }

    fn history(&self) -> Vec<Run> {
        let pending = self.tasks.iter().map(|(_, task)| (task.order, task.id));
        let kept = self.outcomes.iter().map(|(id, kept)| (kept.order, id));
        let mut known: Vec<_> = pending.chain(kept).collect();
        known.sort_unstable();
        let named = |(_, id): (u64, TaskId)| Some((self.clients.session(id.client)?, id.seq));
        runs(known.into_iter().filter_map(named))
    }
}
