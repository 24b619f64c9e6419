//! Rust's reasons as Python's exceptions, looked up in `oarlock.error` when they are raised.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

/// An exception of the class that `oarlock.error` has under this name now.
pub(crate) fn named(py: Python<'_>, class: &str, message: impl Into<String>) -> PyErr {
    let message = message.into();
    let raise = || -> PyResult<PyErr> {
        let class = py.import("oarlock.error")?.getattr(class)?;
        Ok(PyErr::from_value(class.call1((message.as_str(),))?))
    };
    raise().unwrap_or_else(|_| PyRuntimeError::new_err(message.clone()))
}
