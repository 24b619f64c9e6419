//! Engines that came near the memory they may have, until a person is told: each once, and again only
//! after the controller said that it was far from it.
//!
//! The I/O thread enters, a thread of the user takes and tells. So at most one alarm per engine waits, and
//! of engines that come and go while nobody takes any only the latest.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::core::Core;
use crate::wire::{EngineId, EngineInfo};

/// An engine that came near the memory it may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// The engine.
    pub engine: EngineInfo,
    /// Bytes of its process that were in memory.
    pub used: u64,
    /// Bytes that it and others in its control groups may use.
    pub allowed: u64,
}

/// Alarms that may wait.
const UNTOLD: usize = 64;

/// See the head of this file.
#[derive(Default)]
pub(super) struct Alarms {
    /// Whether any waits: a look at this is all that a wait pays.
    any: AtomicBool,
    books: Mutex<Books>,
}

#[derive(Default)]
struct Books {
    near: HashSet<EngineId>,
    untold: BTreeMap<EngineId, Alarm>,
}

impl Alarms {
    /// The engine is near.
    pub(super) fn enter(&self, alarm: Alarm) {
        let mut books = self.books.lock();
        let id = alarm.engine.id;
        if books.near.insert(id) {
            books.untold.insert(id, alarm);
            if books.untold.len() > UNTOLD {
                books.untold.pop_first();
            }
            self.any.store(true, Ordering::Release);
        }
    }

    /// It no longer is. That it was is told all the same, in case nobody waited meanwhile.
    pub(super) fn relax(&self, engine: EngineId) {
        self.books.lock().near.remove(&engine);
    }

    fn take(&self) -> Vec<Alarm> {
        if !self.any.load(Ordering::Acquire) {
            return Vec::new();
        }
        let mut books = self.books.lock();
        self.any.store(false, Ordering::Release);
        std::mem::take(&mut books.untold).into_values().collect()
    }

    /// Only these are there.
    pub(super) fn retain(&self, engines: &[EngineInfo]) {
        let mut books = self.books.lock();
        if !books.near.is_empty() {
            books.near.retain(|id| engines.iter().any(|engine| engine.id == *id));
        }
    }
}

impl Core {
    /// What a person has not been told of yet, by engine.
    pub fn take_alarms(&self) -> Vec<Alarm> {
        self.alarms.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::SessionId;

    fn alarm(engine: u32, used: u64) -> Alarm {
        let (id, session, host) = (EngineId(engine), SessionId([1; 16]), "here".to_owned());
        Alarm { engine: EngineInfo { id, session, pid: 7, host }, used, allowed: 100 }
    }

    fn take(alarms: &Alarms) -> Vec<(u32, u64)> {
        alarms.take().into_iter().map(|alarm| (alarm.engine.id.0, alarm.used)).collect()
    }

    #[test]
    fn each_engine_is_told_once_and_again_after_it_was_far_or_is_another() {
        let alarms = Alarms::default();
        for alarm in [alarm(3, 80), alarm(1, 81), alarm(3, 90)] {
            alarms.enter(alarm);
        }
        assert_eq!(take(&alarms), [(1, 81), (3, 80)]);
        alarms.enter(alarm(3, 95));
        assert_eq!(take(&alarms), []);
        alarms.relax(EngineId(3));
        alarms.enter(alarm(3, 85));
        assert_eq!(take(&alarms), [(3, 85)]);
        alarms.retain(&[alarm(1, 0).engine]);
        for alarm in [alarm(1, 99), alarm(3, 99)] {
            alarms.enter(alarm);
        }
        assert_eq!(take(&alarms), [(3, 99)], "after a controller that knew it no longer");
    }

    #[test]
    fn of_engines_that_come_and_go_the_latest_are_told() {
        let alarms = Alarms::default();
        (0..200).for_each(|engine| alarms.enter(alarm(engine, 80)));
        let told = take(&alarms);
        assert_eq!((told.len(), told[0]), (UNTOLD, (200 - UNTOLD as u32, 80)));
    }

    #[test]
    fn what_nobody_took_is_one_for_each_engine_and_told_though_it_is_over() {
        let alarms = Alarms::default();
        for used in 80..100 {
            alarms.enter(alarm(0, used));
            alarms.relax(EngineId(0));
        }
        assert_eq!(take(&alarms), [(0, 99)]);
    }
}
