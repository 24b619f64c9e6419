//! Waiting without the GIL, in slices, so that a signal is served within one of them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::client::{Alarm, Core};

/// The longest a blocking call goes without looking for signals.
const SLICE: Duration = Duration::from_millis(50);

/// Set when the interpreter is about to end.
static EXITING: AtomicBool = AtomicBool::new(false);

/// The interpreter is about to end: threads that wait here never come back to it. Re-attaching to
/// an interpreter that is being torn down would end the thread through frames that cannot unwind.
#[pyfunction]
pub(crate) fn exiting() {
    EXITING.store(true, Ordering::Release);
}

fn stay_away_at_exit() {
    if EXITING.load(Ordering::Acquire) && !is_main_thread() {
        loop {
            std::thread::park();
        }
    }
}

fn is_main_thread() -> bool {
    rustix::thread::gettid() == rustix::process::getpid()
}

/// Runs `step` until it says that the wait is over, or the time is. `step` gets the moment until
/// which it may block.
pub(crate) fn wait(
    py: Python<'_>,
    timeout: Option<f64>,
    step: impl FnMut(Instant) -> bool + Send,
) -> PyResult<bool> {
    wait_and(py, timeout, step, || Ok(()))
}

/// As [`wait`]; `between` is called after each slice that did not end it.
fn wait_and(
    py: Python<'_>,
    timeout: Option<f64>,
    mut step: impl FnMut(Instant) -> bool + Send,
    mut between: impl FnMut() -> PyResult<()>,
) -> PyResult<bool> {
    let deadline = deadline(timeout)?;
    loop {
        let slice = Instant::now() + SLICE;
        let until = deadline.map_or(slice, |deadline| deadline.min(slice));
        let over = py.detach(|| {
            let over = step(until);
            stay_away_at_exit();
            over
        });
        if over {
            return Ok(true);
        }
        py.check_signals()?;
        between()?;
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Ok(false);
        }
    }
}

/// As [`wait`], for what comes from a controller: a person who waits is told when that is gone, when
/// another has taken its place, and which engines come near the memory they may have.
pub(crate) fn wait_for(
    py: Python<'_>,
    core: &Core,
    timeout: Option<f64>,
    step: impl FnMut(Instant) -> bool + Send,
) -> PyResult<bool> {
    let over = wait_and(py, timeout, step, || {
        say_alarms(py, core)?;
        let Some(away) = core.away_changed() else { return Ok(()) };
        py.import("oarlock._hints")?.call_method1("say_away", (away,))?;
        Ok(())
    })?;
    // Also of tasks so short that no wait lasts.
    say_alarms(py, core)?;
    Ok(over)
}

/// As [`wait`], where nobody waits but something is to be done for people later: of engines that come
/// near the memory they may have they are told here too.
pub(crate) fn wait_aside(
    py: Python<'_>,
    core: &Core,
    timeout: Option<f64>,
    step: impl FnMut(Instant) -> bool + Send,
) -> PyResult<bool> {
    wait_and(py, timeout, step, || say_alarms(py, core))
}

/// Tells a person of engines that come near the memory they may have.
fn say_alarms(py: Python<'_>, core: &Core) -> PyResult<()> {
    for Alarm { engine, used, allowed } in core.take_alarms() {
        let about = (engine.id.0, engine.pid, engine.host, used, allowed);
        py.import("oarlock._hints")?.call_method1("say_scarce", about)?;
    }
    Ok(())
}

/// `None` and negative numbers mean for ever, as does what no clock can count to.
pub(crate) fn deadline(timeout: Option<f64>) -> PyResult<Option<Instant>> {
    match timeout {
        Some(seconds) if seconds.is_nan() => {
            Err(PyValueError::new_err("timeout must be a number of seconds, not nan"))
        }
        Some(seconds) if seconds >= 0.0 => Ok(Duration::try_from_secs_f64(seconds)
            .ok()
            .and_then(|timeout| Instant::now().checked_add(timeout))),
        _ => Ok(None),
    }
}
