//! Values of engines, found by number without a hash.
//!
//! Engines are numbered one after the other and never twice, so the living ones lie close
//! together: a queue with one place per number from the lowest to the highest holds them all.

use std::collections::VecDeque;

use crate::wire::EngineId;

/// A map from engines; memory grows with the distance of the lowest from the highest.
pub(crate) struct Span<T> {
    /// The number of the first place.
    base: u32,
    places: VecDeque<Option<T>>,
}

impl<T> Default for Span<T> {
    fn default() -> Self {
        Self { base: 0, places: VecDeque::new() }
    }
}

impl<T> Span<T> {
    fn at(&self, id: EngineId) -> Option<usize> {
        Some(id.0.checked_sub(self.base)? as usize)
    }

    pub(crate) fn get(&self, id: EngineId) -> Option<&T> {
        self.places.get(self.at(id)?)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, id: EngineId) -> Option<&mut T> {
        let at = self.at(id)?;
        self.places.get_mut(at)?.as_mut()
    }

    /// Enters a value, in place of an older one if there is one.
    pub(crate) fn insert(&mut self, id: EngineId, value: T) {
        if self.places.is_empty() {
            self.base = id.0;
        }
        while self.base > id.0 {
            self.base -= 1;
            self.places.push_front(None);
        }
        let at = (id.0 - self.base) as usize;
        while self.places.len() <= at {
            self.places.push_back(None);
        }
        self.places[at] = Some(value);
    }

    pub(crate) fn remove(&mut self, id: EngineId) -> Option<T> {
        let at = self.at(id)?;
        let value = self.places.get_mut(at)?.take();
        while let Some(None) = self.places.front() {
            self.places.pop_front();
            self.base += 1;
        }
        while let Some(None) = self.places.back() {
            self.places.pop_back();
        }
        value
    }

    /// Every value, by number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (EngineId, &T)> {
        let all = (self.base..).zip(&self.places);
        all.filter_map(|(id, value)| Some((EngineId(id), value.as_ref()?)))
    }
}
