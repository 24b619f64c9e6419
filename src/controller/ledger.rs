//! What this controller gave to which engine, written down for the one that follows if it is killed.
//!
//! One file per engine in the cluster's directory: who it is, then places for tasks, see `places`. A
//! place is written before the task leaves. Written, not synced: it is to outlive this process, not the
//! host. One writer, one reader later; a place that is torn or was never written does not add up and
//! counts as empty.

use std::fs::{self, File};
use std::hash::Hasher;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FallocateFlags;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::Inherited;
use super::hash::{Map, Mix};
use super::notes::{Left, Notes};
use super::places::{Entry, Places};
use crate::wire::{ClientId, EngineId, EngineInfo, TaskId};

/// The folder in the cluster's directory.
pub(super) const FOLDER: &str = "ledger";
/// The ending of the name of a page that is being written.
pub(super) const DRAFT: &str = "new";
/// The file with the lowest number that no engine was ever given: one that is gone has no page, and
/// tasks that were sent to it by name may still be about.
pub(super) const NEXT: &str = "next.number";
/// Bytes before the first place, and of each.
const HEAD: usize = 1024;
pub(super) const PLACE: usize = 32;
const VERSION: u32 = 1;
/// Places that are given room at once: twice what an engine holds, since what it tells is written down
/// before the places of that are free. So a disk that becomes full keeps no engine from its work.
const ROOM: usize = 2 * 256;
/// Longest file that is read: a million tasks.
pub(super) const LONGEST: u64 = 32 << 20;

#[derive(Serialize, Deserialize)]
struct Head {
    version: u32,
    info: EngineInfo,
}

/// One engine's page.
struct Page {
    file: File,
    path: PathBuf,
    places: Places,
}

/// See the head of this file.
pub(super) struct Ledger {
    folder: PathBuf,
    pages: Map<EngineId, Page>,
    /// Engines with something to be written.
    dirty: Vec<EngineId>,
    /// The lowest number that no engine was ever given.
    next: u32,
    /// Pages of engines that are gone, to be removed.
    struck: Vec<PathBuf>,
    /// What is spent.
    pub(super) notes: Notes,
    /// Whether pages are given room beforehand.
    is_roomy: bool,
}

fn seal(entry: Option<Entry>) -> [u8; PLACE] {
    let mut place = [0; PLACE];
    let Some((ticket, id, attempt)) = entry else { return place };
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

/// What stands in a place; `None` if it is empty or torn.
pub(super) fn open(place: &[u8]) -> Option<Entry> {
    let word = |at: usize| Some(u64::from_le_bytes(place.get(at..at + 8)?.try_into().ok()?));
    if word(24)? != sum(place.get(..24)?) {
        return None;
    }
    let client = ClientId(u32::from_le_bytes(place.get(16..20)?.try_into().ok()?));
    let attempt = u16::from_le_bytes(place.get(20..22)?.try_into().ok()?);
    Some((word(0)?, TaskId { client, seq: word(8)? }, attempt))
}

impl Page {
    /// Writes a page anew; the one before it stands until that is done.
    fn create(
        path: PathBuf,
        info: &EngineInfo,
        places: Places,
        is_roomy: bool,
    ) -> io::Result<Self> {
        let head = rmp_serde::to_vec(&Head { version: VERSION, info: info.clone() });
        let mut head = head.map_err(io::Error::other)?;
        if head.len() > HEAD {
            return Err(io::Error::other("the name of the engine's host is too long"));
        }
        head.resize(HEAD, 0);
        let draft = path.with_extension(DRAFT);
        let file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&draft)?;
        let mut page = Self { file, path, places };
        let made = page.file.write_all_at(&head, 0);
        let made = made.and_then(|()| if is_roomy { make_room(&page.file) } else { Ok(()) });
        let made = made.and_then(|()| page.flush()).and_then(|()| fs::rename(&draft, &page.path));
        if made.is_err() {
            let _ = fs::remove_file(draft);
        }
        made.map(|()| page)
    }

    fn flush(&mut self) -> io::Result<()> {
        let dirty = self.places.take_dirty();
        let written = write_places(&self.file, HEAD as u64, &dirty);
        if written.is_err() {
            self.places.is_still_dirty(dirty);
        }
        written
    }
}

/// Writes places, in their order, of which the first lies at `start`.
pub(super) fn write_places(
    file: &File,
    start: u64,
    dirty: &[(u32, Option<Entry>)],
) -> io::Result<()> {
    for run in dirty.chunk_by(|(one, _), (other, _)| one + 1 == *other) {
        let bytes: Vec<u8> = run.iter().flat_map(|(_, entry)| seal(*entry)).collect();
        file.write_all_at(&bytes, start + u64::from(run[0].0) * PLACE as u64)?;
    }
    Ok(())
}

/// Gives a page blocks of its own, where the file system can; empty places are zeros.
fn make_room(file: &File) -> io::Result<()> {
    let room = (HEAD + ROOM * PLACE) as u64;
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, room) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
            file.write_all_at(&[0; ROOM * PLACE], HEAD as u64)
        }
        done => Ok(done?),
    }
}

impl Ledger {
    /// One for the cluster in `directory`; the pages that another controller left stay until their
    /// engines are entered or struck out. Gives what is spent as that one wrote it down.
    pub(super) fn new(directory: &Path) -> io::Result<(Self, Left)> {
        let folder = directory.join(FOLDER);
        fs::create_dir_all(&folder)?;
        let next = next_in(&folder);
        let (notes, left) = Notes::open(&folder)?;
        let (pages, dirty, struck) = (Map::default(), Vec::new(), Vec::new());
        Ok((Self { folder, pages, dirty, next, struck, notes, is_roomy: false }, left))
    }

    /// The lowest number that no engine was ever given.
    pub(super) fn next(&self) -> u32 {
        self.next
    }

    /// Has it found from the cluster in `directory` when it lies in a store. What was there is moved
    /// before, see `moved`.
    pub(super) fn show(&mut self, directory: &Path) -> io::Result<()> {
        // That disk may be full of what the store keeps.
        self.is_roomy = true;
        let here = directory.join(FOLDER);
        if here.is_symlink() {
            fs::remove_file(&here)?;
        }
        std::os::unix::fs::symlink(std::path::absolute(&self.folder)?, here)
    }

    fn path(&self, engine: EngineId) -> PathBuf {
        self.folder.join(engine.to_string())
    }

    /// An engine was let in. The page of one that came back, having been given tickets up to the
    /// first of `before`, goes on with what it may tell and what it runs.
    pub(super) fn enter(
        &mut self,
        info: &EngineInfo,
        before: Option<(u64, Option<Entry>)>,
    ) -> io::Result<()> {
        if info.id.0 >= self.next {
            let next = info.id.0.saturating_add(1);
            let draft = self.folder.join(NEXT).with_extension(DRAFT);
            fs::write(&draft, next.to_string())?;
            fs::rename(draft, self.folder.join(NEXT))?;
            self.next = next;
        }
        let path = self.path(info.id);
        let places = before.map_or_else(Places::default, |(ticket, running)| {
            let stood = page(&path).filter(|(there, _)| there.session == info.session);
            Places::again(&stood.unwrap_or_else(|| (info.clone(), Vec::new())).1, ticket, running)
        });
        let page = Page::create(path, info, places, self.is_roomy)?;
        self.pages.insert(info.id, page);
        Ok(())
    }

    /// Changes what stands on an engine's page, if it has one.
    fn change(&mut self, engine: EngineId, change: impl FnOnce(&mut Places)) {
        let Some(page) = self.pages.get_mut(&engine) else { return };
        let was = page.places.is_dirty();
        change(&mut page.places);
        if !was && page.places.is_dirty() {
            self.dirty.push(engine);
        }
    }

    /// A task is about to be given to an engine.
    pub(super) fn give(&mut self, engine: EngineId, entry: Entry) {
        self.change(engine, |places| places.give(entry));
    }

    /// Nobody will ask any more what became of what was given with this ticket.
    pub(super) fn settle(&mut self, engine: EngineId, ticket: u64) {
        self.change(engine, |places| places.settle(ticket));
    }

    /// An engine gave back what was given with this ticket, and did not begin it.
    pub(super) fn take_back(&mut self, engine: EngineId, ticket: u64) {
        self.change(engine, |places| places.take_back(ticket));
    }

    /// An engine came back and has these outcomes.
    pub(super) fn told(&mut self, engine: EngineId, ids: &[TaskId]) {
        self.change(engine, |places| places.told(ids));
    }

    /// An engine is gone. Its page stays until what follows from that is written.
    pub(super) fn strike_out(&mut self, engine: EngineId) {
        let page = self.pages.remove(&engine);
        self.struck.push(page.map_or_else(|| self.path(engine), |page| page.path));
    }

    /// Writes down what was given since the last call; gives the first fault, if there was any. What
    /// is spent comes first, so that no task is missing between a page that goes and one that comes;
    /// `all` says whether what is written elsewhere is.
    pub(super) fn flush(&mut self, all: bool) -> io::Result<()> {
        let mut outcome = self.notes.flush();
        if all && outcome.is_ok() {
            for page in self.struck.drain(..) {
                let _ = fs::remove_file(page);
            }
        }
        for engine in std::mem::take(&mut self.dirty) {
            let Some(page) = self.pages.get_mut(&engine) else { continue };
            let flushed = page.flush();
            if flushed.is_err() {
                self.dirty.push(engine);
            }
            outcome = outcome.and(flushed);
        }
        outcome
    }
}

/// The lowest number that no engine was ever given, as it stands in this folder.
pub(super) fn next_in(folder: &Path) -> u32 {
    let next = fs::read_to_string(folder.join(NEXT)).ok();
    next.and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// What the controller before this one wrote down in `directory`, by engine. Files that are none of
/// its are passed over.
pub(super) fn read(directory: &Path) -> Vec<Inherited> {
    let Ok(entries) = fs::read_dir(directory.join(FOLDER)) else { return Vec::new() };
    let pages = entries.flatten().filter_map(|entry| page(&entry.path()));
    let mut all: Vec<_> = pages.map(|(info, given)| Inherited { info, given }).collect();
    all.sort_unstable_by_key(|engine| engine.info.id);
    all
}

/// Whose page this is, and what stands there in the order of the tickets.
fn page(path: &Path) -> Option<(EngineInfo, Vec<Entry>)> {
    if path.extension().is_some() {
        return None;
    }
    if fs::metadata(path).ok()?.len() > LONGEST {
        return None;
    }
    let bytes = fs::read(path).ok()?;
    let (head, places) = bytes.split_at_checked(HEAD)?;
    let Head { version: VERSION, info } = rmp_serde::from_slice(head).ok()? else { return None };
    let mut given: Vec<_> = places.chunks_exact(PLACE).filter_map(open).collect();
    given.sort_unstable_by_key(|(ticket, _, _)| *ticket);
    Some((info, given))
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
        let (mut ledger, _) = Ledger::new(&directory).unwrap();
        for id in [0, 12] {
            ledger.enter(&info(id), None).unwrap();
        }
        for seq in 1..=4 {
            ledger.give(EngineId(12), (seq, task(seq), 1));
        }
        ledger.flush(true).unwrap();
        ledger.take_back(EngineId(12), 2);
        ledger.settle(EngineId(12), 1);
        // In the place of the settled one or of the one given back.
        ledger.give(EngineId(12), (5, task(5), 3));
        ledger.flush(true).unwrap();
        let [none, some] = &read(&directory)[..] else { panic!("two engines") };
        assert_eq!((none.info.clone(), none.given.len()), (info(0), 0));
        assert_eq!(some.info, info(12));
        assert!(!some.given.contains(&(2, task(2), 1)), "it was given back");
        assert!(some.given.ends_with(&[(3, task(3), 1), (4, task(4), 1), (5, task(5), 3)]));
        ledger.strike_out(EngineId(0));
        ledger.strike_out(EngineId(12));
        ledger.flush(false).unwrap();
        assert_eq!(read(&directory).len(), 2, "what follows from that is not written yet");
        ledger.flush(true).unwrap();
        assert_eq!(read(&directory), []);
        assert_eq!(Ledger::new(&directory).unwrap().0.next(), 13, "no number is given twice");
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn an_engine_that_came_back_is_known_by_what_it_may_have_to_tell_again() {
        let directory = place("ledger-again");
        let (mut ledger, _) = Ledger::new(&directory).unwrap();
        ledger.enter(&info(3), None).unwrap();
        for seq in 1..=4 {
            ledger.give(EngineId(3), (seq, task(seq), 1));
        }
        ledger.flush(true).unwrap();
        let (mut ledger, _) = Ledger::new(&directory).unwrap();
        ledger.enter(&info(3), Some((3, Some((3, task(3), 1))))).unwrap();
        let given = |directory: &Path| -> Vec<u64> {
            let all = &read(directory)[0].given;
            all.iter().map(|(ticket, ..)| *ticket).collect()
        };
        assert_eq!(given(&directory), [1, 2, 3], "even if nothing more is written");
        ledger.told(EngineId(3), &[task(2)]);
        ledger.flush(true).unwrap();
        assert_eq!(given(&directory), [2, 3]);
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_place_that_is_torn_is_empty() {
        let place = seal(Some((9, task(4), 2)));
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
