//! `Log` as Python sees it: which tasks were submitted through one view.

use parking_lot::Mutex;
use pyo3::prelude::*;

use super::tasks::PyTasks;
use crate::client::{Log, Tasks};

/// The tasks submitted through one view, as ranges of numbers.
#[pyclass(frozen, name = "Log", module = "oarlock._oarlock")]
#[derive(Default)]
pub(crate) struct PyLog(Mutex<Log>);

impl PyLog {
    /// Enters the tasks of one submission, whose numbers are consecutive.
    pub(crate) fn enter(&self, tasks: &Tasks) {
        if let Some(first) = tasks.first() {
            self.0.lock().enter(first, tasks.len());
        }
    }
}

#[pymethods]
impl PyLog {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    fn add(&self, py: Python<'_>, tasks: &PyTasks) -> PyResult<()> {
        self.enter(tasks.here(py)?);
        Ok(())
    }

    fn ranges(&self) -> Vec<(u64, u64)> {
        self.0.lock().ranges().collect()
    }

    fn clear(&self) {
        self.0.lock().clear();
    }
}
