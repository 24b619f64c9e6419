//! What Python asks the controller, and the answers as Python objects.

use std::time::Duration;

use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::PyClient;
use crate::bindings::tasks::{msg_id, parse_msg_id};
use crate::bindings::{errors, wait};
use crate::wire::message::runs;
use crate::wire::{EngineId, Health, Reply, Request};

impl PyClient {
    /// Asks, and waits for the answer.
    pub(super) fn ask<'py>(
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
            let told = |e: Health| {
                let memory = (e.memory, e.memory_limit, e.scarce);
                (e.id.0, e.silent, e.suspect, e.busy, memory)
            };
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
