//! The directory of a cluster: private to its user, with what a peer needs to come in.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use super::directory;
use crate::wire::SessionId;

/// Name of the file with the secret.
const CONNECTION: &str = "connection";
/// Name of the file that everybody locks who lives with the cluster.
const MEMBERS: &str = "members";

/// What is written in the connection file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The cluster's secret, 32 bytes.
    pub token: Vec<u8>,
    /// The controller's process.
    pub pid: u32,
    /// Whether the controller lives and dies with a client's process.
    pub embedded: bool,
}

/// Makes the directory if it is not there, and refuses one that others may enter.
pub fn prepare(directory: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        other => other?,
    }
    check(directory)
}

/// Refuses a directory that is not ours alone.
pub fn check(directory: &Path) -> io::Result<()> {
    directory::check(directory)?
        .map_err(|fault| io::Error::new(io::ErrorKind::PermissionDenied, fault))
}

/// A new secret.
pub fn token() -> io::Result<Vec<u8>> {
    Ok(directory::random::<32>()?.to_vec())
}

/// A name for a new session.
pub fn session() -> io::Result<SessionId> {
    directory::random().map(SessionId)
}

/// A number that a controller before this one hardly gave to anybody, nor one near it.
pub fn number() -> io::Result<u32> {
    Ok(u32::from_le_bytes(directory::random()?) >> 1 | 1)
}

/// Writes the connection file, readable by its owner only.
pub fn write(directory: &Path, connection: &Connection) -> io::Result<()> {
    let mut hex = String::with_capacity(64);
    for byte in &connection.token {
        let _ = std::fmt::Write::write_fmt(&mut hex, format_args!("{byte:02x}"));
    }
    let kind = if connection.embedded { "embedded" } else { "standalone" };
    // Written aside and moved, so that nobody reads half of it.
    let aside = directory.join("connection.new");
    let mut file =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
    write!(file, "oarlock\n{hex}\n{}\n{kind}\n", connection.pid)?;
    drop(file);
    fs::rename(&aside, directory.join(CONNECTION))
}

/// Reads the connection file.
pub fn read(directory: &Path) -> io::Result<Connection> {
    check(directory)?;
    let text = fs::read_to_string(directory.join(CONNECTION))?;
    let mut lines = text.lines();
    let parsed = (|| {
        if lines.next()? != "oarlock" {
            return None;
        }
        let hex = lines.next()?.as_bytes();
        let byte = |digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok();
        let token = hex.chunks(2).map(byte).collect::<Option<Vec<_>>>()?;
        let pid = lines.next()?.parse().ok()?;
        let embedded = lines.next()? == "embedded";
        (token.len() == 32).then_some(Connection { token, pid, embedded })
    })();
    let unreadable = || {
        let path = directory.join(CONNECTION);
        let text = format!("{} is no connection file", path.display());
        io::Error::new(io::ErrorKind::InvalidData, text)
    };
    parsed.ok_or_else(unreadable)
}

/// Says that this process lives with the cluster in `directory`, until the file is closed: as long
/// as anybody does, a cluster whose controller was killed can be started again there.
pub fn join(directory: &Path) -> io::Result<fs::File> {
    let path = directory.join(MEMBERS);
    let file = fs::OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockShared)?;
    Ok(file)
}

/// Removes the directory and all in it; called by whoever is last.
pub fn clear(directory: &Path) {
    // Several engines may be last at once; each removes what it still finds.
    let _ = fs::remove_dir_all(directory);
}

/// This host's name.
pub fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
