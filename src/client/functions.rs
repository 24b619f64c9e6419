//! Which functions the controller knows by name, least recently used first out.
//!
//! It is looked at and changed under the lock that orders what is sent. So a call that finds its
//! function here needs nothing more: no other thread can have it forgotten before the call is
//! queued, and after that the controller keeps it. Who sends in several steps pins it meanwhile.

use std::collections::HashMap;

use bytes::Bytes;

use crate::wire::FuncId;

/// How many are kept, and how many bytes of pickles; a single larger one is kept while in use.
const MAX_COUNT: usize = 4096;
const MAX_BYTES: usize = 64 << 20;

struct Known {
    size: usize,
    /// Its pickle, if it may have to be made known again.
    body: Option<Bytes>,
    /// Submissions that are being made with it.
    pins: u32,
    /// When it was last used, in uses.
    used: u64,
}

/// See the head of this file.
pub(crate) struct Functions {
    known: HashMap<FuncId, Known>,
    bytes: usize,
    uses: u64,
    max_count: usize,
    max_bytes: usize,
    /// Whether bodies are kept.
    keeps: bool,
}

impl Default for Functions {
    fn default() -> Self {
        Self::bounded(MAX_COUNT, MAX_BYTES)
    }
}

impl Functions {
    fn bounded(max_count: usize, max_bytes: usize) -> Self {
        let keeps = false;
        Self { known: HashMap::new(), bytes: 0, uses: 0, max_count, max_bytes, keeps }
    }

    /// Keeps the pickles of what is known, to make it known to another controller.
    pub(crate) fn keeping(self) -> Self {
        Self { keeps: true, ..self }
    }

    /// The pickle of a known function, if it is kept.
    pub(crate) fn body(&self, func: FuncId) -> Option<Bytes> {
        self.known.get(&func)?.body.clone()
    }

    /// All that are known, with their pickles, as far as these are kept.
    pub(crate) fn bodies(&self) -> impl Iterator<Item = (FuncId, Bytes)> {
        self.known.iter().filter_map(|(func, known)| Some((*func, known.body.clone()?)))
    }

    /// Notes a use; says whether the function is known.
    pub(crate) fn touch(&mut self, func: FuncId) -> bool {
        self.uses += 1;
        let found = self.known.get_mut(&func);
        found.map(|known| known.used = self.uses).is_some()
    }

    /// Enters a function that was just made known. Gives those that are to be forgotten for it.
    pub(crate) fn enter(&mut self, func: FuncId, body: &Bytes) -> Vec<FuncId> {
        self.uses += 1;
        let size = body.len();
        let body = self.keeps.then(|| body.clone());
        self.known.insert(func, Known { size, body, pins: 0, used: self.uses });
        self.bytes += size;
        let mut forgotten = Vec::new();
        while self.known.len() > self.max_count || self.bytes > self.max_bytes {
            let others = self.known.iter().filter(|(id, known)| **id != func && known.pins == 0);
            let oldest = others.min_by_key(|(_, known)| known.used).map(|(id, _)| *id);
            let Some(oldest) = oldest else { break };
            self.remove(oldest);
            forgotten.push(oldest);
        }
        forgotten
    }

    fn remove(&mut self, func: FuncId) {
        if let Some(known) = self.known.remove(&func) {
            self.bytes -= known.size;
        }
    }

    /// Keeps a known function until it is unpinned as often.
    pub(crate) fn pin(&mut self, func: FuncId) {
        if let Some(known) = self.known.get_mut(&func) {
            known.pins += 1;
        }
    }

    pub(crate) fn unpin(&mut self, func: FuncId) {
        if let Some(known) = self.known.get_mut(&func) {
            known.pins -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn func(number: u8) -> FuncId {
        FuncId([number; 16])
    }

    /// Those that a use has forgotten.
    fn used(functions: &mut Functions, number: u8, size: usize) -> Vec<FuncId> {
        if functions.touch(func(number)) {
            return Vec::new();
        }
        functions.enter(func(number), &vec![0; size].into())
    }

    #[test]
    fn the_least_recently_used_function_is_forgotten_first() {
        let mut functions = Functions::bounded(2, 100);
        let forgotten: Vec<_> =
            [1, 2, 1, 3].into_iter().flat_map(|n| used(&mut functions, n, 1)).collect();
        assert_eq!(forgotten, [func(2)]);
        assert_eq!(used(&mut functions, 2, 1), [func(1)]);
    }

    #[test]
    fn a_function_in_use_is_not_forgotten() {
        let mut functions = Functions::bounded(1, 100);
        used(&mut functions, 1, 1);
        functions.pin(func(1));
        assert_eq!(used(&mut functions, 2, 1), []);
        functions.unpin(func(1));
        assert_eq!(used(&mut functions, 3, 1), [func(1), func(2)]);
    }

    #[test]
    fn the_size_of_all_pickles_is_bounded() {
        let mut functions = Functions::bounded(10, 10);
        assert_eq!(used(&mut functions, 1, 6), []);
        assert_eq!(used(&mut functions, 2, 4), []);
        assert_eq!(used(&mut functions, 3, 5), [func(1)]);
        assert!(functions.touch(func(2)));
        assert_eq!(used(&mut functions, 4, 50), [func(3), func(2)], "it is kept while in use");
    }
}
