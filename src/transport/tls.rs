//! TLS 1.3 between a gate and a bridge: the gate has a certificate of its own making, and the peer
//! knows its hash from the connection file. There is no authority, no name, no date, no resumption
//! and no early data: nothing that a connection has not from this very handshake.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use ring::digest;
use subtle::ConstantTimeEq;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring as provider, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime,
};
use tokio_rustls::rustls::server::NoServerSessionStorage;
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, Error, ServerConfig,
    SignatureScheme,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use super::card::{from_hex, read_private, to_hex, write_private};
use super::proof::LABEL;

/// File of the certificate and its key in the cluster's directory.
const IDENTITY: &str = "link.key";
/// Nobody looks at it: the certificate is known by its hash.
const NAME: &str = "oarlock";

/// The certificate of a cluster, and its key.
pub(crate) struct Identity {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Identity {
    /// That of the cluster in `directory`; made and stored there if there is none.
    pub(crate) fn of(directory: &Path) -> io::Result<Self> {
        let path = directory.join(IDENTITY);
        match read_private(&path) {
            Ok(text) => Self::parse(&text).ok_or_else(|| {
                let text = format!("{} holds no certificate and key", path.display());
                io::Error::new(io::ErrorKind::InvalidData, text)
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let made = Self::make()?;
                let text = format!("{}\n{}\n", to_hex(&made.certificate), to_hex(&made.key));
                write_private(&path, text.as_bytes())?;
                Ok(made)
            }
            Err(error) => Err(error),
        }
    }

    fn make() -> io::Result<Self> {
        let made = rcgen::generate_simple_self_signed([NAME.to_owned()]);
        let made = made.map_err(io::Error::other)?;
        let (certificate, key) = (made.cert.der().to_vec(), made.signing_key.serialize_der());
        Ok(Self { certificate, key })
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let mut lines = std::str::from_utf8(text).ok()?.lines();
        Some(Self { certificate: from_hex(lines.next()?)?, key: from_hex(lines.next()?)? })
    }

    /// SHA-256 of the certificate.
    pub(crate) fn hash(&self) -> Vec<u8> {
        hash(&self.certificate)
    }

    /// What answers with this certificate.
    pub(crate) fn acceptor(&self) -> io::Result<TlsAcceptor> {
        let chain = vec![CertificateDer::from(self.certificate.clone())];
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.key.clone()));
        let mut config =
            ServerConfig::builder_with_provider(Arc::new(provider::default_provider()))
                .with_protocol_versions(&[&TLS13])
                .and_then(|config| config.with_no_client_auth().with_single_cert(chain, key))
                .map_err(io::Error::other)?;
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

fn hash(certificate: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA256, certificate).as_ref().to_vec()
}

/// What connects to the one that has the certificate of this hash, and to nobody else.
pub(crate) fn connector(hash: Vec<u8>) -> io::Result<TlsConnector> {
    let provider = Arc::new(provider::default_provider());
    let pin = Arc::new(Pinned { hash, provider: provider.clone() });
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(pin)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    Ok(TlsConnector::from(Arc::new(config)))
}

/// The name that nobody looks at.
pub(crate) fn name() -> ServerName<'static> {
    ServerName::try_from(NAME).expect("a name of letters")
}

/// Whether a handshake failed because the other has another certificate.
pub(crate) fn is_another(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    matches!(
        inner,
        Some(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
    )
}

/// Whether the other said that it will not begin a handshake (`call::DENIED`).
pub(crate) fn is_denied(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    matches!(inner, Some(Error::AlertReceived(AlertDescription::AccessDenied)))
}

/// Trusts one certificate. That the other has its key is proved by the handshake's signature.
#[derive(Debug)]
struct Pinned {
    hash: Vec<u8>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if bool::from(hash(certificate).ct_eq(&self.hash)) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("only TLS 1.3 is spoken here".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// What both ends of a connection have and nobody else.
pub(crate) trait Bound {
    /// See the trait; fails before the end of the handshake.
    fn bond(&self) -> io::Result<[u8; 32]>;
}

impl<IO> Bound for server::TlsStream<IO> {
    fn bond(&self) -> io::Result<[u8; 32]> {
        self.get_ref().1.export_keying_material([0; 32], LABEL, None).map_err(io::Error::other)
    }
}

impl<IO> Bound for client::TlsStream<IO> {
    fn bond(&self) -> io::Result<[u8; 32]> {
        self.get_ref().1.export_keying_material([0; 32], LABEL, None).map_err(io::Error::other)
    }
}

/// More came than a peer may say before it has proved who it is.
#[derive(Debug, Error)]
#[error("more was said than may be before the proof")]
pub(crate) struct TooMuch;

/// A connection of which so much is read and no more, until it is freed.
#[derive(Debug)]
pub(crate) struct Budget {
    stream: TcpStream,
    left: Option<usize>,
}

impl Budget {
    pub(crate) fn new(stream: TcpStream, most: usize) -> Self {
        Self { stream, left: Some(most) }
    }

    /// From here on everything is read.
    pub(crate) fn lift(&mut self) {
        self.left = None;
    }
}

impl AsyncRead for Budget {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(left) = self.left else { return Pin::new(&mut self.stream).poll_read(cx, buf) };
        if left == 0 {
            return Poll::Ready(Err(io::Error::other(TooMuch)));
        }
        let mut bytes = [0; 4096];
        let most = left.min(bytes.len()).min(buf.remaining());
        let mut part = ReadBuf::new(&mut bytes[..most]);
        let read = Pin::new(&mut self.stream).poll_read(cx, &mut part);
        buf.put_slice(part.filled());
        let count = part.filled().len();
        self.left = Some(left - count);
        read
    }
}

impl AsyncWrite for Budget {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
