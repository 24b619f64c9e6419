//! A ledger that moves: what a controller without a store left in the cluster's directory, when the one
//! that follows has a store, where the ledger lies beside the journal.

use std::fs;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use super::ledger::{FOLDER, NEXT, PLACE, next_in};
use super::notes::PAGE;

/// Moves what a controller without a store left in `directory` to `home`, where the ledger of one with
/// a store lies, beside what is there. It comes before that is read.
pub(super) fn bring(directory: &Path, home: &Path) -> io::Result<()> {
    let (from, to) = (directory.join(FOLDER), home.join(FOLDER));
    if from.is_symlink() || !from.exists() {
        return Ok(());
    }
    fs::create_dir_all(&to)?;
    for page in fs::read_dir(&from)?.flatten() {
        let name = page.file_name();
        if name == PAGE {
            join(&page.path(), &to.join(name))?;
        } else if name != NEXT || next_in(&from) > next_in(&to) {
            fs::copy(page.path(), to.join(name))?;
        }
    }
    fs::remove_dir_all(from)
}

/// Has what stands on a page stand on another as well, behind what is there. Of a task that is on both
/// the higher number counts, so doing it twice does no harm.
fn join(from: &Path, to: &Path) -> io::Result<()> {
    let mut how = fs::OpenOptions::new();
    how.write(true).create(true).truncate(false).mode(0o600);
    let file = how.open(to)?;
    let end = file.metadata()?.len().next_multiple_of(PLACE as u64);
    file.write_all_at(&fs::read(from)?, end)
}
