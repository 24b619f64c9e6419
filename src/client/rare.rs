//! What few batches have: text, waits, stamps that came before an outcome, and holds of sets that were
//! found in the books. The others pay nothing for it.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Weak;

use super::bell::Countdown;
use crate::wire::Stamp;

/// What a task wrote.
#[derive(Default)]
pub struct Written {
    /// Its stdout.
    pub stdout: String,
    /// Its stderr.
    pub stderr: String,
}

/// What few batches have.
#[derive(Default)]
pub(super) struct Rare {
    /// Text of those tasks that wrote any.
    pub(super) written: HashMap<u32, Written>,
    /// Grows with each piece of text.
    pub(super) written_version: u64,
    /// Stamps of tasks that others submitted.
    pub(super) submitted: HashMap<u32, Stamp>,
    /// Stamps of pending tasks that are known to run.
    pub(super) begun: HashMap<u32, Stamp>,
    /// Holds that are not the first one's, by family: how many sets each has. See
    /// [`Batch::found`](super::batch::Batch::found).
    pub(super) found: HashMap<u32, u32>,
    pub(super) families: u32,
    pub(super) waiting: Vec<Waiting>,
    /// Waits for single tasks; there may be one for each.
    pub(super) single: HashMap<u32, Vec<Weak<Countdown>>>,
}

impl Rare {
    pub(super) fn is_empty(&self) -> bool {
        let sets = [self.submitted.is_empty(), self.begun.is_empty(), self.found.is_empty()];
        let waits = self.waiting.is_empty() && self.single.is_empty();
        waits && self.written.is_empty() && sets == [true; 3]
    }

    /// Tells who waits for the task that it ended.
    pub(super) fn ring(&mut self, index: u32, failed: bool) {
        let single = self.single.remove(&index).into_iter().flatten();
        single.filter_map(|countdown| countdown.upgrade()).for_each(|countdown| countdown.one());
        self.waiting.retain(|waiting| {
            let Some(countdown) = waiting.countdown.upgrade() else { return false };
            if waiting.tasks.contains(&index) {
                if failed && waiting.failure {
                    countdown.all();
                } else {
                    countdown.one();
                }
            }
            true
        });
    }
}

/// A wait for several tasks.
pub(super) struct Waiting {
    pub(super) tasks: Range<u32>,
    /// Whether a single failure ends the wait.
    pub(super) failure: bool,
    pub(super) countdown: Weak<Countdown>,
}
