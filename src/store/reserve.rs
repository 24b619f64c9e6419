//! Room on the disk that is kept for what must still be written when the disk is full.
//!
//! It is a file of blank blocks. New work needs it to be there; what is due for work that was
//! accepted may take its place. It is made again as soon as there is room for all of it.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use super::error::StoreError;
use super::place::options;

#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
    size: u64,
    present: bool,
}

impl Reserve {
    /// The reserve at this path, which is not yet looked for.
    pub(super) fn new(path: PathBuf, size: u64) -> Self {
        Self { path, size, present: size == 0 }
    }

    /// Sees to it that the reserve is there.
    pub(super) fn restore(&mut self) -> Result<(), StoreError> {
        if self.present {
            return Ok(());
        }
        self.make().map_err(|error| {
            // Half a reserve is room taken from those who need it.
            let _ = fs::remove_file(&self.path);
            StoreError::of(&self.path, self.size, error)
        })?;
        self.present = true;
        Ok(())
    }

    fn make(&self) -> io::Result<()> {
        let mut file = options().create(true).open(&self.path)?;
        match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, self.size) {
            Ok(()) => Ok(()),
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
                let zeros = vec![0; usize::try_from(self.size).unwrap_or(0)];
                file.write_all(&zeros)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Gives the room to whoever writes next; `false` if it was given before.
    pub(super) fn give_up(&mut self) -> bool {
        let given = self.present && self.size > 0 && fs::remove_file(&self.path).is_ok();
        self.present &= !given;
        given
    }
}
