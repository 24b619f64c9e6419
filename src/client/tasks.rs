//! Sets of tasks: what users hold. Parts of batches, joined in any order, never copied.

use std::ops::{Deref, Range};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;
use smallvec::SmallVec;

use super::batch::{Batch, Record, State};
use super::bell::{Bell, Countdown, Ring};
use super::core::Core;
use crate::wire::{SessionId, Stamp};

/// A user's hold on a batch, counted apart from the table's. Sets made from one another share it:
/// who has the outcomes of one has those of the other.
struct Hold(Arc<Batch>);

impl Hold {
    fn new(batch: Arc<Batch>) -> Arc<Self> {
        batch.holders.fetch_add(1, Ordering::AcqRel);
        Arc::new(Self(batch))
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.holders.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Deref for Hold {
    type Target = Batch;
    fn deref(&self) -> &Batch {
        &self.0
    }
}

/// Consecutive tasks of one batch.
#[derive(Clone)]
struct Segment {
    batch: Arc<Hold>,
    tasks: Range<u32>,
    /// Index of the first of them in the set.
    offset: usize,
}

/// Most sets are of one batch.
type Segments = SmallVec<[Segment; 1]>;

/// Tasks of one submission, or of several.
#[derive(Clone)]
pub struct Tasks {
    session: SessionId,
    segments: Segments,
}

/// What a wait is for.
#[derive(Clone, Copy)]
pub enum Until {
    /// All are done.
    All,
    /// This one is done.
    Task(usize),
    /// So many are done.
    Count(usize),
    /// All are done, or one failed.
    Failure,
}

/// A wait that has been set up; dropping it forgets it.
pub struct Wait {
    bell: Arc<Bell>,
    _countdown: Arc<Countdown>,
}

impl Wait {
    /// Waits until the deadline at most; says whether the wait is over.
    pub fn until(&self, deadline: Instant) -> bool {
        self.bell.wait_until(deadline, None)
    }

    /// As [`until`](Self::until), but may return before; the thread drives the I/O of `core`
    /// meanwhile, if nobody else does.
    pub fn leading(&self, deadline: Instant, core: &Core) -> bool {
        self.bell.wait_until(deadline, core.drive())
    }
}

impl Tasks {
    pub(crate) fn of(session: SessionId, batch: Arc<Batch>) -> Self {
        let segments = if batch.len == 0 {
            Segments::new()
        } else {
            let tasks = 0..batch.len;
            Segments::from([Segment { batch: Hold::new(batch), tasks, offset: 0 }])
        };
        Self { session, segments }
    }

    pub(crate) fn one(session: SessionId, batch: Arc<Batch>, index: u32) -> Self {
        let segments = Segments::from([Segment {
            batch: Hold::new(batch),
            tasks: index..index + 1,
            offset: 0,
        }]);
        Self { session, segments }
    }

    /// No tasks at all.
    pub fn none() -> Self {
        Self { session: SessionId([0; 16]), segments: Segments::new() }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.segments.last().map_or(0, |last| last.offset + last.tasks.len())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Which segment the task is in.
    fn place(&self, index: usize) -> usize {
        self.segments.partition_point(|segment| segment.offset <= index) - 1
    }

    fn locate(&self, index: usize) -> (&Arc<Hold>, u32) {
        let segment = &self.segments[self.place(index)];
        (&segment.batch, segment.tasks.start + (index - segment.offset) as u32)
    }

    fn push(&mut self, batch: &Arc<Hold>, tasks: Range<u32>) {
        if let Some(last) = self.segments.last_mut()
            && Arc::ptr_eq(&last.batch.0, &batch.0)
            && last.tasks.end == tasks.start
        {
            last.tasks.end = tasks.end;
        } else if !tasks.is_empty() {
            let offset = self.len();
            self.segments.push(Segment { batch: batch.clone(), tasks, offset });
        }
    }

    /// Only these of them, in this order. Indexes must be below `len`.
    #[must_use]
    pub fn pick(&self, indexes: impl IntoIterator<Item = usize>) -> Self {
        let mut picked = Self { session: self.session, segments: Segments::new() };
        for index in indexes {
            let (batch, task) = self.locate(index);
            picked.push(batch, task..task + 1);
        }
        picked
    }

    /// Those of them that the user did not want forgotten.
    pub(crate) fn not_purged(&self) -> Self {
        let mut kept = Vec::new();
        let mut index = 0;
        self.for_each(|record| {
            if !record.purged {
                kept.push(index);
            }
            index += 1;
        });
        if kept.len() == self.len() { self.clone() } else { self.pick(kept) }
    }

    /// All of these sets, one after the other; `None` for no set.
    pub fn join<'a>(sets: impl IntoIterator<Item = &'a Self>) -> Option<Self> {
        let mut sets = sets.into_iter();
        let mut joined = sets.next()?.clone();
        for set in sets {
            if joined.is_empty() {
                joined.session = set.session;
            }
            for segment in &set.segments {
                joined.push(&segment.batch, segment.tasks.clone());
            }
        }
        Some(joined)
    }

    /// This client's number of the first of them; `None` without tasks.
    pub fn first(&self) -> Option<u64> {
        let segment = self.segments.first()?;
        Some(segment.batch.first + u64::from(segment.tasks.start))
    }

    /// Session and number of each task.
    pub fn ids(&self) -> impl Iterator<Item = (SessionId, u64)> + '_ {
        self.segments.iter().flat_map(move |segment| {
            segment.tasks.clone().map(move |index| match segment.batch.foreign() {
                Some(ids) => ids[index as usize],
                None => (self.session, segment.batch.first + u64::from(index)),
            })
        })
    }

    /// This client's numbers of the tasks that have no outcome yet.
    pub(crate) fn pending_numbers(&self) -> Vec<u64> {
        let mut numbers = Vec::new();
        self.each(|segment, index, record| {
            if record.state == State::Pending {
                numbers.push(segment.batch.first + u64::from(index));
            }
        });
        numbers
    }

    fn each(&self, mut look: impl FnMut(&Segment, u32, &Record)) {
        for segment in &self.segments {
            let changing = segment.batch.lock();
            for index in segment.tasks.clone() {
                look(segment, index, &changing.records[index as usize]);
            }
        }
    }

    /// Looks at every record in order.
    pub fn for_each(&self, mut look: impl FnMut(&Record)) {
        self.each(|_, _, record| look(record));
    }

    /// Looks at the record of one task.
    pub fn record<T>(&self, index: usize, look: impl FnOnce(&Record) -> T) -> T {
        let (batch, task) = self.locate(index);
        look(&batch.lock().records[task as usize])
    }

    /// What this task gave, if that is a value of a single part that was not released.
    pub fn value(&self, index: usize) -> Option<Bytes> {
        self.record(index, Record::value)
    }

    /// What each of these tasks gave, where that is a value of a single part that was not released.
    /// Indexes must be below `len`.
    pub fn values(&self, indexes: &[usize]) -> Vec<Option<Bytes>> {
        let mut values = Vec::with_capacity(indexes.len());
        let mut indexes = indexes.iter().peekable();
        while let Some(first) = indexes.next() {
            let place = self.place(*first);
            let segment = &self.segments[place];
            // One lock for all that follow in the same batch.
            let changing = segment.batch.lock();
            let mut next = Some(first);
            while let Some(index) = next {
                let task = segment.tasks.start as usize + (index - segment.offset);
                values.push(changing.records[task].value());
                next = indexes.next_if(|index| self.place(**index) == place);
            }
        }
        values
    }

    /// How many from this one on have an outcome, at most `limit`, up to the first that has none.
    pub fn done_from(&self, start: usize, limit: usize) -> usize {
        let end = self.len().min(start.saturating_add(limit));
        let mut index = start;
        while index < end {
            let segment = &self.segments[self.place(index)];
            let first = segment.tasks.start as usize + (index - segment.offset);
            let last = (segment.tasks.end as usize).min(first + (end - index));
            let changing = segment.batch.lock();
            let mut records = changing.records[first..last].iter();
            match records.position(|record| record.state == State::Pending) {
                Some(done) => return index + done - start,
                None => index += last - first,
            }
        }
        end.saturating_sub(start)
    }

    /// Changes the record of one task.
    pub fn record_mut<T>(&self, index: usize, change: impl FnOnce(&mut Record) -> T) -> T {
        let (batch, task) = self.locate(index);
        change(&mut batch.lock().records[task as usize])
    }

    /// When the task was submitted.
    pub fn submitted(&self, index: usize) -> Stamp {
        let (batch, task) = self.locate(index);
        batch.lock().submitted(task).unwrap_or(batch.submitted)
    }

    /// What the task wrote to this stream so far.
    pub fn written(&self, index: usize, stream: u8) -> String {
        let (batch, task) = self.locate(index);
        let changing = batch.lock();
        changing.written(task).map_or_else(String::new, |written| {
            if stream == 2 { written.stderr.clone() } else { written.stdout.clone() }
        })
    }

    /// Grows whenever a task writes.
    pub fn written_version(&self) -> u64 {
        self.segments.iter().map(|segment| segment.batch.lock().written_version()).sum()
    }

    /// How many have an outcome.
    pub fn done(&self) -> usize {
        let count = |segment: &Segment| {
            let changing = segment.batch.lock();
            if segment.tasks.len() == changing.records.len() {
                return changing.done as usize;
            }
            let tasks = segment.tasks.start as usize..segment.tasks.end as usize;
            changing.records[tasks].iter().filter(|r| r.state != State::Pending).count()
        };
        self.segments.iter().map(count).sum()
    }

    /// Whether all have an outcome.
    pub fn ready(&self) -> bool {
        self.done() == self.len()
    }

    /// Whether one ended otherwise than well.
    pub fn failed(&self) -> bool {
        let mut failed = false;
        self.for_each(|r| failed |= !matches!(r.state, State::Pending | State::Ok));
        failed
    }

    /// Items in each task, if any task is a chunk.
    pub fn items(&self) -> Option<Vec<u32>> {
        self.segments.iter().any(|segment| segment.batch.items().is_some()).then(|| {
            self.segments
                .iter()
                .flat_map(|s| s.tasks.clone().map(|index| s.batch.items_in(index) as u32))
                .collect()
        })
    }

    /// Items in all tasks.
    pub fn items_total(&self) -> u64 {
        self.items().map_or(self.len() as u64, |items| items.iter().map(|n| u64::from(*n)).sum())
    }

    /// Items that are done, also in chunks that still run.
    pub fn items_done(&self) -> u64 {
        let mut done = 0;
        self.each(|segment, index, record| {
            done += if record.state == State::Pending {
                u64::from(record.progress)
            } else {
                segment.batch.items_in(index)
            };
        });
        done
    }

    /// Indexes of the finished tasks, first finished first.
    pub fn completion_order(&self) -> Vec<usize> {
        let mut order = Vec::new();
        let mut index = 0;
        self.for_each(|record| {
            if record.state != State::Pending {
                order.push((record.received, record.rank, index));
            }
            index += 1;
        });
        order.sort_unstable();
        order.into_iter().map(|(_, _, index)| index).collect()
    }

    /// Indexes of the finished tasks that are not `seen`, first finished first, and marks them so.
    /// `seen` has one byte, 0 or 1, for each task.
    ///
    /// The place of a task in [`completion_order`](Self::completion_order) is not final: it goes by
    /// stamps of a clock that may jump, and another task may be entered while the records are read.
    /// So who walks along asks for what is new.
    pub fn newly_done(&self, seen: &mut [u8]) -> Vec<usize> {
        let mut order = Vec::new();
        let mut index = 0;
        self.for_each(|record| {
            if record.state != State::Pending && seen.get(index) == Some(&0) {
                order.push((record.received, record.rank, index));
            }
            index += 1;
        });
        order.sort_unstable();
        let order: Vec<_> = order.into_iter().map(|(_, _, index)| index).collect();
        for index in &order {
            seen[*index] = 1;
        }
        order
    }

    /// Forgets the outcomes of these of them, or of all, not their records, where no set holds
    /// them that was not made from this one. Indexes must be below `len`.
    pub fn release(&self, indexes: Option<&[usize]>) {
        let free = |batch: &Hold, tasks: Range<u32>| {
            if batch.holders.load(Ordering::Acquire) == 1 {
                let mut changing = batch.lock();
                for index in tasks {
                    changing.records[index as usize].parts = None;
                }
            }
        };
        if let Some(indexes) = indexes {
            for index in indexes {
                let (batch, task) = self.locate(*index);
                free(batch, task..task + 1);
            }
        } else {
            self.segments.iter().for_each(|segment| free(&segment.batch, segment.tasks.clone()));
        }
    }

    fn countdown(&self, until: Until, ring: Ring) -> Arc<Countdown> {
        let countdown = Arc::new(Countdown::new(ring));
        match until {
            Until::Task(index) => {
                let (batch, task) = self.locate(index);
                countdown.expect(batch.watch(task..task + 1, false, &countdown));
            }
            Until::All | Until::Count(_) | Until::Failure => {
                let failure = matches!(until, Until::Failure);
                let mut pending = 0;
                for segment in &self.segments {
                    let more = segment.batch.watch(segment.tasks.clone(), failure, &countdown);
                    countdown.expect(more);
                    pending += more;
                }
                if let Until::Count(count) = until {
                    // So many need not be waited for.
                    let enough = self.len() as isize - count.min(self.len()) as isize;
                    countdown.expect(-enough.min(pending));
                }
                if failure && self.failed() {
                    countdown.all();
                }
            }
        }
        countdown.arm();
        countdown
    }

    /// Sets up a wait.
    pub fn wait(&self, until: Until) -> Wait {
        let bell = Arc::new(Bell::default());
        let countdown = self.countdown(until, Ring::Bell(bell.clone()));
        Wait { bell, _countdown: countdown }
    }

    /// Queues a token when the wait is over. The countdown must be kept until then.
    pub fn notify(&self, until: Until, ring: Ring) -> Arc<Countdown> {
        self.countdown(until, ring)
    }

    /// Earliest `submitted` and latest `received`, the latter 0 if any is missing.
    pub fn span(&self) -> (Stamp, Stamp) {
        let mut first = Stamp::MAX;
        let mut last = 0;
        let mut open = false;
        self.each(|segment, _, record| {
            first = first.min(segment.batch.submitted);
            last = last.max(record.received);
            open |= record.state == State::Pending;
        });
        (first, if open { 0 } else { last })
    }
}
