//! Messages that submit several tasks, or watch them, are taken apart: each task has its number in
//! them, and its share of the parts.

use super::message::{FromClient, Message, Parts};

impl FromClient {
    /// The first of the tasks it submits, and how many there are.
    pub(crate) fn numbers(&self) -> Option<(u64, u64)> {
        match self {
            Self::Submit { first, counts, .. } => Some((*first, counts.len() as u64)),
            Self::Direct { first, engines, .. } => Some((*first, engines.len() as u64)),
            _ => None,
        }
    }
}

impl Message<FromClient> {
    /// The same for `count` of its tasks, from number `from` on, which is among them; if it has
    /// fewer it is for none.
    pub(crate) fn piece(&self, from: u64, count: usize) -> Self {
        fn cut<T: Clone>(all: &[T], start: usize, count: usize) -> Vec<T> {
            all.get(start..start + count).unwrap_or_default().to_vec()
        }
        let sum = |counts: &[u32]| counts.iter().map(|count| *count as usize).sum::<usize>();
        let start = |first: u64| from.saturating_sub(first) as usize;
        let every = || self.parts.clone();
        let (head, parts) = match &self.head {
            FromClient::Submit { first, func, kind, target, counts, rules } => {
                let start = start(*first);
                let own = cut(counts, start, count);
                let before = sum(counts.get(..start).unwrap_or_default());
                let parts: Parts =
                    self.parts.iter().skip(before).take(sum(&own)).cloned().collect();
                let (func, kind, target, rules) = (*func, *kind, target.clone(), *rules);
                let head =
                    FromClient::Submit { first: from, func, kind, target, counts: own, rules };
                (head, parts)
            }
            FromClient::Direct { first, func, kind, engines, rules } => {
                let engines = cut(engines, start(*first), count);
                let (func, kind, rules) = (*func, *kind, *rules);
                (FromClient::Direct { first: from, func, kind, engines, rules }, every())
            }
            FromClient::Watch { first, tasks } => {
                let tasks = cut(tasks, start(*first), count);
                (FromClient::Watch { first: from, tasks }, every())
            }
            other => (other.clone(), every()),
        };
        Self { head, parts }
    }
}
