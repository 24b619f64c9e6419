//! Runs tasks that call a function once, from the bytes of their arguments to those of the result.
//!
//! Small plain values never leave this file; everything else goes through the Python functions it
//! was given. Whatever user code does, a call ends with exactly one outcome.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use pyo3::exceptions::{PyKeyboardInterrupt, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyTuple};

use super::{buffers, plain};
use crate::wire::{FuncId, Parts, Status};

/// Functions remembered here; beyond it all are asked for anew.
const KNOWN_MAX: usize = 1024;

/// Whether an interrupt may be raised now; the base of `oarlock.engine.interrupt.Gate`.
#[pyclass(frozen, subclass, name = "Switch", module = "oarlock._oarlock")]
#[derive(Default)]
pub(crate) struct Switch {
    open: AtomicBool,
    missed: AtomicBool,
}

#[pymethods]
impl Switch {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    #[getter]
    fn open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    #[setter]
    fn set_open(&self, open: bool) {
        self.open.store(open, Ordering::Relaxed);
    }

    #[getter]
    fn missed(&self) -> bool {
        self.missed.load(Ordering::Relaxed)
    }

    #[setter]
    fn set_missed(&self, missed: bool) {
        self.missed.store(missed, Ordering::Relaxed);
    }
}

/// See the head of this file.
#[pyclass(frozen, name = "Calls", module = "oarlock._oarlock")]
pub(crate) struct Calls {
    gate: Py<Switch>,
    /// `oarlock.engine.task.Runner`.
    runner: Py<PyAny>,
    /// Flushed after each task, where they hold anything back.
    streams: Vec<Py<PyAny>>,
    /// Functions that need nothing done before they are called.
    known: Mutex<HashMap<FuncId, Py<PyAny>>>,
}

/// How a task ended.
pub(crate) type Outcome = (Status, Parts);

#[pymethods]
impl Calls {
    #[new]
    #[pyo3(signature = (gate, runner, streams))]
    fn new(gate: Py<Switch>, runner: Py<PyAny>, streams: Vec<Py<PyAny>>) -> Self {
        Self { gate, runner, streams, known: Mutex::default() }
    }

    /// Runs a task by hand.
    fn run<'py>(
        &self,
        py: Python<'py>,
        func: &[u8],
        parts: &Bound<'py, PyAny>,
    ) -> PyResult<(u8, Bound<'py, PyList>)> {
        let func = func.try_into().map(FuncId);
        let func = func.map_err(|_| PyValueError::new_err("a function's name has 16 bytes"))?;
        let (status, parts) = self.call(py, func, buffers::parts(parts)?)?;
        Ok((number(status), buffers::to_python(py, parts)?))
    }

    /// Flushes what the streams hold back.
    fn flush(&self, py: Python<'_>) -> PyResult<()> {
        for stream in &self.streams {
            let stream = stream.bind(py);
            if stream.getattr(intern!(py, "held"))?.is_truthy()? {
                stream.call_method0(intern!(py, "flush"))?;
            }
        }
        Ok(())
    }

    /// Drops a function that was forgotten or comes anew.
    fn forget(&self, func: &[u8]) {
        if let Ok(func) = func.try_into() {
            let gone = self.known.lock().remove(&FuncId(func));
            drop(gone);
        }
    }
}

fn number(status: Status) -> u8 {
    match status {
        Status::Ok => 1,
        Status::Error => 2,
        Status::Partial => 3,
        Status::Cancelled => 4,
        Status::Lost => 5,
        Status::Refused => 6,
        Status::TimedOut => 8,
        Status::Poison => 9,
        Status::Again => 10,
    }
}

/// The status an outcome may have, by its number in Python.
pub(crate) fn status(number: u8) -> PyResult<Status> {
    match number {
        1 => Ok(Status::Ok),
        2 => Ok(Status::Error),
        3 => Ok(Status::Partial),
        4 => Ok(Status::Cancelled),
        10 => Ok(Status::Again),
        _ => Err(PyValueError::new_err("a task ends OK, ERROR, PARTIAL, CANCELLED or AGAIN")),
    }
}

impl Calls {
    /// Runs a task. Fails only when even the failure cannot be told.
    pub(crate) fn call(&self, py: Python<'_>, func: FuncId, parts: Parts) -> PyResult<Outcome> {
        let gate = self.gate.get();
        // No bytecode runs between a change of the gate and the call that is to see it.
        gate.open.store(true, Ordering::Relaxed);
        let outcome = self.apply(py, func, parts);
        gate.open.store(false, Ordering::Relaxed);
        outcome.or_else(|raised| self.failed(py, raised))
    }

    /// As `call`, and flushes what the task wrote.
    pub(crate) fn finish(&self, py: Python<'_>, func: FuncId, parts: Parts) -> PyResult<Outcome> {
        let flushed = |outcome| self.flush(py).map(|()| outcome);
        let mut outcome = self.call(py, func, parts).and_then(flushed);
        loop {
            match outcome {
                // Only a handler that a user put in place of the gate can raise it here.
                Err(raised) if raised.is_instance_of::<PyKeyboardInterrupt>(py) => {
                    outcome = self.failed(py, raised).and_then(flushed);
                }
                outcome => return outcome,
            }
        }
    }

    fn apply(&self, py: Python<'_>, func: FuncId, parts: Parts) -> PyResult<Outcome> {
        let runner = self.runner.bind(py);
        if self.gate.get().missed.swap(false, Ordering::Relaxed) {
            runner.call_method0(intern!(py, "missed"))?;
        }
        let function = self.function(py, func)?;
        let args = (parts.len() == 1).then(|| plain::decode_call(py, &parts[0])).flatten();
        let value = if let Some(args) = args {
            function.call1(args)?
        } else {
            let parts = buffers::to_python(py, parts)?;
            let call = runner.call_method1(intern!(py, "arguments"), (&parts,))?;
            // Large arguments live as long as the function holds them.
            drop(parts);
            let (args, keywords): (Bound<'_, PyTuple>, Bound<'_, PyDict>) = call.extract()?;
            drop(call);
            function.call(args, Some(&keywords))?
        };
        let mut pickle = Vec::with_capacity(32);
        if plain::encode(&value, &mut pickle) {
            pickle.shrink_to_fit(); // without spare room it is one allocation and not two
            return Ok((Status::Ok, Parts::from_elem(Bytes::from(pickle), 1)));
        }
        let parts = runner.call_method1(intern!(py, "pack"), (value,))?;
        Ok((Status::Ok, buffers::parts(&parts)?))
    }

    fn function<'py>(&self, py: Python<'py>, func: FuncId) -> PyResult<Bound<'py, PyAny>> {
        let known = self.known.lock().get(&func).map(|function| function.clone_ref(py));
        if let Some(function) = known {
            return Ok(function.into_bound(py));
        }
        let name = PyBytes::new(py, &func.0);
        let found = self.runner.bind(py).call_method1(intern!(py, "function"), (name,))?;
        let (function, lasting): (Bound<'py, PyAny>, bool) = found.extract()?;
        if lasting {
            let mut known = self.known.lock();
            let old = (known.len() >= KNOWN_MAX).then(|| std::mem::take(&mut *known));
            known.insert(func, function.clone().unbind());
            drop(known);
            // What goes with them may run code of theirs.
            drop(old);
        }
        Ok(function)
    }

    fn failed(&self, py: Python<'_>, raised: PyErr) -> PyResult<Outcome> {
        let raised = raised.into_value(py);
        let told = self.runner.bind(py).call_method1(intern!(py, "failed"), (raised,))?;
        let (number, parts): (u8, Bound<'_, PyAny>) = told.extract()?;
        Ok((status(number)?, buffers::parts(&parts)?))
    }
}
