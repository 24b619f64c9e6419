//! What can be wrong with a store, and how it is told.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use thiserror::Error;

use super::record::{Record, Sort};

/// Why a store did not do what was asked.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Another process uses it.
    #[error("the store {} is in use{}", path.display(), by.as_deref().map(|by| format!(" by {by}")).unwrap_or_default())]
    Held {
        /// The directory.
        path: PathBuf,
        /// Process and host, if they are known.
        by: Option<String>,
    },
    /// The directory is not one that a store may be in.
    #[error("{0}")]
    Unsafe(String),
    /// A file was written by another version.
    #[error("{} has format {found}, this version reads {}", path.display(), super::frame::FORMAT)]
    Format {
        /// The file.
        path: PathBuf,
        /// The version it says.
        found: u32,
    },
    /// There is no room. Nothing was written; it works again when there is room.
    #[error("no space left for {}: {wanted} bytes were to be written", path.display())]
    Full {
        /// The file.
        path: PathBuf,
        /// How many bytes were to be written.
        wanted: u64,
    },
    /// The record breaks a limit or makes no sense. Nothing was written.
    #[error("a record cannot be stored: {0}")]
    Unwritable(String),
    /// What was to be read is damaged.
    #[error("{0}")]
    Damaged(Box<Damage>),
    /// There is no such record at that position, or no longer.
    #[error("{} holds no record at byte {at} that counts", path.display())]
    Absent {
        /// The file.
        path: PathBuf,
        /// The position there.
        at: u64,
    },
    /// The system refused, for another reason.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        error: io::Error,
    },
}

impl StoreError {
    /// What the system said of a file, when so many bytes were to be written.
    pub(super) fn of(path: &Path, wanted: u64, error: io::Error) -> Self {
        let path = path.to_path_buf();
        match Errno::from_io_error(&error) {
            Some(Errno::NOSPC | Errno::DQUOT | Errno::FBIG) => Self::Full { path, wanted },
            _ => Self::Io { path, error },
        }
    }

    /// The same, where nothing was to be written.
    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        |error| Self::of(path, 0, error)
    }
}

/// The last record was not written to its end, so it was never acknowledged; it was cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn {
    /// The file.
    pub path: PathBuf,
    /// Where it now ends.
    pub at: u64,
    /// How many bytes were cut off.
    pub bytes: u64,
}

/// Bytes that are not what was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Damage {
    /// The file, by the name it has now.
    pub path: PathBuf,
    /// Where the record begins, or the bytes that cannot be told apart.
    pub at: u64,
    /// How many bytes that is.
    pub bytes: u64,
    /// What kind of record it is, if that is known.
    pub sort: Option<Sort>,
    /// What was lost, if that is known: the record of those tasks alone whose parts are damaged.
    pub record: Option<Box<Record>>,
    /// What is wrong.
    pub why: String,
}

impl fmt::Display for Torn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, at, bytes } = self;
        let path = path.display();
        write!(f, "{path} ended within a record: {bytes} bytes from byte {at} on were cut off")
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, at, bytes, why, .. } = self;
        write!(f, "{} is damaged at byte {at} ({bytes} bytes", path.display())?;
        if let Some(sort) = self.sort {
            write!(f, ", {}", what(sort))?;
        }
        write!(f, "): {why}")
    }
}

fn what(sort: Sort) -> &'static str {
    match sort {
        Sort::Function => "a function",
        Sort::Client => "a client",
        Sort::Submitted => "a submission",
        Sort::Outcome => "an outcome",
        Sort::Attempt => "an attempt",
        Sort::Cancelled => "a cancellation",
        Sort::Forgotten => "what was forgotten",
    }
}
