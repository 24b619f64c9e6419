//! Parts that do not travel.

use bytes::Bytes;

use super::kit::{House, Peer, Raw, Say, raw_kin};
use crate::memory;
use crate::transport::CloseReason;
use crate::transport::session::Kinship;
use crate::wire::codec::{Acks, Kind, Packet};
use crate::wire::{Loan, Message, Parts};

const LARGE: usize = 3_000_000;

fn stored(fill: u8) -> Bytes {
    let source = vec![fill; LARGE];
    // SAFETY: the vector has so many bytes.
    unsafe { memory::store(source.as_ptr(), LARGE) }.expect("memory to share")
}

/// Whether these bytes lie in shared memory, here or elsewhere.
fn is_shared(bytes: &Bytes) -> bool {
    memory::lend(bytes).is_some()
}

fn message(number: u64, parts: impl IntoIterator<Item = Bytes>) -> Message<Say> {
    Message { head: Say::Ordered(number), parts: parts.into_iter().collect::<Parts>() }
}

#[tokio::test]
async fn stored_parts_are_mapped_and_others_travel_beside_them() {
    let mut house = House::open();
    let (ours, mut theirs) = house.pair().await;
    ours.say(message(1, [Bytes::from_static(b"small"), stored(7), Bytes::from(vec![8; LARGE])]));
    let got = theirs.messages().await.remove(0);
    assert_eq!(got.parts[0], "small");
    assert!(got.parts[1].iter().all(|byte| *byte == 7) && got.parts[1].len() == LARGE);
    assert!(got.parts[2].iter().all(|byte| *byte == 8) && got.parts[2].len() == LARGE);
    assert_eq!(got.parts.iter().map(is_shared).collect::<Vec<_>>(), [false, true, false]);
}

#[tokio::test]
async fn what_was_lent_is_lent_on_without_a_copy() {
    let mut house = House::open();
    let (ours, mut middle) = house.pair().await;
    let (onward, mut last) = house.pair().await;
    ours.say(message(1, [stored(9)]));
    let got = middle.messages().await.remove(0);
    onward.say(got);
    let got = last.messages().await.remove(0);
    assert!(is_shared(&got.parts[0]));
    assert!(got.parts[0].iter().all(|byte| *byte == 9));
}

#[tokio::test]
async fn many_parts_are_lent_in_order() {
    let mut house = House::open();
    let (ours, mut theirs) = house.pair().await;
    for number in 0..40 {
        ours.say(message(number, [stored(number as u8)]));
    }
    let mut due = 0;
    while due < 40 {
        for got in theirs.messages().await {
            assert_eq!(got.head, Say::Ordered(due));
            assert!(got.parts[0].iter().all(|byte| *byte == due as u8));
            due += 1;
        }
    }
}

fn lending(loan: Loan) -> (Bytes, Bytes) {
    let mut packet = Packet::new(Kind::Data);
    packet.add(message(1, [Bytes::new()])).unwrap();
    packet.lend(0, loan);
    let (header, blob, _) = packet.seal(Acks::default());
    (header, blob)
}

fn nothing() -> Loan {
    let (slot, token, offset) = (0, u64::MAX, 0);
    Loan { descriptor: 0, nonce: 1, slot, token, offset, len: LARGE as u64 }
}

async fn end(loan: Loan, pid: Option<u32>, stays: bool) -> CloseReason {
    let kinship = Kinship { peer: pid, reads_us: false };
    let (mut peer, far): (Peer, Raw) = raw_kin(8, None, kinship);
    far.ctl.0.send(lending(loan)).await.unwrap();
    let Raw { ctl: _ctl, bulk: _bulk, lifeline, .. } = far;
    let _lifeline = stays.then_some(lifeline);
    let (heads, reason) = peer.rest().await;
    assert!(heads.is_empty(), "nothing of it is delivered");
    reason
}

#[tokio::test]
async fn a_loan_that_is_not_what_it_says_closes_the_session() {
    let pid = std::process::id();
    let reason = end(nothing(), None, true).await;
    assert!(matches!(reason, CloseReason::Protocol(text) if text.contains("cannot map")));
    let reason = end(nothing(), Some(pid), true).await;
    assert!(matches!(reason, CloseReason::Protocol(text) if text.contains("is not what it says")));
}

#[tokio::test]
async fn memory_that_cannot_be_reached_breaks_the_session_unless_its_owner_has_ended() {
    let gone = Loan { descriptor: u32::MAX, ..nothing() };
    let reason = end(gone, Some(std::process::id()), true).await;
    assert!(matches!(reason, CloseReason::Failed(text) if text.contains("cannot be mapped")));
    let reason = end(gone, Some(std::process::id()), false).await;
    assert_eq!(reason, CloseReason::Vanished);
}
