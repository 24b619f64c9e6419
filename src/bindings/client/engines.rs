//! Waits for engines, and the start of their processes.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use super::{Controller, PyClient};
use crate::bindings::fork::Born;
use crate::bindings::wait;
use crate::controller::Recipe;

/// The process that made the runtime for awaited calls; there is one for the process's life.
static ASIDE: OnceLock<Born> = OnceLock::new();

impl PyClient {
    /// Waits until `enough` says so of the number of engines and the version of their list.
    pub(super) fn wait_until(
        &self,
        py: Python<'_>,
        timeout: Option<f64>,
        enough: impl Fn(usize, u64) -> bool + Send + Sync,
    ) -> PyResult<bool> {
        self.check(py)?;
        let arrived = wait::wait(py, timeout, |until| {
            self.core.wait_engines(until, &enough) || self.core.gone().is_some()
        })?;
        self.check(py)?;
        Ok(arrived)
    }

    /// An awaitable that waits for `n` engines.
    pub(super) fn awaiting_engines<'py>(
        slf: &Bound<'py, Self>,
        n: usize,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (py, this) = (slf.py(), slf.get());
        this.check(py)?;
        if !ASIDE.get_or_init(Born::here).is_here() {
            // The runtime for such calls was made before a fork and has no threads here.
            let wait = slf.getattr("wait_engines")?;
            return py.import("asyncio")?.call_method1("to_thread", (wait, n, timeout));
        }
        let deadline = wait::deadline(timeout)?;
        let core = this.core.clone();
        pyo3_async_runtimes::tokio::future_into_py(py, async move {
            let far = || Instant::now() + Duration::from_secs(3600);
            let waiting = tokio::task::spawn_blocking(move || {
                loop {
                    let until = deadline.unwrap_or_else(far);
                    if core.wait_engines(until, |count, _| count >= n) {
                        return true;
                    }
                    if core.gone().is_some() || deadline.is_some_and(|d| Instant::now() >= d) {
                        return false;
                    }
                }
            });
            waiting.await.map_err(|error| PyRuntimeError::new_err(error.to_string()))
        })
    }

    /// Has the embedded controller start engines.
    pub(super) fn start_engines(
        &self,
        py: Python<'_>,
        recipe: Recipe,
        count: usize,
    ) -> PyResult<Vec<u32>> {
        self.check(py)?;
        let Controller::Embedded(embedded) = &*self.controller else {
            let text = "only an embedded controller starts engines for its client";
            return Err(PyRuntimeError::new_err(text));
        };
        py.detach(|| embedded.spawn(recipe, count)).map_err(Into::into)
    }
}
