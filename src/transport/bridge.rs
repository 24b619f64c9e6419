//! The way to a cluster behind a gate, from the process that connects.
//!
//! Each connection of a session is one of TLS to the gate, and ends here in a Unix socket pair: so
//! all that is above knows Unix sockets only, and the parser of messages none that anybody else could
//! have connected to.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use super::call::{self, CALL, Uncalled};
use super::card::{Card, to_hex};
use super::directory::random;
use super::guard::Guard;
use super::link::LinkError;
use super::proof::{ANSWER, Answer, Wish, prelude};
use super::pump::{prepare, pump};
use super::tls::{self, Bound, connector};
use super::zmq::Lane;
use crate::wire::Role;
use crate::wire::limits::{HELLO_DEADLINE, SOCKET_PATH_MAX};

/// File name of the socket in its directory.
const SOCKET: &str = "l";

/// Why a gate was not passed.
#[derive(Debug, Error)]
pub(crate) enum Shut {
    /// Its host says that nobody listens, or the gate that what is wanted is not there.
    #[error("{0}")]
    Nobody(String),
    /// The network does not lead there, or not all the way.
    #[error("{0}")]
    Unreachable(String),
    /// It is not the cluster of the connection file; nothing was said to it.
    #[error("{0}")]
    NotOurs(String),
    /// It does not want this process.
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Ends when all that was said here has left.
pub(crate) type Carrying = oneshot::Receiver<()>;

/// See the head of this file.
pub(crate) struct Bridge(Card);

impl Bridge {
    pub(crate) fn new(card: Card) -> Self {
        Self(card)
    }

    /// Where the gate is, in words.
    pub(crate) fn endpoint(&self) -> PathBuf {
        self.0.endpoints.join(", ").into()
    }

    /// A connection to the door, and how much silence is borne on it.
    pub(crate) async fn knock(&self, role: Role) -> Result<(UnixStream, Duration, Carrying), Shut> {
        let (far, patience) = self.call(&Wish::Door(role)).await?;
        let (near, ours) = UnixStream::pair()?;
        Ok((ours, patience, carry(near, far, patience)))
    }

    /// A lane that the controller told of.
    pub(crate) async fn lane(&self, name: &str) -> Result<(Lane, Carrying), LinkError> {
        let failed = |error: Shut| LinkError(error.to_string());
        let (far, patience) = self.call(&Wish::Lane(name.to_owned())).await.map_err(failed)?;
        let inner = Inner::bind().map_err(|error| failed(error.into()))?;
        let (said, carrying) = oneshot::channel();
        let path = inner.path();
        tokio::spawn(async move {
            // Nobody else can have come. Its name is gone from here on.
            let accepted = timeout(HELLO_DEADLINE, inner.listener.accept()).await;
            drop(inner);
            if let Ok(Ok((near, _))) = accepted {
                // A fault of the controller's ends the session as a broken connection does.
                let _ = pump(near, far, Some(Guard::new()), patience, said).await;
            }
        });
        Ok((Lane::dial(&path).await?, carrying))
    }

    /// Passes the gate: proves to be of the cluster, and says what is wanted.
    async fn call(&self, wish: &Wish) -> Result<(TlsStream<TcpStream>, Duration), Shut> {
        let mut stream = self.dial().await?;
        // Until it is told how much the controller bears.
        prepare(&stream, Duration::ZERO);
        let mut called = [0; CALL];
        stream.read_exact(&mut called).await.map_err(|error| self.explain(error))?;
        let answer = call::answer(&called, &self.0.token()).map_err(|fault| match fault {
            Uncalled::Noise => Shut::NotOurs("it does not speak the protocol of oarlock".into()),
            Uncalled::Version => self.of_another_version(),
        })?;
        stream.write_all(&answer).await.map_err(|error| self.explain(error))?;
        let connecting = connector(self.0.certificate())?.connect(tls::name(), stream);
        let mut stream = connecting.await.map_err(|error| self.explain(error))?;
        let said = prelude(wish, &self.0.token(), &stream.bond()?);
        stream.write_all(&said).await.map_err(|error| self.explain(error))?;
        stream.flush().await.map_err(|error| self.explain(error))?;
        let mut answer = [0; ANSWER];
        stream.read_exact(&mut answer).await.map_err(|error| self.explain(error))?;
        match Answer::from_bytes(answer) {
            Some(Answer::Welcome(patience)) => {
                prepare(stream.get_ref().0, patience);
                Ok((stream, patience))
            }
            Some(Answer::Token) => Err(self.denied()),
            Some(Answer::Absent) => Err(Shut::Nobody("what is wanted is not there".into())),
            Some(Answer::Version) | None => Err(self.of_another_version()),
        }
    }

    async fn dial(&self) -> Result<TcpStream, Shut> {
        let mut last = Shut::Nobody("no endpoint".to_owned());
        for endpoint in &self.0.endpoints {
            let error = match timeout(HELLO_DEADLINE, TcpStream::connect(endpoint)).await {
                Ok(Ok(stream)) => return Ok(stream),
                // The host says so: nobody listens there.
                Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    Shut::Nobody(error.to_string())
                }
                // A network that is down, and a name that is not known for now, may come back.
                Ok(Err(error)) => Shut::Unreachable(error.to_string()),
                Err(_) => Shut::Unreachable("it does not answer".to_owned()),
            };
            // Of several, one that cannot be reached may be the one where it lives.
            if !matches!(last, Shut::Unreachable(_)) {
                last = error;
            }
        }
        Err(last)
    }

    fn denied(&self) -> Shut {
        Shut::Refused(format!(
            "the token of the connection file is not that of cluster {:?} any more; get the file anew",
            self.0.cluster_id
        ))
    }

    fn of_another_version(&self) -> Shut {
        let name = &self.0.cluster_id;
        Shut::Refused(format!("cluster {name:?} speaks another version of the protocol"))
    }

    /// Says why a handshake failed.
    fn explain(&self, error: io::Error) -> Shut {
        use io::ErrorKind as Kind;
        if tls::is_another(&error) {
            let known = &to_hex(&self.0.certificate())[..16];
            return Shut::NotOurs(format!(
                "its certificate is not the one of the connection file (SHA-256 {known}…), so it is \
                 not cluster {:?} of that file",
                self.0.cluster_id
            ));
        }
        if tls::is_denied(&error) {
            return self.denied();
        }
        match error.kind() {
            // Somebody took the connection, so whoever ended it does not know that nobody listens: a
            // forwarded port with a dead far end, a balancer, or the gate itself in a flood.
            Kind::UnexpectedEof
            | Kind::ConnectionReset
            | Kind::BrokenPipe
            | Kind::TimedOut
            | Kind::HostUnreachable
            | Kind::NetworkUnreachable => Shut::Unreachable(error.to_string()),
            _ => Shut::Io(error),
        }
    }
}

fn carry(near: UnixStream, far: TlsStream<TcpStream>, patience: Duration) -> Carrying {
    let (said, carrying) = oneshot::channel();
    tokio::spawn(pump(near, far, None, patience, said));
    carrying
}

/// A socket that only this process can reach, for the one connection of a lane: in a directory of its
/// own, which goes when this is dropped.
struct Inner {
    directory: PathBuf,
    listener: UnixListener,
}

impl Inner {
    fn bind() -> io::Result<Self> {
        let number = u32::from_ne_bytes(random()?);
        // As directories of clusters are called, so that what a killed process left is swept away.
        let name = format!("oarlock-{}-{number:08x}", std::process::id());
        let mut directory = std::env::temp_dir().join(&name);
        if directory.as_os_str().len() + 2 >= SOCKET_PATH_MAX {
            directory = PathBuf::from("/tmp").join(&name);
        }
        fs::DirBuilder::new().mode(0o700).create(&directory)?;
        match UnixListener::bind(directory.join(SOCKET)) {
            Ok(listener) => Ok(Self { directory, listener }),
            Err(error) => {
                let _ = fs::remove_dir(&directory);
                Err(error)
            }
        }
    }

    fn path(&self) -> PathBuf {
        self.directory.join(SOCKET)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Already gone is as good.
        let _ = fs::remove_dir_all(&self.directory);
    }
}
