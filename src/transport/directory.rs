//! The cluster's directory: whose it is, what lies in it, and what its paths may be.
//!
//! Who can enter the directory is who can reach a socket in it, so it must be ours alone.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use rustix::process::geteuid;
use rustix::rand::{GetRandomFlags, getrandom};
use tokio::net::UnixStream;

use crate::wire::limits::SOCKET_PATH_MAX;

/// File name of the socket at which peers knock.
pub const DOOR: &str = "door.sock";
/// File whose lock is held as long as somebody listens at the door.
const LOCK: &str = "lock";
/// Length of a name made by [`random_name`].
const NAME: usize = 32;

/// Checks that `directory` is ours and closed to others; says what is wrong with it.
pub(crate) fn check(directory: &Path) -> io::Result<Result<(), String>> {
    let path = directory.display();
    let found = fs::symlink_metadata(directory)?;
    let owner = geteuid().as_raw();
    let longest = directory.as_os_str().as_bytes().len() + 1 + NAME;
    let fault = if !found.is_dir() {
        format!("{path} is not a directory")
    } else if found.uid() != owner {
        format!("{path} belongs to user {}, not to user {owner}", found.uid())
    } else if found.mode() & 0o077 != 0 {
        format!("{path} is open to others (mode {:o}, needed is 700)", found.mode() & 0o777)
    } else if longest >= SOCKET_PATH_MAX {
        let most = SOCKET_PATH_MAX - NAME - 2;
        let bytes = longest - NAME - 1;
        format!("the path {path} is {bytes} bytes long; sockets need one of at most {most}")
    } else {
        return Ok(Ok(()));
    };
    Ok(Err(fault))
}

/// Takes the lock of `directory`; `None` if somebody else holds it.
pub(crate) fn lock(directory: &Path) -> io::Result<Option<File>> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
        .open(directory.join(LOCK))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// A listening socket and its file, which goes when this is dropped.
#[derive(Debug)]
pub(crate) struct SocketFile(PathBuf);

impl SocketFile {
    /// Binds a socket at `path` that only we may connect to.
    pub(crate) fn bind(path: PathBuf) -> io::Result<(UnixListener, Self)> {
        let listener = UnixListener::bind(&path)?;
        let file = Self(path);
        fs::set_permissions(&file.0, fs::Permissions::from_mode(0o600))?;
        Ok((listener, file))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Already gone is as good; anything else cannot be helped here.
        let _ = fs::remove_file(&self.0);
    }
}

/// A file name that cannot be guessed.
pub(crate) fn random_name() -> io::Result<String> {
    Ok(format!("{:032x}", u128::from_ne_bytes(random()?)))
}

/// Whether `name` has the form that [`random_name`] gives, so that it names a file right here.
pub(crate) fn is_name(name: &str) -> bool {
    name.len() == NAME && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Random bytes from the kernel.
pub(crate) fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    // Up to 256 bytes come whole or not at all.
    getrandom(&mut bytes, GetRandomFlags::empty())?;
    Ok(bytes)
}

/// Whether the process at the other end is ours, or root's; says whose it is otherwise.
pub(crate) fn check_peer(stream: &UnixStream) -> io::Result<Result<(), String>> {
    let user = stream.peer_cred()?.uid();
    if user == geteuid().as_raw() || user == 0 {
        return Ok(Ok(()));
    }
    Ok(Err(format!("the process at the other end belongs to user {user}")))
}
