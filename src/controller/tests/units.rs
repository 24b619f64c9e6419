//! The small parts: ranks against a plain model, the size of a record.

use std::collections::BTreeMap;
use std::mem::size_of;

use proptest::prelude::*;

use super::super::ranks::Ranks;
use super::super::tasks::Task;
use crate::wire::{EngineId, Parts, TaskId};

#[test]
fn a_pending_task_costs_less_than_three_hundred_bytes_beside_its_parts() {
    // Both tables double when full: at worst half of each is empty.
    let record = size_of::<Option<Task>>() - size_of::<Parts>();
    let index = size_of::<(TaskId, u32)>() + 1;
    assert!(2 * record + 3 * index < 300, "{record} + {index}");
}

proptest! {
    #[test]
    fn ranks_agree_with_a_sorted_list(
        steps in prop::collection::vec((0..20_u32, prop::option::of(0..300_u32)), 0..200)
    ) {
        let mut ranks = Ranks::default();
        let mut model = BTreeMap::new();
        for (at, (engine, rank)) in steps.into_iter().enumerate() {
            let engine = EngineId(engine);
            ranks.set(engine, rank);
            match (rank, model.get(&engine)) {
                (Some(rank), Some((old, _))) if rank == *old => {}
                (Some(rank), _) => drop(model.insert(engine, (rank, at))),
                (None, _) => drop(model.remove(&engine)),
            }
            let first = model.iter().min_by_key(|(_, place)| **place).map(|(engine, _)| *engine);
            prop_assert_eq!(ranks.first(), first);
            let highest = model.values().map(|(rank, _)| *rank).max();
            let last = model
                .iter()
                .filter(|(_, (rank, _))| Some(*rank) == highest)
                .min_by_key(|(_, place)| **place)
                .map(|(engine, _)| *engine);
            prop_assert_eq!(ranks.last(), last);
        }
    }
}
