use super::*;

const MIB: usize = 1024 * 1024;

fn limits(bytes: usize, count: usize) -> Limits {
    Limits { bytes, count }
}

fn take(pool: &mut Pool, len: usize, limits: Limits) -> Option<Segment> {
    pool.take(len, limits, &mut Dropped::new())
}

#[test]
fn a_segment_that_came_back_is_used_again() {
    let (mut pool, limits) = (Pool::default(), limits(64 * MIB, 8));
    let segment = take(&mut pool, 5 * MIB, limits).unwrap();
    let start = segment.start();
    pool.park(segment, Instant::now());
    let again = take(&mut pool, 4 * MIB, limits).unwrap();
    assert_eq!(again.start(), start);
    assert_eq!(pool.totals().1, 1);
}

#[test]
fn a_segment_that_somebody_reads_is_not_used_again() {
    let (mut pool, limits) = (Pool::default(), limits(64 * MIB, 8));
    let segment = take(&mut pool, 5 * MIB, limits).unwrap();
    let (start, header) = (segment.start(), std::sync::Arc::clone(&segment.header));
    let slot = header.join().unwrap();
    pool.park(segment, Instant::now());
    let other = take(&mut pool, 5 * MIB, limits).unwrap();
    assert_ne!(other.start(), start);
    header.give_back(slot);
    assert_eq!(take(&mut pool, 5 * MIB, limits).unwrap().start(), start);
}

#[test]
fn what_waits_gives_way_and_what_is_used_does_not() {
    let (mut pool, limits) = (Pool::default(), limits(12 * MIB, 8));
    let first = take(&mut pool, 5 * MIB, limits).unwrap();
    let second = take(&mut pool, 5 * MIB, limits).unwrap();
    assert!(take(&mut pool, 5 * MIB, limits).is_none(), "there is no room for a third");
    pool.park(first, Instant::now());
    let large = take(&mut pool, 6 * MIB, limits).unwrap();
    assert_eq!(pool.totals(), (second.capacity() + large.capacity(), 2));
}

#[test]
fn the_number_of_segments_is_bounded_too() {
    let (mut pool, limits) = (Pool::default(), limits(usize::MAX, 2));
    let _kept = [take(&mut pool, MIB, limits).unwrap(), take(&mut pool, MIB, limits).unwrap()];
    assert!(take(&mut pool, MIB, limits).is_none());
}

#[test]
fn what_waited_for_long_is_dropped() {
    let (mut pool, limits) = (Pool::default(), limits(64 * MIB, 8));
    let segment = take(&mut pool, MIB, limits).unwrap();
    let now = Instant::now();
    pool.park(segment, now);
    pool.trim(now + IDLE / 2, &mut Dropped::new());
    assert!(!pool.is_empty());
    pool.trim(now + IDLE, &mut Dropped::new());
    assert!(pool.is_empty());
    assert_eq!(pool.totals(), (0, 0));
}

#[test]
fn a_class_wastes_an_eighth_at_most() {
    for len in [MIB, MIB + 1, 3 * MIB, 100_000_000, (1 << 30) + 1] {
        let class = class(len).unwrap();
        assert!(class >= len && class - len <= len / 8 + DATA, "{len}: {class}");
        assert_eq!(class % DATA, 0);
    }
    assert!(class(usize::MAX).is_none());
}
