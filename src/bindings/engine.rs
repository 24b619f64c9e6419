//! `Engine` as `oarlock.engine` uses it, on the main thread of an engine's process.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use pyo3::exceptions::{PyConnectionError, PyKeyboardInterrupt};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use super::arguments::{duration, python_version};
use super::buffers;
use super::calls::{self, Calls};
use super::fork::Born;
use crate::engine::{Engine, Process, Work};
use crate::wire::{Kind, Parts, Status};

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

    fn wait(&self, py: Python<'_>) -> PyResult<Work> {
        self.leave_if_forked();
        if let Some(work) = self.engine.try_next() {
            return Ok(work);
        }
        let work = py.detach(|| self.engine.next());
        swallow_interrupt(py)?;
        Ok(work)
    }

    /// Tells the outcome of a task and takes what is to be done next, if there is anything.
    fn turn(&self, py: Python<'_>, status: Status, parts: Parts) -> PyResult<Option<Work>> {
        self.leave_if_forked();
        if !self.engine.has_room() {
            let send = |message| self.engine.send(message);
            if self.engine.slot().done(status, parts, send) {
                swallow_interrupt(py)?;
            }
            self.wait_room(py)?;
            return Ok(self.engine.try_next());
        }
        let (signalled, next) = self.engine.turn(status, parts);
        if signalled {
            swallow_interrupt(py)?;
        }
        Ok(next)
    }

    fn wait_room(&self, py: Python<'_>) -> PyResult<()> {
        if !self.engine.has_room() {
            // The controller takes less than this engine makes. Nothing runs, so an interrupt is
            // for nobody; the end of the session gives room, too.
            py.detach(|| self.engine.wait_room());
            swallow_interrupt(py)?;
        }
        Ok(())
    }
}

/// How long one task after the other is run before other threads may have the interpreter; as long
/// as Python's own switch interval.
const TURN: Duration = Duration::from_millis(5);

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
    #[pyo3(signature = (directory, timeout=10.0, patience=600.0))]
    fn connect(py: Python<'_>, directory: PathBuf, timeout: f64, patience: f64) -> PyResult<Self> {
        let limit = duration("timeout", timeout)?;
        let patience = duration("patience", patience)?;
        // SAFETY: always succeeds.
        let main = unsafe { libc::pthread_self() };
        let interrupt = move || {
            // SAFETY: the main thread lives as long as the process.
            unsafe { libc::pthread_kill(main, libc::SIGINT) };
        };
        let process = Process { interrupt: Box::new(interrupt), exit };
        let python = python_version(py);
        let engine =
            py.detach(move || Engine::join(&directory, (limit, patience), python, process));
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

    /// The next thing that Python has to do; tasks of one call are run here, one after the other.
    #[pyo3(signature = (calls=None))]
    fn next<'py>(
        &self,
        py: Python<'py>,
        calls: Option<&Bound<'py, Calls>>,
    ) -> PyResult<Option<Bound<'py, PyTuple>>> {
        let mut work = self.wait(py)?;
        let mut yielded = Instant::now();
        let tuple = loop {
            match (work, calls) {
                (Work::Task { func, kind: Kind::Apply, parts }, Some(calls)) => {
                    let (status, parts) = calls.get().finish(py, func, parts)?;
                    work = match self.turn(py, status, parts)? {
                        Some(work) => work,
                        None => self.wait(py)?,
                    };
                    // A function written in C never looks whether another thread wants to run.
                    if yielded.elapsed() >= TURN {
                        py.detach(|| ());
                        yielded = Instant::now();
                    }
                }
                (Work::End, _) => return Ok(None),
                (Work::Func(func, body), _) => {
                    break ("func", PyBytes::new(py, &func.0), PyBytes::new(py, &body))
                        .into_pyobject(py)?;
                }
                (Work::Forget(func), _) => {
                    break ("forget", PyBytes::new(py, &func.0)).into_pyobject(py)?;
                }
                (Work::Task { func, kind, parts }, _) => {
                    let kind = match kind {
                        Kind::Apply => 0,
                        Kind::Chunk => 1,
                    };
                    let parts = buffers::to_python(py, parts)?;
                    break ("task", PyBytes::new(py, &func.0), kind, parts).into_pyobject(py)?;
                }
            }
        };
        Ok(Some(tuple))
    }

    fn done(&self, py: Python<'_>, status: u8, parts: &Bound<'_, PyAny>) -> PyResult<()> {
        self.leave_if_forked();
        let (status, parts) = (calls::status(status)?, buffers::parts(parts)?);
        if self.engine.slot().done(status, parts, |message| self.engine.send(message)) {
            swallow_interrupt(py)?;
        }
        self.wait_room(py)
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

    fn attempt(&self) -> u16 {
        self.engine.slot().attempt()
    }

    fn cancelled(&self) -> bool {
        self.engine.slot().cancelled()
    }

    fn close(&self, py: Python<'_>) {
        py.detach(|| self.engine.leave());
    }
}
