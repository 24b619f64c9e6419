//! A controller inside its user's process: one I/O thread for it and its client.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::run::{Handle, Shell};
use super::spawn::{Recipe, kill};
use crate::client::{Core, Lifetime};
use crate::transport::{self, Drive, place};

/// See the head of this file.
pub struct Embedded {
    /// The client of this process.
    pub core: Arc<Core>,
    handle: Handle,
    directory: PathBuf,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

impl Embedded {
    /// Opens a cluster in `directory`; `python` is the version of the interpreter, `bound` the
    /// bytes of arguments its client may have in flight.
    pub fn start(directory: &Path, python: String, bound: u64) -> io::Result<Self> {
        let runtime = transport::runtime()?;
        let mut shell = {
            let _inside = runtime.enter();
            Shell::open(directory, python, true)?
        };
        let core = shell.embed(bound);
        let handle = shell.handle();
        let inbox = shell.inbox();
        let drive = Drive::new(runtime, move || inbox.poke());
        core.driven_by(drive.clone());
        let lifetime = Lifetime(core.clone());
        let thread = drive.start(async move {
            let _lifetime = lifetime;
            shell.run().await;
        });
        let thread = Mutex::new(Some(thread?));
        Ok(Self { core, handle, directory: directory.to_owned(), thread })
    }

    /// Starts `count` engine processes; their ids.
    pub fn spawn(&self, recipe: &Recipe, count: usize) -> io::Result<Vec<u32>> {
        spawn(&self.handle, recipe, count)
    }

    /// Why processes ended before they joined.
    pub fn failures(&self) -> Vec<String> {
        self.handle.outlook.failures()
    }

    /// Ends the engines, the controller and its thread. Idempotent.
    pub fn stop(&self) {
        let thread = self.thread.lock().take();
        if let Some(thread) = thread {
            if let Some(drive) = self.core.drive() {
                drive.need();
            }
            self.handle.stop();
            let _ = thread.join();
            place::clear(&self.directory);
        }
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Starts `count` engine processes of the controller behind `handle`; their ids.
pub(super) fn spawn(handle: &Handle, recipe: &Recipe, count: usize) -> io::Result<Vec<u32>> {
    let mut pids = Vec::with_capacity(count);
    for _ in 0..count {
        match recipe.start() {
            Ok(started) => {
                pids.push(started.pid());
                handle.watch(started);
            }
            Err(error) => {
                // All or none.
                for pid in pids {
                    kill(pid);
                }
                return Err(error);
            }
        }
    }
    Ok(pids)
}
