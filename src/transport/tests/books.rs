//! The books alone: whatever is pushed comes out at the other side, in order, within the credit.

use std::collections::VecDeque;

use bytes::Bytes;
use proptest::prelude::*;

use super::kit::{Say, with_parts};
use crate::transport::flow::{Flow, Outgoing};
use crate::transport::inbox::{Inbox, Taken};
use crate::transport::link::Frames;
use crate::wire::codec::{Acks, Kind, decode, read_chunk_header};
use crate::wire::limits::{CHUNK, CHUNK_CREDIT, PACKET_CREDIT};
use crate::wire::{Message, limits};

/// One direction of a session, moved by hand.
struct Bench {
    ours: Flow,
    theirs: Flow,
    inbox: Inbox<Say>,
    ctl: VecDeque<Frames>,
    bulk: VecDeque<Frames>,
    delivered: Vec<Message<Say>>,
}

impl Bench {
    fn new() -> Self {
        Self {
            ours: Flow::default(),
            theirs: Flow::default(),
            inbox: Inbox::new(),
            ctl: VecDeque::new(),
            bulk: VecDeque::new(),
            delivered: Vec::new(),
        }
    }

    /// Puts everything that may go on the way.
    fn send(&mut self) {
        while let Some(next) = self.ours.next() {
            match next {
                Outgoing::Packet(frames) => self.ctl.push_back(frames),
                Outgoing::Chunk(frames) => self.bulk.push_back(frames),
            }
        }
        assert!(self.ctl.len() as u64 <= PACKET_CREDIT);
        assert!(self.bulk.len() as u64 <= CHUNK_CREDIT);
    }

    fn take_packet(&mut self) {
        let Some((header, blob)) = self.ctl.pop_front() else { return };
        let arrived = decode::<Say>(&header, &blob).unwrap();
        assert_eq!(arrived.kind, Kind::Data);
        self.theirs.admit_packet().unwrap();
        self.delivered.extend(self.inbox.packet(arrived.items));
        self.theirs.took(1, 0, self.inbox.is_incomplete());
        self.answer();
    }

    fn take_chunk(&mut self) {
        let Some((header, piece)) = self.bulk.front() else { return };
        let (stream, offset) = read_chunk_header(header).unwrap();
        if let Taken::Stored(ready) = self.inbox.chunk(stream, offset, piece).unwrap() {
            self.theirs.admit_chunk().unwrap();
            self.bulk.pop_front();
            self.delivered.extend(ready);
            self.theirs.took(0, 1, self.inbox.is_incomplete());
            self.answer();
        }
    }

    /// Acknowledgements come back at once, if any are due.
    fn answer(&mut self) {
        while let Some(Outgoing::Packet((header, blob))) = self.theirs.next() {
            let arrived = decode::<Say>(&header, &blob).unwrap();
            assert_eq!(arrived.kind, Kind::Ack);
            self.ours.confirm(arrived.acks).unwrap();
        }
    }

    fn finish(&mut self) {
        loop {
            self.send();
            if self.ctl.is_empty() && self.bulk.is_empty() {
                return;
            }
            self.take_packet();
            self.take_chunk();
        }
    }
}

fn lens() -> impl Strategy<Value = Vec<usize>> {
    let len = prop_oneof![
        4 => 0..200usize,
        2 => 3000..6000usize,
        1 => CHUNK - 2..CHUNK + 3,
        1 => 200_000..300_000usize,
    ];
    proptest::collection::vec(len, 0..5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn everything_arrives_once_and_in_order_however_the_lanes_race(
        messages in proptest::collection::vec((any::<bool>(), lens()), 1..40),
        race in proptest::collection::vec(any::<bool>(), 0..200),
    ) {
        let mut bench = Bench::new();
        let mut sent = Vec::new();
        for (number, (ordered, lens)) in messages.iter().enumerate() {
            let number = number as u64;
            let head = if *ordered { Say::Ordered(number) } else { Say::Free(number) };
            let message = with_parts(head, lens);
            bench.ours.push(message.clone()).unwrap();
            sent.push(message);
        }
        for packet in race {
            bench.send();
            if packet { bench.take_packet() } else { bench.take_chunk() }
        }
        bench.finish();
        prop_assert_eq!(bench.ours.queued(), 0);
        prop_assert_eq!(bench.inbox.held(), 0);
        let ordered = |messages: &[Message<Say>]| {
            let heads = messages.iter().map(|message| message.head);
            heads.filter(|head| matches!(head, Say::Ordered(_))).collect::<Vec<_>>()
        };
        prop_assert_eq!(ordered(&sent), ordered(&bench.delivered));
        let number = |message: &Message<Say>| match message.head {
            Say::Ordered(number) | Say::Free(number) => number,
        };
        bench.delivered.sort_by_key(number);
        prop_assert_eq!(sent, bench.delivered);
    }
}

#[test]
fn a_message_in_order_waits_for_a_large_one_before_it_and_others_do_not() {
    let mut bench = Bench::new();
    bench.ours.push(with_parts(Say::Ordered(0), &[CHUNK * 3])).unwrap();
    bench.ours.push(with_parts(Say::Ordered(1), &[10])).unwrap();
    bench.ours.push(with_parts(Say::Free(2), &[10])).unwrap();
    bench.send();
    bench.take_packet();
    assert_eq!(bench.delivered.len(), 1);
    assert_eq!(bench.delivered[0].head, Say::Free(2));
    assert!(bench.inbox.held() > 0);
    bench.finish();
    let heads: Vec<Say> = bench.delivered.iter().map(|message| message.head).collect();
    assert_eq!(heads, [Say::Free(2), Say::Ordered(0), Say::Ordered(1)]);
}

#[test]
fn nothing_is_on_the_way_beyond_the_credit() {
    let mut flow = Flow::default();
    flow.push(with_parts(Say::Free(0), &[CHUNK * 200])).unwrap();
    for number in 0..PACKET_CREDIT * 2 {
        flow.push(with_parts(Say::Free(number), &[limits::INLINE_MAX])).unwrap();
    }
    let (mut packets, mut chunks) = (0, 0);
    while let Some(next) = flow.next() {
        match next {
            Outgoing::Packet(_) => packets += 1,
            Outgoing::Chunk(_) => chunks += 1,
        }
    }
    assert_eq!((packets, chunks), (PACKET_CREDIT, CHUNK_CREDIT));
    assert!(flow.queued() > limits::INLINE_MAX * PACKET_CREDIT as usize);
}

#[test]
fn a_peer_that_sends_ahead_of_its_credit_is_found_out() {
    let mut flow = Flow::default();
    for _ in 0..PACKET_CREDIT {
        flow.admit_packet().unwrap();
        flow.took(1, 0, false);
    }
    assert!(flow.admit_packet().is_err());
    assert!(flow.next().is_some(), "an acknowledgement is due");
    flow.admit_packet().unwrap();
    for _ in 0..CHUNK_CREDIT {
        flow.admit_chunk().unwrap();
        flow.took(0, 1, false);
    }
    assert!(flow.admit_chunk().is_err());
}

#[test]
fn an_acknowledgement_is_never_answered() {
    let (mut ours, mut theirs) = (Flow::default(), Flow::default());
    ours.took(1, 0, false);
    assert!(!ours.beat());
    let Some(Outgoing::Packet((header, _))) = ours.next() else { panic!("a packet was due") };
    let arrived = decode::<Say>(&header, b"").unwrap();
    assert_eq!(arrived.kind, Kind::Ack);
    theirs.push(with_parts(Say::Free(0), &[])).unwrap();
    assert!(theirs.next().is_some());
    assert!(!theirs.confirm(arrived.acks).unwrap());
    assert!(theirs.next().is_none() && ours.next().is_none());
}

#[test]
fn a_beat_is_given_at_every_tick_without_data_and_at_no_other() {
    let mut flow = Flow::default();
    for _ in 0..3 {
        assert!(flow.beat() && flow.next().is_none());
    }
    flow.push(with_parts(Say::Free(0), &[])).unwrap();
    assert!(flow.next().is_some());
    assert!(!flow.beat() && flow.next().is_none());
}

#[test]
fn a_beat_confirms_what_was_taken_once() {
    let mut flow = Flow::default();
    flow.took(1, 0, false);
    assert!(!flow.beat());
    let Some(Outgoing::Packet((header, _))) = flow.next() else { panic!("a packet was due") };
    assert_eq!(decode::<Say>(&header, b"").unwrap().acks, Acks { ctl: 1, bulk: 0 });
    assert!(flow.beat() && flow.next().is_none());
}

#[test]
fn a_chunk_out_of_place_is_refused() {
    let mut inbox = Inbox::<Say>::new();
    assert!(matches!(inbox.chunk(0, 0, &Bytes::from_static(b"x")), Ok(Taken::Early)));
    assert!(inbox.chunk(1, 0, &Bytes::from_static(b"x")).is_err());
    assert!(inbox.chunk(0, 1, &Bytes::from_static(b"x")).is_err());
    assert!(inbox.chunk(0, 0, &Bytes::new()).is_err());
    let mut flow = Flow::default();
    flow.push(with_parts(Say::Free(0), &[CHUNK + 10])).unwrap();
    let Some(Outgoing::Packet((header, blob))) = flow.next() else { panic!("a packet first") };
    inbox.packet(decode::<Say>(&header, &blob).unwrap().items);
    let error = inbox.chunk(0, 0, &Bytes::from(vec![0; CHUNK + 11])).unwrap_err();
    assert!(error.0.contains("announced as"), "{error}");
}
