//! Sessions through a gate: over loopback here, encrypted and proved as over any network.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::castle::{Castle, PATIENCE, listen, meddler, token};
use super::kit::{Dir, House, Say, dial, hello, with_parts};
use crate::transport::call::{CALL, call};
use crate::transport::card::CARD;
use crate::transport::place::{Connection, write};
use crate::transport::{CloseReason, ConnectError, Gate};
use crate::wire::Hello;

#[tokio::test]
async fn a_session_goes_through_the_gate_both_ways_and_ends_with_a_goodbye() {
    let mut castle = Castle::build().await;
    let (mut ours, mut theirs) = castle.pair().await;
    let large = 3 << 20;
    for from in [&ours, &theirs] {
        from.say(with_parts(Say::Ordered(1), &[5, large, 70_000]));
        from.say(with_parts(Say::Free(2), &[]));
    }
    for peer in [&mut ours, &mut theirs] {
        let mut heads = 0;
        while heads < 2 {
            for message in peer.messages().await {
                heads += 1;
                if message.head == Say::Ordered(1) {
                    let lens = message.parts.iter().map(bytes::Bytes::len).collect::<Vec<_>>();
                    assert_eq!(lens, [5, large, 70_000]);
                    assert!(message.parts[1].iter().all(|byte| *byte == large as u8));
                }
            }
        }
    }
    theirs.say(with_parts(Say::Ordered(3), &[large]));
    theirs.outbox.close();
    assert_eq!(ours.rest().await, (vec![Say::Ordered(3)], CloseReason::Goodbye));
    assert_eq!(theirs.rest().await, (vec![], CloseReason::Goodbye));
    castle.gate.close().await;
}

#[tokio::test]
async fn who_vanishes_behind_the_gate_is_known_to_have_vanished() {
    let mut castle = Castle::build().await;
    let (mut ours, theirs) = castle.pair().await;
    theirs.outbox.abort();
    assert_eq!(ours.rest().await.1, CloseReason::Vanished);
    let (ours, mut theirs) = castle.pair().await;
    ours.outbox.abort();
    assert_eq!(theirs.rest().await.1, CloseReason::Vanished);
}

#[tokio::test]
async fn the_next_gate_of_a_cluster_is_known_to_who_has_the_connection_file() {
    let mut castle = Castle::build().await;
    castle.works().await;
    let text = std::fs::read(castle.card()).unwrap();
    // The controller is killed: nothing of it is cleaned up.
    let kept = Dir::new();
    for file in ["link.key", "connection", CARD] {
        std::fs::copy(castle.house.dir.join(file), kept.join(file)).unwrap();
    }
    let Castle { house, gate } = castle;
    gate.close().await;
    drop(house);
    let mut castle = Castle::build_in(kept, PATIENCE).await;
    castle.works().await;
    assert_eq!(std::fs::read(castle.card()).unwrap(), text, "the same in all");
}

#[expect(clippy::disallowed_methods, reason = "it stands for a network")]
#[tokio::test]
async fn nobody_is_known_to_be_gone_unless_the_host_says_that_nobody_listens() {
    let mut castle = Castle::build().await;
    castle.works().await;
    let far_end = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let way = castle.by_way_of("way.json", far_end.local_addr().unwrap().port());
    let hello = Hello { token: token(), ..hello() };
    // A port that is forwarded to where nobody is, or whose way ends in the middle of a word.
    for said in [0, 10, CALL] {
        let hangs_up = async {
            let mut peer = far_end.accept().await.unwrap().0;
            peer.write_all(&call().unwrap()[..said]).await.unwrap();
        };
        let (error, ()) = tokio::join!(dial(&way, &hello), hangs_up);
        let error = error.err().unwrap();
        assert!(matches!(error, ConnectError::Unreachable { .. }), "{error:?}");
    }
    drop(far_end);
    let error = dial(&way, &hello).await.err().unwrap();
    assert!(matches!(error, ConnectError::Nobody { .. }), "{error:?}");
}

#[tokio::test]
async fn the_files_are_for_their_owner_only_and_go_with_the_gate() {
    use std::os::unix::fs::PermissionsExt;
    let castle = Castle::build().await;
    let card = castle.card();
    for file in [&card, &castle.house.dir.join("link.key")] {
        assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let open = castle.house.dir.join("open.json");
    std::fs::copy(&card, &open).unwrap();
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o640)).unwrap();
    let error = dial(&open, &hello()).await.err().unwrap();
    assert!(error.to_string().contains("open to others (mode 640"), "{error}");
    let Castle { house: _house, gate } = castle;
    gate.close().await;
    assert!(!card.exists());
}

#[tokio::test]
async fn a_gate_opens_nowhere_unless_it_is_told_where() {
    let dir = Dir::new();
    write(&dir, &Connection { token: token(), pid: 1, embedded: false }).unwrap();
    let house = House::open_with(dir, token());
    for at in ["", ":0", "0", "127.0.0.1", "127.0.0.1:x", "no host of this name:1"] {
        let opened = Gate::open(&house.door, &house.dir, &listen(at), PATIENCE).await;
        let error = opened.expect_err(at);
        assert!(error.to_string().contains(at), "{error}");
    }
}

#[tokio::test]
async fn silence_counts_on_both_sides_of_a_network() {
    let mut castle = Castle::build_in(Dir::new(), Duration::from_millis(700)).await;
    let armed = Arc::new(AtomicUsize::new(usize::MAX));
    let port = meddler(castle.gate.address(), armed).await;
    let card = castle.by_way_of("through.json", port);
    let (mut ours, mut theirs) = castle.pair_by(&card).await;
    // While there is nothing to say, signs of life are enough.
    let quiet = tokio::time::timeout(Duration::from_millis(1500), ours.events.recv()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    assert!(theirs.events.try_recv().is_err());
}
