//! The shell's part in keeping things: the store, what is still to be written there, and what may
//! only be said after it was.
//!
//! New work is written before it is entered, or refused. All else waits here until the shell is about
//! to let messages leave, and is written before they do. What does not fit then, since the disk is
//! full, stays and is tried again; until all is written engines are not told that anything is settled,
//! and nothing new is taken.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::hash::Map;
use super::record::Admitted;
use super::returning::Piece;
use super::run::Shell;
use super::{Effect, Event, Limits, Now, Reactor};
use crate::store::{Class, Key, Outcome, Record, Store, StoreError};
use crate::wire::{
    ClientId, EngineId, FromClient, Message, Parts, Status, TaskId, ToClient, ToEngine,
};

/// After so long it is tried again to write what did not fit.
pub(super) const AGAIN: Duration = Duration::from_millis(250);
/// What was forgotten is cleared away after this pause, so many bytes at a time.
const TIDY: Duration = Duration::from_millis(10);
const TIDY_BYTES: u64 = 1 << 20;
/// Records written at once, and their bytes: so much is not written if it does not fit.
const PORTION: usize = 512;
const PORTION_BYTES: usize = 1 << 20;

/// Where a controller keeps what is to survive it, and for how long.
#[derive(Clone, Debug)]
pub struct Keeping {
    /// The directory of the store.
    pub directory: PathBuf,
    /// How long an outcome is kept that nobody fetched.
    pub time: Duration,
}

/// See the head of this file.
pub(crate) struct Keep {
    pub(crate) store: Store,
    directory: PathBuf,
    /// What is to be written, in this order.
    pub(super) queue: VecDeque<Message<Record>>,
    /// What engines are told when it is: which outcomes need not be kept there.
    settled: Map<EngineId, Vec<u64>>,
    /// When writing is tried again, if it failed.
    again: Option<Instant>,
    /// When some of what was forgotten is cleared away.
    tidy: Option<Instant>,
    /// The outcomes among what could not be written.
    unwritten: Map<TaskId, Parts>,
}

impl Keeping {
    /// The bounds of a controller with such a store.
    pub(super) fn limits(&self, limits: Limits) -> Limits {
        let orphan_time = u64::try_from(self.time.as_nanos()).unwrap_or(u64::MAX);
        Limits { store: true, orphan_bytes: u64::MAX, orphan_time, ..limits }
    }
}

impl Keep {
    pub(super) fn new(store: Store, directory: PathBuf) -> Self {
        Self {
            store,
            directory,
            queue: VecDeque::new(),
            settled: Map::default(),
            again: None,
            tidy: None,
            unwritten: Map::default(),
        }
    }

    /// Where the ledger lies that belongs to the store.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Gives up the room that is kept for what is due; `false` if it was given up before.
    pub(super) fn spare(&mut self) -> bool {
        self.store.spare()
    }

    /// Whether nothing is left to be written.
    pub(crate) fn is_written(&self) -> bool {
        self.queue.is_empty()
    }

    /// Something is to be written before anything else leaves.
    fn push(&mut self, mut entry: Message<Record>) {
        if let Record::Forgotten(gone) = &mut entry.head {
            let store = &self.store;
            gone.funcs.retain(|func| store.find(Key::Function(*func)).is_some());
            gone.clients.retain(|client| store.find(Key::Client(*client)).is_some());
            if gone.funcs.is_empty() && gone.clients.is_empty() && gone.tasks.is_empty() {
                return;
            }
            self.tidy.get_or_insert_with(|| Instant::now() + TIDY);
        }
        self.queue.push_back(entry);
    }

    /// Writes what is to be written.
    pub(super) fn write(&mut self) -> Result<(), StoreError> {
        let mut most = PORTION;
        while !self.queue.is_empty() {
            let queue = self.queue.make_contiguous();
            let mut bytes = 0;
            let small = queue.iter().take(most).take_while(|entry| {
                let fits = bytes < PORTION_BYTES;
                bytes += entry.parts.iter().map(Bytes::len).sum::<usize>();
                fits
            });
            let count = small.count();
            match self.store.append(Class::Due, &queue[..count]) {
                Ok(_) => drop(self.queue.drain(..count)),
                Err(StoreError::Unwritable(_)) if count > 1 => most = 1,
                Err(StoreError::Unwritable(why)) => self.replace_first(&why),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// An outcome that no store can take becomes one that says so.
    fn replace_first(&mut self, why: &str) {
        let Some(Message { head: Record::Outcome(outcome), .. }) = self.queue.pop_front() else {
            return;
        };
        if outcome.status != Status::Refused {
            let head = Record::Outcome(Outcome { status: Status::Refused, ..outcome });
            let text = format!("its result could not be stored: {why}");
            self.queue.push_front(Message { head, parts: Parts::from_buf([text.into()]) });
        }
    }

    /// As [`Keep::write`]; gives what to note if that is news.
    pub(crate) fn flush(&mut self) -> Result<(), Option<String>> {
        match self.write() {
            Ok(()) => {
                self.again = None;
                self.unwritten = Map::default();
                Ok(())
            }
            Err(error) => {
                let news = self.again.is_none().then(|| error.to_string());
                self.again = Some(Instant::now() + AGAIN);
                for entry in &self.queue {
                    if let Record::Outcome(outcome) = &entry.head {
                        self.unwritten.insert(outcome.id, entry.parts.clone());
                    }
                }
                Err(news)
            }
        }
    }

    /// Writes new tasks, and what they need beside, or says why that cannot be done.
    fn enter(&mut self, client: ClientId, parts: Parts, what: Admitted) -> Result<(), String> {
        let Admitted { tasks, client: (session, lease), func: body } = what;
        self.write().map_err(|error| self.refusal(&error))?;
        let mut entries = Vec::with_capacity(3);
        if self.store.find(Key::Client(client)).is_none() {
            let head = Record::Client { client, session, lease, next: 0 };
            entries.push(Message::bare(head));
        }
        if self.store.find(Key::Function(tasks.func)).is_none() {
            let parts = Parts::from_buf([body.clone()]);
            entries.push(Message { head: Record::Function(tasks.func), parts });
        }
        entries.push(Message { head: Record::Submitted(tasks), parts });
        let written = self.store.append(Class::New, &entries);
        written.map(drop).map_err(|error| self.refusal(&error))
    }

    fn refusal(&self, error: &StoreError) -> String {
        let hint = match error {
            StoreError::Full { .. } => {
                "hint: make room on that disk; what is submitted then is taken"
            }
            _ => "hint: see to that file; nothing is accepted that cannot be written down",
        };
        let place = self.directory.display();
        format!("the store of the cluster ({place}) could not take it: {error}\n\n{hint}")
    }

    /// The parts of an outcome that is kept with this status.
    fn parts(&self, id: TaskId, was: Status) -> Result<Parts, String> {
        if let Some(parts) = self.unwritten.get(&id) {
            return Ok(parts.clone());
        }
        if let Some(position) = self.store.find(Key::Outcome(id)) {
            let read = self.store.read(position).map_err(|error| error.to_string())?;
            return match read.head {
                // It was found to be damaged meanwhile.
                Record::Outcome(Outcome { status: Status::Refused, .. })
                    if was != Status::Refused =>
                {
                    let why = read.parts.first().map(|why| String::from_utf8_lossy(why).into());
                    Err(why.unwrap_or_default())
                }
                _ => Ok(read.parts),
            };
        }
        let queued = self.queue.iter().find_map(|entry| match &entry.head {
            Record::Outcome(outcome) if outcome.id == id => Some(entry.parts.clone()),
            _ => None,
        });
        queued.ok_or_else(|| "it is no longer there".to_owned())
    }
}

impl Shell {
    /// Handles what a client said; what is to survive is written first.
    pub(super) fn hear_client(&mut self, now: Now, client: ClientId, message: Message<FromClient>) {
        if let FromClient::Request { id, body } = &message.head
            && let Some(body) = self.refuse_elsewhere(body)
        {
            let reply = Message::bare(ToClient::Reply { id: *id, body });
            return self.carry_out_now(Effect::ToClient(client, reply), now);
        }
        if self.keep.is_none() || message.head.numbers().is_none() {
            return self.handle_at(now, Event::FromClient(client, message));
        }
        for piece in self.reactor.admit(client, message) {
            let event = match (piece, &mut self.keep) {
                (Piece::New(new), Some(keep)) => keep.admit(&self.reactor, (client, now), new),
                (Piece::New(new), None) => Event::FromClient(client, new),
                (Piece::Known(seqs), _) => Event::AskedAgain(client, seqs),
            };
            self.handle_at(now, event);
        }
    }

    /// Writes what is to be written before anything leaves, and lets go of what waited for that.
    pub(super) fn flush_keep(&mut self) {
        let Some(keep) = &mut self.keep else { return };
        if keep.tidy.is_some_and(|at| at <= Instant::now()) {
            let more = keep.again.is_none() && keep.store.tidy(TIDY_BYTES);
            keep.tidy = more.then(|| Instant::now() + TIDY);
        }
        let early = keep.again.is_some_and(|again| Instant::now() < again);
        if early || keep.queue.is_empty() && keep.settled.is_empty() {
            return;
        }
        match keep.flush() {
            Ok(()) => {
                let settled = keep.settled();
                for damage in keep.store.take_damage() {
                    tell(&[damage.to_string()], |text| self.door.note(text));
                }
                let now = self.now();
                for effect in settled {
                    self.carry_out_now(effect, now);
                }
            }
            Err(Some(news)) => {
                let text = format!(
                    "what ended could not be written down ({news}); it is kept in memory and tried \
                     again, and nothing new is taken"
                );
                tell(&[text], |text| self.door.note(text));
            }
            Err(None) => {}
        }
    }

    /// Whether the store, if there is one, has all that was to be written.
    pub(super) fn is_kept(&self) -> bool {
        self.keep.as_ref().is_none_or(Keep::is_written)
    }

    /// When something is to be done for the store, even if nothing happens.
    pub(super) fn keep_deadline(&self) -> Option<Instant> {
        let keep = self.keep.as_ref()?;
        keep.again.into_iter().chain(keep.tidy).min()
    }

    /// Carries out an effect as far as it is about keeping; gives it back if it is not.
    pub(super) fn carry_out_kept(&mut self, effect: Effect) -> Option<Effect> {
        let Some(keep) = &mut self.keep else { return Some(effect) };
        let mut notes = Vec::new();
        let left = keep.take(effect, &mut notes);
        tell(&notes, |text| self.door.note(text));
        left
    }
}

impl Keep {
    /// Takes what is to be written, or waits for that; gives back all else, with what is stored of it.
    pub(crate) fn take(&mut self, effect: Effect, notes: &mut Vec<String>) -> Option<Effect> {
        match effect {
            Effect::Keep(entry) => self.push(entry),
            Effect::ToEngine(engine, Message { head: ToEngine::Settled(tickets), .. }) => {
                self.settled.entry(engine).or_default().extend(tickets);
            }
            Effect::TellKept(client, mut message, id) => {
                let was = match &message.head {
                    ToClient::Result { status, .. } => *status,
                    _ => Status::Ok,
                };
                match self.parts(id, was) {
                    Ok(parts) => message.parts = parts,
                    Err(why) => {
                        if let ToClient::Result { status, .. } = &mut message.head {
                            *status = Status::Refused;
                        }
                        let text = format!("its stored result cannot be read: {why}");
                        notes.push(text.clone());
                        message.parts = Parts::from_buf([text.into()]);
                    }
                }
                return Some(Effect::ToClient(client, message));
            }
            other => return Some(other),
        }
        None
    }

    /// All is written: what engines are told then.
    pub(crate) fn settled(&mut self) -> Vec<Effect> {
        let settled = self.settled.drain();
        let told =
            |(engine, tickets)| Effect::ToEngine(engine, Message::bare(ToEngine::Settled(tickets)));
        settled.map(told).collect()
    }

    /// Writes what is new, and gives what is to be handled.
    pub(crate) fn admit(
        &mut self,
        reactor: &Reactor,
        (client, now): (ClientId, Now),
        message: Message<FromClient>,
    ) -> Event {
        let record = reactor.record(client, &message, now.wall);
        let entered =
            record.map_or(Ok(()), |record| self.enter(client, message.parts.clone(), record));
        match (entered, message.head.numbers()) {
            (Err(why), Some((first, count))) => {
                Event::NoRoom { client, first, count: count as usize, why }
            }
            _ => Event::FromClient(client, message),
        }
    }
}

/// Tells people, in the log of the door and where this process writes.
#[expect(clippy::print_stderr, reason = "a store that is damaged must not go unnoticed")]
pub(super) fn tell<Text: fmt::Display>(notes: &[Text], note: impl Fn(&str)) {
    for text in notes {
        let text = format!("store: {text}");
        eprintln!("oarlock: {text}");
        note(&text);
    }
}

pub(super) fn in_words(error: StoreError) -> io::Error {
    let kind = match &error {
        StoreError::Held { .. } => io::ErrorKind::AddrInUse,
        StoreError::Unsafe(_) => io::ErrorKind::PermissionDenied,
        StoreError::Full { .. } => io::ErrorKind::StorageFull,
        StoreError::Io { error, .. } => error.kind(),
        _ => io::ErrorKind::InvalidData,
    };
    io::Error::new(kind, error.to_string())
}
