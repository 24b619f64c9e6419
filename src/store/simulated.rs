//! A disk in memory; tests only. It may be full, its bits may flip, and its process may be killed
//! within any operation: what was written until then is there, the last write perhaps in part.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::io::Errno;

use super::disk::{Disk, Medium, Open};

/// See the head of this file. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct Simulated(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<String, Vec<u8>>,
    /// Bytes there may be.
    room: Option<u64>,
    /// Operations until its process is killed.
    fuse: Option<u64>,
}

#[derive(Debug)]
struct OpenFile(Simulated, String);

impl Simulated {
    /// What is there when its process is killed now.
    pub(crate) fn survivor(&self) -> Self {
        let files = self.0.lock().files.clone();
        Self(Arc::new(Mutex::new(State { files, ..State::default() })))
    }

    /// The process is killed within the operation after so many more.
    pub(crate) fn kill_after(&self, operations: u64) {
        self.0.lock().fuse = Some(operations);
    }

    pub(crate) fn is_killed(&self) -> bool {
        self.0.lock().fuse == Some(0)
    }

    /// Sets how many bytes fit.
    pub(crate) fn set_room(&self, room: Option<u64>) {
        self.0.lock().room = room;
    }

    pub(crate) fn used(&self) -> u64 {
        self.0.lock().used()
    }

    /// The names of files that end so, and how long they are.
    pub(crate) fn files(&self, end: &str) -> Vec<(String, usize)> {
        let state = self.0.lock();
        let files = state.files.iter().filter(|(name, _)| name.ends_with(end));
        files.map(|(name, bytes)| (name.clone(), bytes.len())).collect()
    }

    /// Changes a file behind everybody's back.
    pub(crate) fn change(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        change(self.0.lock().files.get_mut(name).expect("it is there"));
    }
}

impl State {
    fn used(&self) -> u64 {
        self.files.values().map(|bytes| bytes.len() as u64).sum()
    }

    /// One more operation; the last says how much of it is done.
    fn step(&mut self) -> io::Result<()> {
        match &mut self.fuse {
            Some(0) => Err(killed()),
            Some(1) => {
                self.fuse = Some(0);
                Err(killed())
            }
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn file(&mut self, name: &str) -> io::Result<&mut Vec<u8>> {
        self.files.get_mut(name).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Whether a file may become so long.
    fn fits(&self, name: &str, len: usize) -> io::Result<()> {
        let there = self.files.get(name).map_or(0, Vec::len);
        let more = len.saturating_sub(there) as u64;
        match self.room {
            Some(room) if more > 0 && self.used() + more > room => Err(Errno::NOSPC.into()),
            _ => Ok(()),
        }
    }
}

fn killed() -> io::Error {
    io::Error::other("the process was killed")
}

impl Disk for Simulated {
    fn path(&self) -> &Path {
        Path::new("/simulated")
    }

    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.0.lock().files.keys().cloned().collect())
    }

    fn open(&self, name: &str, how: Open) -> io::Result<Box<dyn Medium>> {
        let mut state = self.0.lock();
        let is_there = state.files.contains_key(name);
        match how {
            Open::New if is_there => return Err(io::ErrorKind::AlreadyExists.into()),
            Open::Read | Open::Write if !is_there => return Err(io::ErrorKind::NotFound.into()),
            Open::New | Open::Any if !is_there => {
                state.step()?;
                state.files.insert(name.to_owned(), Vec::new());
            }
            _ => {}
        }
        Ok(Box::new(OpenFile(self.clone(), name.to_owned())))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.0.lock();
        state.step()?;
        let bytes = state.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.files.insert(to.to_owned(), bytes);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.0.lock();
        state.step()?;
        state.files.remove(name).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync(&self) -> io::Result<()> {
        self.0.lock().step()
    }
}

impl Medium for OpenFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.0.lock().file(&self.1)?.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        let mut state = self.0.0.lock();
        let from = usize::try_from(at).unwrap_or(usize::MAX);
        let bytes = state.file(&self.1)?.get(from..).and_then(|rest| rest.get(..buffer.len()));
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let mut state = self.0.0.lock();
        let before = state.fuse;
        let done = match state.step() {
            Ok(()) => bytes.len(),
            Err(_) if before == Some(1) => bytes.len() / 2,
            Err(error) => return Err(error),
        };
        let at = at as usize;
        let (done, fault) = match state.fits(&self.1, at + done) {
            Ok(()) if done == bytes.len() => (done, None),
            Ok(()) => (done, Some(killed())),
            // Some of it is written, as to a disk.
            Err(error) => {
                let room = state.room.unwrap_or(0).saturating_sub(state.used()) as usize;
                let there = state.file(&self.1)?.len();
                ((there + room).saturating_sub(at).min(done), Some(error))
            }
        };
        let file = state.file(&self.1)?;
        if done > 0 {
            file.resize(file.len().max(at + done), 0);
            file[at..at + done].copy_from_slice(&bytes[..done]);
        }
        fault.map_or(Ok(()), Err)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.0.0.lock();
        state.step()?;
        state.file(&self.1)?.resize(len as usize, 0);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.0.0.lock().step()
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let mut state = self.0.0.lock();
        state.step()?;
        state.fits(&self.1, len as usize)?;
        let file = state.file(&self.1)?;
        file.resize(file.len().max(len as usize), 0);
        Ok(())
    }
}
