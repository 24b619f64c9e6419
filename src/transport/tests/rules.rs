//! A session in memory against a peer that breaks the rules, is silent, or takes nothing.

use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWriteExt;

use super::kit::{Peer, Raw, Say, raw, with_parts};
use crate::transport::CloseReason;
use crate::transport::lifeline::BEAT;
use crate::transport::link::Frames;
use crate::wire::codec::{Acks, Kind, Packet, chunk_header, decode};
use crate::wire::limits::{
    BEATS_UNHEARD, CHUNK_CREDIT, FRAME_MAX, HEARTBEAT, PACKET_CREDIT, SILENCE,
};

fn packet(kind: Kind, messages: u64, acks: Acks) -> Frames {
    let mut packet = Packet::new(kind);
    for number in 0..messages {
        packet.add(with_parts(Say::Ordered(number), &[3])).unwrap();
    }
    let (header, blob, _) = packet.seal(acks);
    (header, blob)
}

async fn protocol_fault(mut peer: Peer) -> String {
    match peer.rest().await.1 {
        CloseReason::Protocol(text) => text,
        other => panic!("expected a breach of the protocol, got {other:?}"),
    }
}

#[tokio::test]
async fn a_frame_beyond_the_limit_closes_the_session() {
    let (peer, far) = raw(8, None);
    far.ctl.0.send((Bytes::from(vec![0; FRAME_MAX + 1]), Bytes::new())).await.unwrap();
    assert!(protocol_fault(peer).await.contains("the limit is"));
    let (peer, far) = raw(8, None);
    far.bulk.0.send((chunk_header(0, 0), Bytes::from(vec![0; FRAME_MAX + 1]))).await.unwrap();
    assert!(protocol_fault(peer).await.contains("a chunk of"));
}

#[tokio::test]
async fn rules_that_a_peer_breaks_close_its_session() {
    let breaches = [
        (packet(Kind::Data, 1, Acks { ctl: 1, bulk: 0 }), "it confirms 1 packets"),
        (packet(Kind::Ack, 1, Acks::default()), "messages in a packet that carries none"),
        (packet(Kind::ByeAck, 0, Acks::default()), "never said"),
        ((Bytes::from_static(b"noise"), Bytes::new()), "header of 5 bytes"),
    ];
    for (frames, text) in breaches {
        let (peer, far) = raw(8, None);
        far.ctl.0.send(frames).await.unwrap();
        let fault = protocol_fault(peer).await;
        assert!(fault.contains(text), "{fault}");
    }
    let (peer, mut far) = raw(8, None);
    far.lifeline.write_all(b"x").await.unwrap();
    assert!(protocol_fault(peer).await.contains("lifeline"));
}

#[tokio::test]
async fn a_receive_error_closes_that_session() {
    let (mut peer, far) = raw(8, None);
    far.ctl.0.send((Bytes::from_static(b"broken"), Bytes::new())).await.unwrap();
    assert_eq!(peer.rest().await.1, CloseReason::Failed("broken".into()));
}

#[tokio::test]
async fn a_peer_that_ends_has_vanished_and_what_it_sent_before_still_counts() {
    let (mut peer, far) = raw(8, None);
    let Raw { ctl, lifeline, .. } = far;
    ctl.0.send(packet(Kind::Data, 5, Acks::default())).await.unwrap();
    drop(lifeline);
    let (heads, reason) = peer.rest().await;
    assert_eq!((heads.len(), reason), (5, CloseReason::Vanished));
    assert!(peer.outbox.is_closed());
    assert!(peer.outbox.push(with_parts(Say::Free(0), &[])).is_err());
}

#[tokio::test]
async fn an_aborted_session_ends_at_once_and_hangs_up() {
    let (mut peer, mut far) = raw(8, None);
    peer.outbox.abort();
    assert_eq!(peer.rest().await.1, CloseReason::Aborted);
    let mut byte = [0];
    assert_eq!(tokio::io::AsyncReadExt::read(&mut far.lifeline, &mut byte).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_peer_is_lost_after_so_many_silent_ticks_and_not_while_it_beats() {
    let silence = Duration::from_secs(4);
    let (mut peer, mut far) = raw(200, Some(silence));
    for number in 0..10 {
        tokio::time::advance(HEARTBEAT).await;
        // Either is a sign of life.
        if number % 2 == 0 {
            far.ctl.0.send(packet(Kind::Ack, 0, Acks::default())).await.unwrap();
        } else {
            far.lifeline.write_all(&[BEAT]).await.unwrap();
        }
        tokio::task::yield_now().await;
    }
    let before = tokio::time::Instant::now();
    assert_eq!(peer.rest().await.1, CloseReason::Silent(silence));
    let waited = before.elapsed();
    assert!(waited + HEARTBEAT >= silence && waited <= silence + HEARTBEAT, "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_process_that_was_stopped_does_not_declare_its_peers_dead() {
    let (peer, far) = raw(200, Some(Duration::from_secs(4)));
    // Time jumps by an hour at once, as after SIGCONT: that is one tick, not thousands.
    tokio::time::advance(Duration::from_secs(3600)).await;
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    assert!(!peer.outbox.is_closed());
    drop(far);
}

#[tokio::test(start_paused = true)]
async fn beats_to_a_peer_that_gives_none_come_to_an_end() {
    let (peer, mut far) = raw(1000, None);
    tokio::time::sleep(HEARTBEAT * 4 * BEATS_UNHEARD).await;
    let mut beats = 0;
    while far.beats.try_recv().is_ok() {
        beats += 1;
    }
    assert!((1..=BEATS_UNHEARD).contains(&beats), "{beats} beats");
    assert!(!peer.outbox.is_closed());
}

#[tokio::test(start_paused = true)]
async fn who_counts_silence_beats_rarely_and_the_other_side_at_every_heartbeat() {
    let beats = async |silence: Option<Duration>| {
        let (peer, mut far) = raw(200, silence);
        let mut beats = 0;
        for _ in 0..60 {
            far.ctl.0.send(packet(Kind::Ack, 0, Acks::default())).await.unwrap();
            tokio::time::sleep(HEARTBEAT).await;
            while far.beats.try_recv().is_ok() {
                beats += 1;
            }
        }
        assert!(!peer.outbox.is_closed());
        beats
    };
    assert!((59..=61).contains(&beats(None).await));
    let rare = beats(Some(SILENCE)).await;
    assert!((1..=3).contains(&rare), "{rare} beats");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_stopped_beating_because_it_heard_nothing_goes_on_when_it_is_asked() {
    // The other side is stopped for an hour; then it takes what came.
    let (beating, mut far) = raw(200, None);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    while far.beats.try_recv().is_ok() {}
    // It counts silence now, and asks before it gives the peer up.
    let (counting, mut near) = raw(200, Some(SILENCE));
    // A part of it, since its first tick may come at once.
    tokio::time::sleep(SILENCE / 3).await;
    near.beats.try_recv().expect("silence is answered by a beat");
    far.lifeline.write_all(&[BEAT]).await.unwrap();
    tokio::time::sleep(HEARTBEAT * 2).await;
    assert!(far.beats.try_recv().is_ok(), "heard again, it beats again");
    // The other was never answered, and may have given up by now: its ticks have moments of their
    // own.
    assert!(!beating.outbox.is_closed());
    drop(counting);
}

#[tokio::test(start_paused = true)]
async fn a_send_that_stays_pending_closes_the_session() {
    let (mut peer, _far) = raw(2, None);
    for number in 0..100 {
        peer.say(with_parts(Say::Ordered(number), &[60_000]));
    }
    assert!(matches!(peer.rest().await.1, CloseReason::Stalled(_)));
}

#[tokio::test]
async fn chunks_without_their_packet_are_not_read() {
    let (peer, far) = raw(PACKET_CREDIT as usize * 4, None);
    for _ in 0..CHUNK_CREDIT * 2 {
        far.bulk.0.send((chunk_header(0, 0), Bytes::from_static(b"x"))).await.unwrap();
    }
    tokio::task::yield_now().await;
    assert!(!peer.outbox.is_closed());
    assert_eq!(far.bulk.0.max_capacity() - far.bulk.0.capacity(), CHUNK_CREDIT as usize * 2 - 1);
}

#[tokio::test]
async fn a_caller_that_is_slow_slows_the_peer_down() {
    let (mut peer, mut far) = raw(PACKET_CREDIT as usize, None);
    for _ in 0..PACKET_CREDIT {
        far.ctl.0.send(packet(Kind::Data, 1, Acks::default())).await.unwrap();
    }
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    // Nobody takes the events: the channel's four, one in hand, and nothing more was read.
    assert!(far.ctl.0.capacity() < 10 && far.ctl.1.try_recv().is_err());
    let mut taken = 0;
    while taken < PACKET_CREDIT as usize {
        taken += peer.messages().await.len();
    }
    let (header, blob) = far.ctl.1.recv().await.unwrap();
    assert!(decode::<Say>(&header, &blob).unwrap().acks.ctl >= PACKET_CREDIT / 4);
}
