//! The gate: the one socket of a cluster that others than its own user can reach, and only if it was
//! asked for.
//!
//! Whoever connects has a place among few, a deadline and 40 bytes in which to answer as one who knows
//! the cluster's secret (`call`). Only for who does is a TLS handshake computed, in which it has a
//! budget of bytes to prove the same for this very connection and what it wants (`proof`). Only then is
//! it led to the door or to the lane it names, and its bytes are carried there. So nothing of a
//! stranger reaches a parser of messages, and nothing is allocated for a number it says. Whoever is
//! turned away is counted, and named once by its address.

use std::error::Error;
use std::fmt;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream, lookup_host};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::accept::{self, accept};
use super::arrival::Far;
use super::call::{self, DENIED, REPLY};
use super::card::{CARD, Card};
use super::door::{Door, Enter};
use super::guard::Guard;
use super::pace::Pace;
use super::place;
use super::proof::{Answer, Denied, PRELUDE, Wish, check};
use super::pump::{prepare, pump};
use super::refusals::{Fault, Refusals, Who};
use super::tls::{Bound, Budget, Identity, TooMuch};
use super::vigil::Vigil;
use crate::wire::limits::{FAR_GOODBYE, HELLO_DEADLINE, LINK_BUDGET, LINK_CONCURRENT, LINK_RATE};

/// How a cluster is reached over a network.
#[derive(Clone, Debug)]
pub struct Listen {
    /// `host:port` to listen at; port 0 for any, or for the one of the controller before.
    pub at: String,
    /// The cluster's name, for people.
    pub cluster_id: String,
    /// Where the connection file is written besides the cluster's directory.
    pub copies: Vec<PathBuf>,
    /// For how long peers look for another controller if this one is killed; zero if none will come.
    pub lease: Duration,
}

/// An open gate; closed when this is dropped. Who has come in stays.
#[derive(Debug)]
pub struct Gate {
    address: SocketAddr,
    accepting: AbortHandle,
    _copies: Copies,
    _vigil: Option<Vigil>,
    /// Closed when nobody is left whose bytes are carried.
    carried: mpsc::Receiver<()>,
}

impl Gate {
    /// Opens the gate of the cluster whose `door` this is, in `directory`. On both sides a session
    /// through it counts silence, and `patience` is how much is borne. Must be called within a tokio
    /// runtime.
    ///
    /// # Errors
    /// If the address is none, or the system refuses.
    pub async fn open(
        door: &Door,
        directory: &Path,
        listen: &Listen,
        patience: Duration,
    ) -> io::Result<Self> {
        let token = place::read(directory)?.token;
        let identity = Identity::of(directory)?;
        let card = directory.join(CARD);
        let before = Card::read(&card).ok();
        let listener = bind(&listen.at, before.as_ref()).await?;
        let address = listener.local_addr()?;
        let endpoint = endpoint(&listen.at, address);
        let known = Card::new(&listen.cluster_id, vec![endpoint], &identity.hash(), &token);
        let mut copies = Copies { known, files: Vec::new() };
        for file in [card].into_iter().chain(listen.copies.iter().cloned()) {
            copies.write(file)?;
        }
        let vigil = Vigil::keep(directory, listen.lease)?;
        let (carrying, carried) = mpsc::channel(1);
        let porter = Porter {
            acceptor: identity.acceptor()?,
            token,
            patience,
            directory: directory.into(),
            enter: door.enter(),
            refusals: door.refusals(),
            pace: Pace::new(LINK_CONCURRENT as u32, LINK_RATE),
            carrying,
        };
        let accepting = accept(Arc::new(porter), listener, door.refusals());
        let accepting = tokio::spawn(accepting).abort_handle();
        Ok(Self { address, accepting, _copies: copies, _vigil: vigil, carried })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets nobody in any more, and waits, briefly, until what was said has been carried.
    pub async fn close(mut self) {
        self.accepting.abort();
        let _ = timeout(FAR_GOODBYE, self.carried.recv()).await;
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// The connection files that were written; those that still tell of this gate go with it, since who
/// finds one knows of a cluster that is gone.
struct Copies {
    known: Card,
    files: Vec<PathBuf>,
}

impl fmt::Debug for Copies {
    /// Without the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.files).finish()
    }
}

impl Copies {
    fn write(&mut self, file: PathBuf) -> io::Result<()> {
        self.known.write(&file).map_err(|error| {
            let text = format!("the connection file {} cannot be written: {error}", file.display());
            io::Error::new(error.kind(), text)
        })?;
        self.files.push(file);
        Ok(())
    }
}

impl Drop for Copies {
    fn drop(&mut self) {
        // Another cluster may have been told the same path since.
        let ours = |file: &&PathBuf| Card::read(file).is_ok_and(|card| card == self.known);
        for file in self.files.iter().filter(ours) {
            let _ = fs::remove_file(file);
        }
    }
}

async fn bind(at: &str, before: Option<&Card>) -> io::Result<TcpListener> {
    let invalid = |text| io::Error::new(io::ErrorKind::InvalidInput, text);
    let (host, port) = at.rsplit_once(':').unwrap_or((at, ""));
    if host.is_empty() || port.parse::<u16>().is_err() {
        let text = format!("{at:?} is no HOST:PORT to listen at; say of which interface");
        return Err(invalid(text));
    }
    let told =
        |error: io::Error| io::Error::new(error.kind(), format!("cannot listen at {at}: {error}"));
    let addresses: Vec<_> = lookup_host(at).await.map_err(told)?.collect();
    // Who was with the controller before this one looks where that was.
    let known = before.into_iter().flat_map(|card| &card.endpoints);
    let mut known = known.filter_map(|endpoint| endpoint.rsplit_once(':')?.1.parse().ok());
    if port == "0"
        && let Some(port) = known.next()
    {
        let again: Vec<_> = addresses.iter().map(|at| SocketAddr::new(at.ip(), port)).collect();
        if let Ok(listener) = listener(&again).await {
            return Ok(listener);
        }
    }
    listener(&addresses).await.map_err(told)
}

#[expect(clippy::disallowed_methods, reason = "the one listener that others can reach, when named")]
async fn listener(addresses: &[SocketAddr]) -> io::Result<TcpListener> {
    TcpListener::bind(addresses).await
}

/// What others are told to connect to.
fn endpoint(at: &str, address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        return format!("{}:{}", place::host(), address.port());
    }
    let host = at.rsplit_once(':').map_or(at, |(host, _)| host);
    format!("{host}:{}", address.port())
}

type Stream = TlsStream<Budget>;

/// What every connection needs.
struct Porter {
    acceptor: TlsAcceptor,
    token: Vec<u8>,
    patience: Duration,
    directory: PathBuf,
    enter: Enter,
    refusals: Arc<Refusals>,
    pace: Pace,
    carrying: mpsc::Sender<()>,
}

impl accept::Listener for TcpListener {
    type Stream = TcpStream;

    async fn next(&self) -> io::Result<(TcpStream, Who)> {
        let (stream, address) = self.accept().await?;
        Ok((stream, Who::Address(address.ip())))
    }
}

impl accept::Porter for Porter {
    type Listener = TcpListener;
    type Guest = TcpStream;
    const PLACES: usize = LINK_CONCURRENT;

    /// Hears whether a peer knows the secret, before anything is computed for it.
    async fn ask(&self, mut stream: TcpStream) -> Result<TcpStream, Fault> {
        let called = call::call().map_err(|_| Fault::Left)?;
        let left = |_| Fault::Left;
        stream.write_all(&called).await.map_err(left)?;
        let (mut magic, mut sum) = ([0; call::MAGIC], [0; REPLY - call::MAGIC]);
        stream.read_exact(&mut magic).await.map_err(left)?;
        if !call::is_answer(magic) {
            return Err(Fault::Noise);
        }
        stream.read_exact(&mut sum).await.map_err(left)?;
        if call::is_right(&called, &sum, &self.token) {
            return Ok(stream);
        }
        // What it has said beyond would have the kernel forget the answer.
        let _ = stream.try_read(&mut [0; 4096]);
        let _ = stream.write_all(&DENIED).await;
        let _ = stream.shutdown().await;
        Err(Fault::Token)
    }

    fn pace(&self) -> Option<&Pace> {
        Some(&self.pace)
    }

    async fn welcome(&self, stream: TcpStream, who: Who) {
        prepare(&stream, self.patience);
        match timeout(HELLO_DEADLINE, self.check(stream)).await {
            Ok(Ok((wish, stream))) => self.lead(wish, stream, who).await,
            // The connection is dropped, which is answer enough.
            Ok(Err(fault)) => self.refusals.count(fault, who),
            Err(_) => self.refusals.count(Fault::Silent, who),
        }
    }
}

impl Porter {
    /// Has a peer prove on this very connection who it is, and hears what it wants.
    async fn check(&self, stream: TcpStream) -> Result<(Wish, Stream), Fault> {
        let stream = Budget::new(stream, LINK_BUDGET);
        let mut stream = self.acceptor.accept(stream).await.map_err(|error| fault(&error))?;
        let mut said = [0; PRELUDE];
        stream.read_exact(&mut said).await.map_err(|error| fault(&error))?;
        let bond = stream.bond().map_err(|_| Fault::Sealed)?;
        let (fault, answer) = match check(&said, &self.token, &bond) {
            Ok(wish) => {
                stream.get_mut().0.lift();
                return Ok((wish, stream));
            }
            Err(Denied::Noise) => return Err(Fault::Noise),
            Err(Denied::Version) => (Fault::Version, Answer::Version),
            Err(Denied::Token) => (Fault::Token, Answer::Token),
        };
        answer_with(&mut stream, answer).await;
        let _ = stream.shutdown().await;
        Err(fault)
    }

    /// Leads a peer to where it wants, and carries what is said until it leaves.
    async fn lead(&self, wish: Wish, mut stream: Stream, who: Who) {
        // The door bounds what it reads by itself.
        let guard = matches!(wish, Wish::Lane(_)).then(Guard::new);
        let near = match wish {
            Wish::Door(role) => UnixStream::pair().map(|(near, inner)| {
                (self.enter)(inner, Far { role, who, patience: self.patience });
                near
            }),
            Wish::Lane(name) => UnixStream::connect(self.directory.join(name)).await,
        };
        match near {
            Ok(near) => {
                answer_with(&mut stream, Answer::Welcome(self.patience)).await;
                let carried = pump(near, stream, guard, self.patience, self.carrying.clone()).await;
                if let Err(fault) = carried {
                    self.refusals.note(&format!("a lane of {who} was cut off: it sent {fault}"));
                }
            }
            // No such lane, or no descriptors.
            Err(_) => answer_with(&mut stream, Answer::Absent).await,
        }
    }
}

/// A peer that does not hear it has gone, or will ask again.
async fn answer_with(stream: &mut Stream, answer: Answer) {
    let _ = timeout(HELLO_DEADLINE, async {
        stream.write_all(&answer.to_bytes()).await?;
        stream.flush().await
    })
    .await;
}

fn fault(error: &io::Error) -> Fault {
    use io::ErrorKind as Kind;
    match error.kind() {
        _ if error.get_ref().is_some_and(<dyn Error + Send + Sync>::is::<TooMuch>) => {
            Fault::TooLong
        }
        Kind::UnexpectedEof | Kind::ConnectionReset | Kind::BrokenPipe => Fault::Left,
        _ => Fault::Sealed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_file_that_tells_of_another_gate_by_now_stays() {
        let directory = tempfile::tempdir().expect("a directory");
        let card = |name: &str| Card::new(name, vec!["here:1".to_owned()], &[1; 32], &[2; 32]);
        let mut copies = Copies { known: card("ours"), files: Vec::new() };
        let [ours, theirs] = ["ours", "theirs"].map(|name| directory.path().join(name));
        for file in [&ours, &theirs] {
            copies.write(file.clone()).expect("it is written");
        }
        card("theirs").write(&theirs).expect("it is written");
        drop(copies);
        assert!(!ours.exists());
        assert!(theirs.exists());
    }
}
