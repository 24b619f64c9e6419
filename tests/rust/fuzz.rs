//! What every decoder of the wire and of the store must hold for any bytes whatever.
//!
//! None panics, recurses without a bound, or allocates more than a constant times what it was
//! given; and what it accepts it accepts again, and equal, after being written anew. An input is a
//! byte that names the decoder and the bytes for it. Those in `tests/corpus` are replayed, and then
//! taken as a beginning: bytes flipped, cut, doubled, spliced, from a fixed seed. An input that
//! breaks a rule is written to the corpus, to be committed with the mend.
//!
//! For a longer run: `OARLOCK_FUZZ=10000000 cargo test --release --test fuzz`; the number is that of
//! the inputs, and the seed is then a new one, which is printed. `OARLOCK_CORPUS=1` writes the
//! first inputs anew, after a change of the protocol.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fmt::Debug;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;

use _oarlock::store::frame::{self, End, FILE_HEADER, FRAME, Frame, file_header, read_file_header};
use _oarlock::store::scan::{Scan, Step};
use _oarlock::store::{Forgotten, Outcome, Record, Sort, Spread, Submitted};
use _oarlock::wire::codec::{Acks, Kind, Packet, decode, read_chunk_header};
use _oarlock::wire::limits::{HELLO_MAX, PART_MAX};
use _oarlock::wire::{
    Before, ClientId, EngineId, EngineInfo, FromClient, FromEngine, FuncId, Head, Hello,
    Kind as Parts, Loan, Message, Reply, Request, Role, Rules, SessionId, Sign, Status, Target,
    TaskId, ToClient, ToEngine, Underway, Welcome,
};
use bytes::Bytes;

/// Counts what a thread holds of the heap.
struct Counting;

thread_local! {
    static HELD: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

// SAFETY: everything is passed on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = HELD.try_with(|held| {
            let now = held.get().0.saturating_add(layout.size());
            held.set((now, held.get().1.max(now)));
        });
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        let _ = HELD.try_with(|held| {
            held.set((held.get().0.saturating_sub(layout.size()), held.get().1));
        });
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Bytes that a decoder may hold for each byte of its input: one of these may name a message.
const FACTOR: usize = 512;
/// And at the beginning: a list is reserved with at most a mebibyte, whatever length it says.
const BASE: usize = 2 * 1024 * 1024;

/// What `work` gives; fails if it held too much at a time for an input of this length.
fn bounded<T>(len: usize, work: impl FnOnce() -> T) -> T {
    HELD.set((0, 0));
    let done = work();
    let peak = HELD.get().1;
    assert!(peak <= BASE + FACTOR * len, "{peak} bytes were held for an input of {len}");
    done
}

/// A packet: the length of its header as two bytes, the header, the blob.
fn packet<H: Head + Clone + PartialEq + Debug>(input: &[u8]) {
    let Some((len, bytes)) = input.split_at_checked(2) else { return };
    let len = usize::from(u16::from_le_bytes([len[0], len[1]])).min(bytes.len());
    let (header, blob) = bytes.split_at(len);
    let Ok(arrived) = bounded(input.len(), || decode::<H>(header, blob)) else { return };
    let inline: usize =
        arrived.items.iter().flat_map(|item| &item.message.parts).map(Bytes::len).sum();
    assert_eq!(inline, blob.len(), "every byte belongs to one part");
    for (message, part, loan) in &arrived.loans {
        assert!(arrived.items[*message].message.parts[*part].is_empty() && loan.len <= PART_MAX);
    }
    let mut again = Packet::new(arrived.kind);
    let heads: Vec<H> = arrived.items.iter().map(|item| item.message.head.clone()).collect();
    for head in &heads {
        again.add(Message::bare(head.clone())).expect("what was read can be written");
    }
    let (header, blob, _) = again.seal(arrived.acks);
    let read = decode::<H>(&header, &blob).expect("what was written can be read");
    assert_eq!(read.acks, arrived.acks);
    let read: Vec<H> = read.items.into_iter().map(|item| item.message.head).collect();
    assert_eq!(read, heads);
}

/// What is said at the door, behind magic, version and length.
fn said<M>(input: &[u8])
where
    M: serde::Serialize + serde::de::DeserializeOwned + PartialEq + Debug,
{
    let input = &input[..input.len().min(HELLO_MAX)];
    let read = bounded(input.len(), || rmp_serde::from_slice::<M>(input));
    if let Ok(message) = read {
        let again = rmp_serde::to_vec(&message).expect("what was read can be written");
        assert_eq!(rmp_serde::from_slice::<M>(&again).expect("and read"), message);
    }
}

/// The head of a record in a journal.
fn stored(input: &[u8]) {
    let Ok((record, parts)) = bounded(input.len(), || frame::decode(input)) else { return };
    let parts = parts.iter().map(|_| Bytes::new()).collect();
    let entry = Message { head: record, parts };
    let (_, head) = frame::encode(&entry).expect("what was read can be written");
    let (record, parts) = frame::decode(&head).expect("and read");
    assert_eq!((record, parts.len()), (entry.head, entry.parts.len()));
}

/// A file of a journal: whatever it is, each byte behind its header is told of once.
fn journal(input: &[u8]) {
    if let Some(header) = input.first_chunk() {
        let _ = read_file_header(*header);
    }
    let mut scan = Scan::new(input, 1, 0);
    let mut end = FILE_HEADER.min(input.len()) as u64;
    while let Some(step) = bounded(input.len(), || scan.step()).expect("the bytes are there") {
        let (at, len) = match step {
            Step::Record(stored) => {
                let parts = stored.parts.iter().map(|(len, _)| len).sum::<u64>();
                (stored.at, 2 * stored.before + parts)
            }
            Step::Head { at, len, .. } | Step::Lost { at, len } | Step::Cut { at, len } => {
                (at, len)
            }
        };
        assert!(at == end && len > 0, "{len} bytes at {at}, where {end} is next");
        end += len;
    }
    assert_eq!(end, input.len() as u64);
}

/// The same with checksums that are right, which chance alone would never make.
fn sealed_journal(input: &[u8]) {
    let mut input = input.to_vec();
    let mut at = FILE_HEADER;
    while let Some(bytes) = input.get(at..at + FRAME) {
        let head = u32::from_le_bytes(bytes[..4].try_into().expect("four bytes")) as usize;
        let parts = u64::from_le_bytes(bytes[4..12].try_into().expect("eight bytes"));
        let sort = Sort::of(bytes[16]).unwrap_or(Sort::Outcome);
        let sum = input.get(at + FRAME..).and_then(|rest| rest.get(..head)).map(crc32fast::hash);
        let frame = Frame { sort, head, sum: sum.unwrap_or(0), parts };
        input[at..at + FRAME].copy_from_slice(&frame.encode(1, at as u64, End::Front));
        let back =
            usize::try_from((at as u64).saturating_add(frame.to_back())).unwrap_or(usize::MAX);
        if let Some(copy) = back.checked_add(FRAME).and_then(|end| input.get_mut(back..end)) {
            copy.copy_from_slice(&frame.encode(1, back as u64, End::Back));
        }
        at = at.saturating_add(usize::try_from(frame.bytes()).unwrap_or(usize::MAX));
        if at > input.len() {
            break;
        }
    }
    journal(&input);
}

/// Gives an input to its decoder.
fn check(input: &[u8]) {
    let Some((which, bytes)) = input.split_first() else { return };
    match which % 10 {
        0 => packet::<FromClient>(bytes),
        1 => packet::<ToClient>(bytes),
        2 => packet::<FromEngine>(bytes),
        3 => packet::<ToEngine>(bytes),
        4 => said::<(Hello, Option<Sign>)>(bytes),
        5 => said::<(Welcome, Option<Sign>, bool)>(bytes),
        7 => stored(bytes),
        8 => journal(bytes),
        9 => sealed_journal(bytes),
        _ => assert_eq!(read_chunk_header(bytes).is_ok(), bytes.len() == 16),
    }
}

fn corpus() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/corpus")
}

/// As [`check`]; what breaks a rule is kept.
fn check_and_keep(input: &[u8]) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| check(input))) {
        let sum = input.iter().fold(5381_u64, |sum, byte| sum.wrapping_mul(33) ^ u64::from(*byte));
        let path = corpus().join(format!("found-{sum:016x}"));
        fs::write(&path, input).expect("the corpus can be written");
        eprintln!("this input is kept as {}", path.display());
        resume_unwind(panic);
    }
}

/// Numbers that look random, from a seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound.max(1) as u64) as usize
    }

    /// A byte, often one that means something.
    fn byte(&mut self) -> u8 {
        const TELLING: [u8; 16] = [
            0, 1, 0x7f, 0x80, 0x81, 0x91, 0x92, 0xc0, 0xc6, 0xc9, 0xd9, 0xdc, 0xdd, 0xdf, 0xfe,
            0xff,
        ];
        if self.below(2) == 0 { TELLING[self.below(16)] } else { self.below(256) as u8 }
    }

    fn change(&mut self, input: &mut Vec<u8>, others: &[Vec<u8>]) {
        let at = self.below(input.len());
        match self.below(7) {
            0 => input.truncate(at),
            1 => input.insert(at, self.byte()),
            2 => {
                let run = self.below(300);
                let byte = self.byte();
                input.splice(at..at, std::iter::repeat_n(byte, run));
            }
            3 => {
                let other = &others[self.below(others.len())];
                let from = self.below(other.len());
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            _ if !input.is_empty() => input[at] = self.byte(),
            _ => {}
        }
    }
}

fn rounds() -> (usize, u64) {
    let asked = std::env::var("OARLOCK_FUZZ").ok().and_then(|number| number.parse().ok());
    let now = || std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(1, |t| t.as_nanos() as u64 | 1);
    asked.map_or((100_000, 0x0a71_0c4b), |rounds| (rounds, now()))
}

#[test]
fn no_input_breaks_a_decoder() {
    if std::env::var_os("OARLOCK_CORPUS").is_some() {
        write_corpus();
    }
    let files = fs::read_dir(corpus()).expect("there is a corpus");
    let mut paths: Vec<_> = files.map(|file| file.expect("it can be read").path()).collect();
    paths.sort();
    let inputs: Vec<Vec<u8>> =
        paths.iter().map(|path| fs::read(path).expect("it can be read")).collect();
    for (name, input) in first() {
        let kept = fs::read(corpus().join(name)).unwrap_or_default();
        assert!(kept == input, "{name} is of another protocol: run once with OARLOCK_CORPUS=1");
    }
    for input in &inputs {
        check_and_keep(input);
    }
    let (rounds, seed) = rounds();
    eprintln!("seed {seed}");
    let mut chance = Chance(seed);
    for _ in 0..rounds {
        let mut input = inputs[chance.below(inputs.len())].clone();
        for _ in 0..=chance.below(6) {
            chance.change(&mut input, &inputs);
        }
        check_and_keep(&input);
    }
}

// --- the first inputs

fn write_corpus() {
    fs::create_dir_all(corpus()).expect("it can be made");
    for (name, input) in first() {
        fs::write(corpus().join(name), input).expect("it can be written");
    }
}

fn packed<H: Head>(which: u8, heads: Vec<H>, lens: &[usize], loan: bool) -> Vec<u8> {
    let mut packet = Packet::new(Kind::Data);
    for head in heads {
        let parts = lens.iter().map(|&len| Bytes::from(vec![7; len])).collect();
        packet.add(Message { head, parts }).expect("it is within the limits");
    }
    if loan {
        let (descriptor, nonce, slot, token, offset) = (3, u64::MAX, 5, 6, 7);
        packet.lend(0, Loan { descriptor, nonce, slot, token, offset, len: 1 << 30 });
    }
    let (header, blob, _) = packet.seal(Acks { ctl: 3, bulk: 1 << 40 });
    let len = u16::try_from(header.len()).expect("it is short").to_le_bytes();
    [&[which][..], &len, &header, &blob].concat()
}

fn spoken(which: u8, message: &impl serde::Serialize) -> Vec<u8> {
    [vec![which], rmp_serde::to_vec(message).expect("it can be written")].concat()
}

/// Of a record its head, or of some a file.
fn kept(which: u8, entries: Vec<(Record, &[usize])>) -> Vec<u8> {
    let mut file = file_header(1).to_vec();
    let mut last = Vec::new();
    for (head, lens) in entries {
        let parts = lens.iter().map(|&len| Bytes::from(vec![7; len])).collect();
        let entry = Message { head, parts };
        frame::push(1, &mut file, &entry).expect("it is within the limits");
        (_, last) = frame::encode(&entry).expect("it is within the limits");
    }
    [vec![which], if which == 7 { last } else { file }].concat()
}

#[rustfmt::skip]
fn first() -> Vec<(&'static str, Vec<u8>)> {
    let (func, session) = (FuncId([4; 16]), SessionId([9; 16]));
    let id = TaskId { client: ClientId(1), seq: 300 };
    let (kind, status, engine) = (Parts::Chunk, Status::Partial, EngineId(2));
    let target = Target::Among(vec![engine, EngineId(70_000)]);
    let info = EngineInfo { id: engine, session, pid: 77, host: "here".into() };
    let single = Submitted { client: ClientId(1), runs: vec![(300, 1)], func, kind, rules: Rules::default(), at: -1, spread: Spread::Balanced(Target::Any, vec![2]) };
    let many = Submitted { runs: vec![(0, 2), (9, 1)], spread: Spread::Balanced(target.clone(), vec![1, 0, 2]), ..single.clone() };
    let direct = Submitted { runs: vec![(0, 2)], spread: Spread::Direct(vec![engine, EngineId(9)]), ..single.clone() };
    let outcome = Record::Outcome(Outcome { id, status, engine: Some(engine), submitted: -1, started: 5, completed: i64::MAX });
    let forgotten = Record::Forgotten(Forgotten { tasks: vec![(ClientId(1), 2, u64::MAX)], funcs: vec![func], clients: vec![ClientId(7)] });
    let client = Record::Client { client: ClientId(1), session, lease: u64::MAX, next: 4 };
    let rules = Rules { retries: 3, timeout: 1 << 20, force: true };
    let running = Some(Underway { id, ticket: 8, attempt: 2, started: -1 });
    let before = Before { controller: session, number: 3, ticket: 9, running };
    let sign = Some(Sign { descriptor: 8, nonce: u64::MAX });
    let hello = Hello { token: vec![1; 32], role: Role::Engine, session, pid: 7, host: "here".into(), python: "3.11".into(), lease: u64::MAX, tally: sign, before: Some(before) };
    let welcome = Welcome::Accepted { ctl: "a".repeat(32), bulk: "b".repeat(32), number: 3, controller: session, pid: 7, beat: 1000, lease: 30_000, resumed: true };
    vec![
        ("from-client-func", packed(0, vec![FromClient::Func(func), FromClient::Forget(func)], &[20], false)),
        ("from-client-submit", packed(0, vec![FromClient::Submit { first: 7, func, kind, target: Target::Any, counts: vec![1, 2], rules }], &[3, 0, 40], false)),
        ("from-client-among", packed(0, vec![FromClient::Submit { first: 7, func, kind, target, counts: vec![1; 40], rules }], &[], false)),
        ("from-client-direct", packed(0, vec![FromClient::Direct { first: 1, func, kind, engines: vec![engine], rules }], &[0, 9], true)),
        ("from-client-books", packed(0, vec![FromClient::Cancel { tasks: vec![1, 2], force: Some(9) }, FromClient::Watch { first: 1 << 63, tasks: vec![(session, 5)] }, FromClient::Took(vec![(1, 2)]), FromClient::Back], &[], false)),
        ("from-client-request", packed(0, vec![FromClient::Request { id: 1, body: Request::Purge(Some(vec![(session, 1, 2)])) }, FromClient::Request { id: 2, body: Request::Signal(vec![engine], 9) }], &[], false)),
        ("to-client-engines", packed(1, vec![ToClient::Engines(vec![info])], &[], false)),
        ("to-client-output", packed(1, vec![ToClient::Output { seq: 4, stream: 2 }, ToClient::Progress { seq: 4, done: 9 }, ToClient::Memory { engine, used: 9 << 30, allowed: u64::MAX, scarce: false }], &[6], false)),
        ("to-client-result", packed(1, vec![ToClient::Result { seq: 4, status, engine: Some(engine), submitted: Some(-1), started: 5, completed: i64::MAX }], &[0, 70_000], true)),
        ("to-client-reply", packed(1, vec![ToClient::Reply { id: 1, body: Reply::QueueStatus(1, vec![(engine, 1, 2, 3)]) }, ToClient::Reply { id: 2, body: Reply::History(vec![(session, 0, 9)]) }], &[], false)),
        ("from-engine", packed(2, vec![FromEngine::Started { id, ticket: 2, at: 1 }, FromEngine::Result { id, ticket: 2, status, started: 1, completed: 2 }, FromEngine::Returned(vec![(id, 2)]), FromEngine::Back(vec![id]), FromEngine::Memory { used: 9 << 30, allowed: 10 << 30, scarce: true }], &[30], false)),
        ("to-engine", packed(3, vec![ToEngine::Task { id, func, kind, ticket: 2, attempt: 3, timeout: 4, force: true }, ToEngine::Recall(vec![id]), ToEngine::Cancel { tasks: vec![id], force: None }, ToEngine::Settled(vec![1, 9]), ToEngine::Signal(15), ToEngine::Shutdown], &[5, 5_000], false)),
        ("hello", spoken(4, &(hello, sign))),
        ("welcome", spoken(5, &(welcome, sign, true))),
        ("refusal", spoken(5, &(Welcome::Refused("no".into()), None::<Sign>, false))),
        ("chunk", vec![6; 17]),
        ("record-single", kept(7, vec![(Record::Submitted(single.clone()), &[3, 0])])),
        ("record-many", kept(7, vec![(Record::Submitted(many.clone()), &[3, 0, 5])])),
        ("record-direct", kept(7, vec![(Record::Submitted(direct), &[3])])),
        ("record-outcome", kept(7, vec![(outcome.clone(), &[300])])),
        ("record-forgotten", kept(7, vec![(forgotten.clone(), &[])])),
        ("record-client", kept(7, vec![(client.clone(), &[])])),
        ("journal", kept(8, vec![(Record::Function(func), &[9]), (client, &[]), (Record::Submitted(many), &[3, 0, 5]), (outcome, &[0, 40]), (forgotten, &[])])),
        ("journal-sealed", kept(9, vec![(Record::Function(func), &[9]), (Record::Attempt { id, attempt: 2 }, &[]), (Record::Submitted(single), &[200, 0])])),
        ("list-of-2-to-the-32", [vec![4], vec![0xdd; 5], vec![0xff; 8]].concat()),
        ("nested-deeply", [vec![0, 200, 0], vec![0; 21], vec![0, 150, 0, 0, 0], vec![0x91; 150]].concat()),
    ]
}
