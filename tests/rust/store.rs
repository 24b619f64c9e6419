//! A store whose process is killed, and one on a disk that is full.
//!
//! The latter takes a file system of its own: a tmpfs of one mebibyte. Only root may mount one; for
//! others those tests say why they are skipped.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use _oarlock::store::{Class, Forgotten, Key, Limits, Outcome, Record, Spread, Store, StoreError};
use _oarlock::store::{Recovered, Submitted};
use _oarlock::wire::{ClientId, FuncId, Kind, Message, Parts, Rules, Status, Target, TaskId};
use bytes::Bytes;

const CLIENT: ClientId = ClientId(1);

/// A mebibyte that nobody else writes to.
struct Disk(tempfile::TempDir);

impl Disk {
    fn mount() -> Option<Self> {
        let disk = tempfile::tempdir().unwrap();
        let mount = ["-t", "tmpfs", "-o", "size=1m,mode=700", "none"];
        let why = match Command::new("mount").args(mount).arg(disk.path()).output() {
            Ok(done) if done.status.success() => return Some(Self(disk)),
            Ok(done) => String::from_utf8_lossy(&done.stderr).trim().to_string(),
            Err(error) => error.to_string(),
        };
        eprintln!("skipped: no file system can be mounted here: {why}");
        None
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Another test may be starting a process just now, which has a copy of each lock until it runs its
    /// program.
    fn open(&self) -> (Store, Recovered) {
        loop {
            match Store::open(self.path(), Limits::of(self.path()).unwrap()) {
                Err(StoreError::Held { .. }) => std::thread::yield_now(),
                opened => return opened.unwrap(),
            }
        }
    }

    /// Takes all room that is left.
    fn fill(&self) {
        let path = self.path().join("other");
        let zeros = [0; 4096];
        let mut file = fs::File::create(path).unwrap();
        while file.write_all(&zeros).is_ok() {}
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).status();
    }
}

fn message(head: Record, len: usize) -> Message<Record> {
    let parts: Parts = (len > 0).then(|| Bytes::from(vec![7; len])).into_iter().collect();
    Message { head, parts }
}

fn task(seq: u64) -> TaskId {
    TaskId { client: CLIENT, seq }
}

fn submitted(seq: u64, len: usize) -> Message<Record> {
    let (func, kind, rules) = (FuncId([1; 16]), Kind::Apply, Rules::default());
    let spread = Spread::Balanced(Target::Any, vec![1]);
    let runs = vec![(seq, 1)];
    message(
        Record::Submitted(Submitted { client: CLIENT, runs, func, kind, rules, at: 0, spread }),
        len,
    )
}

fn outcome(seq: u64, len: usize) -> Message<Record> {
    let (id, status, engine) = (task(seq), Status::Ok, None);
    let (submitted, started, completed) = (1, 2, 3);
    message(Record::Outcome(Outcome { id, status, engine, submitted, started, completed }), len)
}

fn forgotten(first: u64, count: u64) -> Message<Record> {
    let tasks = vec![(CLIENT, first, count)];
    message(Record::Forgotten(Forgotten { tasks, ..Forgotten::default() }), 0)
}

/// Submits until there is no room; how many were accepted, and how the next was refused.
fn submit_all(store: &mut Store, first: u64, len: usize) -> (u64, StoreError) {
    for seq in first.. {
        if let Err(error) = store.append(Class::New, &[submitted(seq, len)]) {
            return (seq - first, error);
        }
    }
    unreachable!("a disk is never so large")
}

fn check(store: &Store, pending: std::ops::Range<u64>, len: usize) {
    for seq in pending {
        let position = store.find(Key::Pending(task(seq))).expect("it was acknowledged");
        assert_eq!(store.read(position).unwrap(), submitted(seq, len));
    }
}

/// Where the process that is killed has its store.
const PLACE: &str = "OARLOCK_TEST_STORE";

#[test]
#[ignore = "the process that is killed below"]
fn appends_and_says_so_without_an_end() {
    let Some(place) = std::env::var_os(PLACE) else { return };
    let (mut store, _) = Store::open(Path::new(&place), SMALL).unwrap();
    let mut out = std::io::stdout();
    for seq in 0.. {
        store.append(Class::New, &[submitted(seq, 3000)]).unwrap();
        if seq >= 20 {
            store.append(Class::Due, &[outcome(seq - 10, 10), forgotten(seq - 20, 1)]).unwrap();
        }
        if writeln!(out, "stored {seq}").is_err() {
            return;
        }
    }
}

const SMALL: Limits = Limits { file: 30_000, reserve: 60_000, slack: 60_000 };

#[test]
fn nothing_that_was_acknowledged_is_lost_with_its_process() {
    let place = tempfile::tempdir().unwrap();
    for kill_after in [1, 25, 400] {
        let _ = fs::remove_dir_all(place.path());
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "appends_and_says_so_without_an_end", "--nocapture"])
            .env(PLACE, place.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let stored = |line: String| line.strip_prefix("stored ")?.parse::<u64>().ok();
        let heard = said.by_ref().filter_map(stored).nth(kill_after).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let last = said.filter_map(stored).last().unwrap_or(heard);

        let (store, told) = Store::open(place.path(), SMALL).unwrap();
        assert_eq!(told.damage, []);
        // What it did last it may have done without having said so.
        for seq in last.saturating_sub(18)..=last {
            let pending = store.find(Key::Pending(task(seq)));
            let position = pending.or_else(|| store.find(Key::Outcome(task(seq))));
            let read = store.read(position.expect("it was acknowledged")).unwrap();
            assert!(read == submitted(seq, 3000) || read == outcome(seq, 10));
            assert!(seq < 10 || seq + 10 > last || read == outcome(seq, 10), "{seq} of {last}");
        }
        let known = |seq| {
            [Key::Pending, Key::Outcome].iter().any(|key| store.find(key(task(seq))).is_some())
        };
        assert!(!(0..last.saturating_sub(19)).any(known), "what was forgotten stays so");
    }
}

#[test]
fn a_full_disk_refuses_new_work_by_name_and_what_was_accepted_can_still_end() {
    let Some(disk) = Disk::mount() else { return };
    let (mut store, _) = disk.open();
    let (count, error) = submit_all(&mut store, 0, 10_000);
    assert!((60..80).contains(&count), "{count} fit beside a reserve of a quarter");
    let text = error.to_string();
    let directory = disk.path().display().to_string();
    assert!(text.contains("no space left") && text.contains(&directory), "{text}");

    // It stays refused, and all that was accepted has its outcome stored.
    for seq in 0..10 {
        let error = store.append(Class::New, &[submitted(1000 + seq, 10_000)]).unwrap_err();
        assert!(matches!(error, StoreError::Full { .. }), "{error}");
    }
    check(&store, 0..count, 10_000);
    for seq in 0..count {
        store.append(Class::Due, &[outcome(seq, 100)]).unwrap();
    }
    // The arguments of what has ended make room.
    store.append(Class::New, &[submitted(2000, 300_000)]).unwrap();
    store.append(Class::Due, &[forgotten(2000, 1)]).unwrap();
    drop(store);
    let (store, told) = disk.open();
    assert_eq!((told.torn, told.damage), (None, vec![]));
    assert_eq!(store.keys().count() as u64, count);
    for seq in 0..count {
        let position = store.find(Key::Outcome(task(seq))).expect("it was acknowledged");
        assert_eq!(store.read(position).unwrap(), outcome(seq, 100));
    }
}

#[test]
fn a_store_recovers_by_itself_when_there_is_room_again() {
    let Some(disk) = Disk::mount() else { return };
    let (mut store, _) = disk.open();
    store.append(Class::New, &[submitted(0, 1000)]).unwrap();
    disk.fill();
    store.append(Class::New, &[submitted(1, 100_000)]).unwrap_err();
    store.append(Class::Due, &[outcome(0, 200_000)]).unwrap();
    let error = store.append(Class::Due, &[outcome(1, 200_000)]).unwrap_err();
    assert!(matches!(error, StoreError::Full { .. }), "{error}");
    // Without a reserve not even little that is new.
    store.append(Class::New, &[submitted(2, 0)]).unwrap_err();
    fs::remove_file(disk.path().join("other")).unwrap();
    store.append(Class::New, &[submitted(2, 100_000)]).unwrap();
    store.append(Class::Due, &[outcome(1, 200_000)]).unwrap();
    drop(store);
    let (store, told) = disk.open();
    assert_eq!((told.torn, told.damage), (None, vec![]));
    check(&store, 2..3, 100_000);
    assert_eq!(store.keys().count(), 3);
}

#[test]
fn forgetting_makes_room_on_a_full_disk() {
    let Some(disk) = Disk::mount() else { return };
    let large = Limits { file: 1 << 26, reserve: 256 << 10, slack: 1 << 26 };
    for limits in [Limits::of(disk.path()).unwrap(), SMALL, large] {
        let (mut store, _) = Store::open(disk.path(), limits).unwrap();
        for round in 0..6 {
            let first = round * 1000;
            let (count, _) = submit_all(&mut store, first, 10_000);
            assert!(count > 40, "{count} in round {round}");
            check(&store, first..first + count, 10_000);
            // A few go on, here and there, so that they are moved.
            let ended = (first..first + count).filter(|seq| seq % 5 != 0);
            for seq in ended {
                store.append(Class::Due, &[forgotten(seq, 1)]).unwrap();
            }
            store.append(Class::New, &[submitted(first + 500, 20_000)]).unwrap();
            for seq in (first..first + count).filter(|seq| seq % 5 == 0) {
                check(&store, seq..seq + 1, 10_000);
            }
            store.append(Class::Due, &[forgotten(first, 1000)]).unwrap();
        }
        assert_eq!(store.keys().count(), 0);
    }
}

#[test]
fn what_is_on_a_full_disk_can_be_read() {
    let Some(disk) = Disk::mount() else { return };
    let (mut store, _) = disk.open();
    store.append(Class::New, &[submitted(0, 1000), submitted(1, 1000)]).unwrap();
    drop(store);
    fs::remove_file(disk.path().join("reserve")).unwrap();
    disk.fill();
    let (mut store, _) = disk.open();
    check(&store, 0..2, 1000);
    let error = store.append(Class::New, &[submitted(2, 10)]).unwrap_err();
    assert!(matches!(error, StoreError::Full { .. }), "{error}");
    // A damaged file is read too, though nothing can be copied out of it.
    drop(store);
    let path = disk.path().join("000000000001.journal");
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&path, bytes).unwrap();
    let (store, told) = disk.open();
    assert_eq!(told.damage.len(), 1);
    check(&store, 0..1, 1000);
    drop(store);
    fs::remove_file(disk.path().join("other")).unwrap();
    let (store, told) = disk.open();
    assert!(told.damage[0].path.ends_with("000000000001.journal.damaged"));
    check(&store, 0..1, 1000);
}
