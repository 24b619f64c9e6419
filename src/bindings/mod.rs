//! The only room that knows Python.
//!
//! Knows: the GIL, signals, fork, buffers, how a reason becomes an exception.
//! Never knows: the protocol's bytes, scheduling.
//! Who talks to it: `python/oarlock`, through what `_oarlock.pyi` says.

mod arguments;
mod buffers;
mod calls;
mod client;
mod engine;
mod errors;
mod fork;
mod functions;
mod log;
mod packed;
mod plain;
mod tasks;
mod wait;

use std::collections::HashMap;
use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::controller::{Keeping, Recipe};

/// Runs a controller until it is stopped by a client, SIGTERM or SIGINT. What could not be written into
/// its store then is appended to `last_words`.
#[pyfunction]
#[pyo3(signature = (directory, argv, count, env, log_directory, restart=false, patience=None, lease=0.0, store=None, listen=None, last_words=None))]
#[allow(clippy::too_many_arguments, reason = "Python calls it with keywords")]
fn serve(
    py: Python<'_>,
    directory: PathBuf,
    argv: Vec<String>,
    count: usize,
    env: HashMap<String, String>,
    log_directory: PathBuf,
    restart: bool,
    patience: Option<(f64, f64)>,
    lease: f64,
    store: Option<(PathBuf, f64)>,
    listen: Option<(String, String, Vec<PathBuf>)>,
    last_words: Option<Bound<'_, PyList>>,
) -> PyResult<()> {
    let python = arguments::python_version(py);
    let mut care = arguments::care(restart, patience)?;
    care.lease = arguments::duration("lease", lease)?;
    let recipe = Recipe { argv, env, log_directory };
    let keeping = |(directory, days): (PathBuf, f64)| {
        let time = arguments::duration("the time for which results are stored", days * 86_400.0)?;
        PyResult::Ok(Keeping { directory, time })
    };
    let keeping = store.map(keeping).transpose()?;
    let lease = care.lease;
    let listen = listen.map(|(at, cluster_id, copies)| crate::controller::Listen {
        at,
        cluster_id,
        copies,
        lease,
    });
    let unwritten = py.detach(move || {
        let (keeping, listen) = (keeping.as_ref(), listen.as_ref());
        crate::controller::serve(&directory, python, recipe, count, care, keeping, listen)
    });
    // Not as a value: a signal that ended it would raise an exception in its place.
    if let (Some(text), Some(last_words)) = (unwritten?, last_words) {
        last_words.append(text)?;
    }
    Ok(())
}

/// The compiled part: messaging, pending table, clocks.
#[pymodule]
fn _oarlock(module: &Bound<'_, PyModule>) -> PyResult<()> {
    fork::count();
    // For the few coarse calls that are awaited; results have a way of their own.
    let mut aside = tokio::runtime::Builder::new_multi_thread();
    aside.worker_threads(1).thread_name("oarlock-aside").enable_all();
    pyo3_async_runtimes::tokio::init(aside);
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    let states = ["PENDING", "OK", "ERROR", "PARTIAL", "CANCELLED", "LOST", "REFUSED", "GONE"];
    let later = ["TIMED_OUT", "POISON", "AGAIN"];
    for (number, name) in states.into_iter().chain(later).enumerate() {
        module.add(name, number)?;
    }
    module.add("APPLY", 0)?;
    module.add("CHUNK", 1)?;
    module.add_class::<buffers::Buffer>()?;
    module.add_class::<packed::PackedCalls>()?;
    module.add_class::<tasks::PyTasks>()?;
    module.add_class::<log::PyLog>()?;
    module.add_class::<client::PyClient>()?;
    module.add_class::<engine::PyEngine>()?;
    module.add_class::<calls::Switch>()?;
    module.add_class::<calls::Calls>()?;
    module.add_function(wrap_pyfunction!(serve, module)?)?;
    module.add_function(wrap_pyfunction!(wait::exiting, module)?)?;
    module.add_function(wrap_pyfunction!(functions::make_function, module)?)?;
    module.add_function(wrap_pyfunction!(functions::run_code, module)?)?;
    module.add_function(wrap_pyfunction!(plain::dump_call, module)?)?;
    module.add_function(wrap_pyfunction!(plain::dump_plain, module)?)?;
    module.add_function(wrap_pyfunction!(plain::load_plain, module)?)?;
    Ok(())
}
