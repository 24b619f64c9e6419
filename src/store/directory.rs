//! A directory of the file system: whose it is, who uses it, and its files.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, FlockOperation};
use rustix::io::Errno;

use super::disk::{Disk, Medium, Open};
use super::error::StoreError;

const LOCK: &str = "lock";

/// A directory that this process alone uses; others may again when this is dropped.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    _lock: File,
}

impl Directory {
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
}

impl Disk for Directory {
    fn path(&self) -> &Path {
        &self.path
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            // A name that is no text is none of ours.
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn open(&self, name: &str, how: Open) -> io::Result<Box<dyn Medium>> {
        let mut options = options();
        match how {
            Open::Read => options.write(false),
            Open::Write => &mut options,
            Open::New => options.create_new(true),
            Open::Any => options.create(true),
        };
        Ok(Box::new(options.open(self.path.join(name))?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

impl Medium for File {
    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        self.read_exact_at(buffer, at)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.write_all_at(bytes, at)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        File::set_len(self, len)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        match rustix::fs::fallocate(self, FallocateFlags::empty(), 0, len) {
            Ok(()) => Ok(()),
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
                let zeros = vec![0; usize::try_from(len).unwrap_or(0)];
                self.write_all_at(&zeros, 0)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Files of a store are readable by their owner only: whoever may write pickles may run code.
fn options() -> OpenOptions {
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
