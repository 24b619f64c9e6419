//! The directory of a store: whose it is, who uses it, and what its files are called.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::error::StoreError;

const LOCK: &str = "lock";
const EXTENSION: &str = "journal";
const DAMAGED: &str = "damaged";

/// A directory that this process alone uses; others may again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    _lock: File,
}

impl Place {
    /// Takes a directory, which is made if it is not there.
    pub(super) fn take(path: &Path) -> Result<Self, StoreError> {
        match DirBuilder::new().recursive(true).mode(0o700).create(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(StoreError::of(path, 0, error));
            }
            _ => {}
        }
        check(path)?;
        let lock = path.join(LOCK);
        let mut file = options().create(true).open(&lock).map_err(StoreError::io(&lock))?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let mut by = String::new();
                let read = file.take(256).read_to_string(&mut by);
                let by = read.is_ok().then(|| by.trim().to_string()).filter(|by| !by.is_empty());
                return Err(StoreError::Held { path: path.to_path_buf(), by });
            }
            Err(error) => return Err(StoreError::of(&lock, 0, error.into())),
        }
        let host = rustix::system::uname();
        let by =
            format!("process {} on {}\n", std::process::id(), host.nodename().to_string_lossy());
        // For people only: a full disk is no reason not to open.
        let _ = file.set_len(0).and_then(|()| file.write_all(by.as_bytes()));
        Ok(Self { path: path.to_path_buf(), _lock: file })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The path of a file of the journal.
    pub(super) fn file(&self, number: u64) -> PathBuf {
        self.path.join(format!("{number:012}.{EXTENSION}"))
    }

    /// The numbers of all files, and the highest that a damaged one had, in order.
    pub(super) fn files(&self) -> Result<(Vec<u64>, u64), StoreError> {
        let (mut numbers, mut highest) = (Vec::new(), 0);
        let entries = fs::read_dir(&self.path).map_err(StoreError::io(&self.path))?;
        for entry in entries {
            let name = entry.map_err(StoreError::io(&self.path))?.file_name();
            let Some((stem, rest)) = name.to_str().and_then(|name| name.split_once('.')) else {
                continue;
            };
            match (stem.parse::<u64>(), rest) {
                (Ok(number), EXTENSION) if format!("{number:012}") == stem => numbers.push(number),
                (Ok(number), _) if rest.starts_with(EXTENSION) => highest = highest.max(number),
                _ => {}
            }
        }
        numbers.sort_unstable();
        Ok((numbers, highest))
    }

    /// Keeps a damaged file aside, and says where.
    pub(super) fn set_aside(&self, number: u64) -> Result<PathBuf, StoreError> {
        let path = self.file(number);
        let aside = self.path.join(format!("{number:012}.{EXTENSION}.{DAMAGED}"));
        fs::rename(&path, &aside).map_err(StoreError::io(&path))?;
        Ok(aside)
    }

    /// What was made, renamed or removed here survives a loss of power.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        let synced = File::open(&self.path).and_then(|directory| directory.sync_all());
        synced.map_err(StoreError::io(&self.path))
    }
}

/// Files of a store are readable by their owner only: whoever may write pickles may run code.
pub(super) fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    let nofollow = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    options.read(true).write(true).mode(0o600).custom_flags(nofollow);
    options
}

fn check(path: &Path) -> Result<(), StoreError> {
    let found = fs::metadata(path).map_err(StoreError::io(path))?;
    let owner = rustix::process::geteuid().as_raw();
    let shown = path.display();
    let fault = if !found.is_dir() {
        format!("{shown} is not a directory")
    } else if found.uid() != owner {
        format!("{shown} belongs to user {}, not to user {owner}", found.uid())
    } else if found.mode() & 0o077 != 0 {
        format!(
            "{shown} is open to others (mode {:o})\n\nhint: chmod 700 {shown}",
            found.mode() & 0o777
        )
    } else {
        return Ok(());
    };
    Err(StoreError::Unsafe(fault))
}
