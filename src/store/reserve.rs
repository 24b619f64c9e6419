//! Room on the disk that is kept for what must still be written when the disk is full.
//!
//! It is a file of blank blocks. New work needs it to be there; what is due for work that was
//! accepted may take its place. It is made again as soon as there is room for all of it.

use super::disk::{Disk, Open};
use super::error::StoreError;

const NAME: &str = "reserve";

#[derive(Debug)]
pub(super) struct Reserve {
    size: u64,
    present: bool,
}

impl Reserve {
    /// The reserve, which is not yet looked for.
    pub(super) fn new(size: u64) -> Self {
        Self { size, present: size == 0 }
    }

    /// Sees to it that the reserve is there.
    pub(super) fn restore(&mut self, disk: &dyn Disk) -> Result<(), StoreError> {
        if self.present {
            return Ok(());
        }
        let made = disk.open(NAME, Open::Any).and_then(|file| file.allocate(self.size));
        made.map_err(|error| {
            // Half a reserve is room taken from those who need it.
            let _ = disk.remove(NAME);
            StoreError::of(&disk.path().join(NAME), self.size, error)
        })?;
        self.present = true;
        Ok(())
    }

    /// Gives the room to whoever writes next; `false` if it was given before.
    pub(super) fn give_up(&mut self, disk: &dyn Disk) -> bool {
        let given = self.present && self.size > 0 && disk.remove(NAME).is_ok();
        self.present &= !given;
        given
    }
}
