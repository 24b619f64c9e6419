//! The directory of a cluster: private to its user, with what a peer needs to come in.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use super::card::{from_hex, read_private, to_hex, write_private};
use super::directory;
pub use super::site::{attempt, is_far, token as token_of};
use crate::wire::SessionId;

/// Name of the file with the secret.
const CONNECTION: &str = "connection";
/// Name of the file that everybody locks who lives with the cluster.
const MEMBERS: &str = "members";
/// Name of the file that a standalone controller locks before it is there (`cluster/registry.py`).
const RECORD: &str = "cluster.json";

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
    let hex = to_hex(&connection.token);
    let kind = if connection.embedded { "embedded" } else { "standalone" };
    let text = format!("oarlock\n{hex}\n{}\n{kind}\n", connection.pid);
    write_private(&directory.join(CONNECTION), text.as_bytes())
}

/// Reads the connection file.
pub fn read(directory: &Path) -> io::Result<Connection> {
    check(directory)?;
    let text = read_private(&directory.join(CONNECTION))?;
    let text = String::from_utf8_lossy(&text);
    let mut lines = text.lines();
    let parsed = (|| {
        if lines.next()? != "oarlock" {
            return None;
        }
        let token = from_hex(lines.next()?)?;
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

/// Removes the directory and all in it; called by whoever is last. A connection file stays.
pub fn clear(directory: &Path) {
    if !directory.is_dir() {
        return;
    }
    // Several engines may be last at once; each removes what it still finds.
    let _ = fs::remove_dir_all(directory);
}

/// The same, unless a controller lives there or is about to: whoever gives up waiting for one does not
/// know that.
pub fn clear_if_deserted(directory: &Path) {
    let Ok(Some(_door)) = directory::lock(directory) else { return };
    let record = match fs::File::open(directory.join(RECORD)) {
        Ok(record) => record,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return clear(directory),
        Err(_) => return,
    };
    if rustix::fs::flock(&record, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_ok() {
        clear(directory);
    }
}

/// This host's name.
pub fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_cleared_only_if_no_controller_lives_there_or_is_about_to() {
        let made = tempfile::tempdir().expect("a directory");
        let place = made.path().join("place");
        prepare(&place).expect("it is made");
        let door = directory::lock(&place).expect("it can be locked").expect("nobody has it");
        clear_if_deserted(&place);
        assert!(place.exists(), "a controller lives there");
        drop(door);
        let record = fs::File::create(place.join(RECORD)).expect("it is made");
        let exclusive = rustix::fs::FlockOperation::NonBlockingLockExclusive;
        rustix::fs::flock(&record, exclusive).expect("nobody has it");
        clear_if_deserted(&place);
        assert!(place.exists(), "one is about to");
        drop(record);
        clear_if_deserted(&place);
        assert!(!place.exists());
        clear_if_deserted(&place);
        assert!(!place.exists(), "nothing is made there");
    }
}
