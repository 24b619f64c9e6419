//! How sessions end on purpose.

use super::kit::{House, LONG, Say, raw, with_parts};
use crate::transport::{CloseReason, PushError};
use crate::wire::codec::{Kind, decode};
use crate::wire::limits::GOODBYE;

#[tokio::test]
async fn everything_pushed_before_close_is_delivered() {
    let mut house = House::open();
    for large in [0, 300_000] {
        let (mut ours, mut theirs) = house.pair().await;
        for number in 0..1000 {
            let len = if number % 100 == 7 { large } else { 20 };
            ours.say(with_parts(Say::Ordered(number), &[len]));
        }
        ours.outbox.close();
        let refused = ours.outbox.push(with_parts(Say::Ordered(1000), &[]));
        assert_eq!(refused, Err(PushError::Closed));
        let ((heads, theirs), (_, ours)) = tokio::join!(theirs.rest(), ours.rest());
        assert_eq!(heads, (0..1000).map(Say::Ordered).collect::<Vec<_>>());
        assert_eq!((ours, theirs), (CloseReason::Goodbye, CloseReason::Goodbye));
    }
}

#[test]
fn everything_pushed_before_close_is_delivered_though_the_runtime_stops_right_after() {
    let listening = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut house = listening.block_on(async { House::open() });
    let dir = house.dir.to_path_buf();
    let sender = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (_, mut peer) = super::kit::dial(&dir, &super::kit::hello()).await.unwrap();
            for number in 0..1000 {
                peer.say(with_parts(Say::Ordered(number), &[100]));
            }
            peer.outbox.close();
            peer.rest().await.1
        })
    });
    let (heads, _) = listening.block_on(async {
        let mut peer = house.admit().await;
        peer.rest().await
    });
    assert_eq!(heads.len(), 1000);
    assert_eq!(sender.join().unwrap(), CloseReason::Goodbye);
}

#[tokio::test]
async fn what_the_peer_had_queued_arrives_too_when_we_close() {
    let mut house = House::open();
    let (mut ours, mut theirs) = house.pair().await;
    for number in 0..200 {
        theirs.say(with_parts(Say::Ordered(number), &[50_000]));
    }
    ours.outbox.close();
    let ((heads, ours), (_, theirs)) = tokio::join!(ours.rest(), theirs.rest());
    assert_eq!(heads.len(), 200);
    assert_eq!((ours, theirs), (CloseReason::Goodbye, CloseReason::Goodbye));
}

#[tokio::test]
async fn both_sides_may_close_at_once() {
    let mut house = House::open();
    let (mut ours, mut theirs) = house.pair().await;
    ours.say(with_parts(Say::Ordered(1), &[]));
    theirs.say(with_parts(Say::Ordered(2), &[]));
    ours.outbox.close();
    theirs.outbox.close();
    let (ours, theirs) = tokio::join!(ours.rest(), theirs.rest());
    assert_eq!(ours, (vec![Say::Ordered(2)], CloseReason::Goodbye));
    assert_eq!(theirs, (vec![Say::Ordered(1)], CloseReason::Goodbye));
}

#[tokio::test(start_paused = true)]
async fn a_goodbye_that_is_not_answered_ends_after_a_while() {
    let (mut peer, mut far) = raw(8, None);
    peer.outbox.close();
    let before = tokio::time::Instant::now();
    assert_eq!(peer.rest().await.1, CloseReason::Goodbye);
    assert!(before.elapsed() >= GOODBYE && before.elapsed() < GOODBYE * 2);
    let (header, blob) = far.ctl.1.recv().await.unwrap();
    assert_eq!(decode::<Say>(&header, &blob).unwrap().kind, Kind::Bye);
}

#[tokio::test(start_paused = true)]
async fn closing_towards_a_peer_that_takes_nothing_ends_and_says_so() {
    // The lane has room for all the credit, but nothing is ever confirmed.
    let (mut peer, _far) = raw(2000, None);
    for number in 0..1500 {
        peer.say(with_parts(Say::Ordered(number), &[60_000]));
    }
    peer.outbox.close();
    let reason = tokio::time::timeout(LONG, peer.rest()).await.unwrap().1;
    assert!(matches!(reason, CloseReason::Stalled(_)), "{reason:?}");
}
