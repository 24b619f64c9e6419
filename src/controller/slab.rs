//! Records under small numbers: dense, reused, without a hash.
//!
//! Records live in chunks that never move, so that a million of them are neither copied nor
//! reserved twice while they become more. The number freed last is given first: its memory is
//! still in the cache.

use std::ops::{Index, IndexMut};

/// Records per chunk.
const CHUNK: usize = 1024;

/// A vector with holes; a freed number is given again.
pub(crate) struct Slab<T> {
    chunks: Vec<Vec<Option<T>>>,
    free: Vec<u32>,
    len: usize,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { chunks: Vec::new(), free: Vec::new(), len: 0 }
    }
}

impl<T> Slab<T> {
    /// Stores a record and says its number.
    pub(crate) fn insert(&mut self, record: T) -> u32 {
        self.len += 1;
        if let Some(number) = self.free.pop() {
            self.chunks[number as usize / CHUNK][number as usize % CHUNK] = Some(record);
            return number;
        }
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            // The first one grows with its records: most slabs never have more than a few.
            let room = if self.chunks.is_empty() { 0 } else { CHUNK };
            self.chunks.push(Vec::with_capacity(room));
        }
        let before = (self.chunks.len() - 1) * CHUNK;
        let chunk = self.chunks.last_mut().expect("one with room was just made");
        chunk.push(Some(record));
        (before + chunk.len() - 1) as u32
    }

    /// Takes a record out. Memory goes back when the last one leaves, so that one large map does
    /// not mark the process for good.
    pub(crate) fn remove(&mut self, number: u32) -> T {
        let place = &mut self.chunks[number as usize / CHUNK][number as usize % CHUNK];
        let record = place.take().expect("a number in use");
        self.len -= 1;
        if self.len == 0 && self.chunks.len() > 4 {
            *self = Self::default();
        } else {
            self.free.push(number);
        }
        record
    }

    /// The record, if this number is in use.
    pub(crate) fn get(&self, number: u32) -> Option<&T> {
        self.chunks.get(number as usize / CHUNK)?.get(number as usize % CHUNK)?.as_ref()
    }

    /// How many records there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// All records, in the order of their numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        let all = self.chunks.iter().flatten().enumerate();
        all.filter_map(|(number, record)| Some((number as u32, record.as_ref()?)))
    }
}

impl<T> Index<u32> for Slab<T> {
    type Output = T;

    fn index(&self, number: u32) -> &T {
        self.get(number).expect("a number in use")
    }
}

impl<T> IndexMut<u32> for Slab<T> {
    fn index_mut(&mut self, number: u32) -> &mut T {
        let place = &mut self.chunks[number as usize / CHUNK][number as usize % CHUNK];
        place.as_mut().expect("a number in use")
    }
}
