//! Finding what belongs to a task by the task's name.
//!
//! Clients number their tasks one after the other, so a page of places for neighbours costs four
//! bytes per task and is looked up in the cache; a task whose neighbours are gone holds on to one
//! page of them.

use super::hash::Map;
use crate::wire::{ClientId, TaskId};

/// Places per page.
const PAGE: u64 = 64;
/// What stands in an empty place; never a number.
const NONE: u32 = u32::MAX;

struct Page {
    used: u32,
    places: [u32; PAGE as usize],
}

/// A map from tasks to numbers.
#[derive(Default)]
pub(crate) struct Index {
    pages: Map<(ClientId, u64), Box<Page>>,
}

fn place(id: TaskId) -> ((ClientId, u64), usize) {
    ((id.client, id.seq / PAGE), (id.seq % PAGE) as usize)
}

impl Index {
    pub(crate) fn get(&self, id: TaskId) -> Option<u32> {
        let (page, at) = place(id);
        let number = self.pages.get(&page)?.places[at];
        (number != NONE).then_some(number)
    }

    /// Enters the number of a task that has none.
    pub(crate) fn insert(&mut self, id: TaskId, number: u32) {
        let (page, at) = place(id);
        let empty = || Box::new(Page { used: 0, places: [NONE; PAGE as usize] });
        let page = self.pages.entry(page).or_insert_with(empty);
        page.used += 1;
        page.places[at] = number;
    }

    pub(crate) fn remove(&mut self, id: TaskId) -> Option<u32> {
        let (key, at) = place(id);
        let page = self.pages.get_mut(&key)?;
        let number = std::mem::replace(&mut page.places[at], NONE);
        if number == NONE {
            return None;
        }
        page.used -= 1;
        if page.used == 0 {
            self.pages.remove(&key);
            if self.pages.is_empty() && self.pages.capacity() > 1024 {
                self.pages = Map::default();
            }
        }
        Some(number)
    }

    /// Whether no page is left; for tests.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }
}
