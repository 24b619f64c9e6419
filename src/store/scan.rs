//! Reading the records of a file one after the other, whatever its bytes are.
//!
//! What a scan gives was verified: the frame, the head and each part by a checksum of its own. It
//! allocates for a head at most what is left of the file, and reads parts through a window of fixed
//! size. Where the frame or the head before a record is damaged, the copies behind it serve. Where
//! those are, too, it looks for the next place where frame and head are both right for that very
//! place; what lies between is told and nothing of it is used.

use std::io;

use super::disk::Medium;
use super::frame::{End, FILE_HEADER, FRAME, Frame, HEAD_MAX, Part, decode};
use super::record::{Record, Sort};

/// Bytes read at a time.
const WINDOW: usize = 256 * 1024;
/// Bytes read at first where one record is wanted; most heads are shorter.
const NARROW: usize = 1024;

/// Bytes that can be read at any place.
pub trait Source {
    /// How many there are.
    fn size(&self) -> u64;
    /// Fills `buffer` with those from `at` on, which are there.
    fn read(&self, buffer: &mut [u8], at: u64) -> io::Result<()>;
}

impl Source for &[u8] {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        let bytes = self.get(at..).and_then(|rest| rest.get(..buffer.len()));
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// A file, as far as it was written.
pub(super) type Content = (Box<dyn Medium>, u64);

impl Source for Content {
    fn size(&self) -> u64 {
        self.1
    }

    fn read(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        self.0.read_at(buffer, at)
    }
}

/// A record as it lies in a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// Where it begins.
    pub at: u64,
    /// Bytes before its parts.
    pub before: u64,
    /// What it says.
    pub record: Record,
    /// Length and checksum of its parts.
    pub parts: Vec<Part>,
    /// Which of the parts are damaged.
    pub broken: Vec<usize>,
    /// Whether a frame or a head of it is damaged of which the copy is whole.
    pub flaw: bool,
}

/// What a scan comes upon.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// A record of which a head is whole.
    Record(Stored),
    /// A record whose heads are damaged; its place and length are known.
    Head {
        /// Where it begins.
        at: u64,
        /// Its length.
        len: u64,
        /// What kind of record it is.
        sort: Sort,
        /// What is wrong with it.
        why: String,
    },
    /// Bytes in which no record can be found.
    Lost {
        /// The first of them.
        at: u64,
        /// How many.
        len: u64,
    },
    /// The last record is not all there.
    Cut {
        /// Where it begins.
        at: u64,
        /// How much of it there is.
        len: u64,
    },
}

/// A scan under way.
#[derive(Debug)]
pub struct Scan<S> {
    source: S,
    number: u64,
    at: u64,
    /// Whether parts are verified too.
    parts: bool,
    /// Bytes of the source from `begin` on, and how many are read at a time.
    window: Vec<u8>,
    wide: usize,
    begin: u64,
}

impl<S: Source> Scan<S> {
    /// Reads the file with this number from `at` on, or from its first record.
    pub fn new(source: S, number: u64, at: u64) -> Self {
        let at = at.max(FILE_HEADER as u64);
        Self { source, number, at, parts: true, window: Vec::new(), wide: WINDOW, begin: 0 }
    }

    /// Reads heads only.
    #[must_use]
    pub fn heads(self) -> Self {
        Self { parts: false, ..self }
    }

    /// Reads the head of one record only.
    #[must_use]
    pub fn single(self) -> Self {
        Self { wide: NARROW, ..self.heads() }
    }

    /// What is read.
    pub(super) fn source(&self) -> &S {
        &self.source
    }

    /// Where the next record is expected.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// The next thing there is; `None` at the end.
    ///
    /// # Errors
    /// Those of the source.
    pub fn step(&mut self) -> io::Result<Option<Step>> {
        if self.at >= self.source.size() {
            return Ok(None);
        }
        match self.exact()? {
            Step::Lost { .. } => self.search().map(Some),
            step => Ok(Some(step)),
        }
    }

    /// What begins exactly here: [`Step::Lost`] if that is no record.
    ///
    /// # Errors
    /// Those of the source.
    pub fn exact(&mut self) -> io::Result<Step> {
        let left = self.source.size().saturating_sub(self.at);
        let at = self.at;
        if left < FRAME as u64 {
            self.at += left;
            return Ok(Step::Cut { at, len: left });
        }
        let Some((frame, End::Front)) = self.frame(at)? else {
            return Ok(Step::Lost { at, len: left });
        };
        if frame.bytes() > left {
            self.at += left;
            return Ok(Step::Cut { at, len: left });
        }
        self.at += frame.bytes();
        self.record(at, frame, false)
    }

    /// The record at this place, which is all there; with a `flaw` if its first frame is damaged.
    fn record(&mut self, at: u64, frame: Frame, mut flaw: bool) -> io::Result<Step> {
        let back = at + frame.to_back();
        let mut read = self.read_head(at, frame)?;
        if read.is_err() {
            flaw = true;
            read = self.read_head(back, frame)?;
        } else if self.parts && !flaw {
            let copy = self.frame(back)? == Some((frame, End::Back));
            flaw = !copy || !self.is_whole(back, frame)?;
        }
        let (record, parts) = match read {
            Ok(read) => read,
            Err(why) => {
                let (len, sort) = (frame.bytes(), frame.sort);
                return Ok(Step::Head { at, len, sort, why });
            }
        };
        let before = frame.before();
        let broken = if self.parts { self.verify(at + before, &parts)? } else { Vec::new() };
        Ok(Step::Record(Stored { at, before, record, parts, broken, flaw }))
    }

    /// Reads the head behind the frame at this place.
    fn read_head(
        &mut self,
        at: u64,
        frame: Frame,
    ) -> io::Result<Result<(Record, Vec<Part>), String>> {
        let head = self.head(at, frame)?;
        if crc32fast::hash(&head) != frame.sum {
            return Ok(Err("its checksum is wrong".into()));
        }
        Ok(decode(&head).and_then(|(record, parts)| {
            let sum = parts.iter().fold(0_u64, |sum, (len, _)| sum.saturating_add(*len));
            let right = sum == frame.parts && record.sort() == frame.sort;
            if right { Ok((record, parts)) } else { Err("it does not fit its frame".into()) }
        }))
    }

    /// Whether the head behind the frame at this place is what was written.
    fn is_whole(&mut self, at: u64, frame: Frame) -> io::Result<bool> {
        Ok(crc32fast::hash(&self.head(at, frame)?) == frame.sum)
    }

    /// The frame at this place, of which at least so many bytes are there.
    fn frame(&mut self, at: u64) -> io::Result<Option<(Frame, End)>> {
        let number = self.number;
        let bytes = self.look(at, FRAME)?;
        Ok(bytes.first_chunk().and_then(|bytes| Frame::decode(bytes, number, at)))
    }

    /// The head of a record that fits into the file.
    fn head(&mut self, at: u64, frame: Frame) -> io::Result<Vec<u8>> {
        let mut head = vec![0; frame.head.min(HEAD_MAX)];
        self.fill(&mut head, at + FRAME as u64)?;
        Ok(head)
    }

    /// Indices of parts whose bytes are not what was written.
    fn verify(&mut self, mut at: u64, parts: &[Part]) -> io::Result<Vec<usize>> {
        let mut broken = Vec::new();
        for (index, &(len, sum)) in parts.iter().enumerate() {
            let mut hasher = crc32fast::Hasher::new();
            let end = at + len;
            while at < end {
                let piece = (end - at).min(WINDOW as u64);
                hasher.update(self.look(at, piece as usize)?);
                at += piece;
            }
            if hasher.finalize() != sum {
                broken.push(index);
            }
        }
        Ok(broken)
    }

    /// Goes on where a frame is damaged: with its record, if the copy behind that is whole, or behind
    /// what is lost.
    fn search(&mut self) -> io::Result<Step> {
        let (from, size) = (self.at, self.source.size());
        let mut blank = true;
        while self.at < size {
            blank &= self.look(self.at, 1)? == [0];
            self.at += 1;
            if size - self.at < FRAME as u64 {
                continue;
            }
            let Some((frame, end)) = self.frame(self.at)? else { continue };
            let (at, left) = (self.at, size - self.at);
            if end == End::Front {
                let fits = frame.bytes() <= left;
                if fits
                    && (self.is_whole(at, frame)? || self.is_whole(at + frame.to_back(), frame)?)
                {
                    break;
                }
                continue;
            }
            // It says where its record began.
            let begin = at.checked_sub(frame.to_back()).filter(|begin| *begin >= from);
            let Some(begin) = begin.filter(|_| frame.before() <= left) else { continue };
            if begin == from {
                self.at = from + frame.bytes();
                return self.record(from, frame, true);
            }
            self.at = begin;
            break;
        }
        let (at, len) = (from, self.at - from);
        // After a loss of power a file may be longer than what was written of it.
        let unwritten = blank && self.at == size;
        Ok(if unwritten { Step::Cut { at, len } } else { Step::Lost { at, len } })
    }

    /// So many bytes of the file, at most those of a window, which are there.
    fn look(&mut self, at: u64, len: usize) -> io::Result<&[u8]> {
        let inside = at >= self.begin && at + len as u64 <= self.begin + self.window.len() as u64;
        if !inside {
            let there = self.source.size().saturating_sub(at).min(self.wide as u64) as usize;
            self.window.resize(there.max(len), 0);
            // Until it is filled it shows nothing.
            self.begin = u64::MAX - WINDOW as u64;
            self.source.read(&mut self.window, at)?;
            self.begin = at;
        }
        let from = (at - self.begin) as usize;
        Ok(&self.window[from..from + len])
    }

    fn fill(&mut self, out: &mut [u8], mut at: u64) -> io::Result<()> {
        for piece in out.chunks_mut(WINDOW) {
            piece.copy_from_slice(self.look(at, piece.len())?);
            at += piece.len() as u64;
        }
        Ok(())
    }
}
