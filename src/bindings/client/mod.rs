//! `Client` as Python sees it: a session with a controller, embedded or elsewhere.
//!
//! Here is what Python may call; what takes more than a few lines is done in the files beside.

mod engines;
mod opening;
mod questions;
mod submitting;

use std::collections::HashMap;
use std::mem::ManuallyDrop;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::arguments::{among, func_id, milliseconds};
use super::fork::Born;
use super::log::PyLog;
use super::tasks::{PyTasks, msg_id, parse_msg_id};
use super::{errors, wait};
use crate::client::Core;
use crate::client::remote::Remote;
use crate::clock::wall_clock;
use crate::controller::{Embedded, Recipe};
use crate::wire::{EngineId, SessionId};

enum Controller {
    Embedded(Embedded),
    Remote(Remote),
}

/// One session with a controller; its I/O runs in a thread that never takes the GIL.
#[pyclass(frozen, name = "Client", module = "oarlock._oarlock")]
pub(crate) struct PyClient {
    core: Arc<Core>,
    controller: ManuallyDrop<Controller>,
    directory: PathBuf,
    born: Born,
    closed: Mutex<bool>,
}

impl PyClient {
    /// Every entry: this process made the client, and it is still open.
    fn check(&self, py: Python<'_>) -> PyResult<()> {
        self.born.check(py)?;
        if *self.closed.lock() {
            return Err(errors::named(py, "ClosedClient", "this client was closed"));
        }
        match self.core.gone() {
            None => Ok(()),
            Some(why) => Err(errors::named(py, "ControllerLost", why)),
        }
    }

    /// Those of the ids that are of this session.
    fn own(&self, msg_ids: &[String]) -> PyResult<Vec<(SessionId, u64)>> {
        let ids = msg_ids.iter().map(|id| parse_msg_id(id)).collect::<PyResult<Vec<_>>>()?;
        Ok(ids.into_iter().filter(|(session, _)| *session == self.core.session).collect())
    }
}

#[pymethods]
impl PyClient {
    #[staticmethod]
    #[pyo3(signature = (directory, restart=false, patience=None))]
    fn embed(
        py: Python<'_>,
        directory: PathBuf,
        restart: bool,
        patience: Option<(f64, f64)>,
    ) -> PyResult<Self> {
        Self::embedding(py, directory, restart, patience)
    }

    #[staticmethod]
    #[pyo3(signature = (directory, timeout=10.0, lease=None, reconnect=None))]
    fn connect(
        py: Python<'_>,
        directory: PathBuf,
        timeout: f64,
        lease: Option<f64>,
        reconnect: Option<f64>,
    ) -> PyResult<Self> {
        Self::connecting(py, directory, timeout, lease, reconnect)
    }

    #[getter]
    fn session(&self) -> String {
        self.core.session.to_string()
    }

    #[getter]
    fn directory(&self) -> std::ffi::OsString {
        self.directory.clone().into_os_string()
    }

    #[getter]
    fn embedded(&self) -> bool {
        matches!(*self.controller, Controller::Embedded(_))
    }

    #[getter]
    fn controller_pid(&self) -> u32 {
        match &*self.controller {
            Controller::Embedded(_) => std::process::id(),
            Controller::Remote(remote) => remote.controller_pid(),
        }
    }

    #[getter]
    fn away(&self) -> bool {
        self.core.is_away() && self.core.gone().is_none()
    }

    #[getter]
    fn closed(&self) -> bool {
        *self.closed.lock() || self.core.gone().is_some()
    }

    // --- engines

    fn engines(&self, py: Python<'_>) -> PyResult<Vec<(u32, String, u32, String)>> {
        self.born.check(py)?;
        let engines = self.core.engines().into_iter();
        Ok(engines.map(|e| (e.id.0, e.session.to_string(), e.pid, e.host)).collect())
    }

    fn engine_ids(&self, py: Python<'_>) -> PyResult<Vec<u32>> {
        self.born.check(py)?;
        Ok(self.core.engine_ids())
    }

    fn engines_version(&self, py: Python<'_>) -> PyResult<u64> {
        self.born.check(py)?;
        Ok(self.core.engines_version())
    }

    #[pyo3(signature = (n, timeout=None))]
    fn wait_engines(&self, py: Python<'_>, n: usize, timeout: Option<f64>) -> PyResult<bool> {
        self.wait_until(py, timeout, |count, _| count >= n)
    }

    #[pyo3(signature = (version, timeout=None))]
    fn wait_engines_change(
        &self,
        py: Python<'_>,
        version: u64,
        timeout: Option<f64>,
    ) -> PyResult<bool> {
        self.wait_until(py, timeout, |_, now| now != version)
    }

    #[pyo3(signature = (n, timeout=None))]
    fn wait_engines_async<'py>(
        slf: &Bound<'py, Self>,
        n: usize,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, PyAny>> {
        Self::awaiting_engines(slf, n, timeout)
    }

    fn spawn(
        &self,
        py: Python<'_>,
        argv: Vec<String>,
        count: usize,
        env: HashMap<String, String>,
        log_directory: PathBuf,
    ) -> PyResult<Vec<u32>> {
        self.start_engines(py, Recipe { argv, env, log_directory }, count)
    }

    fn seats(&self, py: Python<'_>, seats: Vec<u32>) -> PyResult<Vec<(Option<u32>, bool)>> {
        self.born.check(py)?;
        Ok(match &*self.controller {
            Controller::Embedded(embedded) => embedded.seats(&seats),
            Controller::Remote(_) => Vec::new(),
        })
    }

    fn retire(&self, py: Python<'_>, seats: Vec<u32>) -> PyResult<()> {
        self.born.check(py)?;
        if let Controller::Embedded(embedded) = &*self.controller {
            embedded.retire(&seats);
        }
        Ok(())
    }

    fn spawned_failures(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        self.born.check(py)?;
        Ok(match &*self.controller {
            Controller::Embedded(embedded) => embedded.failures(),
            Controller::Remote(_) => Vec::new(),
        })
    }

    // --- submission

    fn pin_function(&self, py: Python<'_>, func: &[u8], body: &[u8]) -> PyResult<()> {
        self.check(py)?;
        self.core.pin_function(func_id(func)?, body).map_err(PyValueError::new_err)
    }

    fn unpin_function(&self, func: &[u8]) -> PyResult<()> {
        if self.born.is_here() {
            self.core.unpin_function(func_id(func)?);
        }
        Ok(())
    }

    #[pyo3(signature = (func, kind, tasks, targets=None, items=None, failed=None, rules=None))]
    #[allow(clippy::too_many_arguments, reason = "Python calls it with keywords")]
    fn submit(
        &self,
        py: Python<'_>,
        func: &[u8],
        kind: u8,
        tasks: &Bound<'_, PyAny>,
        targets: Option<Vec<u32>>,
        items: Option<Vec<u32>>,
        failed: Option<&Bound<'_, PyDict>>,
        rules: Option<(u16, f64, bool)>,
    ) -> PyResult<PyTasks> {
        let what = self.submission(py, func, kind, tasks, items, failed, rules)?;
        let target = among(targets);
        Ok(self.tasks(self.moving(py, |core| core.submit(what, target, wall_clock()))))
    }

    fn submit_call(
        &self,
        py: Python<'_>,
        func: &[u8],
        body: &[u8],
        args: &Bound<'_, PyTuple>,
        targets: Option<Vec<u32>>,
        log: &PyLog,
    ) -> PyResult<Option<Py<PyTasks>>> {
        self.submit_plain(py, func, body, args, targets, log)
    }

    #[pyo3(signature = (func, kind, engines, parts, rules=None))]
    fn submit_direct(
        &self,
        py: Python<'_>,
        func: &[u8],
        kind: u8,
        engines: Vec<u32>,
        parts: &Bound<'_, PyAny>,
        rules: Option<(u16, f64, bool)>,
    ) -> PyResult<PyTasks> {
        self.submit_same(py, func, kind, engines, parts, rules)
    }

    #[pyo3(signature = (func, kind, engines, tasks, items=None, failed=None, rules=None))]
    #[allow(clippy::too_many_arguments, reason = "Python calls it with keywords")]
    fn submit_each(
        &self,
        py: Python<'_>,
        func: &[u8],
        kind: u8,
        engines: Vec<u32>,
        tasks: &Bound<'_, PyAny>,
        items: Option<Vec<u32>>,
        failed: Option<&Bound<'_, PyDict>>,
        rules: Option<(u16, f64, bool)>,
    ) -> PyResult<PyTasks> {
        let what = self.submission(py, func, kind, tasks, items, failed, rules)?;
        if engines.len() != what.tasks.len() {
            return Err(PyValueError::new_err("there must be one engine for each task"));
        }
        let engines: Vec<_> = engines.into_iter().map(EngineId).collect();
        Ok(self.tasks(self.moving(py, |core| core.submit_each(what, &engines, wall_clock()))))
    }

    #[pyo3(signature = (tasks, force=None))]
    fn cancel(&self, py: Python<'_>, tasks: &PyTasks, force: Option<f64>) -> PyResult<()> {
        self.check(py)?;
        let force = force.map(milliseconds).transpose()?;
        let tasks = tasks.here(py)?;
        py.detach(|| self.core.cancel(tasks, force));
        Ok(())
    }

    // --- tasks known here or elsewhere

    fn known(&self, py: Python<'_>, msg_id: &str) -> PyResult<Option<PyTasks>> {
        self.born.check(py)?;
        let (session, seq) = parse_msg_id(msg_id)?;
        if session != self.core.session {
            return Ok(None);
        }
        Ok(self.core.known(seq).map(|tasks| self.tasks(tasks)))
    }

    fn known_ids(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        self.born.check(py)?;
        let known = self.core.all_known();
        Ok(known
            .iter()
            .flat_map(|tasks| tasks.ids(self.core.session).map(msg_id).collect::<Vec<_>>())
            .collect())
    }

    fn submitted_count(&self, py: Python<'_>) -> PyResult<u64> {
        self.born.check(py)?;
        Ok(self.core.submitted())
    }

    fn outstanding(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        self.born.check(py)?;
        let session = self.core.session;
        Ok(self.core.outstanding().into_iter().map(|seq| msg_id((session, seq))).collect())
    }

    #[pyo3(signature = (timeout=None))]
    fn wait_idle(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        self.born.check(py)?;
        wait::wait_for(py, &self.core, timeout, |until| self.core.wait_idle(until))
    }

    fn watch(&self, py: Python<'_>, msg_ids: Vec<String>) -> PyResult<PyTasks> {
        self.check(py)?;
        let ids = msg_ids.iter().map(|id| parse_msg_id(id)).collect::<PyResult<Vec<_>>>()?;
        Ok(self.tasks(self.moving(py, |core| core.watch(ids, wall_clock()))))
    }

    #[pyo3(signature = (msg_ids))]
    fn purge_local(&self, py: Python<'_>, msg_ids: Option<Vec<String>>) -> PyResult<()> {
        self.born.check(py)?;
        let Some(msg_ids) = msg_ids else {
            self.core.purge(None);
            return Ok(());
        };
        let mine = self.own(&msg_ids)?.into_iter().map(|(_, seq)| seq).collect::<Vec<_>>();
        self.core.purge(Some(&mine));
        Ok(())
    }

    #[pyo3(signature = (kind, argument=None, timeout=None))]
    fn request<'py>(
        &self,
        py: Python<'py>,
        kind: &str,
        argument: Option<&Bound<'py, PyAny>>,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.ask(py, kind, argument, timeout)
    }

    fn forget_token(&self, py: Python<'_>, token: u64) -> PyResult<()> {
        self.born.check(py)?;
        self.core.forget_token(token);
        Ok(())
    }

    #[pyo3(signature = (timeout=None))]
    fn next_tokens(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Vec<u64>> {
        self.born.check(py)?;
        let mut tokens = Vec::new();
        wait::wait_aside(py, &self.core, timeout, |until| match self.core.next_tokens(until) {
            Some(some) => {
                tokens = some;
                !tokens.is_empty()
            }
            None => true,
        })?;
        Ok(tokens)
    }

    fn close(&self, py: Python<'_>) {
        self.end(py);
    }
}
