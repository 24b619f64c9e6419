//! Bytes across the border: one copy in; out none, or one where somebody else still holds them.
//! Large ones are copied to shared memory, and mapped where they come out.

use std::cell::UnsafeCell;
use std::ffi::{c_int, c_void};

use bytes::{Bytes, BytesMut};
use pyo3::buffer::PyUntypedBuffer;
use pyo3::exceptions::{PyBufferError, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PySequence, PyString};

use crate::memory::{self, Private};
use crate::wire::Parts;

/// A first part up to this length is handed out as `bytes`; copying it is cheaper than a view.
const SMALL: usize = 64 * 1024;
/// Parts up to this length that arrive together share one allocation.
const SHARED: usize = 16 * 1024;

/// Bytes owned by Rust; `memoryview(buffer)` is writable and costs no copy.
#[pyclass(frozen, name = "Buffer", module = "oarlock._oarlock")]
pub(crate) struct Buffer {
    data: UnsafeCell<Data>,
}

enum Data {
    Own(BytesMut),
    /// Lies in memory of another process; what is written becomes ours.
    Mapped(Private),
}

impl Data {
    fn len(&self) -> usize {
        match self {
            Self::Own(bytes) => bytes.len(),
            Self::Mapped(bytes) => bytes.len(),
        }
    }

    fn start(&mut self) -> *mut u8 {
        match self {
            Self::Own(bytes) => bytes.as_mut_ptr(),
            Self::Mapped(bytes) => bytes.start(),
        }
    }
}

// SAFETY: Rust never reads or writes the bytes after construction; Python code that shares a
// writable buffer between threads is responsible for its contents, as with a bytearray.
unsafe impl Sync for Buffer {}

#[pymethods]
impl Buffer {
    fn __len__(&self) -> usize {
        // SAFETY: only the length is read, which never changes.
        unsafe { (*self.data.get()).len() }
    }

    unsafe fn __getbuffer__(
        slf: Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        if view.is_null() {
            return Err(PyBufferError::new_err("no view to fill"));
        }
        // SAFETY: `view` is valid by the protocol; the bytes live as long as `slf`, to which the
        // filled view holds a reference, and are never moved or freed before.
        let filled = unsafe {
            let data = &mut *slf.get().data.get();
            let start = data.start().cast::<c_void>();
            ffi::PyBuffer_FillInfo(view, slf.as_ptr(), start, data.len() as isize, 0, flags)
        };
        if filled == 0 { Ok(()) } else { Err(PyErr::fetch(slf.py())) }
    }
}

impl Buffer {
    pub(crate) fn new(bytes: Bytes) -> Self {
        if let Some(mapped) = Private::of(&bytes) {
            return Self { data: UnsafeCell::new(Data::Mapped(mapped)) };
        }
        // Bytes that nobody else holds are taken over, others copied: the view is writable.
        let own = bytes.try_into_mut().unwrap_or_else(|bytes| BytesMut::from(&bytes[..]));
        Self { data: UnsafeCell::new(Data::Own(own)) }
    }
}

/// Hands out an outcome or the arguments of a task.
pub(crate) fn to_python(py: Python<'_>, parts: Parts) -> PyResult<Bound<'_, PyList>> {
    let list = PyList::empty(py);
    for (index, part) in parts.into_iter().enumerate() {
        if index == 0 && part.len() <= SMALL {
            list.append(PyBytes::new(py, &part))?;
        } else {
            // The copy of a large part takes milliseconds in which other threads may run.
            list.append(py.detach(|| Buffer::new(part)))?;
        }
    }
    Ok(list)
}

/// Copies one bytes-like object.
pub(crate) fn copy(object: &Bound<'_, PyAny>) -> PyResult<Bytes> {
    if let Ok(bytes) = object.cast::<PyBytes>() {
        let bytes = bytes.as_bytes();
        if bytes.len() < SMALL {
            return Ok(Bytes::copy_from_slice(bytes));
        }
    }
    let buffer = PyUntypedBuffer::get(object)?;
    if !buffer.is_c_contiguous() && !buffer.is_fortran_contiguous() {
        return Err(PyBufferError::new_err("a buffer must be contiguous to be sent"));
    }
    let len = buffer.len_bytes();
    let source = Source(buffer.buf_ptr().cast_const().cast::<u8>());
    // The copy of a large array takes milliseconds in which other threads may run.
    let copied = object.py().detach(move || {
        let source = source;
        // SAFETY: as below.
        let stored =
            memory::lent_before(source.0, len).or_else(|| unsafe { memory::store(source.0, len) });
        if let Some(stored) = stored {
            return stored;
        }
        let mut copied = Vec::<u8>::with_capacity(len);
        // SAFETY: the exporter keeps `len` bytes at this address until `buffer` is released below,
        // and `copied` has room for them.
        unsafe {
            std::ptr::copy_nonoverlapping(source.0, copied.as_mut_ptr(), len);
            copied.set_len(len);
        }
        Bytes::from(copied)
    });
    drop(buffer);
    Ok(copied)
}

struct Source(*const u8);
// SAFETY: the address is only read, while the exporter keeps it.
unsafe impl Send for Source {}

/// Copies the parts of one task: a pickle, or a sequence of a pickle and buffers.
pub(crate) fn parts(object: &Bound<'_, PyAny>) -> PyResult<Parts> {
    if object.cast::<PyBytes>().is_ok() {
        return Ok(Parts::from_elem(copy(object)?, 1));
    }
    if object.cast::<PyString>().is_ok() {
        return Err(PyTypeError::new_err("a task is bytes or a sequence of bytes-like objects"));
    }
    let sequence = object.cast::<PySequence>()?;
    sequence.try_iter()?.map(|part| copy(&part?)).collect()
}

/// Copies the parts of many tasks; small ones share one allocation.
pub(crate) fn many(tasks: &Bound<'_, PyAny>) -> PyResult<Vec<Parts>> {
    enum Piece {
        Shared(usize),
        Own(Parts),
    }
    let mut pieces = Vec::with_capacity(tasks.len()?);
    let mut shared = Vec::new();
    for task in tasks.try_iter()? {
        let task = task?;
        match task.cast::<PyBytes>() {
            Ok(bytes) if bytes.as_bytes().len() <= SHARED => {
                shared.extend_from_slice(bytes.as_bytes());
                pieces.push(Piece::Shared(bytes.as_bytes().len()));
            }
            _ => pieces.push(Piece::Own(parts(&task)?)),
        }
    }
    let mut shared = Bytes::from(shared);
    let cut = |piece| match piece {
        Piece::Shared(len) => Parts::from_elem(shared.split_to(len), 1),
        Piece::Own(parts) => parts,
    };
    Ok(pieces.into_iter().map(cut).collect())
}
