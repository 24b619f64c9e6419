//! Functions: sent by clients once, sent to each engine once, dropped when nobody needs them.
//!
//! A function is needed by every client that put it and has neither taken that back nor gone, and
//! by every unfinished task that names it.

use bytes::Bytes;

use crate::wire::{EngineId, FuncId};

use super::hash::{Map, Set};
use super::slab::Slab;

/// One function.
pub(crate) struct Func {
    pub(crate) id: FuncId,
    /// Its pickle.
    pub(crate) body: Bytes,
    /// Unfinished tasks that name it.
    pub(crate) tasks: u64,
    /// Clients that put it.
    pub(crate) owners: u32,
    /// Engines it was sent to.
    pub(crate) known: Set<EngineId>,
}

/// All functions, by key and by name.
#[derive(Default)]
pub(crate) struct Funcs {
    slab: Slab<Func>,
    index: Map<FuncId, u32>,
}

impl Funcs {
    pub(crate) fn find(&self, id: FuncId) -> Option<u32> {
        self.index.get(&id).copied()
    }

    /// The key of a function, which is entered with this body if it is new.
    pub(crate) fn enter(&mut self, id: FuncId, body: Bytes) -> u32 {
        if let Some(key) = self.find(id) {
            return key;
        }
        let key = self.slab.insert(Func { id, body, tasks: 0, owners: 0, known: Set::default() });
        self.index.insert(id, key);
        key
    }

    /// Takes out a function that nobody needs; `None` if somebody does.
    pub(crate) fn drop_unneeded(&mut self, key: u32) -> Option<Func> {
        let func = &self.slab[key];
        if func.tasks > 0 || func.owners > 0 {
            return None;
        }
        let func = self.slab.remove(key);
        self.index.remove(&func.id);
        Some(func)
    }

    /// The pickle of a function that is known.
    pub(crate) fn body(&self, id: FuncId) -> Option<&Bytes> {
        self.find(id).map(|key| &self.slab[key].body)
    }

    pub(crate) fn get_mut(&mut self, key: u32) -> &mut Func {
        &mut self.slab[key]
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Func)> {
        self.slab.iter()
    }
}
