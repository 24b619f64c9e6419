//! From what Python submits to tasks in the core.

use bytes::Bytes;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::PyClient;
use crate::bindings::arguments::{among, func_id, kind, rules};
use crate::bindings::log::PyLog;
use crate::bindings::tasks::{PyTasks, failed};
use crate::bindings::{buffers, packed, plain, wait};
use crate::client::{Core, Submission, Tasks};
use crate::clock::wall_clock;
use crate::wire::{EngineId, Parts};

impl PyClient {
    /// Waits until so many more bytes may be in flight.
    fn make_room(&self, py: Python<'_>, bytes: usize) -> PyResult<()> {
        let bytes = bytes as u64;
        if self.core.has_room(bytes) {
            return Ok(());
        }
        wait::wait(py, None, |until| self.core.wait_room(bytes, until))?;
        self.check(py)
    }

    /// Tasks of one function, when there is room for them.
    #[allow(clippy::too_many_arguments, reason = "what Python calls it with")]
    pub(super) fn submission(
        &self,
        py: Python<'_>,
        func: &[u8],
        of_kind: u8,
        tasks: &Bound<'_, PyAny>,
        items: Option<Vec<u32>>,
        not_made: Option<&Bound<'_, PyDict>>,
        rules: Option<(u16, f64, bool)>,
    ) -> PyResult<Submission> {
        self.check(py)?;
        let tasks = packed::tasks(tasks)?;
        if items.as_ref().is_some_and(|items| items.len() != tasks.len()) {
            return Err(PyValueError::new_err("items must have one entry for each task"));
        }
        let bytes = tasks.iter().flatten().map(Bytes::len).sum();
        self.make_room(py, bytes)?;
        let items = items.map(Vec::into_boxed_slice);
        let failed = failed(not_made)?;
        let (func, kind, rules) = (func_id(func)?, kind(of_kind)?, self::rules(rules)?);
        Ok(Submission { func, kind, tasks, items, failed, rules })
    }

    /// Calls what may move the I/O on this thread; without the GIL if it will.
    pub(super) fn moving<T: Send>(
        &self,
        py: Python<'_>,
        call: impl FnOnce(&Core) -> T + Send,
    ) -> T {
        if self.core.is_due() { py.detach(|| call(&self.core)) } else { call(&self.core) }
    }

    /// As Python sees them.
    pub(super) fn tasks(&self, tasks: Tasks) -> PyTasks {
        PyTasks::new(tasks, Some(self.core.clone()))
    }

    /// Submits one call of plain arguments; nothing if they are not plain.
    pub(super) fn submit_plain(
        &self,
        py: Python<'_>,
        func: &[u8],
        body: &[u8],
        args: &Bound<'_, PyTuple>,
        targets: Option<Vec<u32>>,
        log: &PyLog,
    ) -> PyResult<Option<Py<PyTasks>>> {
        self.check(py)?;
        let pickle = if args.is_empty() {
            Bytes::from_static(&plain::CALL_WITHOUT_ARGUMENTS)
        } else {
            // What the allocator gives at least.
            let mut pickle = Vec::with_capacity(24);
            if !plain::encode_call(args, &mut pickle) {
                return Ok(None);
            }
            // Without spare room it is one allocation and not two.
            pickle.shrink_to_fit();
            pickle.into()
        };
        self.make_room(py, pickle.len())?;
        let parts = Parts::from_elem(pickle, 1);
        let (function, target, now) = ((func_id(func)?, body), among(targets), wall_clock());
        let tasks = self.moving(py, |core| core.submit_call(function, parts, target, now));
        let tasks = tasks.map_err(PyValueError::new_err)?;
        log.enter(&tasks);
        self.tasks(tasks).into_object(py).map(Some)
    }

    /// Submits the same call to each of these engines.
    pub(super) fn submit_same(
        &self,
        py: Python<'_>,
        func: &[u8],
        kind: u8,
        engines: Vec<u32>,
        parts: &Bound<'_, PyAny>,
        rules: Option<(u16, f64, bool)>,
    ) -> PyResult<PyTasks> {
        self.check(py)?;
        let parts = buffers::parts(parts)?;
        self.make_room(py, parts.iter().map(Bytes::len).sum())?;
        let engines = engines.into_iter().map(EngineId).collect();
        let (func, kind, now) = (func_id(func)?, self::kind(kind)?, wall_clock());
        let rules = self::rules(rules)?;
        let submit = |core: &Core| core.submit_direct(func, kind, engines, parts, rules, now);
        Ok(self.tasks(self.moving(py, submit)))
    }
}
