//! Peers at the door that mean no good: bounded, counted, told once, and in nobody's way.

use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::kit::{House, Say, hello, with_parts};
use crate::transport::refusals::{Fault, LOG, NAMED_MAX, ROOM, Refusals, Who};
use crate::wire::limits::{HELLO_CONCURRENT, HELLO_DEADLINE, HELLO_MAX, PROTOCOL};
use crate::wire::{Hello, Sign};

fn said(version: u16, len: u32, body: &[u8]) -> Vec<u8> {
    [b"oarlock\n", &version.to_le_bytes()[..], &len.to_le_bytes(), body].concat()
}

fn greeting(token: &[u8]) -> Vec<u8> {
    let hello = Hello { token: token.to_vec(), ..hello() };
    let body = rmp_serde::to_vec(&(hello, None::<Sign>)).unwrap();
    said(PROTOCOL, body.len() as u32, &body)
}

/// A stranger that said `bytes` and stays.
fn stranger(house: &House, bytes: &[u8]) -> UnixStream {
    let mut stream = UnixStream::connect(house.door.path()).unwrap();
    stream.write_all(bytes).unwrap();
    stream.set_nonblocking(true).unwrap();
    stream
}

/// Whether the door has hung up on it.
fn is_out(mut stranger: &UnixStream) -> bool {
    let mut bytes = [0; HELLO_MAX];
    loop {
        match stranger.read(&mut bytes) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() != std::io::ErrorKind::WouldBlock,
        }
    }
}

/// Gives the door its turns until `done`.
async fn until(mut done: impl FnMut() -> bool) {
    let limit = Duration::from_secs(20);
    let turns = async {
        while !done() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(limit, turns).await.expect("it comes to that");
}

fn log(house: &House) -> String {
    std::fs::read_to_string(house.dir.join(LOG)).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_thousand_half_open_connections_keep_nobody_waiting() {
    let mut house = House::open();
    let begun = tokio::time::Instant::now();
    let mut strangers = Vec::new();
    for number in 0..1000 {
        // Some say nothing, some begin a hello and never go on.
        strangers.push(stranger(&house, if number % 2 == 0 { b"" } else { b"oarlock\n" }));
        if number % 50 == 0 {
            // The kernel keeps no more than a hundred or so of them for us.
            let refusals = house.door.refusals();
            let gone = (number as u64).saturating_sub(HELLO_CONCURRENT as u64);
            until(|| refusals.of(Fault::Silent) >= gone).await;
        }
    }
    let (ours, mut theirs) = house.pair().await;
    ours.say(with_parts(Say::Ordered(1), &[]));
    assert_eq!(theirs.messages().await.len(), 1);
    // The clock of this test goes on only where everybody waits.
    assert!(begun.elapsed() < HELLO_DEADLINE, "nobody had to wait for a stranger's deadline");
    let inside = strangers.iter().filter(|stranger| !is_out(stranger)).count();
    assert!(inside <= HELLO_CONCURRENT, "{inside} strangers are still there");
    tokio::time::sleep(HELLO_DEADLINE * 2).await;
    until(|| house.door.refusals().of(Fault::Silent) == 1000).await;
    assert!(strangers.iter().all(is_out), "and none after its time");
}

#[tokio::test]
async fn whoever_is_turned_away_is_counted_by_reason_and_told_once() {
    let mut house = House::open();
    let long = said(PROTOCOL, u32::MAX, &[0xdf; 600]);
    let reasons = [
        (Fault::Noise, b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        (Fault::Noise, said(PROTOCOL, 3, &[0xdd, 0xff, 0xff])),
        (Fault::TooLong, long),
        (Fault::Version, said(PROTOCOL - 1, 5, b"hello")),
        (Fault::Token, greeting(b"guessed")),
        (Fault::Token, greeting(b"")),
    ];
    for round in 1..=3 {
        for (fault, bytes) in &reasons {
            let before = house.door.refusals().of(*fault);
            let knocking = stranger(&house, bytes);
            until(|| house.door.refusals().of(*fault) == before + 1).await;
            until(|| is_out(&knocking)).await;
        }
        drop(stranger(&house, b"oarl"));
        until(|| house.door.refusals().of(Fault::Left) == round).await;
    }
    assert_eq!(house.door.refusals().of(Fault::Token), 6);
    let told = log(&house);
    assert_eq!(told.matches(": it does not know the token of this cluster\n").count(), 1, "{told}");
    assert_eq!(told.matches("turned away process").count(), 5, "one line for each reason: {told}");
    assert!(told.contains("turned away 16 so far; "), "{told}");
    assert!(told.contains(&format!("process {} of user", std::process::id())), "{told}");
    assert!(!told.contains("guessed") && !told.contains("HTTP"), "{told}");
    house.pair().await;
}

#[tokio::test]
async fn a_hello_without_an_end_is_cut_at_its_limit() {
    let house = House::open();
    // Announced as long as it may be, and then it goes on and on.
    let endless = [said(PROTOCOL, HELLO_MAX as u32, &[]), vec![0xc0; 16 * HELLO_MAX]].concat();
    let endless = stranger(&house, &endless);
    until(|| house.door.refusals().of(Fault::Noise) == 1).await;
    until(|| is_out(&endless)).await;
}

#[test]
fn the_log_of_strangers_is_bounded_however_many_there_are() {
    let dir = super::kit::Dir::new();
    let (refusals, faults) = (Refusals::new(&dir), [Fault::Silent, Fault::Token]);
    for number in 0..100_000 {
        refusals.count(faults[number % 2], Who::process(None));
    }
    let text = std::fs::read_to_string(dir.join(LOG)).unwrap();
    assert!(text.lines().count() < NAMED_MAX, "{} lines", text.lines().count());
    assert!(
        text.contains("turned away 65536 so far; did not finish its first message in time: 32768"),
        "{text}"
    );
}

#[test]
fn a_lack_of_descriptors_is_told_once_and_its_end_too() {
    let dir = super::kit::Dir::new();
    let refusals = Refusals::new(&dir);
    let error = std::io::Error::from_raw_os_error(libc::EMFILE);
    for _ in 0..2 {
        refusals.roomy();
        (0..100).for_each(|_| refusals.crowded(&error));
        (0..100).for_each(|_| refusals.roomy());
    }
    let text = std::fs::read_to_string(dir.join(LOG)).unwrap();
    assert_eq!(text.matches("nobody can be let in").count(), 2, "{text}");
    assert_eq!(text.matches("can be let in again").count(), 2, "{text}");
}

#[test]
fn the_log_has_room_of_its_own_before_anything_is_in_it() {
    let dir = super::kit::Dir::new();
    let blocks = || {
        let log = std::fs::metadata(dir.join(LOG)).unwrap();
        (log.len(), log.blocks() * 512)
    };
    let refusals = Refusals::new(&dir);
    let (len, room) = blocks();
    assert_eq!(len, 0, "who reads it sees nothing of that");
    refusals.note("the disk is full");
    let text = std::fs::read_to_string(dir.join(LOG)).unwrap();
    assert!(text.ends_with("Z the disk is full\n"), "{text:?}");
    // A file system need not be able to do so.
    if room > 0 {
        assert!(room >= ROOM);
        assert_eq!(blocks().1, room, "a line needs no more");
    }
}
