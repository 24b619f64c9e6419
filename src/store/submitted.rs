//! The record of a submission: which tasks it is of, and which parts are whose.
//!
//! A message of a client becomes one record, however many tasks it brings. When only some of them are
//! still pending, what is written anew is the record of those.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::wire::{ClientId, EngineId, FuncId, Kind, Rules, Stamp, Target, TaskId};

/// Tasks of one submission.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Submitted {
    /// Whose they are.
    pub client: ClientId,
    /// Their numbers: the first of each run and how many there are.
    pub runs: Vec<(u64, u64)>,
    /// The function of all of them.
    pub func: FuncId,
    /// What each task's parts are.
    pub kind: Kind,
    /// What they are allowed.
    pub rules: Rules,
    /// When they were submitted.
    pub at: Stamp,
    /// Where they run, and which parts are whose.
    pub spread: Spread,
}

/// How tasks of one submission are spread over engines.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Spread {
    /// Each on any of the engines; so many of the parts belong to each task, in order.
    Balanced(Target, Vec<u32>),
    /// One on each of these engines; the parts belong to each task.
    Direct(Vec<EngineId>),
}

impl Submitted {
    /// How many tasks there are.
    pub fn len(&self) -> usize {
        match &self.spread {
            Spread::Balanced(_, counts) => counts.len(),
            Spread::Direct(engines) => engines.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many parts the tasks have together; `None` if they make no sense.
    pub(super) fn sum(&self, parts: usize) -> Option<usize> {
        let mut tasks = 0_u64;
        for (first, count) in &self.runs {
            first.checked_add(*count)?;
            tasks = tasks.checked_add(*count)?;
        }
        (tasks == self.len() as u64 && tasks > 0).then_some(())?;
        match &self.spread {
            Spread::Direct(_) => Some(parts),
            Spread::Balanced(_, counts) => {
                usize::try_from(counts.iter().copied().map(u64::from).sum::<u64>()).ok()
            }
        }
    }

    /// Each task and which of `parts` are its own.
    pub fn tasks(&self, parts: usize) -> impl Iterator<Item = (TaskId, Range<usize>)> {
        let numbers = self.runs.iter().flat_map(|(first, count)| *first..first + count);
        let mut end = 0;
        numbers.enumerate().map(move |(index, seq)| {
            let own = match &self.spread {
                Spread::Direct(_) => 0..parts,
                Spread::Balanced(_, counts) => {
                    let begin = end;
                    end += counts[index] as usize;
                    begin..end
                }
            };
            (TaskId { client: self.client, seq }, own)
        })
    }

    /// The record of those tasks that `keep` wants, and which of `parts` are theirs; `None` if it
    /// wants none.
    pub(super) fn only(
        &self,
        parts: usize,
        mut keep: impl FnMut(TaskId, Range<usize>) -> bool,
    ) -> Option<(Self, Vec<Range<usize>>)> {
        let (mut runs, mut kept, mut ranges) = (Vec::<(u64, u64)>::new(), Vec::new(), Vec::new());
        for (index, (id, own)) in self.tasks(parts).enumerate() {
            if !keep(id, own.clone()) {
                continue;
            }
            match runs.last_mut() {
                Some((first, count)) if *first + *count == id.seq => *count += 1,
                _ => runs.push((id.seq, 1)),
            }
            kept.push(index);
            // The parts of direct tasks are shared.
            if ranges.last() != Some(&own) {
                ranges.push(own);
            }
        }
        (!kept.is_empty()).then_some(())?;
        let spread = match &self.spread {
            Spread::Balanced(target, counts) => {
                let counts = kept.iter().map(|&index| counts[index]).collect();
                Spread::Balanced(target.clone(), counts)
            }
            Spread::Direct(engines) => {
                Spread::Direct(kept.iter().map(|&index| engines[index]).collect())
            }
        };
        Some((Self { runs, spread, ..self.clone() }, ranges))
    }
}
