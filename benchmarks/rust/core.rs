//! How long the core takes, without sockets and without Python: `make bench-core`.
//!
//! The reactor's numbers are per task: one that was submitted, assigned to an engine and ended,
//! which are three task events. Dropping what the reactor wants sent is included.

mod kit;

use std::hint::black_box;
use std::time::Duration;

use _oarlock::wire::codec::{Acks, Kind, Packet, decode};
use _oarlock::wire::{Head, Message, TaskId};
use criterion::{
    BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main,
};

use kit::messages::{CLIENT, START, result, submit, task, told};
use kit::script::{Scale, Script};

/// Messages per packet; a busy session sends about as many.
const FULL: usize = 256;

fn codec(criterion: &mut Criterion) {
    direction(criterion, "task", |seq| task(seq as u64));
    direction(criterion, "result", |seq| {
        result((TaskId { client: CLIENT, seq: seq as u64 }, 1), START, START + 20_000)
    });
    direction(criterion, "result to client", |seq| told(seq as u64));
    direction(criterion, "submission of one", |seq| submit(seq as u64, 1));
}

/// Encodes and decodes packets full of a message, and packets of one.
fn direction<H: Head + Clone>(
    criterion: &mut Criterion,
    name: &str,
    message: impl Fn(usize) -> Message<H>,
) {
    let mut group = criterion.benchmark_group(format!("codec/{name}"));
    for count in [1, FULL] {
        let messages: Vec<_> = (100_000..100_000 + count).map(&message).collect();
        group.throughput(Throughput::Elements(count as u64));
        group.bench_with_input(BenchmarkId::new("encode and seal", count), &messages, |b, all| {
            b.iter_batched(
                || all.clone(),
                |messages| {
                    let mut packet = Packet::new(Kind::Data);
                    for message in messages {
                        packet.add(message).expect("it is within the limits");
                    }
                    packet.seal(Acks::default())
                },
                criterion::BatchSize::SmallInput,
            );
        });
        let mut packet = Packet::new(Kind::Data);
        for message in messages {
            packet.add(message).expect("it is within the limits");
        }
        let (header, blob, _) = packet.seal(Acks::default());
        group.bench_function(BenchmarkId::new("decode", count), |b| {
            b.iter(|| decode::<H>(black_box(&header), black_box(&blob)));
        });
    }
    group.finish();
}

fn reactor(criterion: &mut Criterion) {
    let common = Scale { engines: 1000, pending: 100_000, batch: 256, stride: 1, tasks: 100_000 };
    let mut group = criterion.benchmark_group("reactor");
    group.sampling_mode(SamplingMode::Flat).sample_size(10).warm_up_time(Duration::from_millis(1));
    group.throughput(Throughput::Elements(1));
    let mut measure = |name: &str, value: usize, scale: Scale| {
        let script = Script::of(scale);
        group.bench_function(BenchmarkId::new(name, value), |b| {
            b.iter_custom(|tasks| time(&script, scale, tasks));
        });
    };
    for engines in [10, 1000, 10_000] {
        measure("engines, 100,000 pending", engines as usize, Scale { engines, ..common });
    }
    for pending in [1000, 10_000, 100_000, 1_000_000] {
        measure("pending, 1,000 engines", pending, Scale { pending, ..common });
    }
    let scattered = Scale { engines: 10_000, stride: 7919, ..common };
    measure("scattered engines, 100,000 pending", 10_000, scattered);
    let large = Scale { engines: 10_000, pending: 1_000_000, ..common };
    measure("pending, 10,000 engines", large.pending, large);
    measure("submitted one by one", 1, Scale { batch: 1, ..common });
}

/// How long so many tasks take, from the time that as many as the script has take.
fn time(script: &Script, scale: Scale, tasks: u64) -> Duration {
    let mut reactor = script.begin();
    script.play(&mut reactor).mul_f64(tasks as f64 / scale.tasks as f64)
}

criterion_group!(benches, codec, reactor);
criterion_main!(benches);
