//! Records to store, and what a store holds, spelled out.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::super::*;
use crate::wire::{
    ClientId, EngineId, FuncId, Kind, Message, Parts, Rules, SessionId, Status, Target, TaskId,
};

pub(super) type Entry = Message<Record>;

pub(super) const SMALL: Limits = Limits { file: 2048, reserve: 0, slack: 1024 };

pub(super) fn task(client: u32, seq: u64) -> TaskId {
    TaskId { client: ClientId(client), seq }
}

pub(super) fn entry(head: Record, parts: &[&[u8]]) -> Entry {
    Message { head, parts: parts.iter().map(|part| Bytes::copy_from_slice(part)).collect() }
}

pub(super) fn function(name: u8, body: &[u8]) -> Entry {
    entry(Record::Function(FuncId([name; 16])), &[body])
}

pub(super) fn client(number: u32) -> Entry {
    let session = SessionId([number as u8; 16]);
    entry(Record::Client { client: ClientId(number), session, lease: 7, next: 0 }, &[])
}

fn tasks(client: u32, first: u64, count: u64, spread: Spread, rules: Rules) -> Record {
    Record::Submitted(Submitted {
        client: ClientId(client),
        runs: vec![(first, count)],
        func: FuncId([1; 16]),
        kind: Kind::Apply,
        rules,
        at: -3,
        spread,
    })
}

/// One task per slice of parts.
pub(super) fn submitted(client: u32, first: u64, parts: &[&[&[u8]]]) -> Entry {
    let counts = parts.iter().map(|own| own.len() as u32).collect();
    let spread = Spread::Balanced(Target::Any, counts);
    let rules = Rules { retries: (parts.len() as u16 - 1) * 3, ..Rules::default() };
    entry(tasks(client, first, parts.len() as u64, spread, rules), &parts.concat())
}

pub(super) fn direct(client: u32, first: u64, engines: u32, parts: &[&[u8]]) -> Entry {
    let spread = Spread::Direct((0..engines).map(EngineId).collect());
    entry(tasks(client, first, engines.into(), spread, Rules::default()), parts)
}

pub(super) fn outcome(id: TaskId, parts: &[&[u8]]) -> Entry {
    let (status, engine) = (Status::Ok, Some(EngineId(2)));
    let outcome = Outcome { id, status, engine, submitted: -3, started: 4, completed: i64::MAX };
    entry(Record::Outcome(outcome), parts)
}

pub(super) fn attempt(id: TaskId, attempt: u16) -> Entry {
    entry(Record::Attempt { id, attempt }, &[])
}

pub(super) fn cancelled(id: TaskId) -> Entry {
    entry(Record::Cancelled(id), &[])
}

pub(super) fn forgotten(tasks: &[(u32, u64, u64)]) -> Entry {
    let tasks = tasks.iter().map(|&(client, first, count)| (ClientId(client), first, count));
    entry(Record::Forgotten(Forgotten { tasks: tasks.collect(), ..Forgotten::default() }), &[])
}

/// One of everything.
pub(super) fn journal() -> Vec<Entry> {
    vec![
        function(1, b"def f"),
        client(4),
        submitted(4, 0, &[&[b"first"]]),
        submitted(4, 1, &[&[b"second", b"its buffer"], &[], &[b"fourth"]]),
        attempt(task(4, 1), 2),
        cancelled(task(4, 2)),
        direct(4, 4, 3, &[b"for all", b""]),
        outcome(task(4, 0), &[b"value", &[9; 90]]),
        outcome(task(4, 5), &[]),
        forgotten(&[(4, 0, 1), (4, 3, 1)]),
        entry(
            Record::Forgotten(Forgotten { funcs: vec![FuncId([1; 16])], ..Forgotten::default() }),
            &[],
        ),
        function(1, b"def f, again"),
    ]
}

/// What counts for each key, a submission taken apart.
pub(super) type Contents = BTreeMap<Key, (Record, Parts)>;

/// What counts when these were applied; the plainest way to say so.
pub(super) fn apply(contents: &mut Contents, entry: &Entry) {
    match &entry.head {
        Record::Submitted(tasks) => {
            for (id, own) in tasks.tasks(entry.parts.len()) {
                let (alone, _) = tasks.only(entry.parts.len(), |other, _| other == id).unwrap();
                let parts = entry.parts[own].iter().cloned().collect();
                contents.insert(Key::Pending(id), (Record::Submitted(alone), parts));
            }
        }
        Record::Forgotten(forgotten) => contents.retain(|key, _| match key {
            Key::Function(id) => !forgotten.funcs.contains(id),
            Key::Client(id) => !forgotten.clients.contains(id),
            Key::Pending(id) | Key::Attempt(id) | Key::Cancelled(id) | Key::Outcome(id) => {
                !forgotten.tasks.iter().any(|&(client, first, count)| {
                    client == id.client && (first..first + count).contains(&id.seq)
                })
            }
        }),
        head => {
            if let Record::Outcome(outcome) = head {
                contents.remove(&Key::Pending(outcome.id));
                contents.remove(&Key::Attempt(outcome.id));
                contents.remove(&Key::Cancelled(outcome.id));
            }
            let key = head.key().unwrap();
            let mut head = head.clone();
            if let Record::Client { next, .. } = &mut head {
                *next = 0;
            }
            contents.insert(key, (head, entry.parts.clone()));
        }
    }
}

pub(super) fn applied(entries: &[Entry]) -> Contents {
    let mut contents = Contents::new();
    for entry in entries {
        apply(&mut contents, entry);
    }
    contents
}

/// What a store holds, all of it read.
pub(super) fn contents(store: &Store) -> Contents {
    let mut contents = Contents::new();
    let mut heads = Vec::new();
    store.walk(|position, record| heads.push((position, record))).unwrap();
    for (position, record) in heads {
        let read = store.read(position).unwrap();
        assert_eq!(read.head, record, "the head is the same however it is read");
        // What says that a task ended may stand before what says that it began.
        apply(&mut contents, &read);
    }
    let keys: Vec<Key> = store.keys().collect();
    assert_eq!(contents.keys().copied().collect::<Vec<_>>(), keys, "each key has its record");
    contents
}

/// A directory in memory where there is one: thousands of stores are opened, and a disk that others
/// use too would be waited for each time.
pub(super) fn directory() -> tempfile::TempDir {
    let private = std::fs::Permissions::from_mode(0o700);
    let mut directory = tempfile::Builder::new();
    directory.permissions(private);
    directory.tempdir_in("/dev/shm").or_else(|_| directory.tempdir()).unwrap()
}

pub(super) fn open(directory: &Path, limits: Limits) -> (Store, Recovered) {
    Store::open(directory, limits).unwrap()
}

/// A store that was left as if its process had been killed; its directory.
pub(super) fn left_behind(entries: &[Entry]) -> tempfile::TempDir {
    let directory = directory();
    let (mut store, _) = open(directory.path(), Limits { reserve: 0, ..Limits::default() });
    for entry in entries {
        store.append(Class::New, std::slice::from_ref(entry)).unwrap();
    }
    directory
}

pub(super) fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> =
        entries.filter(|path| path.to_str().unwrap().contains(".journal")).collect();
    paths.sort();
    paths
}
