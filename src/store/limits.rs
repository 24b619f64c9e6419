//! How large the files of a store become, and what is kept free.

use std::path::Path;

use super::error::StoreError;

/// Longest file, on all but small disks.
const FILE: u64 = 16 << 20;
/// Shortest one, however small the disk.
const FILE_LEAST: u64 = 128 << 10;

/// Sizes, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A file that is as long gets no further records.
    pub file: u64,
    /// What is kept for records that are due, and for moving records together on a full disk.
    pub reserve: u64,
    /// What may lie about uncounted, beyond as much as there is of what counts.
    pub slack: u64,
}

impl Default for Limits {
    /// Those of a disk that is not small.
    fn default() -> Self {
        Self::of_disk(u64::MAX)
    }
}

impl Limits {
    /// Limits for a disk of so many bytes. The reserve has room for what counts of one file: so a disk
    /// that is full of what does not count any more can always be cleaned.
    pub fn of_disk(size: u64) -> Self {
        let file = (size / 64).clamp(FILE_LEAST, FILE);
        Self { file, reserve: file + FILE_LEAST, slack: 4 * file }
    }

    /// Limits for the disk on which this directory is.
    ///
    /// # Errors
    /// If there is no such directory.
    pub fn of(directory: &Path) -> Result<Self, StoreError> {
        let disk = rustix::fs::statvfs(directory)
            .map_err(|error| StoreError::of(directory, 0, error.into()))?;
        Ok(Self::of_disk(disk.f_blocks.saturating_mul(disk.f_frsize)))
    }
}
