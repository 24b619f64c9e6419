//! What this controller gave to which engine, written down for the one that follows if it is killed.
//!
//! One file per engine in the cluster's directory: who it is, then places for tasks. A place is
//! written before the task leaves, and used again when the task's outcome has arrived at its client or
//! the engine gave the task back; then nobody will ask. Written, not synced: it is to outlive this
//! process, not the host. One writer, one reader later; a place that is torn or was never written
//! does not add up and counts as empty.

use std::fs::{self, File};
use std::hash::Hasher;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Inherited;
use super::hash::{Map, Mix};
use crate::wire::{ClientId, EngineId, EngineInfo, TaskId};

/// The folder in the cluster's directory.
const FOLDER: &str = "ledger";
/// Bytes before the first place, and of each.
const HEAD: usize = 1024;
const PLACE: usize = 32;
const VERSION: u32 = 1;
/// Longest file that is read: a million tasks.
const LONGEST: u64 = 32 << 20;

#[derive(Serialize, Deserialize)]
struct Head {
    version: u32,
    info: EngineInfo,
}

/// One engine's page.
struct Page {
    file: File,
    path: PathBuf,
    /// Where the tasks stand that it holds, by ticket.
    places: Map<u64, u32>,
    free: Vec<u32>,
    /// Places there are.
    len: u32,
    /// What is to be written, by place.
    dirty: Vec<(u32, [u8; PLACE])>,
}

/// See the head of this file.
pub(super) struct Ledger {
    folder: PathBuf,
    pages: Map<EngineId, Page>,
    /// Engines with something to be written.
    dirty: Vec<EngineId>,
}

fn seal(ticket: u64, id: TaskId, attempt: u16) -> [u8; PLACE] {
    let mut place = [0; PLACE];
    place[..8].copy_from_slice(&ticket.to_le_bytes());
    place[8..16].copy_from_slice(&id.seq.to_le_bytes());
    place[16..20].copy_from_slice(&id.client.0.to_le_bytes());
    place[20..22].copy_from_slice(&attempt.to_le_bytes());
    let sum = sum(&place[..24]);
    place[24..].copy_from_slice(&sum.to_le_bytes());
    place
}

fn sum(bytes: &[u8]) -> u64 {
    let mut sum = Mix::default();
    sum.write(bytes);
    // So that a place of zeros does not add up.
    sum.write_u64(u64::from(VERSION));
    sum.finish()
}

/// The ticket, task and attempt in a place; `None` if it is empty or torn.
fn open(place: &[u8]) -> Option<(u64, TaskId, u16)> {
    let word = |at: usize| Some(u64::from_le_bytes(place.get(at..at + 8)?.try_into().ok()?));
    if word(24)? != sum(place.get(..24)?) {
        return None;
    }
    let client = ClientId(u32::from_le_bytes(place.get(16..20)?.try_into().ok()?));
    let attempt = u16::from_le_bytes(place.get(20..22)?.try_into().ok()?);
    Some((word(0)?, TaskId { client, seq: word(8)? }, attempt))
}

impl Page {
    fn create(path: PathBuf, info: &EngineInfo) -> io::Result<Self> {
        let head = rmp_serde::to_vec(&Head { version: VERSION, info: info.clone() });
        let mut head = head.map_err(io::Error::other)?;
        if head.len() > HEAD {
            return Err(io::Error::other("the name of the engine's host is too long"));
        }
        head.resize(HEAD, 0);
        let file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)?;
        file.write_all_at(&head, 0)?;
        let (places, free, len, dirty) = (Map::default(), Vec::new(), 0, Vec::new());
        Ok(Self { file, path, places, free, len, dirty })
    }

    fn put(&mut self, ticket: u64, id: TaskId, attempt: u16) {
        let place = self.free.pop().unwrap_or_else(|| {
            self.len += 1;
            self.len - 1
        });
        self.places.insert(ticket, place);
        self.dirty.push((place, seal(ticket, id, attempt)));
    }

    fn flush(&mut self) -> io::Result<()> {
        self.dirty.sort_unstable_by_key(|(place, _)| *place);
        for run in self.dirty.chunk_by(|(one, _), (other, _)| one + 1 == *other) {
            let bytes: Vec<u8> = run.iter().flat_map(|(_, place)| place).copied().collect();
            let at = HEAD as u64 + u64::from(run[0].0) * PLACE as u64;
            self.file.write_all_at(&bytes, at)?;
        }
        self.dirty.clear();
        Ok(())
    }
}

impl Ledger {
    /// An empty one for the cluster in `directory`; what another controller left stays until its
    /// engines are entered or struck out.
    pub(super) fn new(directory: &Path) -> io::Result<Self> {
        let folder = directory.join(FOLDER);
        fs::create_dir_all(&folder)?;
        Ok(Self { folder, pages: Map::default(), dirty: Vec::new() })
    }

    fn path(&self, engine: EngineId) -> PathBuf {
        self.folder.join(engine.to_string())
    }

    /// An engine was let in. The page of one that came back goes on with the one task it runs.
    pub(super) fn enter(
        &mut self,
        info: &EngineInfo,
        running: Option<(u64, TaskId, u16)>,
    ) -> io::Result<()> {
        let page = Page::create(self.path(info.id), info)?;
        self.pages.insert(info.id, page);
        if let Some((ticket, id, attempt)) = running {
            self.give(info.id, ticket, id, attempt);
        }
        Ok(())
    }

    /// A task is about to be given to an engine.
    pub(super) fn give(&mut self, engine: EngineId, ticket: u64, id: TaskId, attempt: u16) {
        let Some(page) = self.pages.get_mut(&engine) else { return };
        if page.dirty.is_empty() {
            self.dirty.push(engine);
        }
        page.put(ticket, id, attempt);
    }

    /// Nobody will ask any more what became of what was given with this ticket.
    pub(super) fn settle(&mut self, engine: EngineId, ticket: u64) {
        let Some(page) = self.pages.get_mut(&engine) else { return };
        page.free.extend(page.places.remove(&ticket));
    }

    /// An engine gave back what was given with this ticket, and did not begin it.
    pub(super) fn take_back(&mut self, engine: EngineId, ticket: u64) {
        let Some(page) = self.pages.get_mut(&engine) else { return };
        let Some(place) = page.places.remove(&ticket) else { return };
        page.free.push(place);
        if page.dirty.is_empty() {
            self.dirty.push(engine);
        }
        page.dirty.push((place, [0; PLACE]));
    }

    /// An engine is gone.
    pub(super) fn strike_out(&mut self, engine: EngineId) {
        let path = self.pages.remove(&engine).map_or_else(|| self.path(engine), |page| page.path);
        let _ = fs::remove_file(path);
    }

    /// Writes down what was given since the last call; gives the first fault, if there was any.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let mut outcome = Ok(());
        for engine in std::mem::take(&mut self.dirty) {
            if let Some(page) = self.pages.get_mut(&engine) {
                let flushed = page.flush();
                page.dirty.clear();
                outcome = outcome.and(flushed);
            }
        }
        outcome
    }
}

/// What the controller before this one wrote down in `directory`, by engine. Files that are none of
/// its are passed over.
pub(super) fn read(directory: &Path) -> Vec<Inherited> {
    let Ok(entries) = fs::read_dir(directory.join(FOLDER)) else { return Vec::new() };
    let mut all: Vec<_> = entries.flatten().filter_map(|entry| page(&entry.path())).collect();
    all.sort_unstable_by_key(|engine| engine.info.id);
    all
}

fn page(path: &Path) -> Option<Inherited> {
    if fs::metadata(path).ok()?.len() > LONGEST {
        return None;
    }
    let bytes = fs::read(path).ok()?;
    let (head, places) = bytes.split_at_checked(HEAD)?;
    let Head { version: VERSION, info } = rmp_serde::from_slice(head).ok()? else { return None };
    let mut given: Vec<_> = places.chunks_exact(PLACE).filter_map(open).collect();
    given.sort_unstable_by_key(|(ticket, _, _)| *ticket);
    let given = given.into_iter().map(|(_, id, attempt)| (id, attempt)).collect();
    Some(Inherited { info, given })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::SessionId;

    fn info(id: u32) -> EngineInfo {
        let session = SessionId([id as u8; 16]);
        EngineInfo { id: EngineId(id), session, pid: 7, host: "here".to_owned() }
    }

    const fn task(seq: u64) -> TaskId {
        TaskId { client: ClientId(1), seq }
    }

    fn place(name: &str) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        directory
    }

    #[test]
    fn the_next_controller_reads_what_was_given_and_neither_given_back_nor_overwritten() {
        let directory = place("ledger-given");
        let mut ledger = Ledger::new(&directory).unwrap();
        for id in [0, 12] {
            ledger.enter(&info(id), None).unwrap();
        }
        for seq in 1..=4 {
            ledger.give(EngineId(12), seq, task(seq), 1);
        }
        ledger.flush().unwrap();
        ledger.take_back(EngineId(12), 2);
        ledger.settle(EngineId(12), 1);
        // In the place of the settled one or of the one given back.
        ledger.give(EngineId(12), 5, task(5), 3);
        ledger.flush().unwrap();
        let [none, some] = &read(&directory)[..] else { panic!("two engines") };
        assert_eq!((none.info.clone(), none.given.len()), (info(0), 0));
        assert_eq!(some.info, info(12));
        assert!(!some.given.contains(&(task(2), 1)), "it was given back");
        assert!(some.given.ends_with(&[(task(3), 1), (task(4), 1), (task(5), 3)]));
        ledger.strike_out(EngineId(0));
        assert_eq!(read(&directory).len(), 1);
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_place_that_is_torn_is_empty() {
        let place = seal(9, task(4), 2);
        assert_eq!(open(&place), Some((9, task(4), 2)));
        for bit in 0..PLACE * 8 {
            let mut torn = place;
            torn[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(open(&torn), None, "bit {bit}");
        }
        assert_eq!(open(&[0; PLACE]), None);
    }

    #[test]
    fn what_is_no_page_is_passed_over() {
        let directory = place("ledger-strange");
        fs::create_dir_all(directory.join(FOLDER)).unwrap();
        for (name, bytes) in [("0", &b""[..]), ("1", &[0xc1; 4096]), ("2", &[0; HEAD])] {
            fs::write(directory.join(FOLDER).join(name), bytes).unwrap();
        }
        assert_eq!(read(&directory), []);
        assert_eq!(read(Path::new("/nowhere/at/all")), []);
        fs::remove_dir_all(directory).unwrap();
    }
}
