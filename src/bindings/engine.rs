//! `Engine` as `oarlock.engine` uses it, on the main thread of an engine's process.

use std::path::PathBuf;
use std::time::Duration;

use pyo3::exceptions::{PyConnectionError, PyKeyboardInterrupt, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use super::buffers;
use super::client::python_version;
use super::fork::Born;
use crate::engine::{Engine, Process, Work};
use crate::wire::{Kind, Status};

/// The engine's side of its session.
#[pyclass(frozen, name = "Engine", module = "oarlock._oarlock")]
pub(crate) struct PyEngine {
    engine: Engine,
    born: Born,
}

impl PyEngine {
    /// A task that forked and came back in the child ends there: the child is no engine.
    fn leave_if_forked(&self) {
        if !self.born.is_here() {
            exit(0);
        }
    }
}

/// A signal may have come for a task that had ended by then; it is not for the next one.
fn swallow_interrupt(py: Python<'_>) -> PyResult<()> {
    match py.check_signals() {
        Err(error) if error.is_instance_of::<PyKeyboardInterrupt>(py) => Ok(()),
        other => other,
    }
}

fn exit(code: i32) -> ! {
    // SAFETY: ends the process at once; nothing of it is used afterwards.
    unsafe { libc::_exit(code) }
}

#[pymethods]
impl PyEngine {
    #[staticmethod]
    #[pyo3(signature = (directory, timeout=10.0))]
    fn connect(py: Python<'_>, directory: PathBuf, timeout: f64) -> PyResult<Self> {
        let patience = Duration::try_from_secs_f64(timeout)
            .map_err(|_| PyValueError::new_err("timeout must be a number of seconds"))?;
        // SAFETY: always succeeds.
        let main = unsafe { libc::pthread_self() };
        let interrupt = move || {
            // SAFETY: the main thread lives as long as the process.
            unsafe { libc::pthread_kill(main, libc::SIGINT) };
        };
        let process = Process { interrupt: Box::new(interrupt), exit };
        let python = python_version(py);
        let engine = py.detach(move || Engine::join(&directory, patience, python, process));
        let born = Born::here();
        Ok(Self {
            born,
            engine: engine.map_err(|error| PyConnectionError::new_err(error.to_string()))?,
        })
    }

    #[getter]
    fn id(&self) -> u32 {
        self.engine.id()
    }

    fn next<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyTuple>>> {
        self.leave_if_forked();
        let work = if let Some(work) = self.engine.try_next() {
            work
        } else {
            let work = py.detach(|| self.engine.next());
            swallow_interrupt(py)?;
            work
        };
        let tuple = match work {
            Work::End => return Ok(None),
            Work::Func(func, body) => {
                ("func", PyBytes::new(py, &func.0), PyBytes::new(py, &body)).into_pyobject(py)?
            }
            Work::Forget(func) => ("forget", PyBytes::new(py, &func.0)).into_pyobject(py)?,
            Work::Task { func, kind, parts } => {
                let kind = match kind {
                    Kind::Apply => 0,
                    Kind::Chunk => 1,
                };
                let parts = buffers::to_python(py, parts)?;
                ("task", PyBytes::new(py, &func.0), kind, parts).into_pyobject(py)?
            }
        };
        Ok(Some(tuple))
    }

    fn done(&self, py: Python<'_>, status: u8, parts: &Bound<'_, PyAny>) -> PyResult<()> {
        self.leave_if_forked();
        let status = match status {
            1 => Status::Ok,
            2 => Status::Error,
            3 => Status::Partial,
            4 => Status::Cancelled,
            _ => return Err(PyValueError::new_err("a task ends OK, ERROR, PARTIAL or CANCELLED")),
        };
        let parts = buffers::parts(parts)?;
        if self.engine.slot().done(status, parts, |message| self.engine.send(message)) {
            swallow_interrupt(py)?;
        }
        if !self.engine.has_room() {
            // The controller takes less than this engine makes. Nothing runs, so an interrupt is
            // for nobody; the end of the session gives room, too.
            py.detach(|| self.engine.wait_room());
            swallow_interrupt(py)?;
        }
        Ok(())
    }

    fn write(&self, stream: u8, text: &str) -> bool {
        self.engine.slot().write(stream, text, |message| self.engine.send(message))
    }

    fn progress(&self, items: u32) {
        self.engine.slot().progress(items);
    }

    fn felt(&self) {
        self.engine.slot().felt();
    }

    fn cancelled(&self) -> bool {
        self.engine.slot().cancelled()
    }

    fn close(&self, py: Python<'_>) {
        py.detach(|| self.engine.leave());
    }
}
