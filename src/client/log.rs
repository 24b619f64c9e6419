//! Which tasks were submitted through one view: ranges of numbers, not a million ids.

use std::collections::VecDeque;
use std::ops::Range;

/// Ranges kept; the oldest go first. Only several views in strict alternation make many.
const MAX_RANGES: usize = 65_536;

/// See the head of this file.
#[derive(Default)]
pub struct Log(VecDeque<Range<u64>>);

impl Log {
    /// Enters `count` tasks, numbered from `first` on.
    pub fn enter(&mut self, first: u64, count: usize) {
        let end = first + count as u64;
        match self.0.back_mut() {
            _ if count == 0 => {}
            Some(last) if last.end == first => last.end = end,
            _ => {
                if self.0.len() == MAX_RANGES {
                    self.0.pop_front();
                }
                self.0.push_back(first..end);
            }
        }
    }

    /// The ranges, in order of submission.
    pub fn ranges(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.0.iter().map(|range| (range.start, range.end))
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consecutive_submissions_become_one_range() {
        let mut log = Log::default();
        for (first, count) in [(0, 1), (1, 2), (3, 0), (7, 1)] {
            log.enter(first, count);
        }
        assert_eq!(log.ranges().collect::<Vec<_>>(), [(0, 3), (7, 8)]);
    }

    #[test]
    fn the_oldest_ranges_are_forgotten_first() {
        let mut log = Log::default();
        (0..=MAX_RANGES as u64).for_each(|number| log.enter(2 * number, 1));
        assert_eq!(log.ranges().count(), MAX_RANGES);
        assert_eq!(log.ranges().next(), Some((2, 3)));
    }
}
