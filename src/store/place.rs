//! The files of a journal: what they are called, and where.

use std::path::{Path, PathBuf};

use super::disk::{Disk, Medium, Open};
use super::error::StoreError;

const EXTENSION: &str = "journal";
const DAMAGED: &str = "damaged";

/// A disk with a journal on it.
#[derive(Debug)]
pub(super) struct Place {
    disk: Box<dyn Disk>,
}

fn name(number: u64) -> String {
    format!("{number:012}.{EXTENSION}")
}

impl Place {
    pub(super) fn new(disk: Box<dyn Disk>) -> Self {
        Self { disk }
    }

    pub(super) fn path(&self) -> &Path {
        self.disk.path()
    }

    /// The path of a file of the journal.
    pub(super) fn file(&self, number: u64) -> PathBuf {
        self.path().join(name(number))
    }

    /// The path under which a file is kept that is damaged.
    pub(super) fn aside(&self, number: u64) -> PathBuf {
        self.path().join(format!("{}.{DAMAGED}", name(number)))
    }

    pub(super) fn open(&self, number: u64, how: Open) -> Result<Box<dyn Medium>, StoreError> {
        self.disk.open(&name(number), how).map_err(StoreError::io(&self.file(number)))
    }

    /// The numbers of all files, and the highest that a damaged one had, in order.
    pub(super) fn files(&self) -> Result<(Vec<u64>, u64), StoreError> {
        let (mut numbers, mut highest) = (Vec::new(), 0);
        for found in self.disk.names().map_err(StoreError::io(self.path()))? {
            let Some((stem, rest)) = found.split_once('.') else { continue };
            match (stem.parse::<u64>(), rest) {
                (Ok(number), EXTENSION) if name(number) == found => numbers.push(number),
                (Ok(number), _) if rest.starts_with(EXTENSION) => highest = highest.max(number),
                _ => {}
            }
        }
        numbers.sort_unstable();
        Ok((numbers, highest))
    }

    /// Keeps a damaged file aside.
    pub(super) fn set_aside(&self, number: u64) -> Result<(), StoreError> {
        let aside = format!("{}.{DAMAGED}", name(number));
        self.disk.rename(&name(number), &aside).map_err(StoreError::io(&self.file(number)))
    }

    pub(super) fn remove(&self, number: u64) -> Result<(), StoreError> {
        self.disk.remove(&name(number)).map_err(StoreError::io(&self.file(number)))
    }

    /// What was made, renamed or removed here survives a loss of power.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        self.disk.sync().map_err(StoreError::io(self.path()))
    }

    pub(super) fn disk(&self) -> &dyn Disk {
        &*self.disk
    }
}
