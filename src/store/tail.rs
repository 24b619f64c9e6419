//! The file that records are appended to.
//!
//! Either all records of a call are in the file or none is: what a failed write left behind is cut
//! off before anything else is written. Small parts are gathered, large ones written from where
//! they are.

use std::io;
use std::path::PathBuf;

use crate::wire::Message;

use super::Position;
use super::disk::{Medium, Open};
use super::error::StoreError;
use super::frame::{self, End, FILE_HEADER};
use super::place::Place;
use super::record::Record;

/// Bytes gathered before they are written; a part at least as long is written by itself.
const GATHER: usize = 128 * 1024;

#[derive(Debug)]
pub(super) struct Tail {
    file: Box<dyn Medium>,
    path: PathBuf,
    number: u64,
    len: u64,
    /// Whether there may be bytes behind `len`.
    ragged: bool,
    /// Whether something was written since it was last synced.
    dirty: bool,
}

/// A record that was written: where, and its bytes beside its parts.
pub(super) type Written = (Position, u64);

impl Tail {
    /// Makes a file without records.
    pub(super) fn create(place: &Place, number: u64) -> Result<Self, StoreError> {
        let path = place.file(number);
        let file = place.open(number, Open::New)?;
        if let Err(error) = file.write_at(&frame::file_header(number), 0) {
            let _ = place.remove(number);
            return Err(StoreError::of(&path, FILE_HEADER as u64, error));
        }
        let len = FILE_HEADER as u64;
        Ok(Self { file, path, number, len, ragged: false, dirty: true })
    }

    /// Goes on with a file whose records end at `len`.
    pub(super) fn resume(place: &Place, number: u64, len: u64) -> Result<Self, StoreError> {
        let (file, path) = (place.open(number, Open::Write)?, place.file(number));
        Ok(Self { file, path, number, len, ragged: true, dirty: true })
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Writes all of these, or nothing.
    pub(super) fn write(
        &mut self,
        entries: &[Message<Record>],
    ) -> Result<Vec<Written>, StoreError> {
        let room =
            |entry: &Message<Record>| entry.parts.iter().map(|part| part.len() as u64).sum::<u64>();
        let wanted: u64 = entries.iter().map(room).sum();
        if self.ragged {
            self.file.set_len(self.len).map_err(StoreError::io(&self.path))?;
        }
        (self.ragged, self.dirty) = (true, true);
        let mut out = Gather { file: &*self.file, at: self.len, bytes: Vec::new() };
        let fault = |error| StoreError::of(&self.path, wanted, error);
        let mut put = || {
            let mut written = Vec::with_capacity(entries.len());
            for entry in entries {
                let (number, at) = (self.number, out.end());
                let (frame, head) = frame::encode(entry).map_err(StoreError::Unwritable)?;
                written.push((Position { file: number, at }, 2 * frame.before()));
                let front = frame.encode(number, at, End::Front);
                out.put(&front).and_then(|()| out.put(&head)).map_err(fault)?;
                entry.parts.iter().try_for_each(|part| out.put(part)).map_err(fault)?;
                let back = frame.encode(number, at + frame.to_back(), End::Back);
                out.put(&back).and_then(|()| out.put(&head)).map_err(fault)?;
            }
            out.flush().map_err(fault)?;
            Ok((written, out.at))
        };
        match put() {
            Ok((written, end)) => {
                (self.len, self.ragged) = (end, false);
                Ok(written)
            }
            Err(error) => {
                self.ragged = self.file.set_len(self.len).is_err();
                Err(error)
            }
        }
    }

    /// What was written survives a loss of power.
    pub(super) fn sync(&mut self) -> Result<(), StoreError> {
        if self.dirty {
            self.file.sync().map_err(StoreError::io(&self.path))?;
            self.dirty = false;
        }
        Ok(())
    }
}

struct Gather<'a> {
    file: &'a dyn Medium,
    at: u64,
    bytes: Vec<u8>,
}

impl Gather<'_> {
    fn end(&self) -> u64 {
        self.at + self.bytes.len() as u64
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.bytes.len() + bytes.len() > GATHER {
            self.flush()?;
        }
        if bytes.len() < GATHER {
            self.bytes.extend_from_slice(bytes);
            return Ok(());
        }
        self.file.write_at(bytes, self.at)?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_at(&self.bytes, self.at)?;
        self.at += self.bytes.len() as u64;
        self.bytes.clear();
        Ok(())
    }
}
