//! Several peers over real sockets: none can harm another.

use std::time::{Duration, Instant};

use super::kit::{House, Say, dial, hello, with_parts};
use crate::transport::CloseReason;
use crate::wire::limits::PACKET_CREDIT;

#[tokio::test]
async fn messages_travel_both_ways_whatever_their_size() {
    let mut house = House::open();
    let (mut ours, mut theirs) = house.pair().await;
    for lens in [&[][..], &[0], &[1], &[100, 0, 5], &[65_536], &[70_000], &[5, 3_000_000, 9, 9]] {
        let message = with_parts(Say::Ordered(lens.len() as u64), lens);
        ours.say(message.clone());
        let there = theirs.messages().await;
        assert_eq!(there, std::slice::from_ref(&message));
        theirs.say(there.into_iter().next().unwrap());
        assert_eq!(ours.messages().await, [message]);
    }
}

#[tokio::test]
async fn a_part_arrives_as_one_piece_that_can_be_freed_alone() {
    let mut house = House::open();
    let (ours, mut theirs) = house.pair().await;
    ours.say(with_parts(Say::Ordered(0), &[1_000_000, 2_000_000]));
    let messages = theirs.messages().await;
    let parts = messages.into_iter().next().unwrap().parts;
    assert!(parts.iter().all(bytes::Bytes::is_unique));
}

#[tokio::test]
async fn messages_that_wait_together_travel_together() {
    let mut house = House::open();
    let (ours, mut theirs) = house.pair().await;
    for number in 0..100 {
        ours.say(with_parts(Say::Free(number), &[10]));
    }
    assert_eq!(theirs.messages().await.len(), 100);
}

#[tokio::test]
async fn pushes_from_other_threads_arrive() {
    let mut house = House::open();
    let (ours, mut theirs) = house.pair().await;
    let outbox = ours.outbox.clone();
    let pusher = std::thread::spawn(move || {
        for number in 0..5000 {
            outbox.push(with_parts(Say::Ordered(number), &[10])).unwrap();
        }
    });
    let mut heads = Vec::new();
    while heads.len() < 5000 {
        heads.extend(theirs.messages().await.iter().map(|message| message.head));
    }
    assert_eq!(heads, (0..5000).map(Say::Ordered).collect::<Vec<_>>());
    pusher.join().unwrap();
}

#[tokio::test]
async fn a_small_message_overtakes_a_large_one() {
    let mut house = House::open();
    let (ours, mut theirs) = house.pair().await;
    ours.say(with_parts(Say::Ordered(0), &[50_000_000]));
    ours.say(with_parts(Say::Free(1), &[10]));
    assert_eq!(theirs.messages().await[0].head, Say::Free(1));
    assert_eq!(theirs.messages().await[0].head, Say::Ordered(0));
}

#[tokio::test]
async fn a_peer_that_stops_reading_is_bounded_and_its_death_harms_nobody() {
    let mut house = House::open();
    let (mut slow, stuck) = house.pair().await;
    let (good, mut listener) = house.pair().await;
    let packets = PACKET_CREDIT + 500;
    for number in 0..packets {
        slow.say(with_parts(Say::Ordered(number), &[60_000]));
    }
    for number in 0..1000 {
        good.say(with_parts(Say::Ordered(number), &[10]));
        assert_eq!(listener.messages().await[0].head, Say::Ordered(number));
    }
    let left = slow.outbox.queued_bytes();
    assert!(left >= 400 * 60_000, "{left} bytes wait here and not in the socket's own queue");
    // Its caller goes away: the session ends there, and so here.
    stuck.outbox.abort();
    drop(stuck);
    assert_eq!(slow.rest().await.1, CloseReason::Vanished);
    for number in 0..1000 {
        good.say(with_parts(Say::Ordered(number), &[10]));
        assert_eq!(listener.messages().await[0].head, Say::Ordered(number));
    }
}

#[tokio::test]
async fn a_new_connection_of_a_session_survives_the_death_of_the_old_one() {
    let mut house = House::open();
    let (mut old, lingering) = house.pair().await;
    for number in 0..3000 {
        old.say(with_parts(Say::Ordered(number), &[60_000]));
    }
    // The same session id again, while the old connection is still there and blocked.
    let (new, mut renewed) = house.pair().await;
    lingering.outbox.abort();
    drop(lingering);
    assert_eq!(old.rest().await.1, CloseReason::Vanished);
    for number in 0..100 {
        new.say(with_parts(Say::Ordered(number), &[10]));
        assert_eq!(renewed.messages().await[0].head, Say::Ordered(number));
    }
}

#[tokio::test]
async fn a_session_leaves_no_socket_behind() {
    let mut house = House::open();
    let (mut ours, mut theirs) = house.pair().await;
    assert!(house.dir.lanes().is_empty(), "lanes have no names once they are connected");
    ours.outbox.close();
    tokio::join!(ours.rest(), theirs.rest());
    let path = house.door.path().to_path_buf();
    drop(house.door);
    assert!(!path.exists());
}

/// Not a test of its own: what the next one runs in a process that it then kills.
#[tokio::test]
async fn child_that_waits_to_be_killed() {
    let Ok(dir) = std::env::var("OARLOCK_TEST_DIRECTORY") else { return };
    let (_, mut peer) = dial(dir.as_ref(), &hello()).await.unwrap();
    peer.say(with_parts(Say::Ordered(1), &[10]));
    peer.events.recv().await;
}

#[tokio::test]
async fn a_killed_process_is_noticed_at_once() {
    let mut house = House::open();
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "transport::tests::peers::child_that_waits_to_be_killed"])
        .env("OARLOCK_TEST_DIRECTORY", &*house.dir)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut peer = house.admit().await;
    assert_eq!(peer.messages().await.len(), 1);
    let killed = Instant::now();
    child.kill().unwrap();
    assert_eq!(peer.rest().await.1, CloseReason::Vanished);
    assert!(killed.elapsed() < Duration::from_secs(1), "{:?}", killed.elapsed());
    child.wait().unwrap();
}
