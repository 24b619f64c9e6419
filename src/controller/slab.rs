//! Records under small numbers: dense, reused, without a hash.

use std::ops::{Index, IndexMut};

/// A vector with holes; a freed number is given again.
pub(crate) struct Slab<T> {
    records: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { records: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    /// Stores a record and says its number.
    pub(crate) fn insert(&mut self, record: T) -> u32 {
        if let Some(number) = self.free.pop() {
            self.records[number as usize] = Some(record);
            return number;
        }
        self.records.push(Some(record));
        (self.records.len() - 1) as u32
    }

    /// Takes a record out. Memory goes back when the last one leaves, so that one large map does
    /// not mark the process for good.
    pub(crate) fn remove(&mut self, number: u32) -> T {
        let record = self.records[number as usize].take().expect("a number in use");
        self.free.push(number);
        if self.free.len() == self.records.len() && self.free.len() > 4096 {
            *self = Self::default();
        }
        record
    }

    /// The record, if this number is in use.
    pub(crate) fn get(&self, number: u32) -> Option<&T> {
        self.records.get(number as usize)?.as_ref()
    }

    /// How many records there are.
    pub(crate) fn len(&self) -> usize {
        self.records.len() - self.free.len()
    }

    /// All records, in the order of their numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.records
            .iter()
            .enumerate()
            .filter_map(|(number, record)| Some((number as u32, record.as_ref()?)))
    }
}

impl<T> Index<u32> for Slab<T> {
    type Output = T;

    fn index(&self, number: u32) -> &T {
        self.records[number as usize].as_ref().expect("a number in use")
    }
}

impl<T> IndexMut<u32> for Slab<T> {
    fn index_mut(&mut self, number: u32) -> &mut T {
        self.records[number as usize].as_mut().expect("a number in use")
    }
}
