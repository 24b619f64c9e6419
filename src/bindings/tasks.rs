//! `Tasks` as Python sees them.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use pyo3::exceptions::{PyIndexError, PyRuntimeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyDict, PyList};

use super::fork::Born;
use super::{buffers, plain, wait};
use crate::client::batch::State;
use crate::client::{Core, Tasks, Until};
use crate::clock::wall_clock;
use crate::wire::{Loss, SessionId, Stamp};

/// Tasks of one submission, or of several joined: their states, stamps and results.
#[pyclass(frozen, name = "Tasks", module = "oarlock._oarlock")]
pub(crate) struct PyTasks {
    tasks: Tasks,
    /// The client they belong to; none for the empty set.
    core: Option<Arc<Core>>,
    born: Born,
}

/// `<32 hex digits of the session>_<number>`.
pub(crate) fn msg_id((session, seq): (SessionId, u64)) -> String {
    format!("{session}_{seq}")
}

/// Reads what `msg_id` writes.
pub(crate) fn parse_msg_id(text: &str) -> PyResult<(SessionId, u64)> {
    text.split_once('_')
        .and_then(|(session, seq)| Some((SessionId::parse(session)?, seq.parse().ok()?)))
        .ok_or_else(|| PyValueError::new_err(format!("{text:?} is no msg_id")))
}

fn datetime(stamp: Stamp) -> Option<DateTime<Utc>> {
    (stamp != 0).then(|| DateTime::from_timestamp_nanos(stamp))
}

fn seconds(nanoseconds: Stamp) -> f64 {
    nanoseconds as f64 / 1e9
}

impl PyTasks {
    pub(crate) fn new(tasks: Tasks, core: Option<Arc<Core>>) -> Self {
        Self { tasks, core, born: Born::here() }
    }

    /// As an object that the garbage collector does not go through. It refers to no other, so there
    /// is nothing to find, and a user may hold a hundred thousand.
    pub(crate) fn into_object(self, py: Python<'_>) -> PyResult<Py<Self>> {
        let object = Py::new(py, self)?;
        // SAFETY: a valid object of a type with a garbage collector's head, and the GIL is held;
        // its deallocation untracks it, which is no error for one that is not tracked.
        unsafe { ffi::PyObject_GC_UnTrack(object.as_ptr().cast()) };
        Ok(object)
    }

    fn with(&self, tasks: Tasks) -> Self {
        Self { tasks, core: self.core.clone(), born: self.born }
    }

    /// The tasks, unless this is a forked child, where their locks may be held for ever.
    pub(crate) fn here(&self, py: Python<'_>) -> PyResult<&Tasks> {
        self.born.check(py)?;
        Ok(&self.tasks)
    }

    fn check(&self, py: Python<'_>, index: usize) -> PyResult<()> {
        self.born.check(py)?;
        if index < self.tasks.len() {
            return Ok(());
        }
        let len = self.tasks.len();
        Err(PyIndexError::new_err(format!("task {index} of {len}")))
    }

    fn wait_until(&self, py: Python<'_>, until: Until, timeout: Option<f64>) -> PyResult<bool> {
        self.born.check(py)?;
        let waiting = self.tasks.wait(until);
        match &self.core {
            Some(core) => {
                wait::wait_for(py, core, timeout, |deadline| waiting.leading(deadline, core))
            }
            None => wait::wait(py, timeout, |deadline| waiting.until(deadline)),
        }
    }

    /// Text of an outcome that is neither value nor exception.
    fn text(&self, index: usize) -> String {
        self.tasks.record(index, |record| {
            let part = record.parts.and_then(|parts| parts.first());
            part.map_or_else(String::new, |text| String::from_utf8_lossy(text).into_owned())
        })
    }
}

#[pymethods]
impl PyTasks {
    fn __len__(&self) -> usize {
        self.tasks.len()
    }

    fn pick(&self, py: Python<'_>, indexes: Vec<usize>) -> PyResult<Self> {
        indexes.iter().try_for_each(|index| self.check(py, *index))?;
        Ok(self.with(self.tasks.pick(indexes)))
    }

    #[staticmethod]
    fn join(tasks: Vec<PyRef<'_, Self>>) -> Self {
        let joined = Tasks::join(tasks.iter().map(|set| &set.tasks));
        // The empty set belongs to no client.
        let core = tasks.iter().find_map(|set| set.core.clone());
        Self::new(joined.unwrap_or_else(Tasks::none), core)
    }

    #[getter]
    fn first(&self) -> Option<u64> {
        self.tasks.first()
    }

    fn msg_ids(&self) -> Vec<String> {
        // The empty set belongs to no client.
        let ids = self.core.as_ref().map(|core| self.tasks.ids(core.session));
        ids.into_iter().flatten().map(msg_id).collect()
    }

    // --- state

    fn done_count(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(self.here(py)?.done())
    }

    fn ready(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.here(py)?.ready())
    }

    fn status(&self, py: Python<'_>, index: usize) -> PyResult<u8> {
        self.check(py, index)?;
        Ok(self.tasks.record(index, |record| record.state as u8))
    }

    fn done_from(&self, py: Python<'_>, start: usize, limit: usize) -> PyResult<usize> {
        Ok(self.here(py)?.done_from(start, limit))
    }

    fn statuses<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let mut states = Vec::with_capacity(self.tasks.len());
        self.here(py)?.for_each(|record| states.push(record.state as u8));
        Ok(PyBytes::new(py, &states))
    }

    fn has_failed(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.here(py)?.failed())
    }

    fn items(&self) -> u64 {
        self.tasks.items_total()
    }

    fn items_done(&self, py: Python<'_>) -> PyResult<u64> {
        Ok(self.here(py)?.items_done())
    }

    fn item_counts(&self) -> Option<Vec<u32>> {
        self.tasks.items()
    }

    fn completion_order(&self, py: Python<'_>) -> PyResult<Vec<usize>> {
        Ok(self.here(py)?.completion_order())
    }

    fn newly_done(&self, py: Python<'_>, seen: &Bound<'_, PyByteArray>) -> PyResult<Vec<usize>> {
        let tasks = self.here(py)?;
        // SAFETY: while it is used this thread stays attached and runs no Python code, so nobody
        // reads, writes or resizes it.
        Ok(tasks.newly_done(unsafe { seen.as_bytes_mut() }))
    }

    // --- waiting

    #[pyo3(signature = (timeout=None))]
    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        self.wait_until(py, Until::All, timeout)
    }

    #[pyo3(signature = (index, timeout=None))]
    fn wait_task(&self, py: Python<'_>, index: usize, timeout: Option<f64>) -> PyResult<bool> {
        self.check(py, index)?;
        self.wait_until(py, Until::Task(index), timeout)
    }

    #[pyo3(signature = (count, timeout=None))]
    fn wait_count(&self, py: Python<'_>, count: usize, timeout: Option<f64>) -> PyResult<bool> {
        self.wait_until(py, Until::Count(count), timeout)
    }

    #[pyo3(signature = (timeout=None))]
    fn wait_failed(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        self.wait_until(py, Until::Failure, timeout)
    }

    #[pyo3(signature = (token, index=None, count=None))]
    fn notify(
        &self,
        py: Python<'_>,
        token: u64,
        index: Option<usize>,
        count: Option<usize>,
    ) -> PyResult<()> {
        self.born.check(py)?;
        let until = match (index, count) {
            (Some(index), _) => {
                self.check(py, index)?;
                Until::Task(index)
            }
            (None, Some(count)) => Until::Count(count),
            (None, None) => Until::All,
        };
        // The empty set is ready from the start, and belongs to nobody who could be told.
        if let Some(core) = &self.core {
            core.notify(&self.tasks, until, token);
        }
        Ok(())
    }

    // --- outcome

    fn parts<'py>(&self, py: Python<'py>, index: usize) -> PyResult<Option<Bound<'py, PyList>>> {
        self.check(py, index)?;
        let parts = self.tasks.record(index, |record| record.parts.cloned());
        parts.map(|parts| buffers::to_python(py, parts)).transpose()
    }

    /// The values are made after the records were left: a lock held while Python objects are made
    /// could be wanted by what their making has the garbage collector run.
    fn values<'py>(
        &self,
        py: Python<'py>,
        indexes: Vec<usize>,
        otherwise: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyList>> {
        self.born.check(py)?;
        indexes.iter().try_for_each(|index| self.check(py, *index))?;
        let pickles = self.tasks.values(&indexes);
        let value = |pickle: Option<Bytes>| {
            let value = pickle.and_then(|pickle| plain::decode(py, &pickle));
            value.unwrap_or_else(|| otherwise.clone())
        };
        PyList::new(py, pickles.into_iter().map(value))
    }

    /// As `values`, of the first task.
    fn value<'py>(
        &self,
        py: Python<'py>,
        otherwise: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.check(py, 0)?;
        let value = self.tasks.value(0).and_then(|pickle| plain::decode(py, &pickle));
        Ok(value.unwrap_or_else(|| otherwise.clone()))
    }

    #[pyo3(signature = (indexes=None))]
    fn release(&self, py: Python<'_>, indexes: Option<Vec<usize>>) -> PyResult<()> {
        let tasks = self.here(py)?;
        indexes.iter().flatten().try_for_each(|index| self.check(py, *index))?;
        tasks.release(indexes.as_deref());
        Ok(())
    }

    fn loss<'py>(&self, py: Python<'py>, index: usize) -> PyResult<Bound<'py, PyDict>> {
        self.check(py, index)?;
        let encoded = self.tasks.record(index, |record| {
            record.parts.and_then(|parts| parts.first().cloned()).unwrap_or_default()
        });
        let loss: Loss = rmp_serde::from_slice(&encoded).unwrap_or_default();
        let dict = PyDict::new(py);
        dict.set_item("engine", loss.engine)?;
        dict.set_item("pid", loss.pid)?;
        dict.set_item("host", loss.host)?;
        dict.set_item("cause", loss.cause)?;
        dict.set_item("started", loss.started)?;
        dict.set_item("unknown", loss.unknown)?;
        dict.set_item("attempt", loss.attempt)?;
        dict.set_item("ran_for", loss.ran_for)?;
        dict.set_item("output", loss.output)?;
        Ok(dict)
    }

    fn refusal(&self, py: Python<'_>, index: usize) -> PyResult<String> {
        self.check(py, index)?;
        Ok(self.text(index))
    }

    fn engine(&self, py: Python<'_>, index: usize) -> PyResult<Option<u32>> {
        self.check(py, index)?;
        Ok(self.tasks.record(index, |record| record.engine.map(|engine| engine.0)))
    }

    fn engines(&self, py: Python<'_>) -> PyResult<Vec<Option<u32>>> {
        let mut engines = Vec::with_capacity(self.tasks.len());
        self.here(py)?.for_each(|record| engines.push(record.engine.map(|engine| engine.0)));
        Ok(engines)
    }

    fn output(&self, py: Python<'_>, index: usize, stream: u8) -> PyResult<String> {
        self.check(py, index)?;
        Ok(self.tasks.written(index, stream))
    }

    fn output_version(&self, py: Python<'_>) -> PyResult<u64> {
        Ok(self.here(py)?.written_version())
    }

    // --- stamps

    #[allow(clippy::type_complexity, reason = "four stamps, as Python gets them")]
    fn stamps(
        &self,
        py: Python<'_>,
        index: usize,
    ) -> PyResult<(
        Option<DateTime<Utc>>,
        Option<DateTime<Utc>>,
        Option<DateTime<Utc>>,
        Option<DateTime<Utc>>,
    )> {
        self.check(py, index)?;
        let submitted = self.tasks.submitted(index);
        let (started, completed, received) =
            self.tasks.record(index, |record| (record.started, record.completed, record.received));
        Ok((datetime(submitted), datetime(started), datetime(completed), datetime(received)))
    }

    fn engine_session(&self, py: Python<'_>, index: usize) -> PyResult<Option<String>> {
        self.check(py, index)?;
        let Some(engine) = self.tasks.record(index, |record| record.engine) else {
            return Ok(None);
        };
        let session = self.core.as_ref().and_then(|core| core.engine_session(engine));
        Ok(session.map(|session| session.to_string()))
    }

    fn elapsed(&self, py: Python<'_>) -> PyResult<f64> {
        let tasks = self.here(py)?;
        if tasks.is_empty() {
            return Ok(0.0);
        }
        let (first, last) = tasks.span();
        Ok(seconds(if last == 0 { wall_clock() } else { last } - first))
    }

    fn wall_time(&self, py: Python<'_>) -> PyResult<f64> {
        if !self.here(py)?.ready() {
            return Err(PyRuntimeError::new_err("not all tasks are done"));
        }
        self.elapsed(py)
    }

    fn serial_time(&self, py: Python<'_>) -> PyResult<f64> {
        let mut sum = 0;
        self.here(py)?.for_each(|record| {
            if record.state != State::Pending && record.started != 0 && record.completed != 0 {
                sum += record.completed - record.started;
            }
        });
        Ok(seconds(sum))
    }
}

/// Parts given for tasks that could not be made, by index.
pub(crate) fn failed(
    failed: Option<&Bound<'_, PyDict>>,
) -> PyResult<HashMap<usize, crate::wire::Parts>> {
    let Some(failed) = failed else { return Ok(HashMap::new()) };
    failed.iter().map(|(index, parts)| Ok((index.extract()?, buffers::parts(&parts)?))).collect()
}
