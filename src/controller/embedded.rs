//! A controller inside its user's process: one I/O thread for it and its client.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::incoming::Handle;
use super::revive::Care;
use super::run::Shell;
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
    pub fn start(directory: &Path, python: String, bound: u64, policy: Care) -> io::Result<Self> {
        let runtime = transport::runtime()?;
        let mut shell = {
            let _inside = runtime.enter();
            Shell::open(directory, python, true, policy, None)?
        };
        let core = shell.embed(bound);
        let handle = shell.handle();
        let inbox = shell.inbox();
        let drive = Drive::new(runtime, move || inbox.poke());
        core.driven_by(drive.clone());
        let lifetime = Lifetime(core.clone());
        let thread = drive.start(async move {
            let _lifetime = lifetime;
            let _ = shell.run().await;
        });
        let thread = Mutex::new(Some(thread?));
        Ok(Self { core, handle, directory: directory.to_owned(), thread })
    }

    /// Starts `count` engine processes; the seats they and their successors have.
    pub fn spawn(&self, recipe: Recipe, count: usize) -> io::Result<Vec<u32>> {
        spawn(&self.handle, &Arc::new(recipe), count)
    }

    /// For each of these seats: the process in it, and whether one ever became an engine.
    pub fn seats(&self, seats: &[u32]) -> Vec<(Option<u32>, bool)> {
        self.handle.seats.look(seats)
    }

    /// When the processes in these seats end, nobody is to follow them.
    pub fn retire(&self, seats: &[u32]) {
        self.handle.seats.retire(seats);
    }

    /// Why processes ended before they joined.
    pub fn failures(&self) -> Vec<String> {
        self.handle.seats.failures()
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

/// Starts `count` engine processes of the controller behind `handle`; their seats.
pub(super) fn spawn(handle: &Handle, recipe: &Arc<Recipe>, count: usize) -> io::Result<Vec<u32>> {
    let (mut seats, mut pids) = (Vec::with_capacity(count), Vec::with_capacity(count));
    for _ in 0..count {
        match recipe.start() {
            Ok(started) => {
                let seat = handle.seats.open(recipe.clone(), started.pid());
                pids.push(started.pid());
                seats.push(seat);
                handle.watch(seat, started);
            }
            Err(error) => {
                // All or none.
                handle.seats.retire(&seats);
                pids.into_iter().for_each(kill);
                return Err(error);
            }
        }
    }
    Ok(seats)
}
