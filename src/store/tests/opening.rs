//! Who may open a store, and what comes back.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::super::frame::file_header;
use super::super::*;
use super::kit::*;
use crate::wire::ClientId;

#[test]
fn what_was_appended_is_there_again() {
    let entries = journal();
    let directory = left_behind(&entries);
    let (store, told) = open(directory.path(), Limits::default());
    assert_eq!(told, Recovered { next_client: 5, ..Recovered::default() });
    assert_eq!(contents(&store), applied(&entries));
}

#[test]
fn large_parts_come_back_as_they_were() {
    let large: Vec<u8> = (0..700_000_u32).map(|number| number as u8).collect();
    let entries = [submitted(1, 0, &[&[b"x", &large, b""], &[&large[1..]]]), function(1, &large)];
    let directory = left_behind(&entries);
    let (store, _) = open(directory.path(), Limits::default());
    assert!(contents(&store) == applied(&entries));
}

#[test]
fn a_second_process_is_refused_and_told_who_has_it() {
    let directory = directory();
    let first = Store::open(directory.path(), SMALL).unwrap();
    let error = Store::open(directory.path(), SMALL).unwrap_err().to_string();
    assert!(error.contains(&format!("process {} on ", std::process::id())), "{error}");
    drop(first);
    Store::open(directory.path(), SMALL).unwrap();
}

#[test]
fn a_directory_that_others_may_write_is_refused() {
    let directory = directory();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o770)).unwrap();
    let error = Store::open(directory.path(), SMALL).unwrap_err();
    assert!(error.to_string().contains("is open to others (mode 770)"), "{error}");
}

#[test]
fn files_are_readable_by_their_owner_only() {
    let directory = left_behind(&journal());
    for entry in fs::read_dir(directory.path()).unwrap() {
        assert_eq!(entry.unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn a_file_of_another_version_is_refused_and_left_alone() {
    let directory = directory();
    let mut header = file_header(1);
    header[8] = 99;
    let sum = crc32fast::hash(&header[..20]);
    header[20..].copy_from_slice(&sum.to_le_bytes());
    let path = directory.path().join("000000000001.journal");
    fs::write(&path, header).unwrap();
    let error = Store::open(directory.path(), SMALL).unwrap_err();
    assert!(error.to_string().contains("has format 99, this version reads"), "{error}");
    assert_eq!(fs::read(path).unwrap(), header);
}

#[test]
fn the_last_file_is_gone_on_with() {
    let directory = left_behind(&journal());
    for _ in 0..5 {
        let (mut store, _) = open(directory.path(), Limits::default());
        store.append(Class::New, &[client(9)]).unwrap();
    }
    assert_eq!(files(directory.path()).len(), 1);
}

#[test]
fn a_record_that_makes_no_sense_is_refused_and_nothing_of_its_call_is_written() {
    let directory = directory();
    let (mut store, _) = open(directory.path(), SMALL);
    let mut miscounted = submitted(1, 0, &[&[b"a"], &[b"b"]]);
    miscounted.parts.pop();
    for wrong in [miscounted, entry(journal()[0].head.clone(), &[b"two", b"parts"])] {
        let error = store.append(Class::New, &[client(1), wrong]).unwrap_err();
        assert!(matches!(error, StoreError::Unwritable(_)), "{error}");
    }
    store.append(Class::New, &[client(2)]).unwrap();
    drop(store);
    let (store, told) = open(directory.path(), SMALL);
    assert_eq!((told.torn, told.damage), (None, vec![]));
    assert_eq!(store.keys().collect::<Vec<_>>(), [Key::Client(ClientId(2))]);
}

#[test]
fn a_position_is_good_until_its_record_no_longer_counts() {
    let directory = directory();
    let (mut store, _) = open(directory.path(), SMALL);
    let entry = outcome(task(1, 0), &[b"value"]);
    let position = store.append(Class::New, std::slice::from_ref(&entry)).unwrap().unwrap();
    assert_eq!(store.read(position).unwrap(), entry);
    store.append(Class::Due, &[forgotten(&[(1, 0, 1)])]).unwrap();
    let error = store.read(position).unwrap_err();
    assert!(matches!(error, StoreError::Absent { .. }), "{error}");
}

#[test]
fn numbers_that_were_used_are_known_though_their_tasks_are_forgotten() {
    let directory = directory();
    let (mut store, _) = open(directory.path(), SMALL);
    store.append(Class::New, &[client(3)]).unwrap();
    for seq in 0..200 {
        store.append(Class::New, &[submitted(3, seq, &[&[&[0; 100]]])]).unwrap();
        store.append(Class::Due, &[forgotten(&[(3, seq, 1)])]).unwrap();
    }
    drop(store);
    let (store, told) = open(directory.path(), SMALL);
    assert_eq!(told.next_client, 4);
    let position = store.find(Key::Client(ClientId(3))).unwrap();
    let Record::Client { next, .. } = store.read(position).unwrap().head else { panic!() };
    assert_eq!(next, 200);
}
