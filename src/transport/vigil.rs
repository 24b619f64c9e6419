//! Says until when a cluster with a gate is looked for after its controller was killed.
//!
//! Peers of this host hold a lock in the cluster's directory, so it is known that somebody waits there
//! for another controller. Of those behind the gate nobody here knows. So the controller leaves a file
//! with the length of its lease, whose date it renews as long as it lives: until a lease after that
//! date the directory is no leftover. By the clock on the wall, which outlives a controller; if that
//! jumps while there is none, the directory is swept away too early or too late.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use tokio::task::AbortHandle;
use tokio::time::sleep;

/// The file.
pub(crate) const VIGIL: &str = "followed";
/// The date is renewed so often in a lease, which therefore seems longer by such a part at most.
const RENEWALS: u32 = 4;

/// See the head of this file; ends when dropped, and the file stays.
#[derive(Debug)]
pub(crate) struct Vigil(AbortHandle);

impl Vigil {
    /// Begins in `directory`; none if nobody is to look for another controller.
    pub(crate) fn keep(directory: &Path, lease: Duration) -> io::Result<Option<Self>> {
        if lease.is_zero() {
            return Ok(None);
        }
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(directory.join(VIGIL))?;
        writeln!(file, "{}", lease.as_secs_f64())?;
        Ok(Some(Self(tokio::spawn(renew(file, lease / RENEWALS)).abort_handle())))
    }
}

async fn renew(file: File, pause: Duration) {
    loop {
        sleep(pause).await;
        // A file system that does not let us leaves the directory to be swept.
        let _ = file.set_modified(SystemTime::now());
    }
}

impl Drop for Vigil {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_date_is_renewed_while_the_controller_lives_and_stays_as_it_was_then() {
        let directory = tempfile::tempdir().expect("a directory");
        let date = || {
            let found = std::fs::metadata(directory.path().join(VIGIL)).expect("a file");
            found.modified().expect("a date")
        };
        let vigil = Vigil::keep(directory.path(), Duration::from_secs(40)).expect("it begins");
        let begun = date();
        while date() <= begun {
            sleep(Duration::from_secs(1)).await;
        }
        drop(vigil);
        // An abort takes a turn of the runtime.
        tokio::task::yield_now().await;
        let left = date();
        sleep(Duration::from_secs(50)).await;
        assert_eq!(date(), left);
        assert!(Vigil::keep(directory.path(), Duration::ZERO).expect("nothing to do").is_none());
    }
}
