//! Functions that see the engine's namespace first and then what their client captured.
//!
//! `CPython` fixes a function's builtins when it makes it, from the `__builtins__` of its globals.
//! So a function is made while its globals name a dict of builtins and captured names, and the
//! globals are put back before anybody else can see them. What code made inside such a function
//! sees is up to the `__builtins__` that the engine keeps in its namespace; hence `run_code`, which
//! unlike `exec` never puts one there.

use pyo3::exceptions::{PyKeyError, PySystemError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

/// Takes the key out of the namespace and puts back what was there.
struct Restored<'a, 'py> {
    namespace: &'a Bound<'py, PyDict>,
    before: Option<Bound<'py, PyAny>>,
}

impl Restored<'_, '_> {
    fn restore(self) -> PyResult<()> {
        match self.before {
            Some(before) => self.namespace.set_item("__builtins__", before),
            None => match self.namespace.del_item("__builtins__") {
                Err(error) if error.is_instance_of::<PyKeyError>(self.namespace.py()) => Ok(()),
                other => other,
            },
        }
    }
}

/// A function whose globals are `namespace` and whose builtins are `builtins`.
#[pyfunction]
pub(crate) fn make_function<'py>(
    py: Python<'py>,
    code: &Bound<'py, PyAny>,
    namespace: &Bound<'py, PyDict>,
    builtins: &Bound<'py, PyDict>,
    name: &Bound<'py, PyString>,
    closure: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let function_type = py.import("types")?.getattr("FunctionType")?;
    let before = namespace.get_item("__builtins__")?;
    // From here to `restore` no Python code runs, so no other thread sees the namespace.
    namespace.set_item("__builtins__", builtins)?;
    let made = function_type.call1((code, namespace, name, py.None(), closure));
    Restored { namespace, before }.restore()?;
    made
}

/// Runs a code object in `namespace` without leaving `__builtins__` in it.
#[pyfunction]
pub(crate) fn run_code<'py>(
    py: Python<'py>,
    code: &Bound<'py, PyAny>,
    namespace: &Bound<'py, PyDict>,
) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: all three are valid objects of the types that the function wants; it returns a new
    // reference or null with an exception set.
    let value = unsafe {
        let value = ffi::PyEval_EvalCode(code.as_ptr(), namespace.as_ptr(), namespace.as_ptr());
        Bound::from_owned_ptr_or_opt(py, value)
    };
    value.ok_or_else(|| {
        PyErr::take(py).unwrap_or_else(|| PySystemError::new_err("code failed without a reason"))
    })
}
