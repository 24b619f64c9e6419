//! A process that is killed within any operation, whatever it is at.

use super::super::simulated::Simulated;
use super::super::*;
use super::kit::*;
use crate::wire::Status;

fn open_on(disk: &Simulated, limits: Limits) -> Result<(Store, Recovered), StoreError> {
    Store::open_on(Box::new(disk.clone()), limits)
}

/// Does this with a disk as often as it takes until its process was killed within each operation; gives
/// what is there then to `check`.
fn kill_everywhere(
    disk: &Simulated,
    work: impl Fn(&Simulated) -> usize,
    check: impl Fn(Simulated, usize, u64),
) {
    for fuse in 1.. {
        let disk = disk.survivor();
        disk.kill_after(fuse);
        let done = work(&disk);
        let is_killed = disk.is_killed();
        check(disk.survivor(), done, fuse);
        if !is_killed {
            assert!(fuse > 5, "it had several operations");
            return;
        }
    }
}

#[test]
fn what_is_damaged_has_ended_whenever_the_process_is_killed_that_sets_it_aside() {
    let disk = Simulated::default();
    let (mut store, _) = open_on(&disk, SMALL).unwrap();
    let entries = [
        function(1, b"def"),
        client(4),
        submitted(4, 0, &[&[b"good"], &[b"hurt arguments"], &[b"as well"]]),
        submitted(4, 3, &[&[b"ended"], &[b"a hurt argument of what ended"]]),
        outcome(task(4, 3), &[b"a hurt value"]),
        outcome(task(4, 4), &[b"a good value"]),
    ];
    store.append(Class::New, &entries).unwrap();
    drop(store);
    let (name, _) = disk.files(".journal").remove(0);
    disk.change(&name, |bytes| {
        for hurt in [&b"hurt arguments"[..], b"hurt argument of", b"hurt value"] {
            let at = bytes.windows(hurt.len()).position(|some| some == hurt).unwrap();
            bytes[at] = b'H';
        }
    });
    let work = |disk: &Simulated| usize::from(open_on(disk, SMALL).is_ok());
    kill_everywhere(&disk, work, |disk, _, fuse| {
        let (store, _) = open_on(&disk, SMALL).unwrap();
        let mut there = contents(&store);
        for id in [task(4, 1), task(4, 3)] {
            let (record, parts) = there.remove(&Key::Outcome(id)).expect("it has ended");
            let Record::Outcome(outcome) = record else { unreachable!() };
            assert_eq!(outcome.status, Status::Refused);
            let text = String::from_utf8_lossy(&parts[0]).into_owned();
            assert!(text.contains("/000000000001.journal.damaged is damaged at byte"), "{text}");
        }
        let mut rest = applied(&entries);
        for key in [Key::Pending(task(4, 1)), Key::Outcome(task(4, 3))] {
            rest.remove(&key);
        }
        for (record, _) in there.values_mut() {
            if let Record::Client { next, .. } = record {
                *next = 0;
            }
        }
        assert_eq!(there, rest, "killed after {fuse}");
        assert_eq!(disk.files(".damaged").len(), 1);
        let (_, again) = open_on(&disk.survivor(), SMALL).unwrap();
        assert_eq!(again.damage, [], "it is told once");
    });
}

#[test]
fn what_was_acknowledged_is_there_whenever_the_process_is_killed() {
    let value = [7; 90];
    let entries: Vec<Vec<Entry>> = (0..60)
        .map(|seq| {
            let mut entries = vec![submitted(1, seq, &[&[&value]])];
            entries.extend((seq >= 3).then(|| outcome(task(1, seq - 3), &[&value])));
            entries.extend((seq >= 9).then(|| forgotten(&[(1, seq - 9, 1)])));
            entries
        })
        .collect();
    let limits = Limits { reserve: 5000, ..SMALL };
    let work = |disk: &Simulated| {
        let Ok((mut store, _)) = open_on(disk, limits) else { return 0 };
        let acknowledged = entries.iter().take_while(|some| store.append(Class::New, some).is_ok());
        acknowledged.count()
    };
    kill_everywhere(&Simulated::default(), work, |disk, done, fuse| {
        let (store, told) = open_on(&disk, limits).unwrap();
        assert_eq!(told.damage, [], "killed after {fuse}");
        let least = applied(&entries[..done].concat());
        let most = applied(&entries[..entries.len().min(done + 1)].concat());
        let there = contents(&store);
        // What was being written is there from its beginning on, as far as it was written.
        for (key, value) in &least {
            let gone = !most.contains_key(key);
            assert!(gone || there.get(key) == Some(value), "{key:?}, killed after {fuse}");
        }
        for (key, value) in &there {
            let known = least.get(key).or_else(|| most.get(key));
            assert_eq!(known, Some(value), "{key:?}, killed after {fuse}");
        }
    });
}

#[test]
fn a_store_that_is_damaged_on_a_full_disk_stays_as_it_is_until_what_has_ended_is_written() {
    let disk = Simulated::default();
    let limits = Limits { reserve: 1000, ..SMALL };
    let (mut store, _) = open_on(&disk, limits).unwrap();
    store.append(Class::New, &[submitted(1, 0, &[&[b"hurt"], &[b"good"]])]).unwrap();
    drop(store);
    let (name, _) = disk.files(".journal").remove(0);
    disk.change(&name, |bytes| {
        let at = bytes.windows(4).position(|some| some == b"hurt").unwrap();
        bytes[at] = b'H';
    });
    disk.set_room(Some(disk.used()));
    let keys = |store: &Store| store.keys().collect::<Vec<_>>();
    let expected = [Key::Pending(task(1, 1)), Key::Outcome(task(1, 0))];
    let (store, told) = open_on(&disk, limits).unwrap();
    assert_eq!((keys(&store), told.damage.len()), (expected.to_vec(), 1), "into the reserve");
    drop(store);

    let disk = disk.survivor();
    disk.set_room(None);
    let none = Limits { reserve: 0, ..SMALL };
    let (mut store, _) = open_on(&disk, none).unwrap();
    let entries = [outcome(task(1, 1), &[b"value"]), submitted(1, 2, &[&[b"worse"], &[b"well"]])];
    store.append(Class::New, &entries).unwrap();
    drop(store);
    let (name, _) = disk.files(".journal").pop().unwrap();
    disk.change(&name, |bytes| {
        for hurt in [&b"value"[..], b"worse"] {
            let at = bytes.windows(5).rposition(|some| some == hurt).unwrap();
            bytes[at] = b'V';
        }
    });
    disk.set_room(Some(disk.used()));
    for _ in 0..2 {
        let (store, told) = open_on(&disk, none).unwrap();
        assert_eq!((told.damage.len(), disk.files(".damaged").len()), (2, 1), "it is told again");
        let ended = told.ends.iter().map(|end| end.head.key().unwrap());
        assert_eq!(ended.collect::<Vec<_>>(), [1, 2].map(|seq| Key::Outcome(task(1, seq))));
        let read = store.read(store.find(Key::Pending(task(1, 3))).unwrap()).unwrap();
        assert_eq!(read.parts[..], [&b"well"[..]], "what is beside it is served");
    }
    disk.set_room(None);
    let (store, told) = open_on(&disk, none).unwrap();
    assert_eq!(told.ends, []);
    let ended = [0, 1, 2].map(|seq| Key::Outcome(task(1, seq)));
    assert_eq!(keys(&store), [&[Key::Pending(task(1, 3))], &ended[..]].concat());
    assert_eq!(disk.files(".damaged").len(), 2);
}
