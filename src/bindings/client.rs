//! `Client` as Python sees it: a session with a controller, embedded or elsewhere.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use pyo3::exceptions::{PyConnectionError, PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::fork::Born;
use super::log::PyLog;
use super::tasks::{PyTasks, failed, msg_id, parse_msg_id};
use super::{buffers, errors, packed, wait};
use crate::client::remote::{Address, Remote};
use crate::client::{Core, Submission};
use crate::clock::wall_clock;
use crate::controller::{Care, Embedded, Recipe};
use crate::wire::message::runs;
use crate::wire::{EngineId, FuncId, Health, Kind, Reply, Request, Rules, SessionId, Target};

enum Controller {
    Embedded(Embedded),
    Remote(Remote),
}

/// The process that made the runtime for awaited calls; there is one for the process's life.
static ASIDE: OnceLock<Born> = OnceLock::new();

/// One session with a controller; its I/O runs in a thread that never takes the GIL.
#[pyclass(frozen, name = "Client", module = "oarlock._oarlock")]
pub(crate) struct PyClient {
    core: Arc<Core>,
    controller: std::mem::ManuallyDrop<Controller>,
    directory: PathBuf,
    born: Born,
    closed: Mutex<bool>,
}

/// Bytes of arguments in flight before submitting waits: a quarter of the memory, at most 1 GiB.
fn bound() -> u64 {
    let info = rustix::system::sysinfo();
    let total = info.totalram * u64::from(info.mem_unit.max(1));
    (total / 4).min(1 << 30)
}

pub(crate) fn python_version(py: Python<'_>) -> String {
    let version = py.version_info();
    format!("{}.{}", version.major, version.minor)
}

fn func_id(func: &[u8]) -> PyResult<FuncId> {
    let id = func.try_into();
    id.map(FuncId).map_err(|_| PyValueError::new_err("a function's name has 16 bytes"))
}

/// From the policy, and seconds of silence after which an engine is suspect and lost.
pub(crate) fn care(restart: bool, patience: Option<(f64, f64)>) -> PyResult<Care> {
    let Some((suspect, lost)) = patience else { return Ok(Care { restart, ..Care::default() }) };
    let [suspect, lost] = [milliseconds(suspect)?, milliseconds(lost)?]
        .map(|time| Duration::from_millis(u64::from(time)));
    Ok(Care::new(restart, suspect, lost))
}

pub(crate) fn duration(name: &str, seconds: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(seconds)
        .map_err(|_| PyValueError::new_err(format!("{name} must be a number of seconds")))
}

/// Seconds as the wire has them; at least 1 ms, since 0 stands for none.
fn milliseconds(seconds: f64) -> PyResult<u32> {
    let milliseconds = (seconds * 1e3).ceil();
    if (0.0..f64::from(1_u32 << 31)).contains(&milliseconds) {
        return Ok((milliseconds as u32).max(1));
    }
    Err(PyValueError::new_err(format!("{seconds} s is no time from 0 to 24 days")))
}

/// From retries, seconds for one attempt (0 for any time), and whether its engine may be ended.
fn rules(rules: Option<(u16, f64, bool)>) -> PyResult<Rules> {
    let Some((retries, timeout, force)) = rules else { return Ok(Rules::default()) };
    let timeout = if timeout == 0.0 { 0 } else { milliseconds(timeout)? };
    Ok(Rules { retries, timeout, force })
}

fn among(targets: Option<Vec<u32>>) -> Target {
    targets.map_or(Target::Any, |ids| Target::Among(ids.into_iter().map(EngineId).collect()))
}

fn kind(kind: u8) -> PyResult<Kind> {
    match kind {
        0 => Ok(Kind::Apply),
        1 => Ok(Kind::Chunk),
        _ => Err(PyValueError::new_err("kind is APPLY or CHUNK")),
    }
}

impl PyClient {
    fn new(core: Arc<Core>, controller: Controller, directory: PathBuf) -> Self {
        let controller = std::mem::ManuallyDrop::new(controller);
        let closed = Mutex::new(false);
        Self { core, controller, directory, born: Born::here(), closed }
    }

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

    /// Waits until so many more bytes may be in flight.
    fn make_room(&self, py: Python<'_>, bytes: usize) -> PyResult<()> {
        let bytes = bytes as u64;
        if self.core.has_room(bytes) {
            return Ok(());
        }
        wait::wait(py, None, |until| self.core.wait_room(bytes, until))?;
        self.check(py)
    }

    #[allow(clippy::too_many_arguments, reason = "what Python calls it with")]
    fn submission(
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
        let bytes = tasks.iter().flatten().map(bytes::Bytes::len).sum();
        self.make_room(py, bytes)?;
        let items = items.map(Vec::into_boxed_slice);
        let failed = failed(not_made)?;
        let (func, kind, rules) = (func_id(func)?, kind(of_kind)?, self::rules(rules)?);
        Ok(Submission { func, kind, tasks, items, failed, rules })
    }

    /// Calls what may move the I/O on this thread; without the GIL if it will.
    fn moving<T: Send>(&self, py: Python<'_>, call: impl FnOnce(&Core) -> T + Send) -> T {
        if self.core.is_due() { py.detach(|| call(&self.core)) } else { call(&self.core) }
    }

    fn tasks(&self, tasks: crate::client::Tasks) -> PyTasks {
        PyTasks::new(tasks, Some(self.core.clone()))
    }
}

impl Drop for PyClient {
    fn drop(&mut self) {
        // In a forked child the threads of the parent do not exist and its locks may be held.
        if self.born.is_here() {
            // SAFETY: taken here and nowhere else.
            let controller = unsafe { std::mem::ManuallyDrop::take(&mut self.controller) };
            // Ending it takes time in which other threads may run, if there still are any.
            let mut controller = Some(controller);
            Python::try_attach(|py| py.detach(|| drop(controller.take())));
        }
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
        let policy = care(restart, patience)?;
        let python = python_version(py);
        let place = directory.clone();
        let embedded = py.detach(move || Embedded::start(&place, python, bound(), policy));
        let embedded = embedded?;
        let core = embedded.core.clone();
        Ok(Self::new(core, Controller::Embedded(embedded), directory))
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
        self.check(py)?;
        let arrived = wait::wait(py, timeout, |until| {
            self.core.wait_engines(until, |count, _| count >= n) || self.core.gone().is_some()
        })?;
        self.check(py)?;
        Ok(arrived)
    }

    #[pyo3(signature = (version, timeout=None))]
    fn wait_engines_change(
        &self,
        py: Python<'_>,
        version: u64,
        timeout: Option<f64>,
    ) -> PyResult<bool> {
        self.check(py)?;
        let changed = wait::wait(py, timeout, |until| {
            self.core.wait_engines(until, |_, now| now != version) || self.core.gone().is_some()
        })?;
        self.check(py)?;
        Ok(changed)
    }

    #[pyo3(signature = (n, timeout=None))]
    fn wait_engines_async<'py>(
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

    fn spawn(
        &self,
        py: Python<'_>,
        argv: Vec<String>,
        count: usize,
        env: HashMap<String, String>,
        log_directory: PathBuf,
    ) -> PyResult<Vec<u32>> {
        self.check(py)?;
        let Controller::Embedded(embedded) = &*self.controller else {
            let text = "only an embedded controller starts engines for its client";
            return Err(PyRuntimeError::new_err(text));
        };
        let recipe = Recipe { argv, env, log_directory };
        py.detach(|| embedded.spawn(recipe, count)).map_err(Into::into)
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
        self.check(py)?;
        let pickle = if args.is_empty() {
            bytes::Bytes::from_static(&super::plain::CALL_WITHOUT_ARGUMENTS)
        } else {
            // What the allocator gives at least.
            let mut pickle = Vec::with_capacity(24);
            if !super::plain::encode_call(args, &mut pickle) {
                return Ok(None);
            }
            // Without spare room it is one allocation and not two.
            pickle.shrink_to_fit();
            pickle.into()
        };
        self.make_room(py, pickle.len())?;
        let parts = crate::wire::Parts::from_elem(pickle, 1);
        let (function, target, now) = ((func_id(func)?, body), among(targets), wall_clock());
        let tasks = self.moving(py, |core| core.submit_call(function, parts, target, now));
        let tasks = tasks.map_err(PyValueError::new_err)?;
        log.enter(&tasks);
        self.tasks(tasks).into_object(py).map(Some)
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
        self.check(py)?;
        let parts = buffers::parts(parts)?;
        self.make_room(py, parts.iter().map(bytes::Bytes::len).sum())?;
        let engines = engines.into_iter().map(EngineId).collect();
        let (func, kind, now) = (func_id(func)?, self::kind(kind)?, wall_clock());
        let rules = self::rules(rules)?;
        let submit = |core: &Core| core.submit_direct(func, kind, engines, parts, rules, now);
        Ok(self.tasks(self.moving(py, submit)))
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
        self.check(py)?;
        let question = question(kind, argument)?;
        let id = py.detach(|| self.core.ask(question));
        let mut reply = None;
        let waited = wait::wait(py, timeout, |until| {
            reply = self.core.answer(id, until);
            reply.is_some() || self.core.gone().is_some()
        });
        self.core.forget_answer(id);
        let in_time = waited?;
        match reply {
            Some(reply) => answer(py, reply),
            // A controller that was told to stop may be gone before its answer arrives.
            None if kind == "stop" && self.core.gone().is_some() => Ok(py.None().into_bound(py)),
            None if in_time => {
                self.check(py)?;
                Err(PyRuntimeError::new_err("the controller gave no answer"))
            }
            None => {
                let text = format!("the controller did not answer {kind:?} in time");
                Err(errors::named(py, "TimeoutError", text))
            }
        }
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
        wait::wait(py, timeout, |until| match self.core.next_tokens(until) {
            Some(some) => {
                tokens = some;
                !tokens.is_empty()
            }
            None => true,
        })?;
        Ok(tokens)
    }

    fn close(&self, py: Python<'_>) {
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
}

impl PyClient {
    fn own(&self, msg_ids: &[String]) -> PyResult<Vec<(SessionId, u64)>> {
        let ids = msg_ids.iter().map(|id| parse_msg_id(id)).collect::<PyResult<Vec<_>>>()?;
        Ok(ids.into_iter().filter(|(session, _)| *session == self.core.session).collect())
    }
}

fn question(kind: &str, argument: Option<&Bound<'_, PyAny>>) -> PyResult<Request> {
    let missing = || PyTypeError::new_err(format!("{kind:?} needs an argument"));
    let engines = |ids: Vec<u32>| ids.into_iter().map(EngineId).collect();
    Ok(match kind {
        "queue_status" => Request::QueueStatus,
        "history" => Request::History,
        "stop" => Request::Stop,
        "shutdown" => Request::Shutdown(engines(argument.ok_or_else(missing)?.extract()?)),
        "restart" => Request::Restart(engines(argument.ok_or_else(missing)?.extract()?)),
        "engine_status" => Request::EngineStatus,
        "engines_timeout" => {
            let seconds: Option<f64> = argument.map(PyAnyMethods::extract).transpose()?.flatten();
            let time = seconds.map_or(Ok(Duration::MAX), Duration::try_from_secs_f64);
            let time = time.map_err(|_| {
                PyValueError::new_err("engines_timeout must be a number of seconds or None")
            })?;
            Request::Patience(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
        }
        "signal" => {
            let (ids, number) = argument.ok_or_else(missing)?.extract()?;
            Request::Signal(engines(ids), number)
        }
        "purge" => {
            let ids: Option<Vec<String>> =
                argument.map(PyAnyMethods::extract).transpose()?.flatten();
            let parse = |ids: Vec<String>| -> PyResult<Vec<_>> {
                let ids = ids.iter().map(|id| parse_msg_id(id)).collect::<PyResult<Vec<_>>>()?;
                Ok(runs(ids))
            };
            Request::Purge(ids.map(parse).transpose()?)
        }
        other => return Err(PyValueError::new_err(format!("there is no request {other:?}"))),
    })
}

fn answer(py: Python<'_>, reply: Reply) -> PyResult<Bound<'_, PyAny>> {
    match reply {
        Reply::Done => Ok(py.None().into_bound(py)),
        Reply::QueueStatus(waiting, engines) => {
            let engines: Vec<_> = engines.into_iter().map(|(e, q, t, c)| (e.0, q, t, c)).collect();
            Ok(PyTuple::new(
                py,
                [waiting.into_pyobject(py)?.into_any(), engines.into_pyobject(py)?.into_any()],
            )?
            .into_any())
        }
        Reply::EngineStatus(engines, failures) => {
            let told = |e: Health| (e.id.0, e.silent, e.suspect, e.busy, e.memory, e.memory_limit);
            let engines = engines.into_iter().map(told);
            Ok((engines.collect::<Vec<_>>(), failures).into_pyobject(py)?.into_any())
        }
        Reply::History(ids) => {
            let each = ids.into_iter().flat_map(|(session, first, count)| {
                (first..first.saturating_add(count)).map(move |seq| msg_id((session, seq)))
            });
            Ok(each.collect::<Vec<_>>().into_pyobject(py)?.into_any())
        }
        Reply::Refused(why) => Err(PyRuntimeError::new_err(why)),
    }
}
