//! A controller that runs alone, for clients in other processes.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinError;

use super::keep::Keeping;
use super::revive::Care;
use super::run::Shell;
use super::spawn::Recipe;
use crate::transport::{self, Gate, Listen, place};

/// Runs a controller in `directory` with `count` engines until a client or a signal stops it, and
/// lets peers in over a network if it is to `listen`. `keeping` says where what it knows survives it,
/// if it does. Gives what could not be written there at the end, if anything could not.
pub fn serve(
    directory: &Path,
    python: String,
    recipe: Recipe,
    count: usize,
    care: Care,
    keeping: Option<&Keeping>,
    listen: Option<&Listen>,
) -> io::Result<Option<String>> {
    let runtime = transport::runtime()?;
    let unwritten = runtime.block_on(async {
        let lost = care.patience.lost;
        let mut shell = Shell::open(directory, python, false, care, keeping)?;
        let recipe = Arc::new(recipe);
        let missing = count.saturating_sub(shell.await_engines(&recipe, lost));
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let gate = match listen {
            Some(listen) => Some(Gate::open(&shell.door, directory, listen, lost).await?),
            None => None,
        };
        let handle = shell.handle();
        let running = tokio::spawn(shell.run());
        let starting = handle.clone();
        let started = tokio::task::spawn_blocking(move || {
            super::embedded::spawn(&starting, &recipe, missing)
        });
        if let Err(error) = started.await.map_err(io::Error::other)? {
            handle.stop_soon().await;
            let _ = running.await;
            return Err(error);
        }
        tokio::pin!(running);
        let ended = tokio::select! {
            ended = &mut running => Some(ended),
            _ = interrupt.recv() => None,
            _ = terminate.recv() => None,
            _ = hangup.recv() => None,
        };
        let unwritten = if let Some(ended) = ended {
            after(ended)
        } else {
            handle.stop_soon().await;
            after(running.await)
        };
        if let Some(gate) = gate {
            gate.close().await;
        }
        io::Result::Ok(unwritten)
    })?;
    runtime.shutdown_timeout(Duration::from_millis(100));
    place::clear(directory);
    Ok(unwritten)
}

/// A controller that failed by a fault of its own is as one that was killed: its place stays for
/// another, and nobody is told that it stopped.
#[expect(clippy::disallowed_methods, reason = "this process is nobody's but the controller's")]
fn after(ended: Result<Option<String>, JoinError>) -> Option<String> {
    match ended {
        Err(error) if error.is_panic() => std::process::abort(),
        ended => ended.ok().flatten(),
    }
}
