//! Who gets in and who does not.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use super::kit::{Dir, House, LONG, Say, dial, hello, sink, with_parts};
use crate::transport::{
    CloseReason, ConnectError, DOOR, Door, DoorError, Keeper, Outbox, connect, connect_with_retry,
};
use crate::wire::limits::{HELLO_CONCURRENT, HELLO_DEADLINE, HELLO_MAX, PROTOCOL};
use crate::wire::{Hello, SessionId, Sign, Welcome};

fn keeper() -> Keeper {
    Keeper { token: b"t".to_vec(), session: SessionId([1; 16]), pid: 1, lease: Duration::ZERO }
}

fn try_open(dir: &Dir) -> Result<Door, DoorError> {
    let (sender, _) = tokio::sync::mpsc::channel(1);
    Door::open(dir, keeper(), sender, |arrival| arrival)
}

/// A hello as it lies on the wire, with a length of our choice.
fn raw_hello(version: u16, len: u32, body: &[u8]) -> Vec<u8> {
    [b"oarlock\n", &version.to_le_bytes()[..], &len.to_le_bytes(), body].concat()
}

/// Says `bytes` at the door and waits for the answer or the end, off the runtime's thread.
async fn knock(house: &House, bytes: Vec<u8>) -> Vec<u8> {
    let path = house.door.path().to_path_buf();
    let knocking = tokio::task::spawn_blocking(move || {
        let mut stream = UnixStream::connect(path).unwrap();
        stream.write_all(&bytes).unwrap();
        let mut answer = Vec::new();
        // A reset is an end too.
        let _ = stream.read_to_end(&mut answer);
        answer
    });
    tokio::time::timeout(LONG, knocking).await.expect("an end in time").unwrap()
}

fn refusal(answer: &[u8]) -> String {
    let (welcome, ..): (Welcome, Option<Sign>, bool) =
        rmp_serde::from_slice(&answer[14..]).unwrap();
    match welcome {
        Welcome::Refused(reason) => reason,
        other @ Welcome::Accepted { .. } => panic!("let in: {other:?}"),
    }
}

#[tokio::test]
async fn bytes_that_would_kill_the_message_layer_are_turned_away_at_the_door() {
    let mut house = House::open();
    // The greeting of a ZMTP peer, then a frame of 2^62 bytes.
    let mut greeting = vec![0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 0];
    greeting.extend_from_slice(b"NULL");
    greeting.resize(64, 0);
    greeting.push(0x02);
    greeting.extend_from_slice(&(1u64 << 62).to_be_bytes());
    assert!(knock(&house, greeting).await.is_empty());
    let answer = knock(&house, raw_hello(PROTOCOL, u32::MAX, b"")).await;
    assert!(refusal(&answer).contains("4294967295 bytes"));
    let answer = knock(&house, raw_hello(PROTOCOL, HELLO_MAX as u32 + 1, b"")).await;
    assert!(refusal(&answer).contains("the limit is"));
    let answer = knock(&house, raw_hello(PROTOCOL, 3, &[0xdd, 0xff, 0xff])).await;
    assert!(refusal(&answer).contains("unreadable"));
    // Nothing else can be reached by a stranger, and the house still stands.
    assert!(house.dir.lanes().is_empty());
    let (ours, mut theirs) = house.pair().await;
    ours.say(with_parts(Say::Ordered(1), &[1]));
    assert_eq!(theirs.messages().await.len(), 1);
}

#[tokio::test]
async fn a_peer_of_another_version_is_told_so() {
    let house = House::open();
    let answer = knock(&house, raw_hello(PROTOCOL + 1, 10, b"unreadable")).await;
    let reason = refusal(&answer);
    assert!(reason.contains(&format!("version {}", PROTOCOL + 1)), "{reason}");
    assert!(reason.contains(&format!("speaks version {PROTOCOL}")), "{reason}");
}

#[tokio::test]
async fn a_wrong_token_is_refused_with_a_reason() {
    let house = House::open();
    for token in [b"".to_vec(), b"another token".to_vec()] {
        let error = dial(&house.dir, &Hello { token, ..hello() }).await.err().unwrap();
        let ConnectError::Refused { reason, .. } = &error else { panic!("{error:?}") };
        assert!(reason.contains("token"), "{error}");
    }
}

#[tokio::test]
async fn a_peer_that_the_caller_refuses_learns_why() {
    let mut house = House::open();
    let dir = house.dir.to_path_buf();
    let hello = hello();
    let (arrival, outcome) = tokio::join!(
        async {
            let arrival = house.arrival().await;
            assert_eq!(arrival.hello.session, SessionId([5; 16]));
            assert!(arrival.hello.token.is_empty());
            arrival.refuse("x".repeat(HELLO_MAX * 2));
        },
        dial(&dir, &hello)
    );
    let () = arrival;
    let error = outcome.err().unwrap();
    assert!(matches!(&error, ConnectError::Refused { reason, .. } if reason.starts_with("xxx")));
}

#[tokio::test(start_paused = true)]
async fn silent_strangers_run_out_of_time_and_others_get_in() {
    let mut house = House::open();
    let strangers: Vec<UnixStream> = (0..HELLO_CONCURRENT * 2)
        .map(|_| UnixStream::connect(house.door.path()).unwrap())
        .collect();
    let (ours, mut theirs) =
        tokio::time::timeout(HELLO_DEADLINE * 4, house.pair()).await.expect("room at the door");
    ours.say(with_parts(Say::Ordered(1), &[]));
    assert_eq!(theirs.messages().await.len(), 1);
    drop(strangers);
}

#[tokio::test]
async fn a_directory_that_others_can_enter_is_refused_by_both_sides() {
    let dir = Dir::with_mode(0o750);
    std::fs::set_permissions(&*dir, std::fs::Permissions::from_mode(0o750)).unwrap();
    let error = try_open(&dir).unwrap_err();
    assert!(matches!(&error, DoorError::NotOurs(text) if text.contains("mode 750")), "{error}");
    let error = dial(&dir, &hello()).await.err().unwrap();
    assert!(matches!(error, ConnectError::NotOurs { .. }), "{error}");
}

#[tokio::test]
async fn a_directory_of_another_user_is_refused() {
    let dir = Dir::new();
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&*dir, Some(12345), None).unwrap();
        let error = try_open(&dir).unwrap_err();
        assert!(error.to_string().contains("belongs to user 12345"), "{error}");
    } else if let Err(error) = super::super::directory::check(std::path::Path::new("/usr")).unwrap()
    {
        assert!(error.contains("belongs to user 0"), "{error}");
    }
}

#[tokio::test]
async fn a_path_that_is_too_long_for_sockets_is_named_as_such() {
    let parent = Dir::new();
    let long = parent.join("d".repeat(60));
    std::fs::create_dir(&long).unwrap();
    std::fs::set_permissions(&long, std::fs::Permissions::from_mode(0o700)).unwrap();
    let (sender, _) = tokio::sync::mpsc::channel(1);
    let error = Door::open(&long, keeper(), sender, |arrival| arrival).unwrap_err();
    assert!(error.to_string().contains("bytes long"), "{error}");
}

#[tokio::test]
async fn a_second_controller_is_told_that_one_lives_here() {
    let house = House::open();
    let error = try_open(&house.dir).unwrap_err();
    assert!(matches!(&error, DoorError::InUse(path) if path == house.door.path()), "{error}");
    // Somebody who listens without the lock is found too.
    let dir = Dir::new();
    let _listener = UnixListener::bind(dir.join(DOOR)).unwrap();
    assert!(matches!(try_open(&dir).unwrap_err(), DoorError::InUse(_)));
}

#[tokio::test]
async fn what_a_dead_controller_left_is_replaced() {
    let dir = Dir::new();
    drop(UnixListener::bind(dir.join(DOOR)).unwrap());
    assert!(dir.join(DOOR).exists());
    let mut house = House::open_in(dir);
    let mode = std::fs::metadata(house.door.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    house.pair().await;
}

#[tokio::test]
async fn nobody_there_is_said_quickly() {
    let dir = Dir::new();
    for missing in [&*dir, &dir.join("none")] {
        let error = dial(missing, &hello()).await.err().unwrap();
        assert!(matches!(error, ConnectError::Nobody { .. }), "{error}");
    }
    drop(UnixListener::bind(dir.join(DOOR)).unwrap());
    let error = dial(&dir, &hello()).await.err().unwrap();
    assert!(matches!(error, ConnectError::Nobody { .. }), "{error}");
}

#[tokio::test]
async fn a_controller_that_does_not_answer_is_a_timeout() {
    let dir = Dir::new();
    let _listener = UnixListener::bind(dir.join(DOOR)).unwrap();
    let (sink, _events) = sink();
    let limit = Duration::from_millis(50);
    let outcome: Result<(_, Outbox<Say>), _> = connect(&dir, &hello(), None, sink, limit).await;
    assert!(matches!(outcome.err().unwrap(), ConnectError::Timeout { .. }));
}

#[tokio::test]
async fn whoever_waits_gets_in_when_the_controller_comes() {
    let dir = Dir::new();
    let path = dir.to_path_buf();
    let waiting = tokio::spawn(async move {
        let (sink, _events) = sink();
        connect_with_retry::<Say, Say, _>(&path, &hello(), None, sink, LONG).await.map(|_| ())
    });
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    assert!(!waiting.is_finished());
    let mut house = House::open_in(dir);
    house.admit().await;
    waiting.await.unwrap().unwrap();
}

#[tokio::test]
async fn waiting_for_a_controller_has_an_end_and_a_refusal_is_not_asked_twice() {
    let dir = Dir::new();
    let limit = Duration::from_millis(60);
    let (sender, _) = sink();
    let outcome = connect_with_retry::<Say, Say, _>(&dir, &hello(), None, sender, limit).await;
    assert!(matches!(outcome.unwrap_err(), ConnectError::Nobody { .. }));
    let house = House::open_in(dir);
    let (sender, _) = sink();
    let wrong = Hello { token: Vec::new(), ..hello() };
    let outcome = connect_with_retry::<Say, Say, _>(&house.dir, &wrong, None, sender, LONG).await;
    assert!(matches!(outcome.unwrap_err(), ConnectError::Refused { .. }));
}

#[tokio::test]
async fn a_peer_that_leaves_while_it_is_let_in_closes_its_session() {
    let mut house = House::open();
    let path = house.door.path().to_path_buf();
    let mut stream = UnixStream::connect(path).unwrap();
    let body = rmp_serde::to_vec(&(hello(), None::<Sign>)).unwrap();
    stream.write_all(&raw_hello(PROTOCOL, body.len() as u32, &body)).unwrap();
    let arrival = house.arrival().await;
    let (sink, events) = sink();
    let outbox = arrival.admit::<Say, Say, _>((1, false), None, sink).unwrap();
    assert_eq!(house.dir.lanes().len(), 2);
    drop(stream);
    let mut peer = super::kit::Peer { outbox, events };
    assert_eq!(peer.rest().await.1, CloseReason::Vanished);
    assert!(house.dir.lanes().is_empty());
}
