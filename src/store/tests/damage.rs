//! Files that are not what was written.

use std::fs;

use super::super::frame::{FILE_HEADER, file_header, push};
use super::super::scan::{Scan, Step, Stored};
use super::super::*;
use super::kit::*;
use crate::wire::Status;

/// The bytes of a file with these records, and where each begins; the end is the last.
fn file(entries: &[Entry]) -> (Vec<u8>, Vec<usize>) {
    let mut bytes = file_header(1).to_vec();
    let mut begins = vec![bytes.len()];
    for entry in entries {
        push(1, &mut bytes, entry).unwrap();
        begins.push(bytes.len());
    }
    (bytes, begins)
}

fn steps(bytes: &[u8]) -> Vec<Step> {
    let mut scan = Scan::new(bytes, 1, 0);
    std::iter::from_fn(|| scan.step().unwrap()).collect()
}

fn store_of(bytes: &[u8]) -> tempfile::TempDir {
    let directory = directory();
    fs::write(directory.path().join("000000000001.journal"), bytes).unwrap();
    directory
}

#[test]
fn a_journal_that_was_cut_anywhere_opens_with_every_earlier_record() {
    let entries = journal();
    let (bytes, begins) = file(&entries);
    for cut in 0..=bytes.len() {
        let directory = store_of(&bytes[..cut]);
        let (mut store, told) = open(directory.path(), SMALL);
        let whole = begins.iter().filter(|begin| **begin <= cut).count().saturating_sub(1);
        assert_eq!(contents(&store), applied(&entries[..whole]), "cut at {cut}");
        assert_eq!(told.damage, [], "cut at {cut}");
        let end = if cut < FILE_HEADER { 0 } else { begins[whole] };
        let torn = told.torn.map(|torn| (torn.at as usize, torn.bytes as usize));
        assert_eq!(torn, (cut > end).then_some((end, cut - end)), "cut at {cut}");

        // And it goes on from there.
        store.append(Class::New, &entries[whole..]).unwrap();
        drop(store);
        let (store, told) = open(directory.path(), SMALL);
        assert_eq!((told.torn, told.damage), (None, vec![]), "cut at {cut}");
        assert_eq!(contents(&store), applied(&entries), "cut at {cut}");
    }
}

#[test]
fn any_flipped_bit_costs_at_most_the_part_it_is_in() {
    let (bytes, begins) = file(&journal());
    let whole = steps(&bytes);
    for bit in FILE_HEADER * 8..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let hurt = begins.iter().filter(|begin| **begin <= bit / 8).count() - 1;
        let found = steps(&flipped);
        assert_eq!(found.len(), whole.len(), "bit {bit}");
        for (index, (step, was)) in found.iter().zip(&whole).enumerate() {
            let (Step::Record(step), Step::Record(was)) = (step, was) else {
                panic!("bit {bit} hides {was:?}")
            };
            let is_whole = step.broken.is_empty() && !step.flaw;
            assert_eq!(is_whole, index != hurt, "bit {bit}");
            assert!(step.broken.is_empty() || !step.flaw, "bit {bit} is in one place");
            let unmarked = Stored { broken: Vec::new(), flaw: false, ..step.clone() };
            assert_eq!(&unmarked, was, "bit {bit}");
        }
    }
}

#[test]
fn where_both_ends_of_a_record_are_damaged_its_neighbours_are_whole() {
    let (bytes, begins) = file(&journal());
    let whole = steps(&bytes);
    for hurt in 0..begins.len() - 1 {
        let (begin, end) = (begins[hurt], begins[hurt + 1]);
        let Step::Record(stored) = &whole[hurt] else { unreachable!() };
        let back = end - stored.before as usize;
        // Both frames, or both heads.
        for (front, behind) in [(0, 0), (24, 24)] {
            let mut bytes = bytes.clone();
            bytes[begin + front] ^= 1;
            bytes[back + behind] ^= 1;
            let mut found = steps(&bytes);
            let step = found.remove(hurt);
            let place = match step {
                Step::Head { at, len, .. } | Step::Lost { at, len } => (at, len),
                step => panic!("{step:?}"),
            };
            assert_eq!(place, (begin as u64, (end - begin) as u64), "{front} {behind}");
            let mut others = whole.clone();
            others.remove(hurt);
            assert_eq!(found, others, "{front} {behind}");
        }
    }
}

#[test]
fn a_flipped_bit_in_any_byte_is_told_by_position_and_what_is_whole_is_kept() {
    let entries = journal();
    let (bytes, begins) = file(&entries);
    for byte in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[byte] ^= 1 << (byte % 8);
        let directory = store_of(&flipped);
        let (store, told) = open(directory.path(), SMALL);
        let hurt = begins.iter().rposition(|begin| *begin <= byte);

        let [damage] = &told.damage[..] else { panic!("byte {byte}: {:?}", told.damage) };
        assert_eq!(told.torn, None, "byte {byte}");
        assert_eq!(damage.at as usize, hurt.map_or(0, |hurt| begins[hurt]), "byte {byte}");
        assert!((damage.at..damage.at + damage.bytes).contains(&(byte as u64)), "byte {byte}");
        assert!(damage.path.ends_with("000000000001.journal.damaged"), "byte {byte}");
        assert!(fs::read(&damage.path).unwrap() == flipped, "byte {byte}: it is kept as it was");

        // All that was written is there, or it is known that it has ended.
        let (mut there, mut expected) = (contents(&store), applied(&entries));
        let ended = match damage.record.as_deref() {
            None => Vec::new(),
            Some(Record::Outcome(outcome)) => vec![Key::Outcome(outcome.id)],
            Some(Record::Submitted(tasks)) => {
                tasks.tasks(0).map(|(id, _)| Key::Pending(id)).collect()
            }
            Some(_) => {
                let mut others = entries.clone();
                others.remove(hurt.unwrap());
                expected = applied(&others);
                Vec::new()
            }
        };
        for key in ended {
            let (Key::Outcome(id) | Key::Pending(id)) = key else { unreachable!() };
            if expected.remove(&key).is_none() {
                continue;
            }
            expected.retain(|key, _| *key != Key::Attempt(id) && *key != Key::Cancelled(id));
            let (end, parts) = there.remove(&Key::Outcome(id)).expect("it has ended");
            assert!(matches!(end, Record::Outcome(Outcome { status: Status::Refused, .. })));
            let text = String::from_utf8_lossy(&parts[0]).into_owned();
            assert!(text.ends_with(&damage.to_string()), "{text}");
        }
        assert_eq!(there, expected, "byte {byte}");
        let there = contents(&store);
        drop(store);
        let (store, again) = open(directory.path(), SMALL);
        assert_eq!((again.torn, again.damage), (None, vec![]), "byte {byte}: it is told once");
        assert_eq!(contents(&store), there, "byte {byte}");
    }
}

#[test]
fn damaged_arguments_of_one_task_leave_those_of_its_neighbours() {
    let entries = [submitted(1, 5, &[&[b"good"], &[b"bad", b"better"], &[], &[b"best"]])];
    let (mut bytes, _) = file(&entries);
    let at = bytes.windows(3).position(|bytes| bytes == b"bad").unwrap();
    bytes[at] = b'm';
    let directory = store_of(&bytes);
    let (store, told) = open(directory.path(), SMALL);
    let mut expected = applied(&entries);
    let (lost, _) = expected.remove(&Key::Pending(task(1, 6))).unwrap();
    let mut there = contents(&store);
    assert!(there.remove(&Key::Outcome(task(1, 6))).is_some(), "it has ended");
    assert_eq!(there, expected);
    let record = told.damage[0].record.as_deref();
    assert_eq!(record, Some(&lost), "and it is known whose they were");
}

#[test]
fn a_damaged_file_between_others_keeps_what_it_forgot_forgotten() {
    let directory = left_behind(&[submitted(1, 0, &[&[b"a"], &[b"b"]]), function(1, b"f")]);
    let place = |number: u64| directory.path().join(format!("{number:012}.journal"));
    for (number, entries) in [
        (2, vec![forgotten(&[(1, 0, 1)]), function(2, b"hurt"), outcome(task(1, 1), &[b"v"])]),
        (3, vec![function(3, b"g")]),
    ] {
        let mut bytes = file_header(number).to_vec();
        for entry in &entries {
            push(number, &mut bytes, entry).unwrap();
        }
        if let Some(at) = bytes.windows(4).position(|bytes| bytes == b"hurt") {
            bytes[at] = b'H';
        }
        fs::write(place(number), bytes).unwrap();
    }
    for damaged in [1, 0] {
        let (store, told) = open(directory.path(), SMALL);
        assert_eq!(told.damage.len(), damaged);
        let keys: Vec<Key> = store.keys().collect();
        let funcs = [1, 3].map(|name| Key::Function(crate::wire::FuncId([name; 16])));
        assert_eq!(keys, [funcs[0], funcs[1], Key::Outcome(task(1, 1))]);
    }
}

#[test]
fn an_end_that_was_never_written_is_cut_off() {
    let entries = journal();
    let (mut bytes, begins) = file(&entries);
    bytes.extend_from_slice(&[0; 5000]);
    let directory = store_of(&bytes);
    let (store, told) = open(directory.path(), SMALL);
    let torn = told.torn.map(|torn| (torn.at, torn.bytes));
    assert_eq!(torn, Some((*begins.last().unwrap() as u64, 5000)));
    assert_eq!(contents(&store), applied(&entries));
}

#[test]
fn a_record_in_the_wrong_place_is_none() {
    let (bytes, _) = file(&journal());
    let directory = directory();
    fs::write(directory.path().join("000000000002.journal"), &bytes).unwrap();
    let (store, told) = open(directory.path(), SMALL);
    assert_eq!(store.keys().count(), 0);
    assert_eq!(told.damage.len(), 2, "the header and all that is behind it");
    assert!(told.damage[0].to_string().contains("the file is number 1"), "{}", told.damage[0]);
}

#[test]
fn a_record_that_is_damaged_under_a_running_store_is_told_when_it_is_read_or_moved() {
    let directory = directory();
    let (mut store, _) = open(directory.path(), SMALL);
    store.append(Class::New, &[outcome(task(1, 0), &[b"value"]), function(1, b"f")]).unwrap();
    let path = files(directory.path()).remove(0);
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(5).position(|bytes| bytes == b"value").unwrap();
    bytes[at] = b'V';
    fs::write(&path, bytes).unwrap();

    let position = store.find(Key::Outcome(task(1, 0))).unwrap();
    let error = store.read(position).unwrap_err();
    assert!(matches!(error, StoreError::Damaged(_)), "{error}");
    for seq in 1..40 {
        store.append(Class::New, &[outcome(task(1, seq), &[&[0; 200]])]).unwrap();
        store.append(Class::Due, &[forgotten(&[(1, seq, 1)])]).unwrap();
    }
    let told = store.take_damage();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].path.ends_with("000000000001.journal.damaged"));
    let function = Key::Function(crate::wire::FuncId([1; 16]));
    let outcome = Key::Outcome(task(1, 0));
    assert_eq!(store.keys().collect::<Vec<_>>(), [function, outcome], "both were moved");
    let read = store.read(store.find(outcome).unwrap()).unwrap();
    assert!(matches!(read.head, Record::Outcome(Outcome { status: Status::Refused, .. })));
    drop(store);
    let (store, told) = open(directory.path(), SMALL);
    assert_eq!((store.keys().count(), told.damage), (2, vec![]));
}
