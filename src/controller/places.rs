//! The places on one engine's page of the ledger: which task stands in which, which may be used
//! again, and what is to be written.
//!
//! A place is used again when its task's outcome has arrived at its client; until then the old words
//! stay, which does no harm, since nobody asks for that task any more. What the engine gave back is
//! struck out at once: it is given to others. The page of an engine that came back goes on with
//! what it was given before, as far as that had come to it, since its outcomes may not have arrived;
//! once it has told which those are, the rest is struck out.

use std::hash::Hash;

use super::hash::{Map, Set};
use crate::wire::TaskId;

/// What stands in a place: ticket, task and attempt.
pub(crate) type Entry = (u64, TaskId, u16);

/// See the head of this file.
pub(crate) struct Places<Key = u64> {
    /// Where the tasks stand that the engine holds, by ticket; elsewhere by something else.
    held: Map<Key, u32>,
    free: Vec<u32>,
    /// Places there are.
    len: u32,
    /// What is to be written, by place; `None` strikes out.
    dirty: Vec<(u32, Option<Entry>)>,
    /// What was given before the engine came back and is not told yet.
    before: Vec<(u64, TaskId)>,
}

impl<Key> Default for Places<Key> {
    fn default() -> Self {
        let (held, free, len) = (Map::default(), Vec::new(), 0);
        Self { held, free, len, dirty: Vec::new(), before: Vec::new() }
    }
}

impl<Key: Eq + Hash> Places<Key> {
    /// So many places, in which these stand.
    pub(crate) fn stand(held: Map<Key, u32>, len: u32) -> Self {
        let used: Set<u32> = held.values().copied().collect();
        let free = (0..len).rev().filter(|place| !used.contains(place)).collect();
        Self { held, free, len, ..Self::default() }
    }

    /// This is to stand in the place of this key, which may have one.
    pub(crate) fn put(&mut self, key: Key, entry: Entry) {
        let (free, len) = (&mut self.free, &mut self.len);
        let place = self.held.entry(key).or_insert_with(|| {
            free.pop().unwrap_or_else(|| {
                *len += 1;
                *len - 1
            })
        });
        self.dirty.push((*place, Some(entry)));
    }

    /// Nobody will ask any more what became of what stands there.
    pub(crate) fn settle(&mut self, key: Key) {
        self.free.extend(self.held.remove(&key));
    }

    /// Whether anything is to be written.
    pub(crate) fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// What is to be written, in order of the places.
    pub(crate) fn take_dirty(&mut self) -> Vec<(u32, Option<Entry>)> {
        let mut dirty = std::mem::take(&mut self.dirty);
        // Stable: what was said last of a place comes last.
        dirty.sort_by_key(|(place, _)| *place);
        dirty
    }

    /// It could not be written; nothing was said since.
    pub(crate) fn is_still_dirty(&mut self, dirty: Vec<(u32, Option<Entry>)>) {
        self.dirty = dirty;
    }
}

impl Places {
    /// Those of an engine that came back: what stood there, the highest ticket that had come to it,
    /// and what it runs.
    pub(crate) fn again(stood: &[Entry], ticket: u64, running: Option<Entry>) -> Self {
        let mut places = Self::default();
        let came = stood.iter().copied().filter(|(number, ..)| *number <= ticket);
        let runs = |number: u64| running.is_some_and(|(at, ..)| at == number);
        for entry in came.filter(|(number, ..)| !runs(*number)) {
            let (number, id, _) = entry;
            places.before.push((number, id));
            places.give(entry);
        }
        if let Some(entry) = running {
            places.give(entry);
        }
        places
    }

    /// A task is about to be given to the engine.
    pub(crate) fn give(&mut self, entry: Entry) {
        self.put(entry.0, entry);
    }

    /// The engine gave back what was given with this ticket, and did not begin it.
    pub(crate) fn take_back(&mut self, ticket: u64) {
        let Some(place) = self.held.remove(&ticket) else { return };
        self.free.push(place);
        self.dirty.push((place, None));
    }

    /// The engine came back and has these outcomes: of what else it was given it began nothing.
    pub(crate) fn told(&mut self, ids: &[TaskId]) {
        let ids: Set<_> = ids.iter().collect();
        for (ticket, id) in std::mem::take(&mut self.before) {
            if !ids.contains(&id) {
                self.take_back(ticket);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ClientId;

    const fn entry(ticket: u64) -> Entry {
        (ticket, TaskId { client: ClientId(1), seq: 10 * ticket }, 1)
    }

    #[test]
    fn what_could_not_be_written_is_written_later_and_before_what_came_since() {
        let mut places = Places::default();
        places.give(entry(1));
        let dirty = places.take_dirty();
        assert!(!places.is_dirty());
        places.is_still_dirty(dirty);
        places.take_back(1);
        assert_eq!(places.take_dirty(), [(0, Some(entry(1))), (0, None)]);
    }

    #[test]
    fn an_engine_that_came_back_keeps_on_its_page_what_it_may_tell() {
        let stood = [1, 2, 3, 9].map(entry);
        let mut places = Places::again(&stood, 5, Some(entry(3)));
        // The last never came to it, and its ticket may be given anew.
        let all: Vec<_> = places.take_dirty().into_iter().filter_map(|(_, entry)| entry).collect();
        assert_eq!(all, [1, 2, 3].map(entry));
        places.told(&[entry(2).1]);
        assert_eq!(places.take_dirty(), [(0, None)], "it did not begin the first");
        places.told(&[]);
        assert!(!places.is_dirty(), "what it runs and what it told stay");
        places.settle(2);
        places.give(entry(6));
        assert_eq!(places.take_dirty(), [(1, Some(entry(6)))]);
    }
}
