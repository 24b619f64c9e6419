//! A house with a gate, and a network that meddles, to test with.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::client::TlsStream;

use super::kit::{Dir, House, LONG, Peer, Say, TOKEN, dial, hello, with_parts};
use crate::transport::call;
use crate::transport::card::{CARD, Card};
use crate::transport::place::{Connection, write};
use crate::transport::proof::{ANSWER, Answer, Wish, prelude};
use crate::transport::refusals::Fault;
use crate::transport::tls::{self, Bound, connector};
use crate::transport::{ConnectError, Gate, Listen};

/// Longer than the tests take, whatever the machine does.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// A house with a gate in a directory of which the token is known.
pub(super) struct Castle {
    pub(super) house: House,
    pub(super) gate: Gate,
}

pub(super) fn listen(at: &str) -> Listen {
    let cluster_id = "of the tests".to_owned();
    Listen { at: at.to_owned(), cluster_id, copies: Vec::new(), lease: Duration::ZERO }
}

/// The token of the tests, as long as one is.
pub(super) fn token() -> Vec<u8> {
    let mut token = TOKEN.to_vec();
    token.resize(32, 1);
    token
}

impl Castle {
    pub(super) async fn build() -> Self {
        Self::build_in(Dir::new(), PATIENCE).await
    }

    pub(super) async fn build_in(dir: Dir, patience: Duration) -> Self {
        write(&dir, &Connection { token: token(), pid: 1, embedded: false }).unwrap();
        let house = House::open_with(dir, token());
        let listen = listen("127.0.0.1:0");
        let gate = Gate::open(&house.door, &house.dir, &listen, patience).await.unwrap();
        Self { house, gate }
    }

    pub(super) fn card(&self) -> PathBuf {
        self.house.dir.join(CARD)
    }

    /// A session through the gate.
    pub(super) async fn pair(&mut self) -> (Peer, Peer) {
        self.pair_by(&self.card()).await
    }

    pub(super) async fn pair_by(&mut self, card: &std::path::Path) -> (Peer, Peer) {
        let hello = crate::wire::Hello { token: token(), ..hello() };
        let (ours, theirs) = tokio::join!(self.house.admit(), dial(card, &hello));
        let (accepted, theirs) = theirs.unwrap();
        assert!(accepted.far);
        (ours, theirs)
    }

    /// A connection on which the call of the gate was answered, and nothing said beyond.
    pub(super) async fn answered(&self) -> TcpStream {
        let mut stream = TcpStream::connect(self.gate.address()).await.unwrap();
        let mut called = [0; call::CALL];
        stream.read_exact(&mut called).await.unwrap();
        stream.write_all(&call::answer(&called, &token()).unwrap()).await.unwrap();
        stream
    }

    /// One that is encrypted, on which nothing was said.
    pub(super) async fn sealed(&self) -> TlsStream<TcpStream> {
        let hash = Card::read(&self.card()).unwrap().certificate();
        let stream = self.answered().await;
        connector(hash).unwrap().connect(tls::name(), stream).await.unwrap()
    }

    /// Says what is wanted, with the proof.
    pub(super) async fn wish(&self, stream: &mut TlsStream<TcpStream>, wish: &Wish) {
        let said = prelude(wish, &token(), &stream.bond().unwrap());
        stream.write_all(&said).await.unwrap();
        let mut answer = [0; ANSWER];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(Answer::from_bytes(answer), Some(Answer::Welcome(PATIENCE)));
    }

    pub(super) async fn refused(&mut self, card: &std::path::Path) -> ConnectError {
        let hello = crate::wire::Hello { token: token(), ..hello() };
        let error = dial(card, &hello).await.err().expect("a refusal");
        // And everybody else is served.
        self.works().await;
        error
    }

    pub(super) async fn works(&mut self) {
        let (ours, mut theirs) = self.pair().await;
        ours.say(with_parts(Say::Ordered(1), &[10]));
        assert_eq!(theirs.messages().await.len(), 1);
    }

    pub(super) fn refusals(&self, fault: Fault) -> u64 {
        self.house.door.refusals().of(fault)
    }

    pub(super) async fn until_refused(&self, fault: Fault, count: u64) {
        let turns = async {
            while self.refusals(fault) < count {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(LONG, turns).await.expect("it is counted");
    }

    /// A copy of the connection file with a change.
    pub(super) fn forged(&self, name: &str, change: impl FnOnce(&str) -> String) -> PathBuf {
        let text = std::fs::read_to_string(self.card()).unwrap();
        let path = self.house.dir.join(name);
        crate::transport::card::write_private(&path, change(&text).as_bytes()).unwrap();
        path
    }

    /// The connection file with another port.
    pub(super) fn by_way_of(&self, name: &str, port: u16) -> PathBuf {
        let ours = format!(":{}\"", self.gate.address().port());
        self.forged(name, |text| text.replace(&ours, &format!(":{port}\"")))
    }
}

#[expect(clippy::disallowed_methods, reason = "it stands for a network")]
/// A proxy between a peer and the gate, which flips a bit of what it carries once `armed` is set to
/// the number of a byte to come.
pub(super) async fn meddler(to: std::net::SocketAddr, armed: Arc<AtomicUsize>) -> u16 {
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
