//! The calls of a map, from rows of arguments to what travels, without a Python object in between.
//!
//! Rows of small plain values are written here into one allocation; the others are named to the
//! caller, who pickles them and fills them in.

use std::ops::Range;

use bytes::Bytes;
use parking_lot::Mutex;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};

use super::{buffers, plain};
use crate::wire::Parts;

/// Calls on their way to `Client.submit`, which takes them once.
#[pyclass(frozen, name = "PackedCalls", module = "oarlock._oarlock")]
pub(crate) struct PackedCalls {
    /// One for each row; without parts where the row is not filled in yet.
    calls: Mutex<Vec<Parts>>,
    /// Rows that are left to the caller.
    rest: Vec<usize>,
}

#[pymethods]
impl PackedCalls {
    #[new]
    fn new(rows: &Bound<'_, PyList>) -> Self {
        Self::pack(rows, |row, into| {
            row.cast_exact::<PyTuple>().is_ok_and(|row| plain::encode_call(row, into))
        })
    }

    /// Calls of one argument each, which needs no row of its own.
    #[staticmethod]
    fn of_items(items: &Bound<'_, PyList>) -> Self {
        Self::pack(items, plain::encode_item)
    }

    /// Indexes of the rows that have to be filled in.
    #[getter]
    fn rest(&self) -> Vec<usize> {
        self.rest.clone()
    }

    /// Fills in those rows, in order.
    fn fill(&self, payloads: &Bound<'_, PyAny>) -> PyResult<()> {
        let payloads = buffers::many(payloads)?;
        if payloads.len() != self.rest.len() {
            return Err(PyValueError::new_err("there must be one payload for each row left"));
        }
        let mut calls = self.calls.lock();
        for (index, payload) in self.rest.iter().zip(payloads) {
            match calls.get_mut(*index) {
                Some(call) => *call = payload,
                None => return Err(PyValueError::new_err("these calls were taken already")),
            }
        }
        Ok(())
    }

    fn __len__(&self) -> usize {
        self.calls.lock().len()
    }
}

impl PackedCalls {
    /// Packs those rows for which `encode` appends a call.
    fn pack(
        rows: &Bound<'_, PyList>,
        encode: impl Fn(&Bound<'_, PyAny>, &mut Vec<u8>) -> bool,
    ) -> Self {
        let mut shared = Vec::with_capacity(24 * rows.len());
        let mut ranges: Vec<Range<usize>> = Vec::with_capacity(rows.len());
        let mut rest = Vec::new();
        for (index, row) in rows.iter().enumerate() {
            let start = shared.len();
            if !encode(&row, &mut shared) {
                rest.push(index);
            }
            ranges.push(start..shared.len());
        }
        let shared = Bytes::from(shared);
        let cut = |range: Range<usize>| {
            if range.is_empty() { Parts::new() } else { Parts::from_elem(shared.slice(range), 1) }
        };
        Self { calls: Mutex::new(ranges.into_iter().map(cut).collect()), rest }
    }
}

/// The parts of many tasks: packed calls, or a sequence of what `buffers::parts` takes.
pub(crate) fn tasks(tasks: &Bound<'_, PyAny>) -> PyResult<Vec<Parts>> {
    match tasks.cast_exact::<PackedCalls>() {
        Ok(packed) => Ok(std::mem::take(&mut *packed.get().calls.lock())),
        Err(_) => buffers::many(tasks),
    }
}
