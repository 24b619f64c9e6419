//! Frames as a faulty peer could make them.

use std::fmt;

use proptest::prelude::*;

use super::*;
use crate::wire::{
    ClientId, EngineId, FromClient, FromEngine, FuncId, Rules, Status, Target, TaskId, ToClient,
    ToEngine,
};

fn packet(parts: &[usize]) -> (Bytes, Bytes, Vec<Stream>) {
    let mut packet = Packet::new(Kind::Data);
    let parts = parts.iter().map(|&len| Bytes::from(vec![7; len])).collect();
    let head = ToEngine::Func(FuncId([1; 16]));
    packet.add(Message { head, parts }).unwrap();
    packet.seal(Acks { ctl: 3, bulk: u64::MAX })
}

fn fault(header: &[u8], blob: &[u8]) -> String {
    decode::<ToEngine>(header, blob).unwrap_err().0
}

#[test]
fn a_message_comes_back_with_its_kind_and_acknowledgements() {
    let (header, blob, streams) = packet(&[0, 5, 300]);
    let arrived = decode::<ToEngine>(&header, &blob).unwrap();
    assert_eq!(arrived.kind, Kind::Data);
    assert_eq!(arrived.acks, Acks { ctl: 3, bulk: u64::MAX });
    let [item] = &arrived.items[..] else { panic!("one message was sent") };
    assert_eq!(item.message.head, ToEngine::Func(FuncId([1; 16])));
    assert_eq!(item.message.parts.iter().map(Bytes::len).collect::<Vec<_>>(), [0, 5, 300]);
    assert!(item.runs.is_empty() && streams.is_empty());
}

#[test]
fn a_message_that_fits_is_inline_whole_and_a_larger_one_keeps_only_short_parts_inline() {
    let (_, blob, streams) = packet(&[INLINE_MAX]);
    assert_eq!((blob.len(), streams.len()), (INLINE_MAX, 0));
    let (_, blob, streams) = packet(&[INLINE_PART, INLINE_MAX]);
    assert_eq!((blob.len(), streams.len()), (INLINE_PART, 1));
    assert_eq!(streams[0].left(), INLINE_MAX as u64);
}

#[test]
fn many_short_parts_share_streams_and_long_ones_travel_alone() {
    let short = 1000 << 1 | 1;
    let long = ((CHUNK as u64 + 1) << 1) | 1;
    let tags: Vec<u64> = std::iter::repeat_n(short, 3000).chain([long, short]).collect();
    let lens: Vec<u64> = runs(&tags).iter().map(|run| run.len).collect();
    assert_eq!(lens.len(), 5);
    assert!(lens[..3].iter().all(|&len| len <= RUN_MAX));
    assert_eq!(lens[3..], [CHUNK as u64 + 1, 1000]);
}

#[test]
fn a_stream_is_cut_into_chunks_that_add_up() {
    let parts = [CHUNK * 2 + 1, 10, 20_000, 50_000, 70_000];
    let (_, blob, streams) = packet(&parts);
    let mut sum = blob.len();
    for mut stream in streams {
        let mut at = 0;
        while let Some((offset, piece)) = stream.cut() {
            assert_eq!(offset, at);
            assert!(!piece.is_empty() && piece.len() <= CHUNK);
            at += piece.len() as u64;
        }
        assert_eq!(stream.left(), 0);
        sum += at as usize;
    }
    assert_eq!(sum, parts.iter().sum::<usize>());
}

#[test]
fn a_packet_is_full_after_so_many_messages_or_bytes() {
    let mut packet = Packet::new(Kind::Data);
    for _ in 0..PACKET_MESSAGES {
        assert!(packet.has_room(&[]));
        packet.add(Message::bare(ToEngine::Shutdown)).unwrap();
    }
    assert!(!packet.has_room(&[]));
    let mut packet = Packet::new(Kind::Data);
    let parts: Parts = [Bytes::from(vec![0; INLINE_MAX])].into_iter().collect();
    packet.add(Message { head: ToEngine::Shutdown, parts }).unwrap();
    assert!(packet.has_room(&[]) && !packet.has_room(&[Bytes::from_static(b"x")]));
}

#[test]
fn a_head_that_is_too_long_is_refused_and_leaves_the_packet_as_it_was() {
    let mut packet = Packet::new(Kind::Data);
    let size = packet.size();
    let counts = vec![u32::MAX; FRAME_MAX / 4];
    let (func, kind) = (FuncId([0; 16]), crate::wire::Kind::Apply);
    let (target, rules) = (Target::Any, Rules::default());
    let head = FromClient::Submit { first: 0, func, kind, target, counts, rules };
    let error = packet.add(Message::bare(head)).unwrap_err();
    assert!(error.to_string().contains("head of a message"), "{error}");
    assert_eq!(packet.size(), size);
}

#[test]
fn what_a_header_announces_is_not_allocated() {
    let (header, blob, _) = packet(&[]);
    let mut bytes = header.to_vec();
    bytes[PREFIX - 4..PREFIX].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(fault(&bytes, &blob).contains("4294967295 messages"));
    // One message whose tags are announced as more than there may be, and as more than there are.
    let announced = |tags: &[u8]| fault(&[&header[..header.len() - 1], tags].concat(), &blob);
    assert!(announced(&[0xff, 0xff, 0xff, 0xff, 0x0f]).contains("the limit is"));
    assert!(announced(&[0xff, 0xff, 0x3f]).contains("cut off"));
    // A general head that is announced to be longer than the header.
    let mut bytes = header.to_vec();
    bytes[PREFIX + 1..PREFIX + 5].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(fault(&bytes, &blob).contains("cut off"));
}

#[test]
fn parts_must_lie_in_the_blob_and_fill_it() {
    let (header, blob, _) = packet(&[10]);
    assert!(fault(&header, &blob[..9]).contains("blob of 9"));
    assert!(fault(&header, &[blob.to_vec(), vec![0]].concat()).contains("no message claims"));
    let mut trailing = header.to_vec();
    trailing.push(0);
    assert!(fault(&trailing, &blob).contains("a loan that is cut off"));
    let mut empty_stream = header.to_vec();
    *empty_stream.last_mut().unwrap() = 1;
    assert!(fault(&empty_stream, b"").contains("a part of 0 bytes"));
    assert!(fault(&vec![0; FRAME_MAX + 1], b"").contains("the limit is"));
    assert!(read_chunk_header(&[0; 15]).is_err() && read_chunk_header(&[0; 17]).is_err());
    assert_eq!(read_chunk_header(&chunk_header(7, 1 << 40)), Ok((7, 1 << 40)));
}

fn status() -> impl Strategy<Value = Status> {
    use Status::{Again, Cancelled, Error, Lost, Ok, Partial, Poison, Refused, TimedOut};
    let all = [Ok, Error, Partial, Cancelled, Lost, Refused, TimedOut, Poison, Again];
    prop::sample::select(all.to_vec())
}

fn kind() -> impl Strategy<Value = crate::wire::Kind> {
    prop::sample::select(vec![crate::wire::Kind::Apply, crate::wire::Kind::Chunk])
}

fn comes_back<H: Head + Clone + PartialEq + fmt::Debug>(head: H) {
    let mut packet = Packet::new(Kind::Data);
    packet.add(Message::bare(head.clone())).unwrap();
    let (header, blob, _) = packet.seal(Acks::default());
    let arrived = decode::<H>(&header, &blob).unwrap();
    assert_eq!(arrived.items[0].message.head, head);
    for end in 0..header.len() {
        assert!(decode::<H>(&header[..end], &blob).is_err(), "it is read when cut at {end}");
    }
}

proptest! {
    #[test]
    fn heads_of_every_value_come_back_and_none_is_read_that_is_cut_off(
        (client, seq, engine) in (any::<u32>(), any::<u64>(), any::<Option<u32>>()),
        (func, kind, status) in (any::<[u8; 16]>(), kind(), status()),
        stamps in any::<(Option<i64>, i64, i64)>(),
        (counts, any) in (prop::collection::vec(any::<u32>(), 0..3), any::<bool>()),
        (ticket, attempt, (retries, timeout, force)) in (
            any::<u64>(),
            1..4_u16,
            prop_oneof![Just((0, 0, false)), (0..9_u16, any::<u32>(), any::<bool>())],
        ),
    ) {
        let (submitted, started, completed) = stamps;
        let (id, func) = (TaskId { client: ClientId(client), seq }, FuncId(func));
        let engine = engine.map(EngineId);
        let target = if any { Target::Any } else { Target::Among(engine.into_iter().collect()) };
        let rules = Rules { retries, timeout, force };
        comes_back(FromClient::Submit { first: seq, func, kind, target, counts, rules });
        comes_back(ToEngine::Task { id, func, kind, ticket, attempt, timeout, force });
        comes_back(FromEngine::Result { id, ticket, status, started, completed });
        comes_back(ToClient::Result { seq, status, engine, submitted, started, completed });
    }

    #[test]
    fn garbage_is_refused_and_never_panics(
        header in proptest::collection::vec(any::<u8>(), 0..200),
        blob in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        let _ = decode::<ToEngine>(&header, &blob);
        let (valid, _, _) = packet(&[]);
        let prefixed = [&valid[..PREFIX], &header].concat();
        let _ = decode::<FromClient>(&prefixed, &blob);
        let _ = decode::<FromEngine>(&prefixed, &blob);
        let _ = decode::<ToClient>(&prefixed, &blob);
        let _ = decode::<ToEngine>(&prefixed, &blob);
    }

    #[test]
    fn a_packet_with_flipped_bytes_never_panics_nor_grows(
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let (header, blob, _) = packet(&[3, 40]);
        let mut bytes = header.to_vec();
        for (index, byte) in flips {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(arrived) = decode::<ToEngine>(&bytes, &blob) {
            let inline: usize = arrived
                .items.iter().flat_map(|item| &item.message.parts).map(Bytes::len).sum();
            prop_assert_eq!(inline, blob.len());
        }
    }
}

fn lending(places: &[(usize, u64)]) -> (Bytes, Bytes) {
    let mut packet = Packet::new(Kind::Data);
    let parts = [0, 5, 0].map(|len| Bytes::from(vec![7; len])).into_iter().collect();
    packet.add(Message { head: ToEngine::Func(FuncId([1; 16])), parts }).unwrap();
    for (part, len) in places {
        let (descriptor, nonce, slot, token, offset) = (3, u64::MAX, 5, 6, 7);
        packet.lend(*part, Loan { descriptor, nonce, slot, token, offset, len: *len });
    }
    let (header, blob, _) = packet.seal(Acks::default());
    (header, blob)
}

#[test]
fn lent_parts_are_empty_and_named() {
    let (header, blob) = lending(&[(0, 1), (2, 1 << 30)]);
    let arrived = decode::<ToEngine>(&header, &blob).unwrap();
    let named: Vec<_> = arrived.loans.iter().map(|(m, part, loan)| (*m, *part, loan.len)).collect();
    assert_eq!(named, [(0, 0, 1), (0, 2, 1 << 30)]);
    assert_eq!(
        arrived.items[0].message.parts.iter().map(Bytes::len).collect::<Vec<_>>(),
        [0, 5, 0]
    );
    assert_eq!(arrived.kind, Kind::Data);
}

#[test]
fn loans_that_fit_no_place_are_refused() {
    for places in [&[(1, 1)][..], &[(3, 1)], &[(0, 0)], &[(0, PART_MAX + 1)], &[(2, 1), (0, 1)]] {
        let (header, blob) = lending(places);
        assert!(fault(&header, &blob).starts_with("a loan for part"), "{places:?}");
    }
    let (header, blob) = lending(&[(0, 1), (0, 1)]);
    assert!(fault(&header, &blob).starts_with("a loan"), "a place is named once");
    let (header, blob) = lending(&[(0, 1)]);
    assert!(fault(&header[..header.len() - 1], &blob).starts_with("a loan that is cut off"));
}

#[test]
fn loans_are_bounded() {
    let lend = |count: usize| {
        let mut packet = Packet::new(Kind::Data);
        let parts = (0..count).map(|_| Bytes::new()).collect();
        packet.add(Message { head: ToEngine::Func(FuncId([1; 16])), parts }).unwrap();
        for part in 0..count {
            let (descriptor, nonce, slot, token, offset) = (3, 4, 5, 6, 7);
            packet.lend(part, Loan { descriptor, nonce, slot, token, offset, len: 8 });
        }
        let (header, blob, _) = packet.seal(Acks::default());
        decode::<ToEngine>(&header, &blob)
    };
    assert_eq!(lend(LOANS_MAX).unwrap().loans.len(), LOANS_MAX);
    assert!(lend(LOANS_MAX + 1).unwrap_err().0.ends_with("loans in a packet"));
}
