//! Who tries to pass the gate and is not of the cluster, and who meddles with what others say.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::castle::{Castle, PATIENCE, meddler, token};
use super::kit::{LONG, Peer, Say, dial, hello, sink, with_parts};
use crate::transport::proof::{ANSWER, Answer, PRELUDE, Wish, prelude};
use crate::transport::refusals::{Fault, LOG};
use crate::transport::tls::Bound;
use crate::transport::{CloseReason, ConnectError, call, handshake};
use crate::wire::limits::{HELLO_DEADLINE, LINK_BUDGET, LINK_CONCURRENT};
use crate::wire::{Role, Sign, Welcome};

#[tokio::test]
async fn another_certificate_is_told_and_nothing_is_said_to_who_has_it() {
    let mut castle = Castle::build().await;
    let forged = castle.forged("forged.json", |text| {
        let mut card: serde_json::Value = serde_json::from_str(text).unwrap();
        card["certificate"] = "00".repeat(32).into();
        card.to_string()
    });
    let error = castle.refused(&forged).await;
    assert!(matches!(error, ConnectError::NotOurs { .. }), "{error:?}");
    assert!(error.to_string().contains("certificate is not the one"), "{error}");
    castle.until_refused(Fault::Sealed, 1).await;
}

#[tokio::test]
async fn a_wrong_token_is_refused_at_the_gate_with_a_reason_and_told_once_per_address() {
    let mut castle = Castle::build().await;
    let forged = castle.forged("forged.json", |text| {
        let mut card: serde_json::Value = serde_json::from_str(text).unwrap();
        card["token"] = "00".repeat(32).into();
        card.to_string()
    });
    for _ in 0..3 {
        let error = castle.refused(&forged).await;
        assert!(matches!(error, ConnectError::Refused { .. }), "{error:?}");
        assert!(error.to_string().contains("token"), "{error}");
    }
    castle.until_refused(Fault::Token, 3).await;
    let log = std::fs::read_to_string(castle.house.dir.join(LOG)).unwrap();
    assert_eq!(log.matches("a peer at 127.0.0.1: it does not know the token").count(), 1, "{log}");
}

#[tokio::test]
async fn a_proof_that_was_recorded_is_worth_nothing_on_another_connection() {
    let mut castle = Castle::build().await;
    let mut recorded = None;
    for replayed in [false, true] {
        let mut stream = castle.sealed().await;
        let bond = stream.bond().unwrap();
        let said: [u8; PRELUDE] =
            *recorded.get_or_insert_with(|| prelude(&Wish::Door(Role::Client), &token(), &bond));
        stream.write_all(&said).await.unwrap();
        let mut answer = [0; ANSWER];
        stream.read_exact(&mut answer).await.unwrap();
        let wanted = if replayed { Answer::Token } else { Answer::Welcome(PATIENCE) };
        assert_eq!(Answer::from_bytes(answer), Some(wanted));
    }
    castle.until_refused(Fault::Token, 1).await;
    castle.works().await;
}

#[tokio::test]
async fn a_lane_that_nobody_was_told_of_leads_nowhere() {
    let castle = Castle::build().await;
    let mut stream = castle.sealed().await;
    let wish = Wish::Lane("0123456789abcdef0123456789abcdef".to_owned());
    let said = prelude(&wish, &token(), &stream.bond().unwrap());
    stream.write_all(&said).await.unwrap();
    let mut answer = [0; ANSWER];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(Answer::from_bytes(answer), Some(Answer::Absent));
}

#[tokio::test]
async fn who_proved_to_come_as_a_client_is_not_let_in_as_an_engine() {
    let castle = Castle::build().await;
    let mut stream = castle.sealed().await;
    let said = prelude(&Wish::Door(Role::Client), &token(), &stream.bond().unwrap());
    stream.write_all(&said).await.unwrap();
    let hello = crate::wire::Hello { token: token(), role: Role::Engine, ..hello() };
    crate::transport::handshake::say(&mut stream, &(hello, None::<crate::wire::Sign>))
        .await
        .unwrap();
    castle.until_refused(Fault::Noise, 1).await;
}

#[tokio::test]
async fn the_process_number_of_a_far_peer_is_worth_nothing_here() {
    let mut castle = Castle::build().await;
    let card = castle.card();
    // It may name any process of this host, this one, say, and memory that is really there.
    let tally = crate::memory::Tally::new().unwrap();
    let hello = crate::wire::Hello { token: token(), tally: tally.sign(), ..hello() };
    let (arrival, _) = tokio::join!(castle.house.arrival(), async {
        tokio::time::timeout(Duration::from_millis(200), dial(&card, &hello)).await
    });
    assert_eq!(arrival.hello.pid, std::process::id());
    assert_eq!(arrival.pid(), None);
    assert!(arrival.tally().is_none());
}

/// What a stranger sends, and how it is refused.
async fn strange(castle: &Castle, bytes: &[u8], fault: Fault) {
    let before = castle.refusals(fault);
    let mut stream = TcpStream::connect(castle.gate.address()).await.unwrap();
    // It may be turned away in the middle.
    let _ = stream.write_all(bytes).await;
    castle.until_refused(fault, before + 1).await;
}

#[tokio::test]
async fn garbage_huge_lengths_and_other_protocols_end_before_anything_is_parsed() {
    let mut castle = Castle::build().await;
    // A greeting of ZMTP and a frame of 2^62 bytes.
    let mut greeting = vec![0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 0];
    greeting.extend_from_slice(b"NULL");
    greeting.resize(64, 0);
    greeting.push(0x02);
    greeting.extend_from_slice(&(1u64 << 62).to_be_bytes());
    strange(&castle, &greeting, Fault::Noise).await;
    strange(&castle, b"GET / HTTP/1.1\r\n\r\n", Fault::Noise).await;
    strange(&castle, &vec![0xc0; 1 << 20], Fault::Noise).await;
    // A handshake without an answer to the call, and an answer to another call.
    strange(&castle, &[22, 3, 1, 2, 0, 1, 0, 1, 0xfc], Fault::Noise).await;
    let another = call::answer(&call::call().unwrap(), &token()).unwrap();
    strange(&castle, &another, Fault::Token).await;
    castle.works().await;
}

#[tokio::test]
async fn who_knows_the_secret_and_never_ends_its_handshake_is_bounded_too() {
    let mut castle = Castle::build().await;
    // Records of TLS without an end, each of them as a handshake may be.
    let record = [&[22, 3, 1, 0x40, 0, 1, 0, 0xff, 0xff][..], &vec![0; 0x4000 - 4]].concat();
    let mut stream = castle.answered().await;
    let _ = stream.write_all(&record.repeat(64)).await;
    castle.until_refused(Fault::TooLong, 1).await;
    castle.works().await;
}

#[tokio::test]
async fn a_wrong_answer_is_told_by_an_alert_and_no_handshake_is_begun() {
    let castle = Castle::build().await;
    let mut stream = TcpStream::connect(castle.gate.address()).await.unwrap();
    let mut called = [0; call::CALL];
    stream.read_exact(&mut called).await.unwrap();
    stream.write_all(&call::answer(&called, &[0; 32]).unwrap()).await.unwrap();
    let mut told = Vec::new();
    let _ = stream.read_to_end(&mut told).await;
    assert_eq!(told, call::DENIED);
    castle.until_refused(Fault::Token, 1).await;
}

#[tokio::test]
async fn what_would_end_the_parser_of_messages_is_cut_off_before_it_has_it() {
    let mut castle = Castle::build().await;
    let token = token();
    let hello = crate::wire::Hello { token: token.clone(), ..hello() };
    for fault in [&[2, 0x40, 0, 0, 0, 0, 0, 0, 0][..], &[1, 1, 7, 1, 1, 7]] {
        // A peer with the secret, that does on its lane what none of ours does.
        let mut door = castle.sealed().await;
        castle.wish(&mut door, &Wish::Door(Role::Engine)).await;
        handshake::say(&mut door, &(&hello, None::<Sign>)).await.unwrap();
        let (sink, events) = sink();
        let outbox = castle.house.arrival().await.admit((3, false), None, sink).unwrap();
        let mut ours = Peer { outbox, events };
        let (welcome, ..): (Welcome, Option<Sign>, bool) =
            handshake::hear(&mut door).await.unwrap();
        let Welcome::Accepted { ctl, .. } = welcome else { panic!("{welcome:?}") };
        let mut lane = castle.sealed().await;
        castle.wish(&mut lane, &Wish::Lane(ctl)).await;
        let mut greeting = vec![0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 0];
        greeting.extend_from_slice(b"NULL");
        greeting.resize(64, 0);
        lane.write_all(&[&greeting, fault].concat()).await.unwrap();
        let mut rest = Vec::new();
        let _ = tokio::time::timeout(LONG, lane.read_to_end(&mut rest)).await.expect("an end");
        drop((lane, door));
        assert_ne!(ours.rest().await.1, CloseReason::Goodbye);
    }
    let log = std::fs::read_to_string(castle.house.dir.join(LOG)).unwrap();
    assert!(
        log.contains("a lane of a peer at 127.0.0.1 was cut off: it sent a frame of 46"),
        "{log}"
    );
    assert!(log.contains("it sent a message that is none of this protocol"), "{log}");
    castle.works().await;
}

#[tokio::test]
async fn what_is_said_within_tls_before_the_proof_is_bounded_too() {
    let castle = Castle::build().await;
    let mut stream = castle.sealed().await;
    let _ = stream.write_all(&vec![0xdf; 4 * LINK_BUDGET]).await;
    // Its first bytes are no prelude, or it says too much before they are there.
    let turns = async {
        while castle.refusals(Fault::Noise) + castle.refusals(Fault::TooLong) == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(LONG, turns).await.expect("it is counted");
}

#[tokio::test]
async fn a_thousand_half_open_connections_keep_nobody_waiting_at_the_gate() {
    let mut castle = Castle::build().await;
    let before = resident();
    let mut strangers = Vec::new();
    for number in 0..1000_u64 {
        let mut stranger = TcpStream::connect(castle.gate.address()).await.unwrap();
        if number % 2 == 0 {
            // The beginning of a handshake.
            stranger.write_all(&[22, 3, 1, 2, 0]).await.unwrap();
        }
        strangers.push(stranger);
        if number % 100 == 0 {
            castle.works().await;
        }
    }
    castle.works().await;
    castle.until_refused(Fault::Silent, 1000 - LINK_CONCURRENT as u64).await;
    let grown = resident().saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes for those who said nothing");
}

#[tokio::test]
async fn who_completes_the_handshake_and_says_nothing_loses_its_place_in_time() {
    let castle = Castle::build().await;
    let mut stream = castle.sealed().await;
    let end = tokio::time::timeout(HELLO_DEADLINE + LONG, stream.read(&mut [0; 16])).await;
    assert!(!matches!(end.expect("an end"), Ok(1..)));
    castle.until_refused(Fault::Silent, 1).await;
}

fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[tokio::test]
async fn a_flipped_bit_ends_the_session_and_what_was_tampered_with_is_not_heard() {
    let mut castle = Castle::build().await;
    let armed = Arc::new(AtomicUsize::new(usize::MAX));
    let port = meddler(castle.gate.address(), Arc::clone(&armed)).await;
    let card = castle.by_way_of("tampered.json", port);
    // The header of a record, its first byte, and one in the middle of what it carries.
    for at in [1, 5, 40] {
        let (mut ours, theirs) = castle.pair_by(&card).await;
        theirs.say(with_parts(Say::Ordered(1), &[100]));
        assert_eq!(ours.messages().await.len(), 1);
        armed.store(at, Ordering::SeqCst);
        theirs.say(with_parts(Say::Ordered(2), &[100]));
        let (heads, reason) = ours.rest().await;
        assert_eq!(heads, [], "bit of byte {at}");
        assert_ne!(reason, CloseReason::Goodbye);
    }
    castle.works().await;
}

#[tokio::test]
async fn a_bit_flipped_in_the_handshake_ends_it() {
    let mut castle = Castle::build().await;
    let armed = Arc::new(AtomicUsize::new(usize::MAX));
    let port = meddler(castle.gate.address(), Arc::clone(&armed)).await;
    let card = castle.by_way_of("tampered.json", port);
    for at in [0, 3, 11, 60, 120] {
        armed.store(at, Ordering::SeqCst);
        castle.refused(&card).await;
    }
}
