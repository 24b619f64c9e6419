//! What the core uses per task, in numbers that a busy machine changes little or not at all: one
//! line each, its name and its value with a tab between.
//!
//! `--life N` only lets N tasks live, for a profiler that counts instructions; `--rates` adds the
//! times of the reactor at each scale, all scales in turn and the best of each.

mod kit;

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::Write;
use std::sync::atomic::{AtomicIsize, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use _oarlock::controller::{Event, Limits, Now, Reactor};
use _oarlock::wire::{FromClient, Message, Parts, SessionId};
use bytes::Bytes;

use kit::life::Life;
use kit::messages::{ARGS, CLIENT, FUNC, START, submit};
use kit::script::{Scale, Script, play};

/// The system's allocator, counted.
struct Counted;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static LIVE: AtomicIsize = AtomicIsize::new(0);

// SAFETY: every call goes to the system's allocator as it came; counting touches no memory of it.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        LIVE.fetch_add(layout.size().cast_signed(), Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size().cast_signed(), Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        LIVE.fetch_add(size.cast_signed() - layout.size().cast_signed(), Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(place, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counted = Counted;

const ENGINES: [u32; 3] = [10, 1000, 10_000];
const PENDING: [usize; 4] = [1000, 10_000, 100_000, 1_000_000];

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let Some(at) = words.iter().position(|word| word == "--life") {
        let tasks = words.get(at + 1).and_then(|tasks| tasks.parse().ok()).unwrap_or(10_000);
        live(&mut Life::new(), tasks, 256);
        return;
    }
    say("bytes of state per pending task, 1,000", state(1000));
    say("bytes of state per pending task, 1,000,000", state(1_000_000));
    for batch in [1, 256] {
        lives(batch);
    }
    let scale = Scale { engines: 1000, pending: 100_000, batch: 256, stride: 1, tasks: 50_000 };
    let script = Script::of(scale);
    let (mut reactor, events) = (script.begin(), script.events());
    let before = ALLOCATIONS.load(Relaxed);
    play(&mut reactor, events);
    let made = ALLOCATIONS.load(Relaxed) - before;
    say("allocations per task, reactor alone", made as f64 / scale.tasks as f64);
    if words.iter().any(|word| word == "--rates") {
        rates(9);
    }
}

fn say(name: &str, value: f64) {
    // Whoever reads may stop reading.
    let _ = writeln!(std::io::stdout(), "{name}\t{value}");
}

/// Bytes that a pending task holds beside its payload.
fn state(count: usize) -> f64 {
    let mut reactor = Reactor::new(Limits::default());
    let (mut out, now) = (Vec::new(), Now { mono: 0, wall: START });
    let session = SessionId([2; 16]);
    reactor.handle(now, Event::ClientJoined { client: CLIENT, session, lease: u64::MAX }, &mut out);
    let parts = Parts::from_iter([Bytes::from(vec![7; 300])]);
    let func = Message { head: FromClient::Func(FUNC), parts };
    reactor.handle(now, Event::FromClient(CLIENT, func), &mut out);
    let before = LIVE.load(Relaxed);
    for first in (0..count).step_by(500) {
        let message = submit(first as u64, 500);
        reactor.handle(now, Event::FromClient(CLIENT, message), &mut out);
    }
    assert_eq!(reactor.pending(), count);
    (LIVE.load(Relaxed) - before) as f64 / count as f64 - ARGS as f64
}

/// What tasks need on their whole way, submitted so many at once.
fn lives(batch: usize) {
    let mut life = Life::new();
    live(&mut life, 1000, batch);
    let (sent, made) = (life.sent, ALLOCATIONS.load(Relaxed));
    let tasks = 20_480;
    live(&mut life, tasks, batch);
    let per_task = |total: u64| total as f64 / tasks as f64;
    let say = |what: &str, value| say(&format!("{what} per task, {batch} at once"), value);
    say("bytes on the wire", per_task(life.sent.bytes - sent.bytes));
    say("packets", per_task(life.sent.packets - sent.packets));
    say("allocations", per_task(ALLOCATIONS.load(Relaxed) - made));
}

#[inline(never)]
fn live(life: &mut Life, tasks: usize, batch: usize) {
    for _ in 0..tasks / batch {
        life.run(batch);
    }
}

/// Nanoseconds per task at each scale; the best of some rounds through all of them.
fn rates(rounds: usize) {
    let common = Scale { engines: 1000, pending: 100_000, batch: 256, stride: 1, tasks: 100_000 };
    let mut scales: Vec<_> = ENGINES.map(|engines| Scale { engines, ..common }).into();
    scales.extend(PENDING.map(|pending| Scale { pending, ..common }));
    scales.push(Scale { engines: 10_000, pending: 1_000_000, ..common });
    scales.extend(ENGINES.map(|engines| Scale { engines, stride: 7919, ..common }));
    let scripts: Vec<_> = scales.iter().map(|scale| Script::of(*scale)).collect();
    let mut best = vec![Duration::MAX; scales.len()];
    for _ in 0..rounds {
        for (script, best) in scripts.iter().zip(&mut best) {
            *best = script.play(&mut script.begin()).min(*best);
        }
    }
    for (scale, best) in scales.iter().zip(best) {
        let Scale { engines, pending, stride, .. } = scale;
        let order = if *stride == 1 { "" } else { ", scattered" };
        let name = format!("ns per task, {engines} engines{order}, {pending} pending");
        say(&name, best.as_nanos() as f64 / scale.tasks as f64);
    }
}
