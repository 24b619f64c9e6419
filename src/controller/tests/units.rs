//! The small parts: maps and ranks against plain models, the size of a record.

use std::collections::BTreeMap;
use std::mem::size_of;

use proptest::prelude::*;

use super::super::index::Index;
use super::super::ranks::Ranks;
use super::super::span::Span;
use super::super::tasks::Task;
use crate::wire::{ClientId, EngineId, TaskId};

#[test]
fn a_pending_task_costs_half_of_three_hundred_bytes() {
    // Its record, with the handle of its payload, and its place in a page of the index.
    let record = size_of::<Option<Task>>();
    assert!(record + size_of::<u32>() <= 150, "{record}");
}

proptest! {
    #[test]
    fn ranks_agree_with_a_sorted_list(
        dense: bool,
        steps in prop::collection::vec((0..20_u32, prop::option::of(0..300_u32)), 0..200)
    ) {
        let mut ranks = if dense { Ranks::most() } else { Ranks::few() };
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

    #[test]
    fn an_index_agrees_with_a_map(
        steps in prop::collection::vec((0..3_u32, 0..300_u64, any::<bool>()), 0..300)
    ) {
        let mut index = Index::default();
        let mut model = BTreeMap::new();
        for (number, (client, seq, there)) in (0..).zip(steps) {
            let id = TaskId { client: ClientId(client), seq: seq << (client * 20) };
            if there && !model.contains_key(&id) {
                index.insert(id, number);
                model.insert(id, number);
            } else if !there {
                prop_assert_eq!(index.remove(id), model.remove(&id));
            }
            prop_assert_eq!(index.get(id), model.get(&id).copied());
        }
        for (id, number) in model {
            prop_assert_eq!(index.remove(id), Some(number));
        }
        prop_assert!(index.is_empty());
    }

    #[test]
    fn a_span_agrees_with_a_map(
        steps in prop::collection::vec((0..40_u32, any::<bool>()), 0..200)
    ) {
        let mut span = Span::default();
        let mut model = BTreeMap::new();
        for (at, (engine, there)) in steps.into_iter().enumerate() {
            let engine = EngineId(engine);
            if there {
                span.insert(engine, at);
                model.insert(engine, at);
            } else {
                prop_assert_eq!(span.remove(engine), model.remove(&engine));
            }
            prop_assert_eq!(span.get(engine), model.get(&engine));
            prop_assert_eq!(span.get_mut(EngineId(7)).copied(), model.get(&EngineId(7)).copied());
            prop_assert!(span.iter().eq(model.iter().map(|(id, at)| (*id, at))));
        }
    }
}
