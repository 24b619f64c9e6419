//! Lending and borrowing within one process, which is its own peer here.

use std::os::fd::{AsFd, AsRawFd};

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

use super::*;

const LEN: usize = 2 * WORTH + 12_345;

/// Bytes that tell where they are.
fn pattern(seed: u8) -> Vec<u8> {
    (0..LEN).map(|index| (index / 7) as u8 ^ seed).collect()
}

fn stored(bytes: &[u8]) -> Bytes {
    // SAFETY: a slice is good for reads.
    unsafe { store(bytes.as_ptr(), bytes.len()) }.expect("memory to share")
}

fn here(loan: &Loan) -> Result<Bytes, BorrowError> {
    borrow(std::process::id(), loan)
}

fn fault(loan: &Loan) -> &'static str {
    match here(loan).unwrap_err() {
        BorrowError::Untrue { fault, .. } => fault,
        error @ BorrowError::Unreachable { .. } => panic!("{error}"),
    }
}

#[test]
fn what_is_stored_is_there_for_who_borrows_it() {
    let _presence = Presence::new();
    let bytes = pattern(1);
    let kept = stored(&bytes);
    assert_eq!(kept, bytes);
    let lent = lend(&kept).unwrap();
    assert!(!lent.has_arrived());
    let borrowed = here(&lent.loan).unwrap();
    assert!(lent.has_arrived());
    drop((kept, lent));
    assert_eq!(borrowed, bytes, "the owner's interest is not needed");
}

#[test]
fn a_part_of_what_is_stored_can_be_lent_too() {
    let _presence = Presence::new();
    let bytes = pattern(2);
    let part = stored(&bytes).slice(70_001..70_001 + WORTH);
    let borrowed = here(&lend(&part).unwrap().loan).unwrap();
    assert_eq!(borrowed, bytes[70_001..70_001 + WORTH]);
    assert!(lend(&part.slice(1..)).is_none(), "little is not worth it");
    assert!(lend(&Bytes::from(bytes)).is_none(), "other memory cannot be lent");
}

#[test]
fn memory_is_not_written_while_somebody_reads_it() {
    let _presence = Presence::new();
    let first = pattern(3);
    let kept = stored(&first);
    let lent = lend(&kept).unwrap();
    drop(kept);
    let borrowed = here(&lent.loan).unwrap();
    drop(lent);
    for seed in 4..12 {
        drop(stored(&pattern(seed)));
    }
    assert_eq!(borrowed, first);
}

#[test]
fn a_loan_is_for_one_and_can_be_taken_back_until_it_arrives() {
    let _presence = Presence::new();
    let kept = stored(&pattern(12));
    let lent = lend(&kept).unwrap();
    let _borrowed = here(&lent.loan).unwrap();
    assert_eq!(fault(&lent.loan), "it was lent to nobody");
    let lent = lend(&kept).unwrap();
    let loan = lent.loan;
    drop(lent);
    assert_eq!(fault(&loan), "it was lent to nobody");
}

#[test]
fn what_one_user_writes_nobody_else_sees() {
    let _presence = Presence::new();
    let bytes = pattern(13);
    let kept = stored(&bytes);
    let borrowed = here(&lend(&kept).unwrap().loan).unwrap();
    let (mine, yours) = (Private::of(&borrowed).unwrap(), Private::of(&borrowed).unwrap());
    assert_eq!(mine.len(), LEN);
    // SAFETY: the mappings are as long, and this thread is the only one that knows them.
    unsafe {
        mine.start().write_bytes(0xee, LEN);
        assert_eq!(std::slice::from_raw_parts(yours.start(), LEN), bytes);
    }
    assert_eq!(borrowed, bytes);
    assert_eq!(kept, bytes);
    assert!(Private::of(&kept).is_none(), "the owner's own memory is shared with everybody");
}

#[test]
fn bytes_that_were_not_written_to_go_back_without_a_copy() {
    let _presence = Presence::new();
    let bytes = pattern(14);
    let borrowed = here(&lend(&stored(&bytes)).unwrap().loan).unwrap();
    let private = Private::of(&borrowed).unwrap();
    drop(borrowed);
    // SAFETY: the mapping is as long, and this thread is the only one that knows it.
    let read: u64 = unsafe { std::slice::from_raw_parts(private.start(), LEN) }
        .iter()
        .map(|b| u64::from(*b))
        .sum();
    assert_ne!(read, 0);
    let back = lent_before(private.start(), LEN).expect("only read");
    assert_eq!(back, bytes);
    // SAFETY: as above.
    unsafe { private.start().add(LEN / 2).write(bytes[LEN / 2].wrapping_add(1)) };
    assert!(lent_before(private.start(), LEN).is_none());
    assert_eq!(back, bytes, "what was handed on stays as it was");
    assert!(lent_before(bytes.as_ptr(), LEN).is_none(), "other memory");
}

#[test]
fn a_loan_that_lies_is_refused() {
    let _presence = Presence::new();
    let kept = stored(&pattern(15));
    let lent = lend(&kept).unwrap();
    let loan = lent.loan;
    assert_eq!(fault(&Loan { nonce: loan.nonce ^ 1, ..loan }), "it holds something else");
    assert_eq!(fault(&Loan { len: 1 << 39, ..loan }), "it is too short");
    assert_eq!(fault(&Loan { offset: u64::MAX, ..loan }), "it is too short");
    assert_eq!(fault(&Loan { len: 0, ..loan }), "it is too short");
    for (slot, token) in [(u32::MAX, loan.token), (loan.slot, 0), (loan.slot + 1, 0), (0, 1)] {
        assert_eq!(fault(&Loan { slot, token, ..loan }), "it was lent to nobody");
    }
    let (ear, _mouth) = std::io::pipe().unwrap();
    let descriptor = ear.as_raw_fd().cast_unsigned();
    assert_eq!(fault(&Loan { descriptor, ..loan }), "it is no segment");
    let unsealed = memfd_create("oarlock", MemfdFlags::CLOEXEC).unwrap();
    ftruncate(&unsealed, 1 << 30).unwrap();
    let descriptor = unsealed.as_fd().as_raw_fd().cast_unsigned();
    assert_eq!(fault(&Loan { descriptor, ..loan }), "it could shrink");
    here(&loan).expect("it is still there for who is honest");
}

#[test]
fn memory_of_who_is_gone_is_unreachable() {
    let _presence = Presence::new();
    let kept = stored(&pattern(16));
    let lent = lend(&kept).unwrap();
    // The largest number of a process is far below.
    let gone = borrow(u32::MAX, &lent.loan);
    assert!(matches!(gone, Err(BorrowError::Unreachable { .. })));
    let closed = Loan { descriptor: u32::MAX, ..lent.loan };
    assert!(matches!(here(&closed), Err(BorrowError::Unreachable { .. })));
}

#[test]
fn a_segment_has_more_readers_than_a_host_has_engines() {
    let _presence = Presence::new();
    let kept = stored(&pattern(17));
    let lent: Vec<_> = (0..1000).map_while(|_| lend(&kept)).collect();
    assert!((500..1000).contains(&lent.len()), "{}", lent.len());
    drop(lent);
    assert!(lend(&kept).is_some());
}

#[test]
fn a_peer_is_known_by_its_sign() {
    let probe = Probe::new().unwrap();
    let sign = probe.sign();
    assert!(can_borrow(std::process::id(), &sign));
    assert!(!can_borrow(std::process::id(), &Sign { nonce: sign.nonce ^ 1, ..sign }));
    assert!(!can_borrow(u32::MAX, &sign));
}
