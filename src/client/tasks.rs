//! Sets of tasks: what users hold. Parts of batches, joined in any order, never copied.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use smallvec::SmallVec;

use super::batch::{Batch, Record, State};
use super::bell::{Bell, Countdown, Ring};
use super::core::Core;
use super::segment::{OWN, Segment};
use crate::wire::{SessionId, Stamp};

/// Most sets are of one batch.
type Segments = SmallVec<[Segment; 1]>;

/// Tasks of one submission, or of several.
#[derive(Clone)]
pub struct Tasks {
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
    /// The tasks that were just submitted.
    pub(crate) fn of(batch: Arc<Batch>) -> Self {
        Self::whole(batch, OWN)
    }

    /// One task that was just submitted.
    pub(crate) fn one(batch: Arc<Batch>) -> Self {
        Self { segments: Segments::from_buf([Segment::new(batch, 0..1, OWN)]) }
    }

    /// The tasks of a batch that was found in the books.
    pub(crate) fn found(batch: Arc<Batch>) -> Self {
        let family = batch.found();
        Self::whole(batch, family)
    }

    /// One task of such a batch.
    pub(crate) fn found_one(batch: Arc<Batch>, index: u32) -> Self {
        let family = batch.found();
        Self { segments: Segments::from_buf([Segment::new(batch, index..index + 1, family)]) }
    }

    fn whole(batch: Arc<Batch>, family: u32) -> Self {
        if batch.len == 0 {
            return Self::none();
        }
        let tasks = 0..batch.len;
        Self { segments: Segments::from_buf([Segment::new(batch, tasks, family)]) }
    }

    /// No tasks at all.
    pub fn none() -> Self {
        Self { segments: Segments::new() }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.segments.last().map_or(0, |last| last.offset() + last.tasks.len())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Which segment the task is in.
    fn place(&self, index: usize) -> usize {
        self.segments.partition_point(|segment| segment.offset() <= index) - 1
    }

    fn locate(&self, index: usize) -> (&Segment, u32) {
        let segment = &self.segments[self.place(index)];
        (segment, segment.tasks.start + (index - segment.offset()) as u32)
    }

    fn push(&mut self, from: &Segment, tasks: Range<u32>) {
        if let Some(last) = self.segments.last_mut()
            && Arc::ptr_eq(&last.batch, &from.batch)
            && last.family == from.family
            && last.tasks.end == tasks.start
        {
            last.tasks.end = tasks.end;
        } else if !tasks.is_empty() {
            let offset = self.len();
            self.segments.push(from.part(tasks, offset));
        }
    }

    /// Only these of them, in this order. Indexes must be below `len`.
    #[must_use]
    pub fn pick(&self, indexes: impl IntoIterator<Item = usize>) -> Self {
        let mut picked = Self::none();
        for index in indexes {
            let (segment, task) = self.locate(index);
            picked.push(segment, task..task + 1);
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
            for segment in &set.segments {
                joined.push(segment, segment.tasks.clone());
            }
        }
        Some(joined)
    }

    /// This client's number of the first of them; `None` without tasks.
    pub fn first(&self) -> Option<u64> {
        let segment = self.segments.first()?;
        Some(segment.batch.first + u64::from(segment.tasks.start))
    }

    /// Session and number of each task; `session` is that of their client.
    pub fn ids(&self, session: SessionId) -> impl Iterator<Item = (SessionId, u64)> + '_ {
        self.segments.iter().flat_map(move |segment| {
            segment.tasks.clone().map(move |index| match segment.batch.foreign() {
                Some(ids) => ids[index as usize],
                None => (session, segment.batch.first + u64::from(index)),
            })
        })
    }

    /// This client's numbers of the tasks that have no outcome yet.
    pub(crate) fn pending_numbers(&self) -> Vec<u64> {
        let pending = |s: &Segment| s.batch.pending_numbers(s.tasks.clone());
        self.segments.iter().flat_map(pending).collect()
    }

    fn each(&self, mut look: impl FnMut(&Segment, u32, &Record<'_>)) {
        for segment in &self.segments {
            let changing = segment.batch.lock();
            for index in segment.tasks.clone() {
                look(segment, index, &changing.record(index));
            }
        }
    }

    /// Looks at every record in order.
    pub fn for_each(&self, mut look: impl FnMut(&Record<'_>)) {
        self.each(|_, _, record| look(record));
    }

    /// Looks at the record of one task.
    pub fn record<T>(&self, index: usize, look: impl FnOnce(&Record<'_>) -> T) -> T {
        let (segment, task) = self.locate(index);
        look(&segment.batch.lock().record(task))
    }

    /// What this task gave, if that is a value of a single part that was not released.
    pub fn value(&self, index: usize) -> Option<Bytes> {
        let (segment, task) = self.locate(index);
        segment.batch.lock().value(task)
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
                let task = segment.tasks.start + (index - segment.offset()) as u32;
                values.push(changing.value(task));
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
            let first = segment.tasks.start as usize + (index - segment.offset());
            let last = (segment.tasks.end as usize).min(first + (end - index));
            let done = segment.batch.lock().done_in(first..last);
            index += done;
            if done < last - first {
                return index - start;
            }
        }
        end.saturating_sub(start)
    }

    /// The user wants the task forgotten, if it has ended.
    pub(crate) fn purge(&self, index: usize) {
        let (segment, task) = self.locate(index);
        segment.batch.lock().purge(task);
    }

    /// When the task was submitted.
    pub fn submitted(&self, index: usize) -> Stamp {
        let (segment, task) = self.locate(index);
        segment.batch.lock().submitted(task).unwrap_or(segment.batch.submitted)
    }

    /// What the task wrote to this stream so far.
    pub fn written(&self, index: usize, stream: u8) -> String {
        let (segment, task) = self.locate(index);
        let changing = segment.batch.lock();
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
            if segment.tasks.len() == changing.len() as usize {
                return changing.done() as usize;
            }
            segment.tasks.clone().filter(|task| changing.state(*task) != State::Pending).count()
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
        let free = |segment: &Segment, tasks: Range<u32>| {
            let mut changing = segment.batch.lock();
            if segment.is_alone(&changing) {
                changing.release(tasks);
            }
        };
        if let Some(indexes) = indexes {
            for index in indexes {
                let (segment, task) = self.locate(*index);
                free(segment, task..task + 1);
            }
        } else {
            self.segments.iter().for_each(|segment| free(segment, segment.tasks.clone()));
        }
    }

    fn countdown(&self, until: Until, ring: Ring) -> Arc<Countdown> {
        let countdown = Arc::new(Countdown::new(ring));
        match until {
            Until::Task(index) => {
                let (segment, task) = self.locate(index);
                countdown.expect(segment.batch.watch(task..task + 1, false, &countdown));
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
