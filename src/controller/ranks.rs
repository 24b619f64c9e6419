//! Engines in the order of a small number, with every operation in constant time.
//!
//! One chain of engines per rank, and one bit per rank that says whether the chain is empty. Among
//! engines of one rank the one that has had it longest comes first.

use crate::wire::EngineId;

use super::hash::Map;

/// The largest rank; larger ones count as this.
pub(crate) const RANK_MAX: u32 = 1023;

#[derive(Clone, Copy)]
struct Node {
    rank: u32,
    prev: Option<EngineId>,
    next: Option<EngineId>,
}

#[derive(Clone, Copy, Default)]
struct Chain {
    head: Option<EngineId>,
    tail: Option<EngineId>,
}

/// See the head of this file.
#[derive(Default)]
pub(crate) struct Ranks {
    nodes: Map<EngineId, Node>,
    chains: Vec<Chain>,
    used: Vec<u64>,
}

impl Ranks {
    /// The rank of an engine, if it has one.
    pub(crate) fn get(&self, engine: EngineId) -> Option<u32> {
        self.nodes.get(&engine).map(|node| node.rank)
    }

    /// Gives an engine a rank, or takes it away.
    pub(crate) fn set(&mut self, engine: EngineId, rank: Option<u32>) {
        let rank = rank.map(|rank| rank.min(RANK_MAX));
        let old = self.get(engine);
        if old == rank {
            return;
        }
        if old.is_some() {
            self.unlink(engine);
        }
        if let Some(rank) = rank {
            self.append(engine, rank);
        }
    }

    /// The first engine of the lowest rank.
    pub(crate) fn first(&self) -> Option<EngineId> {
        let (word, bits) = self.used.iter().enumerate().find(|(_, bits)| **bits != 0)?;
        self.chains[word * 64 + bits.trailing_zeros() as usize].head
    }

    /// The first engine of the highest rank.
    pub(crate) fn last(&self) -> Option<EngineId> {
        let (word, bits) = self.used.iter().enumerate().rfind(|(_, bits)| **bits != 0)?;
        self.chains[word * 64 + 63 - bits.leading_zeros() as usize].head
    }

    /// Every engine with its rank, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (EngineId, u32)> {
        self.nodes.iter().map(|(engine, node)| (*engine, node.rank))
    }

    fn append(&mut self, engine: EngineId, rank: u32) {
        let at = rank as usize;
        if self.chains.len() <= at {
            self.chains.resize(at + 1, Chain::default());
            self.used.resize(at / 64 + 1, 0);
        }
        let prev = self.chains[at].tail.replace(engine);
        match prev {
            Some(prev) => self.node(prev).next = Some(engine),
            None => self.chains[at].head = Some(engine),
        }
        self.used[at / 64] |= 1 << (at % 64);
        self.nodes.insert(engine, Node { rank, prev, next: None });
    }

    fn unlink(&mut self, engine: EngineId) {
        let Some(Node { rank, prev, next }) = self.nodes.remove(&engine) else { return };
        let at = rank as usize;
        match prev {
            Some(prev) => self.node(prev).next = next,
            None => self.chains[at].head = next,
        }
        match next {
            Some(next) => self.node(next).prev = prev,
            None => self.chains[at].tail = prev,
        }
        if self.chains[at].head.is_none() {
            self.used[at / 64] &= !(1 << (at % 64));
        }
    }

    fn node(&mut self, engine: EngineId) -> &mut Node {
        self.nodes.get_mut(&engine).expect("a neighbour in a chain has a node")
    }
}
