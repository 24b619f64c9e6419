//! The audit of the books: every invariant, counted anew. For tests and simulations.

use std::collections::BTreeSet;

use crate::wire::EngineId;

use super::clients::Client;
use super::engines::Engine;
use super::hash::{Map, Set};
use super::lanes::ANY;
use super::outcomes::{Kept, Standing};
use super::state::State;
use super::tasks::{List, TaskKey};

impl State {
    pub(crate) fn check(&self) {
        let mut listed = 0;
        for engine in self.engines.iter() {
            listed += self.check_engine(engine);
        }
        listed += self.check_lanes();
        listed += self.parked.values().map(|list| self.count(list, None, None)).sum::<usize>();
        for (client, list) in &self.parked {
            let parked = |key| self.tasks.get(key).is_parked();
            let comes = self.clients.is_alive(*client) || self.clients.is_awaited(*client);
            assert!(comes, "only of who may take something are tasks parked");
            assert!(list.iter(&self.tasks).all(parked), "a parked task knows it");
        }
        for list in self.waiting_lists() {
            listed += self.count(list, None, None);
            assert!(list.iter(&self.tasks).all(|key| self.tasks.get(key).is_waiting()));
        }
        assert_eq!(listed, self.tasks.len(), "every task stands in one list");
        self.check_ready();
        self.check_movable();
        self.check_funcs();
        self.check_clients();
        self.check_deserted();
        assert_eq!(self.outcomes.totals(), self.outcomes.recount(), "what is kept is counted");
    }

    fn count(&self, list: &List, engine: Option<EngineId>, lane: Option<u32>) -> usize {
        let keys: Vec<TaskKey> = list.iter(&self.tasks).collect();
        let mut back: Vec<TaskKey> = list.iter_back(&self.tasks).collect();
        back.reverse();
        assert_eq!(keys, back, "a list reads the same from both ends");
        assert_eq!(keys.len(), list.len() as usize, "a list knows its length");
        for key in &keys {
            let task = self.tasks.get(*key);
            assert_eq!(task.engine(), engine, "a task knows who holds it");
            assert!(lane.is_none() || lane == task.lane(), "a task knows its lane");
            assert_eq!(self.tasks.find(task.id), Some(*key), "a task is found by its id");
        }
        keys.len()
    }

    fn check_engine(&self, engine: &Engine) -> usize {
        let id = engine.cold.info.id;
        let direct = self.count(&engine.direct(), Some(id), None);
        let balanced = self.count(&engine.balanced, Some(id), None);
        assert!(engine.direct().iter(&self.tasks).all(|key| self.tasks.get(key).is_direct()));
        assert!(engine.balanced.iter(&self.tasks).all(|key| !self.tasks.get(key).is_direct()));
        let held = engine.holds(&self.tasks);
        assert_eq!(engine.front, held.first().copied().unwrap_or(TaskKey::NONE), "the front");
        let recalled = held.iter().filter(|key| self.tasks.get(**key).recalled).count();
        assert_eq!(recalled, engine.cold.recalled as usize, "recalled tasks are counted");
        if let Some(victim) = engine.asked() {
            let victim = self.engines.get(victim).expect("the engine asked lives");
            assert!(victim.cold.thieves.contains(&id), "the engine asked knows for whom");
            assert!(victim.cold.recalled > 0, "there is an answer to wait for");
            assert_eq!(engine.held(), 0, "an engine that waits for an answer has nothing to do");
        } else if engine.held() == 0 && !engine.is_draining() {
            for lane in engine.cold.lanes.iter().chain([&ANY]) {
                let loaded = self.lanes.get(*lane).movable.last();
                assert_eq!(loaded, None, "engine {id} is not idle while another has its work");
            }
        }
        for thief in &engine.cold.thieves {
            let thief = self.engines.get(*thief).expect("whoever waits lives");
            assert_eq!(thief.asked(), Some(id), "whoever waits knows for whom");
        }
        direct + balanced
    }

    fn check_lanes(&self) -> usize {
        let mut named: Map<u32, u64> = Map::default();
        for (_, task) in self.tasks.iter() {
            if let Some(lane) = task.lane() {
                *named.entry(lane).or_default() += 1;
            }
        }
        let mut queued = 0;
        for (at, lane) in self.lanes.iter() {
            queued += self.count(&lane.queue, None, Some(at));
            assert_eq!(lane.tasks, named.get(&at).copied().unwrap_or(0), "a lane counts its tasks");
            if at != ANY {
                assert!(lane.tasks > 0, "a lane without tasks is closed");
                let awaited = lane.asked.iter().any(|engine| self.awaits(*engine));
                assert!(awaited || !lane.engines.is_empty(), "a lane without engines is closed");
                assert_eq!(self.lanes.find(&lane.asked), Some(at), "a lane is found by its set");
            }
            for engine in &lane.engines {
                let engine = self.engines.get(*engine).expect("a lane names the living");
                assert!(engine.cold.lanes.contains(&at), "an engine knows its lanes");
            }
        }
        queued
    }

    fn check_ready(&self) {
        for engine in self.engines.iter() {
            let id = engine.cold.info.id;
            let room = engine.has_room().then_some(engine.held());
            assert_eq!(self.ready.get(id), room, "engine {id} is ranked by what it holds");
            if room.is_none() {
                continue;
            }
            assert!(self.lanes.get(ANY).queue.is_empty(), "nothing waits while {id} has room");
            for lane in &engine.cold.lanes {
                assert!(self.lanes.get(*lane).queue.is_empty(), "nothing waits for {id}");
            }
        }
        assert!(self.ready.iter().all(|(id, _)| self.engines.get(id).is_some()));
    }

    fn check_movable(&self) {
        let mut counted: Map<(u32, EngineId), u32> = Map::default();
        for (key, task) in self.tasks.iter() {
            let (Some(id), Some(lane)) = (task.engine(), task.lane()) else {
                assert!(!task.movable && !task.recalled, "only a held task may be taken back");
                continue;
            };
            let front = self.engines.get(id).is_some_and(|engine| engine.front == key);
            let marked = task.is_free() && (!front || lane == ANY);
            assert_eq!(task.movable, marked, "what may be taken back is marked");
            if task.movable && !front {
                *counted.entry((lane, id)).or_default() += 1;
            }
        }
        for (at, lane) in self.lanes.iter() {
            for (id, count) in lane.movable.iter() {
                assert_eq!(counted.remove(&(at, id)), Some(count), "and counted");
            }
        }
        assert!(counted.is_empty(), "and counted everywhere");
        for engine in self.engines.iter() {
            let ranked = self.lanes.get(ANY).movable.get(engine.cold.info.id).unwrap_or(0);
            assert_eq!(engine.movable(), ranked, "what may be taken back is published");
        }
    }

    fn check_funcs(&self) {
        for (key, func) in self.funcs.iter() {
            let tasks = self.tasks.iter().filter(|(_, task)| task.func == key).count();
            assert_eq!(func.tasks, tasks as u64, "a function counts its tasks");
            let owns = |funcs: &Set<u32>| funcs.contains(&key);
            let owners = self.clients.iter().filter(|(_, client)| owns(&client.funcs)).count();
            assert_eq!(func.owners as usize, owners, "a function counts its owners");
            assert!(tasks + owners > 0, "a function nobody needs is dropped");
            for engine in self.engines.iter() {
                let known = func.known.contains(&engine.cold.info.id);
                assert_eq!(known, owns(&engine.cold.funcs), "who knows a function is known");
                assert!(known || engine.recent_func() != Some(key), "nobody guesses wrong");
            }
        }
    }

    fn check_clients(&self) {
        for (id, client) in self.clients.iter() {
            let pending = self.tasks.iter().filter(|(_, task)| task.id.client == id).count();
            let kept = self.outcomes.iter().filter(|(task, _)| task.client == id).count();
            assert_eq!(client.known, (pending + kept) as u64, "a client's tasks are counted");
            let awaited = client.awaited.is_some();
            assert!(client.alive || client.known > 0 || awaited, "a client of no use is dropped");
            assert!(!awaited || !client.alive, "who is there is not waited for");
            assert!(client.alive || client.returning.is_none(), "who is gone submits nothing");
            assert!(self.clients.of_session(client.session).any(|other| other == id));
        }
        let until = |(id, client): (_, &Client)| Some((client.awaited?, id));
        let awaited = self.clients.iter().filter_map(until);
        assert_eq!(awaited.collect::<BTreeSet<_>>(), self.awaited, "it is known who is waited for");
        for id in self.receipts.iter().flat_map(Map::keys) {
            let orphan = |kept: &Kept| kept.standing == Standing::Orphan;
            let here = self.clients.is_alive(id.client);
            let kept = self.outcomes.get(*id).is_some_and(orphan);
            assert!(here || kept, "engines keep no more for who is gone than there is here");
        }
    }
}
