//! Engines in the order of a small number, with every operation in constant time.
//!
//! One chain of engines per rank, and one bit per rank that says whether the chain is empty. Among
//! engines of one rank the one that has had it longest comes first.

use crate::wire::EngineId;

use super::hash::Map;
use super::span::Span;

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

/// Where the nodes are: found without a hash if most engines have one, as few as there are if not.
enum Nodes {
    Few(Map<EngineId, Node>),
    Most(Span<Node>),
}

impl Nodes {
    fn get(&self, engine: EngineId) -> Option<&Node> {
        match self {
            Self::Few(map) => map.get(&engine),
            Self::Most(span) => span.get(engine),
        }
    }

    fn get_mut(&mut self, engine: EngineId) -> Option<&mut Node> {
        match self {
            Self::Few(map) => map.get_mut(&engine),
            Self::Most(span) => span.get_mut(engine),
        }
    }

    fn insert(&mut self, engine: EngineId, node: Node) {
        match self {
            Self::Few(map) => drop(map.insert(engine, node)),
            Self::Most(span) => span.insert(engine, node),
        }
    }

    fn remove(&mut self, engine: EngineId) -> Option<Node> {
        match self {
            Self::Few(map) => map.remove(&engine),
            Self::Most(span) => span.remove(engine),
        }
    }
}

/// See the head of this file.
pub(crate) struct Ranks {
    nodes: Nodes,
    chains: Vec<Chain>,
    used: Vec<u64>,
}

impl Ranks {
    /// For a few of the engines.
    pub(crate) fn few() -> Self {
        Self { nodes: Nodes::Few(Map::default()), chains: Vec::new(), used: Vec::new() }
    }

    /// For all engines or most of them.
    pub(crate) fn most() -> Self {
        Self { nodes: Nodes::Most(Span::default()), chains: Vec::new(), used: Vec::new() }
    }

    /// The rank of an engine, if it has one.
    pub(crate) fn get(&self, engine: EngineId) -> Option<u32> {
        self.nodes.get(engine).map(|node| node.rank)
    }

    /// Gives an engine a rank, or takes it away.
    pub(crate) fn set(&mut self, engine: EngineId, rank: Option<u32>) {
        let rank = rank.map(|rank| rank.min(RANK_MAX));
        let old = self.nodes.get(engine).copied();
        if old.map(|node| node.rank) == rank {
            return;
        }
        if let Some(node) = old {
            self.unlink(node);
        }
        let Some(rank) = rank else {
            self.nodes.remove(engine);
            return;
        };
        let node = self.append(engine, rank);
        // One that only changes its rank stays where it lies.
        match self.nodes.get_mut(engine) {
            Some(place) => *place = node,
            None => self.nodes.insert(engine, node),
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
        let (few, most) = match &self.nodes {
            Nodes::Few(map) => (Some(map.iter().map(|(engine, node)| (*engine, node))), None),
            Nodes::Most(span) => (None, Some(span.iter())),
        };
        let nodes = few.into_iter().flatten().chain(most.into_iter().flatten());
        nodes.map(|(engine, node)| (engine, node.rank))
    }

    /// Puts an engine at the end of a chain; gives its node.
    fn append(&mut self, engine: EngineId, rank: u32) -> Node {
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
        Node { rank, prev, next: None }
    }

    /// Takes a node out of its chain.
    fn unlink(&mut self, Node { rank, prev, next }: Node) {
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
        self.nodes.get_mut(engine).expect("a neighbour in a chain has a node")
    }
}
