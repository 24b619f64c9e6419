//! What counts is kept, what does not goes, whatever happens in whatever order.

use std::fs;

use proptest::prelude::*;

use super::super::*;
use super::kit::*;
use crate::wire::{ClientId, FuncId};

/// Something that happens to a store.
#[derive(Clone, Debug)]
enum Event {
    Function(u8, usize),
    DropFunction(u8),
    Client(u32),
    DropClient(u32),
    Submit(Vec<usize>),
    Direct(u32, usize),
    Attempt(prop::sample::Index),
    Outcome(prop::sample::Index, usize),
    Forget(prop::sample::Index, u64),
    Tidy(u64),
    Reopen,
}

fn event() -> impl Strategy<Value = Event> {
    let any = any::<prop::sample::Index>;
    prop_oneof![
        1 => (0..4_u8, 0..300_usize).prop_map(|(name, len)| Event::Function(name, len)),
        1 => (0..4_u8).prop_map(Event::DropFunction),
        1 => (0..3_u32).prop_map(Event::Client),
        1 => (0..3_u32).prop_map(Event::DropClient),
        6 => prop::collection::vec(0..400_usize, 1..6).prop_map(Event::Submit),
        2 => (1..4_u32, 0..400_usize).prop_map(|(engines, len)| Event::Direct(engines, len)),
        2 => any().prop_map(Event::Attempt),
        8 => (any(), 0..500_usize).prop_map(|(which, len)| Event::Outcome(which, len)),
        6 => (any(), 1..5_u64).prop_map(|(which, count)| Event::Forget(which, count)),
        1 => (1..5000_u64).prop_map(Event::Tidy),
        1 => Just(Event::Reopen),
    ]
}

fn entry_of(event: &Event, next: &mut u64, model: &Contents) -> Option<Entry> {
    let tasks: Vec<_> = model
        .keys()
        .filter_map(|key| match key {
            Key::Pending(id) | Key::Outcome(id) => Some((*id, matches!(key, Key::Pending(_)))),
            _ => None,
        })
        .collect();
    let pending: Vec<_> = tasks.iter().filter(|task| task.1).map(|task| task.0).collect();
    let pick = |which: &prop::sample::Index| (!pending.is_empty()).then(|| *which.get(&pending));
    let bytes = |len: usize| vec![*next as u8; len];
    Some(match event {
        Event::Function(name, len) => function(*name, &bytes(*len)),
        Event::DropFunction(name) => {
            let funcs = vec![FuncId([*name; 16])];
            entry(Record::Forgotten(Forgotten { funcs, ..Forgotten::default() }), &[])
        }
        Event::Client(number) => client(*number),
        Event::DropClient(number) => {
            let clients = vec![ClientId(*number)];
            entry(Record::Forgotten(Forgotten { clients, ..Forgotten::default() }), &[])
        }
        Event::Submit(lens) => {
            let bodies: Vec<_> = lens.iter().map(|len| bytes(*len)).collect();
            let parts: Vec<Vec<&[u8]>> =
                bodies.iter().map(|body| vec![&body[..]; body.len() % 3]).collect();
            let parts: Vec<&[&[u8]]> = parts.iter().map(Vec::as_slice).collect();
            let first = *next;
            *next += lens.len() as u64;
            submitted(1, first, &parts)
        }
        Event::Direct(engines, len) => {
            let first = *next;
            *next += u64::from(*engines);
            direct(1, first, *engines, &[&vec![3; *len]])
        }
        Event::Attempt(which) => attempt(pick(which)?, 2),
        Event::Outcome(which, len) => outcome(pick(which)?, &[&bytes(*len)]),
        Event::Forget(which, count) => {
            let first = (!tasks.is_empty()).then(|| which.get(&tasks).0.seq)?;
            forgotten(&[(1, first, *count)])
        }
        Event::Tidy(_) | Event::Reopen => return None,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn a_store_holds_exactly_what_counts(events in prop::collection::vec(event(), 1..250)) {
        let directory = directory();
        let (mut store, _) = open(directory.path(), SMALL);
        let (mut model, mut next) = (Contents::new(), 0);
        for event in &events {
            match (event, entry_of(event, &mut next, &model)) {
                (_, Some(entry)) => {
                    store.append(Class::New, std::slice::from_ref(&entry)).unwrap();
                    apply(&mut model, &entry);
                }
                (Event::Tidy(budget), _) => { store.tidy(*budget); }
                (Event::Reopen, _) => {
                    drop(store);
                    let (again, told) = open(directory.path(), SMALL);
                    prop_assert_eq!((told.torn, told.damage), (None, vec![]));
                    store = again;
                }
                _ => {}
            }
            prop_assert_eq!(store.take_damage(), vec![]);
            prop_assert!(store.keys().eq(model.keys().copied()), "after {:?}", event);
        }
        prop_assert_eq!(&plain(contents(&store)), &model);
        while store.tidy(1000) {}
        prop_assert_eq!(&plain(contents(&store)), &model);
        let (all, live) = store.sizes();
        prop_assert!(all <= 2 * live + SMALL.slack, "{} bytes for {}", all, live);
        let on_disk: u64 =
            files(directory.path()).iter().map(|path| fs::metadata(path).unwrap().len()).sum();
        prop_assert_eq!(on_disk, all);
        drop(store);
        let (store, _) = open(directory.path(), SMALL);
        prop_assert_eq!(&plain(contents(&store)), &model);
    }
}

/// Without the numbers that a store adds to what was said of clients.
fn plain(mut contents: Contents) -> Contents {
    for (record, _) in contents.values_mut() {
        if let Record::Client { next, .. } = record {
            *next = 0;
        }
    }
    contents
}

#[test]
fn appending_alone_keeps_the_disk_within_twice_of_what_counts() {
    let directory = directory();
    let (mut store, _) = open(directory.path(), SMALL);
    store.append(Class::New, &[function(1, &[1; 700])]).unwrap();
    let mut most = 0;
    for seq in 0..2000 {
        store.append(Class::New, &[submitted(1, seq, &[&[&[0; 50]]])]).unwrap();
        store.append(Class::Due, &[outcome(task(1, seq), &[&[0; 60]])]).unwrap();
        if seq >= 10 {
            store.append(Class::Due, &[forgotten(&[(1, seq - 10, 1)])]).unwrap();
        }
        let (all, live) = store.sizes();
        most = most.max(all.saturating_sub(2 * live));
    }
    assert!(most <= SMALL.slack + 2 * SMALL.file, "{most} bytes too many");
    assert!(files(directory.path()).len() < 6);
}

#[test]
fn a_file_in_which_nothing_counts_is_removed_at_once_though_older_ones_are_needed() {
    let directory = directory();
    let limits = Limits { file: 500, reserve: 0, slack: 1 << 30 };
    let (mut store, _) = open(directory.path(), limits);
    for seq in 0..3 {
        store.append(Class::New, &[outcome(task(1, seq), &[&[0; 500]])]).unwrap();
    }
    store.append(Class::Due, &[forgotten(&[(1, 1, 1)])]).unwrap();
    let names: Vec<_> = files(directory.path());
    assert_eq!(names.len(), 3, "{names:?}");
    assert!(!names.iter().any(|path| path.ends_with("000000000002.journal")), "{names:?}");
    drop(store);
    let (store, _) = open(directory.path(), limits);
    assert_eq!(store.keys().count(), 2);
}

#[test]
fn one_task_of_many_keeps_its_own_arguments_only() {
    let directory = directory();
    let (mut store, _) = open(directory.path(), SMALL);
    let body = [5; 200];
    let parts: Vec<&[u8]> = vec![&body; 100];
    let parts: Vec<&[&[u8]]> = parts.iter().map(std::slice::from_ref).collect();
    let entry = submitted(1, 0, &parts);
    store.append(Class::New, std::slice::from_ref(&entry)).unwrap();
    store.append(Class::Due, &[forgotten(&[(1, 0, 41), (1, 42, 100)])]).unwrap();
    while store.tidy(100) {}
    let (all, _) = store.sizes();
    assert!(all < 1000, "{all} bytes");
    let mut expected = applied(&[entry]);
    expected.retain(|key, _| *key == Key::Pending(task(1, 41)));
    assert_eq!(contents(&store), expected);
}
