//! Sessions through a gate: over loopback here, encrypted and proved as over any network.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::kit::{Dir, House, LONG, Peer, Say, TOKEN, dial, hello, with_parts};
use crate::transport::card::{CARD, Card};
use crate::transport::place::{Connection, write};
use crate::transport::proof::{ANSWER, Answer, PRELUDE, Wish, prelude};
use crate::transport::refusals::{Fault, LOG};
use crate::transport::tls::{self, Bound, connector};
use crate::transport::{CloseReason, ConnectError, Gate, Listen};
use crate::wire::Role;
use crate::wire::limits::{HELLO_DEADLINE, LINK_BUDGET, LINK_CONCURRENT};

/// Longer than the tests take, whatever the machine does.
const PATIENCE: Duration = Duration::from_secs(60);

/// A house with a gate in a directory of which the token is known.
struct Castle {
    house: House,
    gate: Gate,
}

fn listen(at: &str) -> Listen {
    Listen { at: at.to_owned(), cluster_id: "of the tests".to_owned(), copies: Vec::new() }
}

/// The token of the tests, as long as one is.
fn token() -> Vec<u8> {
    let mut token = TOKEN.to_vec();
    token.resize(32, 1);
    token
}

impl Castle {
    async fn build() -> Self {
        Self::build_in(Dir::new(), PATIENCE).await
    }

    async fn build_in(dir: Dir, patience: Duration) -> Self {
        write(&dir, &Connection { token: token(), pid: 1, embedded: false }).unwrap();
        let house = House::open_with(dir, token());
        let listen = listen("127.0.0.1:0");
        let gate = Gate::open(&house.door, &house.dir, &listen, patience).await.unwrap();
        Self { house, gate }
    }

    fn card(&self) -> PathBuf {
        self.house.dir.join(CARD)
    }

    /// A session through the gate.
    async fn pair(&mut self) -> (Peer, Peer) {
        self.pair_by(&self.card()).await
    }

    async fn pair_by(&mut self, card: &std::path::Path) -> (Peer, Peer) {
        let hello = crate::wire::Hello { token: token(), ..hello() };
        let (ours, theirs) = tokio::join!(self.house.admit(), dial(card, &hello));
        let (accepted, theirs) = theirs.unwrap();
        assert!(accepted.far);
        (ours, theirs)
    }

    async fn refused(&mut self, card: &std::path::Path) -> ConnectError {
        let hello = crate::wire::Hello { token: token(), ..hello() };
        let error = dial(card, &hello).await.err().expect("a refusal");
        // And everybody else is served.
        self.works().await;
        error
    }

    async fn works(&mut self) {
        let (ours, mut theirs) = self.pair().await;
        ours.say(with_parts(Say::Ordered(1), &[10]));
        assert_eq!(theirs.messages().await.len(), 1);
    }

    fn refusals(&self, fault: Fault) -> u64 {
        self.house.door.refusals().of(fault)
    }

    async fn until_refused(&self, fault: Fault, count: u64) {
        let turns = async {
            while self.refusals(fault) < count {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(LONG, turns).await.expect("it is counted");
    }

    /// A copy of the connection file with a change.
    fn forged(&self, name: &str, change: impl FnOnce(&str) -> String) -> PathBuf {
        let text = std::fs::read_to_string(self.card()).unwrap();
        let path = self.house.dir.join(name);
        crate::transport::card::write_private(&path, change(&text).as_bytes()).unwrap();
        path
    }

    /// The connection file with another port.
    fn by_way_of(&self, name: &str, port: u16) -> PathBuf {
        let ours = format!(":{}\"", self.gate.address().port());
        self.forged(name, |text| text.replace(&ours, &format!(":{port}\"")))
    }
}

#[tokio::test]
async fn a_session_goes_through_the_gate_both_ways_and_ends_with_a_goodbye() {
    let mut castle = Castle::build().await;
    let (mut ours, mut theirs) = castle.pair().await;
    let large = 3 << 20;
    for from in [&ours, &theirs] {
        from.say(with_parts(Say::Ordered(1), &[5, large, 70_000]));
        from.say(with_parts(Say::Free(2), &[]));
    }
    for peer in [&mut ours, &mut theirs] {
        let mut heads = 0;
        while heads < 2 {
            for message in peer.messages().await {
                heads += 1;
                if message.head == Say::Ordered(1) {
                    let lens = message.parts.iter().map(bytes::Bytes::len).collect::<Vec<_>>();
                    assert_eq!(lens, [5, large, 70_000]);
                    assert!(message.parts[1].iter().all(|byte| *byte == large as u8));
                }
            }
        }
    }
    theirs.say(with_parts(Say::Ordered(3), &[large]));
    theirs.outbox.close();
    assert_eq!(ours.rest().await, (vec![Say::Ordered(3)], CloseReason::Goodbye));
    assert_eq!(theirs.rest().await, (vec![], CloseReason::Goodbye));
    castle.gate.close().await;
}

#[tokio::test]
async fn who_vanishes_behind_the_gate_is_known_to_have_vanished() {
    let mut castle = Castle::build().await;
    let (mut ours, theirs) = castle.pair().await;
    theirs.outbox.abort();
    assert_eq!(ours.rest().await.1, CloseReason::Vanished);
    let (ours, mut theirs) = castle.pair().await;
    ours.outbox.abort();
    assert_eq!(theirs.rest().await.1, CloseReason::Vanished);
}

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
    let hash = Card::read(&castle.card()).unwrap().certificate();
    let mut recorded = None;
    for replayed in [false, true] {
        let stream = TcpStream::connect(castle.gate.address()).await.unwrap();
        let connecting = connector(hash.clone()).unwrap().connect(tls::name(), stream);
        let mut stream = connecting.await.unwrap();
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
    let hash = Card::read(&castle.card()).unwrap().certificate();
    let stream = TcpStream::connect(castle.gate.address()).await.unwrap();
    let connecting = connector(hash).unwrap().connect(tls::name(), stream);
    let mut stream = connecting.await.unwrap();
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
    let hash = Card::read(&castle.card()).unwrap().certificate();
    let stream = TcpStream::connect(castle.gate.address()).await.unwrap();
    let mut stream = connector(hash).unwrap().connect(tls::name(), stream).await.unwrap();
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
    strange(&castle, &greeting, Fault::Sealed).await;
    strange(&castle, b"GET / HTTP/1.1\r\n\r\n", Fault::Sealed).await;
    strange(&castle, &vec![0xc0; 1 << 20], Fault::Sealed).await;
    // Records of TLS without an end, each of them as a handshake may be.
    let record = [&[22, 3, 1, 0x40, 0, 1, 0, 0xff, 0xff][..], &vec![0; 0x4000 - 4]].concat();
    strange(&castle, &record.repeat(64), Fault::TooLong).await;
    castle.works().await;
}

#[tokio::test]
async fn what_is_said_within_tls_before_the_proof_is_bounded_too() {
    let castle = Castle::build().await;
    let hash = Card::read(&castle.card()).unwrap().certificate();
    let stream = TcpStream::connect(castle.gate.address()).await.unwrap();
    let mut stream = connector(hash).unwrap().connect(tls::name(), stream).await.unwrap();
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
    let hash = Card::read(&castle.card()).unwrap().certificate();
    let stream = TcpStream::connect(castle.gate.address()).await.unwrap();
    let mut stream = connector(hash).unwrap().connect(tls::name(), stream).await.unwrap();
    let end = tokio::time::timeout(HELLO_DEADLINE + LONG, stream.read(&mut [0; 16])).await;
    assert!(!matches!(end.expect("an end"), Ok(1..)));
    castle.until_refused(Fault::Silent, 1).await;
}

fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[expect(clippy::disallowed_methods, reason = "it stands for a network")]
/// A proxy between a peer and the gate, which flips a bit of what it carries once `armed` is set to
/// the number of a byte to come.
async fn meddler(to: std::net::SocketAddr, armed: Arc<AtomicUsize>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut peer, _)) = listener.accept().await {
            let armed = Arc::clone(&armed);
            tokio::spawn(async move {
                let mut gate = TcpStream::connect(to).await.unwrap();
                let (mut from, mut into) = gate.split();
                let (mut heard, mut said) = peer.split();
                let out = async {
                    let mut bytes = vec![0; 4096];
                    loop {
                        let count = heard.read(&mut bytes).await.unwrap_or(0);
                        if count == 0 {
                            return;
                        }
                        let at = armed.load(Ordering::SeqCst);
                        if at < count {
                            armed.store(usize::MAX, Ordering::SeqCst);
                            bytes[at] ^= 4;
                        }
                        if into.write_all(&bytes[..count]).await.is_err() {
                            return;
                        }
                    }
                };
                let back = tokio::io::copy(&mut from, &mut said);
                tokio::select! { () = out => {}, _ = back => {} }
            });
        }
    });
    port
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

#[tokio::test]
async fn the_next_gate_of_a_cluster_is_known_to_who_has_the_connection_file() {
    let mut castle = Castle::build().await;
    castle.works().await;
    let text = std::fs::read(castle.card()).unwrap();
    // The controller is killed: nothing of it is cleaned up.
    let kept = Dir::new();
    for file in ["link.key", "connection", CARD] {
        std::fs::copy(castle.house.dir.join(file), kept.join(file)).unwrap();
    }
    let Castle { house, gate } = castle;
    gate.close().await;
    drop(house);
    let mut castle = Castle::build_in(kept, PATIENCE).await;
    castle.works().await;
    assert_eq!(std::fs::read(castle.card()).unwrap(), text, "the same in all");
}

#[tokio::test]
async fn the_files_are_for_their_owner_only_and_go_with_the_gate() {
    use std::os::unix::fs::PermissionsExt;
    let castle = Castle::build().await;
    let card = castle.card();
    for file in [&card, &castle.house.dir.join("link.key")] {
        assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let open = castle.house.dir.join("open.json");
    std::fs::copy(&card, &open).unwrap();
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o640)).unwrap();
    let error = dial(&open, &hello()).await.err().unwrap();
    assert!(error.to_string().contains("open to others (mode 640"), "{error}");
    let Castle { house: _house, gate } = castle;
    gate.close().await;
    assert!(!card.exists());
}

#[tokio::test]
async fn a_gate_opens_nowhere_unless_it_is_told_where() {
    let dir = Dir::new();
    write(&dir, &Connection { token: token(), pid: 1, embedded: false }).unwrap();
    let house = House::open_with(dir, token());
    for at in ["", ":0", "0", "127.0.0.1", "127.0.0.1:x", "no host of this name:1"] {
        let opened = Gate::open(&house.door, &house.dir, &listen(at), PATIENCE).await;
        let error = opened.expect_err(at);
        assert!(error.to_string().contains(at), "{error}");
    }
}

#[tokio::test]
async fn silence_counts_on_both_sides_of_a_network() {
    let mut castle = Castle::build_in(Dir::new(), Duration::from_millis(700)).await;
    let armed = Arc::new(AtomicUsize::new(usize::MAX));
    let port = meddler(castle.gate.address(), armed).await;
    let card = castle.by_way_of("through.json", port);
    let (mut ours, mut theirs) = castle.pair_by(&card).await;
    // While there is nothing to say, signs of life are enough.
    let quiet = tokio::time::timeout(Duration::from_millis(1500), ours.events.recv()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    assert!(theirs.events.try_recv().is_err());
}
