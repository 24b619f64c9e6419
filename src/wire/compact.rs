//! Short forms of the few heads that there is one of per task.
//!
//! A cluster at work says little else, and what names its fields and variants in general costs
//! more time than all that is done with the message. A short form is a code and then the fields:
//! numbers seven bits at a time, lowest first, what is of fixed size as it is. All other heads are
//! msgpack, under code [`GENERAL`].
//!
//! Invariants: what [`Head::write_short`] wrote [`Head::read_short`] reads; reading never looks
//! beyond the bytes that are there and never panics.

use super::ids::{ClientId, EngineId, FuncId, TaskId};
use super::message::{
    FromClient, FromEngine, Head, Kind, Rules, Status, Target, ToClient, ToEngine,
};

/// The code of heads without a short form.
pub const GENERAL: u8 = 0;
/// The code of the one short form of each direction.
const ONLY: u8 = 1;
/// More than any short form needs: a code, five numbers of ten bytes, and a name of sixteen.
const LONGEST: usize = 80;

/// A short form being written.
#[derive(Debug)]
pub struct Writer {
    bytes: [u8; LONGEST],
    len: usize,
}

impl Default for Writer {
    #[inline]
    fn default() -> Self {
        Self { bytes: [0; LONGEST], len: 0 }
    }
}

impl Writer {
    /// What was written.
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Adds one byte.
    #[inline]
    pub fn byte(&mut self, byte: u8) {
        self.bytes[self.len] = byte;
        self.len += 1;
    }

    /// Adds a number.
    #[inline]
    pub fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.byte(number as u8 | 0x80);
            number >>= 7;
        }
        self.byte(number as u8);
    }

    /// Adds bytes of fixed number.
    #[inline]
    pub fn fixed<const N: usize>(&mut self, bytes: [u8; N]) {
        self.bytes[self.len..self.len + N].copy_from_slice(&bytes);
        self.len += N;
    }

    #[inline]
    pub(crate) fn task(&mut self, id: TaskId) {
        self.number(id.client.0.into());
        self.number(id.seq);
    }
}

/// Adds a number to what cannot be known to be short.
#[inline]
pub fn push_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Bytes being read; every method is `None` when they end too early.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Reads these bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// How many bytes are left.
    pub fn left(&self) -> usize {
        self.0.len()
    }

    /// One byte.
    #[inline]
    pub fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// A number; `None` too if it is too large for 64 bits.
    #[inline]
    pub fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if (bits << shift) >> shift != bits {
                return None;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    /// A number of at most 32 bits.
    #[inline]
    pub fn small(&mut self) -> Option<u32> {
        u32::try_from(self.number()?).ok()
    }

    /// Bytes of fixed number.
    #[inline]
    pub fn fixed<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*bytes)
    }

    /// So many bytes.
    #[inline]
    pub fn slice(&mut self, len: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(bytes)
    }

    #[inline]
    pub(crate) fn kind(&mut self) -> Option<Kind> {
        Some(match self.byte()? {
            0 => Kind::Apply,
            1 => Kind::Chunk,
            _ => return None,
        })
    }

    #[inline]
    pub(crate) fn status(&mut self) -> Option<Status> {
        Some(match self.byte()? {
            0 => Status::Ok,
            1 => Status::Error,
            2 => Status::Partial,
            3 => Status::Cancelled,
            4 => Status::Lost,
            5 => Status::Refused,
            6 => Status::TimedOut,
            7 => Status::Poison,
            8 => Status::Again,
            _ => return None,
        })
    }

    #[inline]
    pub(crate) fn task(&mut self) -> Option<TaskId> {
        Some(TaskId { client: ClientId(self.small()?), seq: self.number()? })
    }

    pub(crate) fn stamp(&mut self) -> Option<i64> {
        Some(i64::from_le_bytes(self.fixed()?))
    }

    #[inline]
    pub(crate) fn flag(&mut self) -> Option<bool> {
        match self.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

impl Head for FromClient {
    fn in_order(&self) -> bool {
        true
    }

    /// The submission of one task that may run anywhere, once.
    fn write_short(&self, out: &mut Writer) -> bool {
        let Self::Submit { first, func, kind, target: Target::Any, counts, rules } = self else {
            return false;
        };
        let [count] = counts[..] else { return false };
        if *rules != Rules::default() {
            return false;
        }
        out.byte(ONLY);
        out.number(*first);
        out.fixed(func.0);
        out.byte(*kind as u8);
        out.number(count.into());
        true
    }

    fn read_short(code: u8, bytes: &mut Reader) -> Option<Self> {
        (code == ONLY).then_some(())?;
        Some(Self::Submit {
            first: bytes.number()?,
            func: FuncId(bytes.fixed()?),
            kind: bytes.kind()?,
            target: Target::Any,
            counts: vec![bytes.small()?],
            rules: Rules::default(),
        })
    }
}

impl Head for ToClient {
    fn in_order(&self) -> bool {
        false
    }

    fn write_short(&self, out: &mut Writer) -> bool {
        let Self::Result { seq, status, engine, submitted, started, completed } = self else {
            return false;
        };
        out.byte(ONLY);
        out.number(*seq);
        out.byte(*status as u8);
        out.byte(engine.is_some().into());
        if let Some(engine) = engine {
            out.number(engine.0.into());
        }
        out.byte(submitted.is_some().into());
        if let Some(submitted) = submitted {
            out.fixed(submitted.to_le_bytes());
        }
        out.fixed(started.to_le_bytes());
        out.fixed(completed.to_le_bytes());
        true
    }

    fn read_short(code: u8, bytes: &mut Reader) -> Option<Self> {
        (code == ONLY).then_some(())?;
        Some(Self::Result {
            seq: bytes.number()?,
            status: bytes.status()?,
            engine: if bytes.flag()? { Some(EngineId(bytes.small()?)) } else { None },
            submitted: if bytes.flag()? { Some(bytes.stamp()?) } else { None },
            started: bytes.stamp()?,
            completed: bytes.stamp()?,
        })
    }
}

impl Head for ToEngine {
    fn in_order(&self) -> bool {
        matches!(self, Self::Func(_) | Self::Forget(_) | Self::Task { .. } | Self::Shutdown)
    }

    fn write_short(&self, out: &mut Writer) -> bool {
        let Self::Task { id, func, kind, ticket, attempt: 1, timeout: 0, .. } = self else {
            return false;
        };
        out.byte(ONLY);
        out.task(*id);
        out.fixed(func.0);
        out.byte(*kind as u8);
        out.number(*ticket);
        true
    }

    fn read_short(code: u8, bytes: &mut Reader) -> Option<Self> {
        (code == ONLY).then_some(())?;
        let (id, func) = (bytes.task()?, FuncId(bytes.fixed()?));
        let (kind, ticket) = (bytes.kind()?, bytes.number()?);
        Some(Self::Task { id, func, kind, ticket, attempt: 1, timeout: 0, force: false })
    }
}

impl Head for FromEngine {
    fn in_order(&self) -> bool {
        false
    }

    fn write_short(&self, out: &mut Writer) -> bool {
        let Self::Result { id, status, ticket, started, completed } = self else { return false };
        out.byte(ONLY);
        out.task(*id);
        out.byte(*status as u8);
        out.number(*ticket);
        out.fixed(started.to_le_bytes());
        out.fixed(completed.to_le_bytes());
        true
    }

    fn read_short(code: u8, bytes: &mut Reader) -> Option<Self> {
        (code == ONLY).then_some(())?;
        let (id, status, ticket) = (bytes.task()?, bytes.status()?, bytes.number()?);
        let (started, completed) = (bytes.stamp()?, bytes.stamp()?);
        Some(Self::Result { id, status, ticket, started, completed })
    }
}
