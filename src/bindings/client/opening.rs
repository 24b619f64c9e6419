//! How a client begins and ends: with a controller of its own, or with one that is there.

use std::mem::ManuallyDrop;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use pyo3::exceptions::PyConnectionError;
use pyo3::prelude::*;

use super::{Controller, PyClient};
use crate::bindings::arguments::{care, duration, python_version};
use crate::bindings::fork::Born;
use crate::bindings::wait;
use crate::client::Core;
use crate::client::remote::{Address, Remote};
use crate::clock::wall_clock;
use crate::controller::Embedded;

/// Bytes of arguments in flight before submitting waits: a quarter of the memory, at most 1 GiB.
fn bound() -> u64 {
    let info = rustix::system::sysinfo();
    let total = info.totalram * u64::from(info.mem_unit.max(1));
    (total / 4).min(1 << 30)
}

impl PyClient {
    /// Embeds a controller in this process.
    pub(super) fn embedding(
        py: Python<'_>,
        directory: PathBuf,
        restart: bool,
        patience: Option<(f64, f64)>,
    ) -> PyResult<Self> {
        let policy = care(restart, patience)?;
        let python = python_version(py);
        let place = directory.clone();
        let embedded = py.detach(move || Embedded::start(&place, python, bound(), policy));
        let embedded = embedded?;
        let core = embedded.core.clone();
        Ok(Self::new(core, Controller::Embedded(embedded), directory))
    }

    /// Connects to a controller that runs already.
    pub(super) fn connecting(
        py: Python<'_>,
        directory: PathBuf,
        timeout: f64,
        lease: Option<f64>,
        reconnect: Option<f64>,
    ) -> PyResult<Self> {
        let python = python_version(py);
        let patience = duration("timeout", timeout)?;
        let lease = lease.map(|lease| duration("lease", lease)).transpose()?;
        let lease = lease.unwrap_or(Duration::MAX);
        let reconnect = reconnect.map(|time| duration("reconnect", time)).transpose()?;
        let address = Address { directory: directory.clone(), python, lease, reconnect };
        // In a thread of its own, so that this one can look for signals. If it is interrupted,
        // what comes of the attempt is dropped, which closes it.
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        std::thread::spawn(move || {
            let _ = sender.send(Remote::connect(address, patience, bound()));
        });
        let receiver = Mutex::new(receiver);
        let mut connected = None;
        wait::wait(py, None, |until| {
            let left = until.saturating_duration_since(Instant::now());
            connected = receiver.lock().recv_timeout(left).ok();
            connected.is_some()
        })?;
        let remote = connected
            .expect("the wait ends when there is an answer")
            .map_err(|error| PyConnectionError::new_err(error.to_string()))?;
        let core = remote.core.clone();
        let client = Self::new(core, Controller::Remote(remote), directory);
        // The controller's first message tells the engines; a client starts knowing them.
        let told = wait::wait(py, Some(timeout), |until| {
            client.core.wait_engines(until, |_, version| version > 0)
                || client.core.gone().is_some()
        })?;
        client.check(py)?;
        if told {
            return Ok(client);
        }
        let text = format!("the controller in {} says nothing", client.directory.display());
        Err(PyConnectionError::new_err(text))
    }

    /// Ends the session, once.
    pub(super) fn end(&self, py: Python<'_>) {
        if !self.born.is_here() || std::mem::replace(&mut *self.closed.lock(), true) {
            return;
        }
        py.detach(|| {
            self.core.end_session("the client was closed", wall_clock());
            match &*self.controller {
                Controller::Embedded(embedded) => embedded.stop(),
                Controller::Remote(remote) => remote.close(),
            }
        });
    }

    fn new(core: Arc<Core>, controller: Controller, directory: PathBuf) -> Self {
        let controller = ManuallyDrop::new(controller);
        let closed = Mutex::new(false);
        Self { core, controller, directory, born: Born::here(), closed }
    }
}

impl Drop for PyClient {
    fn drop(&mut self) {
        // In a forked child the threads of the parent do not exist and its locks may be held.
        if self.born.is_here() {
            // SAFETY: taken here and nowhere else.
            let controller = unsafe { ManuallyDrop::take(&mut self.controller) };
            // Ending it takes time in which other threads may run, if there still are any.
            let mut controller = Some(controller);
            Python::try_attach(|py| py.detach(|| drop(controller.take())));
        }
    }
}
