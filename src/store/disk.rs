//! What a store needs of the system: one directory, and files in it that are read and written at any
//! place.
//!
//! The usual one is [`Directory`](super::directory::Directory); tests have one in memory that is
//! full, ends within an operation, or forgets what was not synced.

use std::fmt;
use std::io;
use std::path::Path;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// One that is there, to be read.
    Read,
    /// One that is there, to be written.
    Write,
    /// One that is not there.
    New,
    /// One that may be there.
    Any,
}

/// A directory that this store alone uses, and others may again when this is dropped.
pub trait Disk: fmt::Debug + Send {
    /// Where it is, for people.
    fn path(&self) -> &Path;
    /// The names of all files.
    fn names(&self) -> io::Result<Vec<String>>;
    /// Opens a file.
    fn open(&self, name: &str, how: Open) -> io::Result<Box<dyn Medium>>;
    /// Gives a file another name, which no other file has or then has no more.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// What was made, renamed or removed survives a loss of power.
    fn sync(&self) -> io::Result<()>;
}

/// An open file.
pub trait Medium: fmt::Debug + Send {
    /// How long it is.
    fn size(&self) -> io::Result<u64>;
    /// Fills `buffer` with what stands from `at` on.
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()>;
    /// Writes all of these from `at` on; after an error perhaps some.
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;
    /// Cuts it off, or adds zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// What was written survives a loss of power.
    fn sync(&self) -> io::Result<()>;
    /// Makes it so long, of blocks that are its own.
    fn allocate(&self, len: u64) -> io::Result<()>;
}
