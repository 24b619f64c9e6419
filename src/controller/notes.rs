//! The page of the ledger on which stands what is spent of tasks (see `spent`), and beside it how the
//! engines ended that are named there.
//!
//! A task has one place for as long as its outcome has not arrived; a place that is free keeps its old
//! words until it is used again, which does no harm, since nobody asks for that task any more.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::hash::Map;
use super::ledger::{DRAFT, LONGEST, PLACE, open, write_places};
use super::places::Places;
use crate::wire::{EngineId, Loss, TaskId};

/// The page; as all files that are no engine's page it has an ending.
pub(super) const PAGE: &str = "attempts.spent";
/// The ending of the name of what tells how an engine ended.
const GONE: &str = "gone";

/// See the head of this file.
pub(super) struct Notes {
    folder: PathBuf,
    /// None as long as nothing is spent.
    file: Option<File>,
    places: Places<TaskId>,
    /// With which engine the last attempt of each task was spent, and how often each is named.
    engines: Map<TaskId, EngineId>,
    named: Map<EngineId, u32>,
    /// Engines whose end is to be written down if they are named.
    ended: Vec<Loss>,
    /// Engines of which nobody may speak any more.
    unnamed: Vec<EngineId>,
}

/// What the controller before this one left: tasks with the engine of their last attempt that is
/// spent and how many are, and how engines ended.
pub(super) type Left = (Vec<(TaskId, EngineId, u16)>, Vec<Loss>);

impl Notes {
    /// Those in this folder, to go on with.
    pub(super) fn open(folder: &Path) -> io::Result<(Self, Left)> {
        let mut notes = Self {
            folder: folder.to_owned(),
            file: None,
            places: Places::default(),
            engines: Map::default(),
            named: Map::default(),
            ended: Vec::new(),
            unnamed: Vec::new(),
        };
        let page = folder.join(PAGE);
        let short = fs::metadata(&page).is_ok_and(|page| page.len() <= LONGEST);
        let bytes = if short { fs::read(&page)? } else { Vec::new() };
        let stood: Vec<_> = bytes.chunks_exact(PLACE).map(open).collect();
        let mut all = BTreeMap::new();
        for (place, entry) in stood.iter().enumerate() {
            let Some((engine, id, attempts)) = *entry else { continue };
            let known = all.entry(id).or_insert((attempts, place, engine));
            *known = (*known).max((attempts, place, engine));
        }
        let places = all.iter().map(|(id, (_, place, _))| (*id, *place as u32)).collect();
        notes.places = Places::stand(places, stood.len() as u32);
        let all = all.into_iter().map(|(id, (n, _, engine))| (id, EngineId(engine as u32), n));
        let all: Vec<_> = all.collect();
        for (id, engine, _) in &all {
            notes.engines.insert(*id, *engine);
            *notes.named.entry(*engine).or_default() += 1;
        }
        let losses = fs::read_dir(folder)?.flatten().filter_map(|file| loss(&file.path()));
        let losses: Vec<_> = losses.collect();
        notes.unnamed = losses.iter().map(|loss| EngineId(loss.engine)).collect();
        Ok((notes, (all, losses)))
    }

    /// So many attempts of a task are spent, the last with this engine.
    pub(super) fn spend(&mut self, id: TaskId, engine: EngineId, attempts: u16) {
        self.places.put(id, (u64::from(engine.0), id, attempts));
        *self.named.entry(engine).or_default() += 1;
        if let Some(before) = self.engines.insert(id, engine) {
            self.unname(before);
        }
    }

    /// What is spent of these need not be known any more.
    pub(super) fn drop(&mut self, ids: &[TaskId]) {
        for id in ids {
            self.places.settle(*id);
            if let Some(engine) = self.engines.remove(id) {
                self.unname(engine);
            }
        }
    }

    fn unname(&mut self, engine: EngineId) {
        let Some(count) = self.named.get_mut(&engine) else { return };
        *count -= 1;
        if *count == 0 {
            self.named.remove(&engine);
            self.unnamed.push(engine);
        }
    }

    /// An engine ended like this.
    pub(super) fn ended(&mut self, loss: Loss) {
        self.ended.push(loss);
    }

    /// Writes down what was said since the last call.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if self.places.is_dirty() {
            let page = self.folder.join(PAGE);
            let file = if let Some(file) = &self.file {
                file
            } else {
                let mut how = fs::OpenOptions::new();
                how.write(true).create(true).truncate(false).mode(0o600);
                self.file.insert(how.open(page)?)
            };
            let dirty = self.places.take_dirty();
            if let Err(fault) = write_places(file, 0, &dirty) {
                self.places.is_still_dirty(dirty);
                return Err(fault);
            }
        }
        while let Some(loss) = self.ended.last() {
            if self.named.contains_key(&EngineId(loss.engine)) {
                let words = rmp_serde::to_vec_named(loss).map_err(io::Error::other)?;
                let page = self.page_of(EngineId(loss.engine));
                let draft = page.with_extension(DRAFT);
                fs::write(&draft, words)?;
                fs::rename(draft, page)?;
            }
            self.ended.pop();
        }
        for engine in std::mem::take(&mut self.unnamed) {
            if !self.named.contains_key(&engine) {
                let _ = fs::remove_file(self.page_of(engine));
            }
        }
        Ok(())
    }

    fn page_of(&self, engine: EngineId) -> PathBuf {
        self.folder.join(engine.to_string()).with_extension(GONE)
    }
}

fn loss(path: &Path) -> Option<Loss> {
    if path.extension()? != GONE || fs::metadata(path).ok()?.len() > LONGEST {
        return None;
    }
    rmp_serde::from_slice(&fs::read(path).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ClientId;

    const fn task(seq: u64) -> TaskId {
        TaskId { client: ClientId(1), seq }
    }

    fn lost(engine: u32) -> Loss {
        Loss { engine, cause: "killed by SIGKILL".to_owned(), ..Loss::default() }
    }

    fn left(folder: &Path) -> Left {
        Notes::open(folder).unwrap().1
    }

    #[test]
    fn the_next_controller_reads_how_much_is_spent_and_how_engines_ended() {
        let made = tempfile::tempdir().unwrap();
        let folder = made.path();
        let (mut notes, before) = Notes::open(folder).unwrap();
        assert_eq!(before, (Vec::new(), Vec::new()));
        notes.flush().unwrap();
        assert_eq!(fs::read_dir(folder).unwrap().count(), 0, "nothing is written for nothing");
        for (seq, engine, attempts) in [(1, 4, 1), (2, 4, 1), (1, 5, 2)] {
            notes.spend(task(seq), EngineId(engine), attempts);
        }
        for engine in [4, 5, 6] {
            notes.ended(lost(engine));
        }
        notes.flush().unwrap();
        let (all, mut ends) = left(folder);
        assert_eq!(all, [(task(1), EngineId(5), 2), (task(2), EngineId(4), 1)]);
        ends.sort_by_key(|loss| loss.engine);
        assert_eq!(ends, [lost(4), lost(5)], "of the third nothing is spent");
    }

    #[test]
    fn places_and_ends_are_given_up_when_nobody_asks_any_more() {
        let made = tempfile::tempdir().unwrap();
        let folder = made.path();
        let (mut notes, _) = Notes::open(folder).unwrap();
        for seq in 0..4 {
            notes.spend(task(seq), EngineId(4), 1);
        }
        notes.ended(lost(4));
        notes.flush().unwrap();
        let size = || fs::metadata(folder.join(PAGE)).unwrap().len();
        let full = size();
        // The next one goes on with the same places.
        let (mut notes, _) = Notes::open(folder).unwrap();
        notes.drop(&[task(0), task(2)]);
        notes.flush().unwrap();
        assert_eq!(left(folder).1, [lost(4)]);
        notes.drop(&[task(1), task(3), task(9)]);
        for seq in 10..14 {
            notes.spend(task(seq), EngineId(5), 1);
        }
        notes.flush().unwrap();
        let (all, ends) = left(folder);
        assert_eq!(all, [10, 11, 12, 13].map(|seq| (task(seq), EngineId(5), 1)));
        assert_eq!((ends, size()), (Vec::new(), full));
    }
}
