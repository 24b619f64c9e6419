//! Which engine processes are replaced when they end, after which pause, and when that is given up.
//!
//! A process that is started sits in a *seat*; whoever replaces it sits there after it. Who
//! started engines knows their seats, which stay, and asks here which processes sit in them.
//!
//! Rules: a process that was asked to end, or whose seat is retired, has no successor. One whose
//! end the caller wanted, but not an engine less, always has: it was given up because of its task,
//! or asked to make room for another. Any other has one if the policy says so. The first
//! successor comes at once, the next after pauses that double, until one has lived for long; after
//! too many in a row that never became an engine none comes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::spawn::{End, Recipe};
use crate::transport::Patience;

/// A process that lived for so long was well: its successor comes at once.
const WELL: Duration = Duration::from_secs(60);
/// The first pause, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));
/// Reasons of failed starts that are remembered.
const REMEMBERED: usize = 100;
/// Starts in a row that came to nothing after which no other is tried.
const STARTS: u32 = 5;

/// What is done about engines that end or fall silent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Care {
    /// Whether an engine that ended by itself or was killed is replaced.
    pub restart: bool,
    /// How long one may be silent.
    pub patience: Patience,
    /// How long engines and clients look for another controller if this one is killed; until then
    /// it can be started again where it was. Zero if none is to follow.
    pub lease: Duration,
}

impl Care {
    /// With other times of silence: after which an engine is suspect, and after which it is lost.
    pub fn new(restart: bool, suspect: Duration, lost: Duration) -> Self {
        Self { restart, patience: Patience { suspect, lost }, lease: Duration::ZERO }
    }
}

/// How a process ended, as far as that decides what follows.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Departure {
    /// For how long it ran.
    pub(super) lived: Duration,
    /// Whether it had become an engine.
    pub(super) joined: bool,
    /// What was wanted of it.
    pub(super) wish: Wish,
}

/// What somebody wanted to become of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Wish {
    /// That it goes on.
    #[default]
    Life,
    /// An engine less.
    End,
    /// Its end, but not an engine less.
    Another,
}

/// What follows the end of a process.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing.
    Nobody,
    /// Another process, after this pause.
    After(Duration),
    /// Nothing, though an engine was wanted.
    GivenUp,
}

/// See the head of this file.
#[derive(Debug, Default)]
struct Seat {
    /// Who sits there now.
    pid: Option<u32>,
    /// Whether anybody in it ever became an engine.
    joined: bool,
    /// Nobody is to sit here after the present process.
    retired: bool,
    /// A successor is due whatever the policy, until one becomes an engine.
    owed: bool,
    /// Ends in a row without a long life between them.
    ends: u32,
    /// Starts in a row that came to nothing.
    failed: u32,
}

impl Seat {
    fn left(&mut self, how: Departure, restart: bool) -> Next {
        self.pid = None;
        if self.retired || how.wish == Wish::End {
            self.retired = true;
            return Next::Nobody;
        }
        if how.joined {
            (self.failed, self.owed) = (0, false);
        } else {
            self.failed += 1;
        }
        let wanted = how.wish == Wish::Another;
        self.owed |= wanted;
        if !restart && !self.owed {
            return if how.joined { Next::Nobody } else { Next::GivenUp };
        }
        if self.failed >= STARTS {
            self.retired = true;
            return Next::GivenUp;
        }
        if wanted || how.lived >= WELL {
            self.ends = 0;
        }
        let pause = match self.ends.checked_sub(1) {
            None => Duration::ZERO,
            Some(doublings) => PAUSE.1.min(PAUSE.0.saturating_mul(1 << doublings.min(16))),
        };
        self.ends += 1;
        Next::After(pause)
    }
}

/// All seats, for the shell, which fills them, and for those who started engines.
#[derive(Default)]
pub(super) struct Seats {
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    /// A seat in which nobody will sit again has no recipe: one holds a whole environment.
    seats: BTreeMap<u32, (Option<Arc<Recipe>>, Seat)>,
    failures: VecDeque<String>,
}

impl Seats {
    /// A new seat for a process that was just started.
    pub(super) fn open(&self, recipe: Arc<Recipe>, pid: u32) -> u32 {
        let mut book = self.book.lock();
        let number = book.seats.last_key_value().map_or(0, |(last, _)| last + 1);
        book.seats.insert(number, (Some(recipe), Seat { pid: Some(pid), ..Seat::default() }));
        number
    }

    /// How to start the next process of a seat; `None` if there is to be none.
    pub(super) fn recipe(&self, seat: u32) -> Option<Arc<Recipe>> {
        let book = self.book.lock();
        let (recipe, seat) = book.seats.get(&seat)?;
        recipe.clone().filter(|_| !seat.retired)
    }

    /// A successor was started; `false` if the seat was retired meanwhile.
    pub(super) fn take(&self, seat: u32, pid: u32) -> bool {
        let mut book = self.book.lock();
        let Some((_, seat)) = book.seats.get_mut(&seat) else { return false };
        seat.pid = Some(pid);
        !seat.retired
    }

    /// Its process became an engine.
    pub(super) fn joined(&self, seat: u32) {
        if let Some((_, seat)) = self.book.lock().seats.get_mut(&seat) {
            seat.joined = true;
        }
    }

    /// Its process ended: the pause after which another is to be started, if one is.
    pub(super) fn left(
        &self,
        seat: u32,
        how: Departure,
        restart: bool,
        why: impl FnOnce() -> String,
    ) -> Option<Duration> {
        let mut book = self.book.lock();
        let (recipe, seat) = book.seats.get_mut(&seat)?;
        let next = seat.left(how, restart);
        if !matches!(next, Next::After(_)) {
            *recipe = None;
        }
        match next {
            Next::Nobody => {}
            Next::After(pause) => return Some(pause),
            Next::GivenUp => {
                let text = match seat.failed {
                    0 | 1 => why(),
                    starts => format!("given up after {starts} starts in a row: {}", why()),
                };
                book.failures.push_back(text);
            }
        }
        let surplus = book.failures.len().saturating_sub(REMEMBERED);
        book.failures.drain(..surplus);
        None
    }

    /// Nobody is to sit in these any more when their processes end.
    pub(super) fn retire(&self, seats: &[u32]) {
        let mut book = self.book.lock();
        for seat in seats {
            if let Some((_, seat)) = book.seats.get_mut(seat) {
                seat.retired = true;
            }
        }
    }

    /// For each of these seats: who sits there now, and whether anybody ever became an engine.
    pub(super) fn look(&self, seats: &[u32]) -> Vec<(Option<u32>, bool)> {
        let book = self.book.lock();
        let look = |seat| book.seats.get(seat).map(|(_, seat)| (seat.pid, seat.joined));
        seats.iter().map(|seat| look(seat).unwrap_or_default()).collect()
    }

    /// Why processes that were started did not become engines.
    pub(super) fn failures(&self) -> Vec<String> {
        self.book.lock().failures.iter().cloned().collect()
    }
}

/// How a process that never became an engine ended.
pub(super) fn stillborn(pid: u32, End { cause, output, .. }: &End) -> String {
    let text = format!("engine process {pid} ended before it joined: {cause}\n{output}");
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RAN: Departure =
        Departure { lived: Duration::from_secs(1), joined: true, wish: Wish::Life };
    const FAILED: Departure = Departure { joined: false, ..RAN };

    fn after(milliseconds: u64) -> Next {
        Next::After(Duration::from_millis(milliseconds))
    }

    #[test]
    fn without_the_policy_nobody_follows_and_a_failed_start_is_told() {
        assert_eq!(Seat::default().left(RAN, false), Next::Nobody);
        assert_eq!(Seat::default().left(FAILED, false), Next::GivenUp);
    }

    #[test]
    fn the_first_comes_at_once_and_the_pauses_double_up_to_ten_seconds() {
        let mut seat = Seat::default();
        let pauses = [0, 100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000];
        for pause in pauses {
            assert_eq!(seat.left(RAN, true), after(pause));
        }
        seat.ends = u32::MAX - 1;
        assert_eq!(seat.left(RAN, true), after(10_000));
    }

    #[test]
    fn a_long_life_makes_the_pause_short_again() {
        let mut seat = Seat::default();
        for _ in 0..4 {
            seat.left(RAN, true);
        }
        assert_eq!(seat.left(Departure { lived: WELL, ..RAN }, true), after(0));
        assert_eq!(seat.left(RAN, true), after(100));
    }

    #[test]
    fn after_five_starts_in_a_row_that_came_to_nothing_it_is_given_up() {
        let mut seat = Seat::default();
        for pause in [0, 100, 200, 400] {
            assert_eq!(seat.left(FAILED, true), after(pause));
        }
        assert_eq!(seat.left(FAILED, true), Next::GivenUp);
        assert!(seat.retired);
    }

    #[test]
    fn one_that_became_an_engine_ends_the_row_of_failed_starts() {
        let mut seat = Seat::default();
        for how in [FAILED, FAILED, FAILED, FAILED, RAN, FAILED, FAILED, FAILED, FAILED] {
            assert!(matches!(seat.left(how, true), Next::After(_)));
        }
        assert_eq!(seat.left(FAILED, true), Next::GivenUp);
    }

    #[test]
    fn nobody_follows_one_that_was_asked_to_end_or_whose_seat_is_retired() {
        let mut seat = Seat::default();
        assert_eq!(seat.left(Departure { wish: Wish::End, ..RAN }, true), Next::Nobody);
        let mut seat = Seat { retired: true, ..Seat::default() };
        assert_eq!(seat.left(Departure { wish: Wish::Another, ..RAN }, true), Next::Nobody);
    }

    #[test]
    fn a_caller_who_wanted_the_end_of_a_task_loses_no_engine_whatever_the_policy() {
        let mut seat = Seat::default();
        for _ in 0..10 {
            assert_eq!(seat.left(Departure { wish: Wish::Another, ..RAN }, false), after(0));
        }
        // The successor is owed until it is an engine.
        assert_eq!(seat.left(FAILED, false), after(100));
        assert_eq!(seat.left(RAN, false), Next::Nobody);
    }

    #[test]
    fn a_seat_tells_who_sits_in_it_and_why_it_is_empty() {
        let argv = vec!["engine".to_owned()];
        let recipe =
            Recipe { argv, env: std::collections::HashMap::default(), log_directory: "log".into() };
        let (seats, recipe) = (Seats::default(), Arc::new(recipe));
        let (first, second) = (seats.open(recipe.clone(), 10), seats.open(recipe, 11));
        seats.joined(first);
        assert_eq!(seats.look(&[first, second]), [(Some(10), true), (Some(11), false)]);
        assert_eq!(seats.left(first, RAN, true, String::new), Some(Duration::ZERO));
        assert_eq!(seats.look(&[first]), [(None, true)]);
        assert!(seats.recipe(first).is_some() && seats.take(first, 12));
        seats.retire(&[first]);
        assert!(seats.recipe(first).is_none() && !seats.take(first, 13));
        assert_eq!(seats.left(second, FAILED, false, || "it fell".to_owned()), None);
        assert!(seats.recipe(second).is_none());
        assert_eq!(seats.failures(), ["it fell"]);
    }
}
