//! Who drives the runtime: the thread that waits for an outcome, or the I/O thread.
//!
//! Waking a thread costs more than all else in a round trip. So whoever waits *leads*: it runs the
//! sockets and the tasks of the runtime itself until what it waits for is there, and nobody has
//! to be woken in between. The I/O thread *follows*: it drives while nobody leads for longer than
//! a tick, as when Python computes, and lets go when a thread that waited meanwhile is done.
//!
//! Invariants: at most one thread drives; what was queued is seen to by whoever drives next, and
//! somebody does within two ticks; an idle process ticks not at all.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, RwLock};
use tokio::runtime::{Handle, Runtime};
use tokio::sync::Notify;
use tokio::time::{Sleep, sleep_until};

/// Time after which the I/O thread takes over from a leader that left.
const TICK: Duration = Duration::from_millis(1);
/// The follower looks ever more rarely while one leader stays, up to this; then not at all if that
/// leader says so, see [`Stay`].
const DOZE: Duration = Duration::from_millis(64);
/// What is queued this soon after a turn waits for the next one: a burst becomes few packets.
const BURST: Duration = Duration::from_micros(250);
/// After a turn its thread is left alone for so many times as long: who submits much is to be done
/// with it soon, and what piled up meanwhile is seen to by whoever waits for it.
const REST: u32 = 4;

/// Whether a leader comes back at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stay {
    /// It leaves every now and then, to look for signals, and returns: nobody need take over.
    Slices,
    /// It stays until it got what it waits for.
    Whole,
}

/// What came of an attempt to lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Led<T> {
    /// What was waited for.
    Done(T),
    /// The wait ended without it.
    Ended,
    /// Somebody else drives, or there is nothing to drive any more.
    Not,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder {
    Nobody,
    Leader,
    Follower,
}

struct State {
    holder: Holder,
    /// Grows whenever somebody stops driving.
    stints: u64,
    /// How long the follower sleeps; `None` for until it is woken.
    tick: Option<Duration>,
    /// Somebody needs the follower to drive as soon as nobody leads.
    urgent: bool,
    /// How the present or last leader stays.
    stay: Stay,
    /// Threads that wait without leading.
    parked: usize,
    /// Until when the thread that took the last turn is spared another.
    spared: Option<Instant>,
    /// When the follower was last woken for something that was queued.
    poked: Option<Instant>,
    /// The life of the runtime is over.
    over: bool,
}

impl State {
    fn is_spared(&self) -> bool {
        self.spared.is_some_and(|spared| Instant::now() < spared)
    }
}

/// See the head of this file.
pub struct Drive {
    state: Mutex<State>,
    /// Wakes the follower.
    changed: Condvar,
    /// Makes the follower let go.
    handover: Notify,
    /// Makes a leader let go at the end.
    end: Notify,
    /// Tells the tasks of the runtime what was queued from outside; runs at the start of a drive.
    poke: Box<dyn Fn() + Send + Sync>,
    /// One timer for all leads: setting one wakes the driver by a system call.
    timer: Mutex<Option<Pin<Box<Sleep>>>>,
    /// Taken out at the end.
    runtime: RwLock<Option<Runtime>>,
}

impl Drive {
    /// Nobody drives `runtime` yet. `poke` wakes those of its tasks that look at queues which are
    /// filled from outside; it is called inside the runtime.
    pub fn new(runtime: Runtime, poke: impl Fn() + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                holder: Holder::Nobody,
                stints: 0,
                tick: Some(TICK),
                urgent: true,
                stay: Stay::Slices,
                parked: 0,
                spared: None,
                poked: None,
                over: false,
            }),
            changed: Condvar::new(),
            handover: Notify::new(),
            end: Notify::new(),
            poke: Box::new(poke),
            timer: Mutex::new(None),
            runtime: RwLock::new(Some(runtime)),
        })
    }

    /// Starts the I/O thread, which ends with `life`, a task of the runtime.
    pub fn start(
        self: &Arc<Self>,
        life: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<std::thread::JoinHandle<()>> {
        let (lived, follower) = (Arc::clone(self), Arc::clone(self));
        if let Some(runtime) = self.runtime.read().as_ref() {
            runtime.spawn(async move {
                // Also when it panics, or this future is dropped.
                let _over = Over(lived);
                life.await;
            });
        }
        std::thread::Builder::new().name("oarlock-io".to_owned()).spawn(move || follower.follow())
    }

    // --- leading

    /// Runs the runtime on this thread until `until` is done, unless somebody drives already.
    pub fn lead<T>(&self, stay: Stay, until: impl Future<Output = Option<T>>) -> Led<T> {
        if !self.take(stay) {
            return Led::Not;
        }
        // Left also when a task of the runtime panics through.
        let mut lead = Lead { drive: self, back_soon: false };
        let runtime = self.runtime.read();
        let Some(runtime) = runtime.as_ref() else { return Led::Not };
        let done = runtime.block_on(async {
            (self.poke)();
            tokio::select! {
                biased;
                done = until => done,
                () = self.end.notified() => None,
            }
        });
        lead.back_soon = done.is_none() && stay == Stay::Slices;
        done.map_or(Led::Ended, Led::Done)
    }

    /// Ends at the deadline, or somewhat before: leads wait in slices anyway. Only for leads.
    pub async fn timeout(&self, deadline: Instant) {
        self.set_timer(deadline.into());
        poll_fn(|context| match self.timer.lock().as_mut() {
            Some(sleep) => sleep.as_mut().poll(context),
            None => Poll::Ready(()),
        })
        .await;
    }

    fn set_timer(&self, deadline: tokio::time::Instant) {
        let mut timer = self.timer.lock();
        let sleep = timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if sleep.is_elapsed() || sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
    }

    /// Lets the runtime see to what was queued, now or, in a burst, soon. `now` is for what
    /// somebody is about to wait for.
    pub fn nudge(&self, now: bool) {
        let mut state = self.state.lock();
        match state.holder {
            Holder::Nobody if state.over => return,
            Holder::Nobody => {
                if !now && state.is_spared() {
                    return;
                }
            }
            Holder::Leader => {
                // It may be about to leave.
                state.urgent = true;
                drop(state);
                return (self.poke)();
            }
            Holder::Follower => {
                // To wake it once is fine; in a burst this thread does better without it.
                let again = state.poked.is_some_and(|poked| poked.elapsed() < TICK);
                state.poked = Some(Instant::now());
                let lets_go = again && state.parked == 0 && !state.urgent;
                drop(state);
                (self.poke)();
                if lets_go {
                    self.handover.notify_one();
                }
                return;
            }
        }
        drop(state);
        self.turn();
    }

    /// Whether [`nudge`](Self::nudge) would take a turn on this thread, which takes some time.
    pub fn is_due(&self) -> bool {
        let state = self.state.lock();
        state.holder == Holder::Nobody && !state.is_spared()
    }

    /// Whether nobody drives.
    pub fn is_free(&self) -> bool {
        self.state.lock().holder == Holder::Nobody
    }

    /// One turn of the runtime on this thread: all that can be done without waiting.
    fn turn(&self) {
        let begin = Instant::now();
        // One yield lets everything run that can and looks at the sockets once.
        let turned = self.lead(Stay::Whole, async {
            tokio::task::yield_now().await;
            Some(())
        });
        if turned == Led::Not {
            return (self.poke)();
        }
        let end = Instant::now();
        let rest = BURST.max(REST * (end - begin));
        self.state.lock().spared = Some(end + rest);
    }

    fn take(&self, stay: Stay) -> bool {
        // A thread that runs another runtime's tasks cannot run this one's; a task of this
        // runtime must not.
        if Handle::try_current().is_ok() {
            return false;
        }
        let mut state = self.state.lock();
        let free = state.holder == Holder::Nobody && !state.over;
        if free {
            state.holder = Holder::Leader;
            state.stay = stay;
        }
        free
    }

    fn leave(&self, back_soon: bool) {
        let mut state = self.state.lock();
        state.holder = Holder::Nobody;
        let wanted = state.over || state.urgent || state.parked > 0;
        if back_soon && !wanted {
            return;
        }
        state.stints += 1;
        if wanted || state.tick != Some(TICK) {
            state.tick = Some(TICK);
            self.changed.notify_one();
        }
    }

    // --- waiting without leading

    /// Somebody is about to wait for what the runtime does, without leading: the follower drives
    /// if nobody else does.
    pub fn need(&self) {
        let mut state = self.state.lock();
        if state.holder != Holder::Follower {
            state.urgent = true;
            self.changed.notify_one();
        }
    }

    /// This thread waits and would rather lead.
    pub(crate) fn park(&self) {
        let mut state = self.state.lock();
        state.parked += 1;
        if state.holder == Holder::Nobody {
            self.changed.notify_one();
        }
    }

    /// It waits no longer. When the last one has what it waited for, the next may lead.
    pub(crate) fn unpark(&self, done: bool) {
        let mut state = self.state.lock();
        state.parked -= 1;
        if done && state.parked == 0 && state.holder == Holder::Follower && !state.urgent {
            self.handover.notify_one();
        }
    }

    // --- following

    fn follow(&self) {
        loop {
            let mut state = self.state.lock();
            while !state.over && !self.must_drive(&mut state) {}
            if state.over {
                while state.holder != Holder::Nobody {
                    self.changed.wait(&mut state);
                }
                break;
            }
            state.holder = Holder::Follower;
            state.urgent = false;
            drop(state);
            if let Some(runtime) = self.runtime.read().as_ref() {
                runtime.block_on(async {
                    (self.poke)();
                    self.handover.notified().await;
                });
            }
            let mut state = self.state.lock();
            state.holder = Holder::Nobody;
            state.stints += 1;
            state.tick = Some(TICK);
        }
        drop(self.timer.lock().take());
        if let Some(runtime) = self.runtime.write().take() {
            runtime.shutdown_timeout(Duration::from_millis(100));
        }
    }

    /// Sleeps for a tick, or until woken; says whether the follower has to drive now.
    fn must_drive(&self, state: &mut parking_lot::MutexGuard<'_, State>) -> bool {
        if state.holder == Holder::Nobody && (state.urgent || state.parked > 0) {
            return true;
        }
        let before = state.stints;
        match state.tick {
            None => self.changed.wait(state),
            Some(tick) => {
                if self.changed.wait_for(state, tick).timed_out() && state.stints == before {
                    if state.holder == Holder::Nobody {
                        return true;
                    }
                    // A leader in slices may be away for long in a signal's handler.
                    let rests = tick >= DOZE && state.stay == Stay::Whole;
                    state.tick = (!rests).then_some(DOZE.min(2 * tick));
                }
            }
        }
        false
    }

    fn finish(&self) {
        self.state.lock().over = true;
        self.changed.notify_one();
        self.handover.notify_one();
        self.end.notify_one();
    }
}

/// A stint of leading; ends when dropped.
struct Lead<'a> {
    drive: &'a Drive,
    back_soon: bool,
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        self.drive.leave(self.back_soon);
    }
}

/// Ends the drive when the life of its runtime ends, whatever the reason.
struct Over(Arc<Drive>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.finish();
    }
}
