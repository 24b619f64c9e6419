//! The connection file of a cluster that is reached over a network: where it listens, how to tell
//! that it is the right one, and the secret that lets in. JSON, for its owner's eyes only.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::process::geteuid;
use serde::{Deserialize, Serialize};

/// Its name in the cluster's directory.
pub(crate) const CARD: &str = "connection.json";
/// Version of the format.
const FORMAT: u32 = 1;
/// Longest file that is read, in bytes.
const LONGEST: u64 = 64 * 1024;

/// See the head of this file.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Card {
    /// Version of the format.
    oarlock: u32,
    /// The cluster's name, for people.
    pub(crate) cluster_id: String,
    /// `host:port`, one after the other to be tried.
    pub(crate) endpoints: Vec<String>,
    /// SHA-256 of the certificate, in hexadecimal.
    certificate: String,
    /// The cluster's secret, in hexadecimal.
    token: String,
}

impl Card {
    pub(crate) fn new(
        cluster_id: &str,
        endpoints: Vec<String>,
        certificate: &[u8],
        token: &[u8],
    ) -> Self {
        let (certificate, token) = (to_hex(certificate), to_hex(token));
        Self { oarlock: FORMAT, cluster_id: cluster_id.to_owned(), endpoints, certificate, token }
    }

    /// SHA-256 of the certificate.
    pub(crate) fn certificate(&self) -> Vec<u8> {
        from_hex(&self.certificate).unwrap_or_default()
    }

    /// The cluster's secret.
    pub(crate) fn token(&self) -> Vec<u8> {
        from_hex(&self.token).unwrap_or_default()
    }

    /// Writes the file, readable by its owner only.
    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        write_private(path, &serde_json::to_vec_pretty(self).map_err(io::Error::other)?)
    }

    /// Reads the file; refuses one that others may read, since whoever read it may be anybody.
    pub(crate) fn read(path: &Path) -> io::Result<Self> {
        let text = read_private(path)?;
        let card = serde_json::from_slice::<Self>(&text).ok().filter(|card| {
            let secrets = [&card.certificate, &card.token];
            let whole = secrets.iter().all(|hex| from_hex(hex).is_some_and(|it| it.len() == 32));
            card.oarlock == FORMAT && whole && !card.endpoints.is_empty()
        });
        card.ok_or_else(|| {
            let text = format!("{} is no connection file of this version", path.display());
            io::Error::new(io::ErrorKind::InvalidData, text)
        })
    }
}

/// Writes a file of mode 0600, aside and then in its place, so that nobody reads half of it.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".new");
    // What lies there may be anybody's and open to others; it is not written to.
    match fs::remove_file(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
    file.write_all(bytes)?;
    drop(file);
    fs::rename(&aside, path)
}

/// Reads a file that must be ours and closed to others.
pub(crate) fn read_private(path: &Path) -> io::Result<Vec<u8>> {
    let file = fs::File::open(path)?;
    let (found, owner) = (file.metadata()?, geteuid().as_raw());
    let fault = if found.uid() != owner && found.uid() != 0 {
        format!("belongs to user {}, not to user {owner}", found.uid())
    } else if found.mode() & 0o077 != 0 {
        format!("is open to others (mode {:o}, needed is 600)", found.mode() & 0o777)
    } else {
        let mut bytes = Vec::new();
        file.take(LONGEST).read_to_end(&mut bytes)?;
        return Ok(bytes);
    };
    let text = format!("{} {fault}", path.display());
    Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
}

pub(crate) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut hex, byte| {
        let _ = std::fmt::Write::write_fmt(&mut hex, format_args!("{byte:02x}"));
        hex
    })
}

pub(crate) fn from_hex(hex: &str) -> Option<Vec<u8>> {
    let digits = |pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let plain = hex.len().is_multiple_of(2) && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    plain.then(|| hex.as_bytes().chunks(2).map(digits).collect())?
}
