//! Small values as pickles, without pickle: None, bool, int, float, short str and bytes, and small
//! tuples of those.
//!
//! What is written here any unpickler reads, and what any pickler wrote of such values is read
//! here. Everything else is left to the caller, who has the real ones. An object that occurs twice
//! is left to them too, since it has to stay one object.

use pyo3::exceptions::PyUnicodeEncodeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyFloat, PyInt, PyString, PyTuple};
use smallvec::SmallVec;

/// Longest text or bytes, in bytes.
const TEXT_MAX: usize = 1024;
/// Most items of a tuple, and how deep tuples nest.
const ITEMS_MAX: usize = 16;
const DEPTH_MAX: u32 = 4;

/// The opcodes of pickle that such values need, as `pickletools` names them.
mod op {
    pub(super) const PROTO: u8 = 0x80;
    pub(super) const FRAME: u8 = 0x95;
    pub(super) const STOP: u8 = b'.';
    pub(super) const MEMOIZE: u8 = 0x94;
    pub(super) const NONE: u8 = b'N';
    pub(super) const NEWTRUE: u8 = 0x88;
    pub(super) const NEWFALSE: u8 = 0x89;
    pub(super) const BININT1: u8 = b'K';
    pub(super) const BININT2: u8 = b'M';
    pub(super) const BININT: u8 = b'J';
    pub(super) const LONG1: u8 = 0x8a;
    pub(super) const BINFLOAT: u8 = b'G';
    pub(super) const SHORT_BINUNICODE: u8 = 0x8c;
    pub(super) const BINUNICODE: u8 = b'X';
    pub(super) const SHORT_BINBYTES: u8 = b'C';
    pub(super) const BINBYTES: u8 = b'B';
    pub(super) const MARK: u8 = b'(';
    pub(super) const TUPLE: u8 = b't';
    pub(super) const EMPTY_TUPLE: u8 = b')';
    pub(super) const TUPLE1: u8 = 0x85;
    pub(super) const TUPLE2: u8 = 0x86;
    pub(super) const TUPLE3: u8 = 0x87;
    pub(super) const EMPTY_DICT: u8 = b'}';
}

const HEAD: [u8; 2] = [op::PROTO, 5];
/// How a pickled call ends that has no keywords.
const NO_KEYWORDS: [u8; 3] = [op::EMPTY_DICT, op::TUPLE2, op::STOP];
const NO_KEYWORDS_MEMOIZED: [u8; 5] =
    [op::EMPTY_DICT, op::MEMOIZE, op::TUPLE2, op::MEMOIZE, op::STOP];

/// What `encode_call` writes for no arguments: many calls have none, and need no memory for it.
pub(crate) const CALL_WITHOUT_ARGUMENTS: [u8; 6] =
    [op::PROTO, 5, op::EMPTY_TUPLE, op::EMPTY_DICT, op::TUPLE2, op::STOP];

/// Appends the pickle of a value. Says whether it was plain; if not, nothing was appended.
pub(crate) fn encode(value: &Bound<'_, PyAny>, into: &mut Vec<u8>) -> bool {
    let start = into.len();
    into.extend_from_slice(&HEAD);
    let plain = Writer { into, seen: SmallVec::new() }.value(value, 0);
    if plain {
        into.push(op::STOP);
    } else {
        into.truncate(start);
    }
    plain
}

/// Appends the pickle of `(args, {})`, by which a call travels that has no keywords; as `encode`.
pub(crate) fn encode_call(args: &Bound<'_, PyTuple>, into: &mut Vec<u8>) -> bool {
    let start = into.len();
    into.extend_from_slice(&HEAD);
    let plain = Writer { into, seen: SmallVec::new() }.tuple(args, 0);
    if plain {
        into.extend_from_slice(&NO_KEYWORDS);
    } else {
        into.truncate(start);
    }
    plain
}

/// As `encode_call`, of a call of one argument.
pub(crate) fn encode_item(argument: &Bound<'_, PyAny>, into: &mut Vec<u8>) -> bool {
    let start = into.len();
    into.extend_from_slice(&HEAD);
    let plain = Writer { into, seen: SmallVec::new() }.value(argument, 1);
    if plain {
        into.push(op::TUPLE1);
        into.extend_from_slice(&NO_KEYWORDS);
    } else {
        into.truncate(start);
    }
    plain
}

struct Writer<'a> {
    into: &'a mut Vec<u8>,
    /// What would have to be written as a reference if it came again.
    seen: SmallVec<[*mut ffi::PyObject; 8]>,
}

impl Writer<'_> {
    fn value(&mut self, value: &Bound<'_, PyAny>, depth: u32) -> bool {
        if let Ok(number) = value.cast_exact::<PyInt>() {
            return self.int(number);
        }
        if value.is_none() {
            self.into.push(op::NONE);
        } else if let Ok(number) = value.cast_exact::<PyFloat>() {
            self.into.push(op::BINFLOAT);
            self.into.extend_from_slice(&number.value().to_be_bytes());
        } else if let Ok(text) = value.cast_exact::<PyString>() {
            return self.is_new(value) && self.text(text);
        } else if let Ok(tuple) = value.cast_exact::<PyTuple>() {
            return self.tuple(tuple, depth);
        } else if let Ok(bytes) = value.cast_exact::<PyBytes>() {
            let bytes = bytes.as_bytes();
            return self.is_new(value) && self.sized(op::SHORT_BINBYTES, op::BINBYTES, bytes);
        } else if value.is(PyBool::new(value.py(), true)) {
            self.into.push(op::NEWTRUE);
        } else if value.is(PyBool::new(value.py(), false)) {
            self.into.push(op::NEWFALSE);
        } else {
            return false;
        }
        true
    }

    fn is_new(&mut self, value: &Bound<'_, PyAny>) -> bool {
        let known = self.seen.contains(&value.as_ptr());
        self.seen.push(value.as_ptr());
        !known
    }

    fn int(&mut self, number: &Bound<'_, PyInt>) -> bool {
        let mut overflow = 0;
        // SAFETY: an int, and the GIL is held; with an int, -1 is no sign of an error.
        let number =
            unsafe { ffi::PyLong_AsLongLongAndOverflow(number.as_ptr(), &raw mut overflow) };
        if overflow != 0 {
            return false;
        }
        if let Ok(number) = u8::try_from(number) {
            self.into.extend_from_slice(&[op::BININT1, number]);
        } else if let Ok(number) = u16::try_from(number) {
            let [low, high] = number.to_le_bytes();
            self.into.extend_from_slice(&[op::BININT2, low, high]);
        } else if let Ok(number) = i32::try_from(number) {
            self.into.push(op::BININT);
            self.into.extend_from_slice(&number.to_le_bytes());
        } else {
            self.into.extend_from_slice(&[op::LONG1, 8]);
            self.into.extend_from_slice(&number.to_le_bytes());
        }
        true
    }

    fn text(&mut self, text: &Bound<'_, PyString>) -> bool {
        match text.to_str() {
            Ok(text) => self.sized(op::SHORT_BINUNICODE, op::BINUNICODE, text.as_bytes()),
            Err(error) => {
                // A lone surrogate. Nothing else can be wrong with a str.
                debug_assert!(error.is_instance_of::<PyUnicodeEncodeError>(text.py()));
                false
            }
        }
    }

    fn sized(&mut self, short: u8, long: u8, content: &[u8]) -> bool {
        if let Ok(len) = u8::try_from(content.len()) {
            self.into.extend_from_slice(&[short, len]);
        } else if content.len() <= TEXT_MAX {
            self.into.push(long);
            self.into.extend_from_slice(&(content.len() as u32).to_le_bytes());
        } else {
            return false;
        }
        self.into.extend_from_slice(content);
        true
    }

    fn tuple(&mut self, tuple: &Bound<'_, PyTuple>, depth: u32) -> bool {
        let len = tuple.len();
        let code = match len {
            0 => op::EMPTY_TUPLE,
            1 => op::TUPLE1,
            2 => op::TUPLE2,
            3 => op::TUPLE3,
            _ => op::TUPLE,
        };
        // The empty tuple is one object anyway.
        if len > ITEMS_MAX || depth > DEPTH_MAX || (len > 0 && !self.is_new(tuple)) {
            return false;
        }
        if code == op::TUPLE {
            self.into.push(op::MARK);
        }
        let plain = tuple.iter_borrowed().all(|item| self.value(&item, depth + 1));
        self.into.push(code);
        plain
    }
}

/// Reads the pickle of a plain value; `None` if it is of something else, or damaged.
pub(crate) fn decode<'py>(py: Python<'py>, pickle: &[u8]) -> Option<Bound<'py, PyAny>> {
    read(py, pickle, &[op::STOP])
}

/// Reads the pickle of `(args, {})`; `None` if it is of something else.
pub(crate) fn decode_call<'py>(py: Python<'py>, pickle: &[u8]) -> Option<Bound<'py, PyTuple>> {
    let args = read(py, pickle, &NO_KEYWORDS).or_else(|| read(py, pickle, &NO_KEYWORDS_MEMOIZED));
    args?.cast_into_exact().ok()
}

/// Reads a pickle up to its known end, before which it must leave one value.
fn read<'py>(py: Python<'py>, pickle: &[u8], end: &[u8]) -> Option<Bound<'py, PyAny>> {
    let mut code = Code(pickle.strip_prefix(&HEAD)?.strip_suffix(end)?);
    let mut stack: SmallVec<[Bound<'py, PyAny>; 8]> = SmallVec::new();
    let mut marks: SmallVec<[usize; 4]> = SmallVec::new();
    while !code.0.is_empty() {
        let [next] = code.array()?;
        let value = match next {
            // All of a small pickle is one frame.
            op::FRAME => {
                let len = u64::from_le_bytes(code.array()?);
                if len != (code.0.len() + end.len()) as u64 {
                    return None;
                }
                continue;
            }
            // A place in a memo that nothing refers to.
            op::MEMOIZE if !stack.is_empty() => continue,
            op::MARK => {
                marks.push(stack.len());
                continue;
            }
            op::NONE => py.None().into_bound(py),
            op::NEWTRUE | op::NEWFALSE => {
                (next == op::NEWTRUE).into_pyobject(py).ok()?.to_owned().into_any()
            }
            op::BININT1 => int(py, code.array::<1>()?[0].into()),
            op::BININT2 => int(py, u16::from_le_bytes(code.array()?).into()),
            op::BININT => int(py, i32::from_le_bytes(code.array()?).into()),
            op::LONG1 => int(py, code.long()?),
            op::BINFLOAT => PyFloat::new(py, f64::from_be_bytes(code.array()?)).into_any(),
            op::SHORT_BINUNICODE => text(py, code.short()?)?,
            op::BINUNICODE => text(py, code.sized()?)?,
            op::SHORT_BINBYTES => PyBytes::new(py, code.short()?).into_any(),
            op::BINBYTES => PyBytes::new(py, code.sized()?).into_any(),
            op::EMPTY_TUPLE => PyTuple::empty(py).into_any(),
            op::TUPLE1 | op::TUPLE2 | op::TUPLE3 => {
                let len = usize::from(next - op::TUPLE1) + 1;
                let start = stack.len().checked_sub(len)?;
                tuple(py, &mut stack, start)?
            }
            op::TUPLE => {
                let start = marks.pop()?;
                tuple(py, &mut stack, start)?
            }
            _ => return None,
        };
        stack.push(value);
    }
    let value = stack.pop()?;
    (stack.is_empty() && marks.is_empty()).then_some(value)
}

fn int(py: Python<'_>, number: i64) -> Bound<'_, PyAny> {
    number.into_pyobject(py).map_or_else(|never| match never {}, Bound::into_any)
}

fn text<'py>(py: Python<'py>, utf8: &[u8]) -> Option<Bound<'py, PyAny>> {
    Some(PyString::new(py, std::str::from_utf8(utf8).ok()?).into_any())
}

fn tuple<'py>(
    py: Python<'py>,
    stack: &mut SmallVec<[Bound<'py, PyAny>; 8]>,
    start: usize,
) -> Option<Bound<'py, PyAny>> {
    if start > stack.len() {
        return None;
    }
    PyTuple::new(py, stack.drain(start..).collect::<SmallVec<[_; 8]>>()).ok().map(Bound::into_any)
}

struct Code<'a>(&'a [u8]);

impl<'a> Code<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*array)
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn short(&mut self) -> Option<&'a [u8]> {
        let [len] = self.array()?;
        self.take(len.into())
    }

    fn sized(&mut self) -> Option<&'a [u8]> {
        let len = u32::from_le_bytes(self.array()?) as usize;
        if len > TEXT_MAX { None } else { self.take(len) }
    }

    /// A little-endian number in two's complement of at most 8 bytes.
    fn long(&mut self) -> Option<i64> {
        let bytes = self.short()?;
        let negative = bytes.last().is_some_and(|top| top & 0x80 != 0);
        let mut wide = if negative { [0xff; 8] } else { [0; 8] };
        wide.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(i64::from_le_bytes(wide))
    }
}

/// The pickle of a plain value, None for any other; for tests of this file.
#[pyfunction]
pub(crate) fn dump_plain<'py>(value: &Bound<'py, PyAny>) -> Option<Bound<'py, PyBytes>> {
    let mut pickle = Vec::new();
    encode(value, &mut pickle).then(|| PyBytes::new(value.py(), &pickle))
}

/// The pickle of a call with plain arguments, None for any other; for tests of this file.
#[pyfunction]
pub(crate) fn dump_call<'py>(args: &Bound<'py, PyTuple>) -> Option<Bound<'py, PyBytes>> {
    let mut pickle = Vec::new();
    encode_call(args, &mut pickle).then(|| PyBytes::new(args.py(), &pickle))
}

/// A tuple of the plain value of which `pickle` is, or None; for tests of this file.
#[pyfunction]
pub(crate) fn load_plain<'py>(py: Python<'py>, pickle: &[u8]) -> Option<Bound<'py, PyTuple>> {
    PyTuple::new(py, [decode(py, pickle)?]).ok()
}
