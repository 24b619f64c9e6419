//! What Python gives, as the core takes it; what cannot be meant is refused.

use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::controller::Care;
use crate::wire::{EngineId, FuncId, Kind, Rules, Target};

/// `major.minor` of this Python.
pub(crate) fn python_version(py: Python<'_>) -> String {
    let version = py.version_info();
    format!("{}.{}", version.major, version.minor)
}

pub(crate) fn func_id(func: &[u8]) -> PyResult<FuncId> {
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
pub(crate) fn milliseconds(seconds: f64) -> PyResult<u32> {
    let milliseconds = (seconds * 1e3).ceil();
    if (0.0..f64::from(1_u32 << 31)).contains(&milliseconds) {
        return Ok((milliseconds as u32).max(1));
    }
    Err(PyValueError::new_err(format!("{seconds} s is no time from 0 to 24 days")))
}

/// From retries, seconds for one attempt (0 for any time), and whether its engine may be ended.
pub(crate) fn rules(rules: Option<(u16, f64, bool)>) -> PyResult<Rules> {
    let Some((retries, timeout, force)) = rules else { return Ok(Rules::default()) };
    let timeout = if timeout == 0.0 { 0 } else { milliseconds(timeout)? };
    Ok(Rules { retries, timeout, force })
}

pub(crate) fn among(targets: Option<Vec<u32>>) -> Target {
    targets.map_or(Target::Any, |ids| Target::Among(ids.into_iter().map(EngineId).collect()))
}

pub(crate) fn kind(kind: u8) -> PyResult<Kind> {
    match kind {
        0 => Ok(Kind::Apply),
        1 => Ok(Kind::Chunk),
        _ => Err(PyValueError::new_err("kind is APPLY or CHUNK")),
    }
}
