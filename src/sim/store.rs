//! The controller's store in a simulation: the real journal, on a disk in memory. Its process may be
//! killed within any operation there, the disk may be full for a while, and a bit of it may flip
//! while nobody looks.
//!
//! Around it is done what the real shell does (`keep`), in the same order: new tasks are written before
//! they are entered; all else before anything leaves. What has no room is tried again after a while.

use std::path::PathBuf;

use super::network::MS;
use super::world::{What, World};
use crate::controller::keep::Keep;

use crate::controller::{Effect, Event, Limits, Now, Piece, Restored};
use crate::store::simulated::Simulated;
use crate::store::{self, Key, Record, Store};
use crate::wire::{ClientId, FromClient, Message, Status};

/// Small, so that files are emptied and removed all the time.
const LIMITS: store::Limits = store::Limits { file: 1500, reserve: 3000, slack: 1500 };
/// After so long it is tried again to write what had no room.
const AGAIN: u64 = 250 * MS;
/// Bytes of what was forgotten that are cleared away at once.
const TIDY: u64 = 600;

/// See the head of this file.
#[derive(Default)]
pub(super) struct Kept {
    disk: Simulated,
    /// What the controller that there is has of it.
    keep: Option<Keep>,
    /// It is about to be tried again.
    trying: bool,
}

impl Kept {
    /// Whether nothing is left to be written, and the process lives.
    pub(super) fn is_written(&self) -> bool {
        !self.disk.is_killed() && self.keep.as_ref().is_some_and(Keep::is_written)
    }
}

impl World {
    /// Opens the store, if controllers have one.
    pub(super) fn open_store(&mut self) -> Option<Restored> {
        let kept = self.store.as_mut()?;
        // What the process before this one had open is its own.
        kept.disk = kept.disk.survivor();
        let files = kept.disk.files(".journal");
        let which: Vec<_> = (0..files.len()).collect();
        let file = self.chance.pick(&which).map(|which| files[which].clone());
        let is_hurt = self.chance.one_in(8);
        if let Some((name, len)) = file.filter(|(_, len)| is_hurt && *len > 0) {
            let bit = self.chance.below(8 * len as u64) as usize;
            kept.disk.change(&name, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
        }
        let opened = Store::open_on(Box::new(kept.disk.clone()), LIMITS).expect("there is room");
        let opened = Keep::go_on(PathBuf::from("/simulated"), opened).expect("it can be read");
        let (keep, restored, _, notes) = opened;
        kept.keep = Some(keep);
        self.log(|| format!("the store is open; {notes:?}"));
        Some(restored)
    }

    /// The controller's process is no more.
    pub(super) fn close_store(&mut self) {
        if let Some(kept) = &mut self.store {
            (kept.keep, kept.trying) = (None, false);
        }
    }

    /// Takes out of effects what is written first, and writes it; `None` if the process was killed
    /// within that.
    fn write_first(&mut self, effects: Vec<Effect>) -> Option<Vec<Effect>> {
        let left = self.write_store(effects)?;
        let is_note = |effect: &Effect| {
            matches!(effect, Effect::Spent(..) | Effect::Unspent(_) | Effect::Gone(_))
        };
        let (notes, left): (Vec<_>, Vec<_>) = left.into_iter().partition(is_note);
        for note in notes {
            self.carry_out(note);
        }
        // Here it may be killed, too: it is written what became of the tasks of an engine that is gone,
        // and its page stands.
        if !self.struck.is_empty() && self.deaths > 0 && self.chance.one_in(16) {
            return None;
        }
        if self.store.as_ref().is_none_or(Kept::is_written) {
            self.struck.clear();
        }
        Some(left)
    }

    /// As [`World::write_first`], as far as it is about the store.
    fn write_store(&mut self, effects: Vec<Effect>) -> Option<Vec<Effect>> {
        let Some(kept) = &mut self.store else { return Some(effects) };
        let Some(keep) = &mut kept.keep else { return Some(effects) };
        let mut notes = Vec::new();
        let mut left: Vec<_> =
            effects.into_iter().filter_map(|effect| keep.take(effect, &mut notes)).collect();
        let mut again = false;
        if !kept.trying {
            if self.chance.one_in(4) {
                keep.store.tidy(TIDY);
            }
            if keep.flush().is_ok() {
                let is_there = |effect: &Effect| match effect {
                    Effect::ToEngine(engine, _) => !self.engines[engine.0 as usize].gone,
                    _ => true,
                };
                left.extend(keep.settled().into_iter().filter(is_there));
            } else {
                (kept.trying, again) = (true, true);
            }
        }
        if kept.disk.is_killed() {
            return None;
        }
        if !keep.is_written() {
            let told = left.iter().filter_map(|effect| match effect {
                Effect::ToClient(client, message) => Some((*client, message)),
                _ => None,
            });
            told.for_each(|(client, message)| self.book.told_only(client, message));
        }
        if again {
            self.later(AGAIN, What::WriteAgain(self.era));
        }
        Some(left)
    }

    /// Carries out effects, after what is to be written was.
    pub(super) fn carry_out_all(&mut self, effects: Vec<Effect>) {
        let Some(effects) = self.write_first(effects) else { return self.die(self.era) };
        for effect in effects {
            self.carry_out(effect);
        }
    }

    /// It is tried again to write what had no room.
    pub(super) fn write_again(&mut self, era: u32) {
        if let Some(kept) = self.store.as_mut().filter(|_| self.up && self.era == era) {
            kept.trying = false;
            self.carry_out_all(Vec::new());
        }
    }

    /// Handles what a client said; new tasks are written first.
    pub(super) fn hear_client(&mut self, client: ClientId, message: Message<FromClient>) {
        let era = self.era;
        if self.store.is_none() {
            return self.handle(Event::FromClient(client, message));
        }
        if message.head.numbers().is_none() {
            let head = message.head.clone();
            self.handle(Event::FromClient(client, message));
            if self.era == era && self.store.as_ref().is_some_and(Kept::is_written) {
                self.book.kept(client, &head);
            }
            return;
        }
        for piece in self.reactor.admit(client, message) {
            let event = match piece {
                Piece::Known(seqs) => Event::AskedAgain(client, seqs),
                Piece::New(new) => match self.admit_new(client, new) {
                    Some(event) => event,
                    None => return self.die(era),
                },
            };
            self.handle(event);
            if self.era != era {
                return;
            }
        }
    }

    /// Writes new tasks, and gives what is to be handled; `None` if the process was killed within that.
    fn admit_new(&mut self, client: ClientId, message: Message<FromClient>) -> Option<Event> {
        let now = Now { mono: self.now, wall: self.set_clocks(0) };
        let kept = self.store.as_mut()?;
        let keep = kept.keep.as_mut()?;
        let event = keep.admit(&self.reactor, (client, now), message);
        if kept.disk.is_killed() {
            return None;
        }
        // What was refused is not there.
        let pending = keep.store.keys().filter_map(|key| match key {
            Key::Pending(id) if id.client == client => Some(id),
            _ => None,
        });
        self.book.acknowledged(pending);
        Some(event)
    }

    /// The disk is full for a while, or is no more.
    pub(super) fn fill_disk(&mut self) {
        let Some(kept) = &self.store else { return };
        let more = self.chance.below(6000);
        let room = self.chance.one_in(2).then(|| kept.disk.used() + more);
        kept.disk.set_room(room);
    }

    /// There is room again.
    pub(super) fn empty_disk(&mut self) {
        if let Some(kept) = &self.store {
            kept.disk.set_room(None);
        }
    }

    /// The controller's process is killed within one of the next operations on its disk.
    pub(super) fn light_fuse(&mut self) {
        let operations = 1 + self.chance.below(12);
        if let Some(kept) = self.store.as_ref().filter(|_| self.deaths > 0) {
            kept.disk.kill_after(operations);
        }
    }

    /// In the end everything that was acknowledged has an outcome, also that of clients that are gone.
    pub(super) fn audit_store(&self) {
        let keep = self.store.as_ref().and_then(|kept| kept.keep.as_ref());
        let Some(keep) = keep.filter(|_| self.up) else { return };
        assert!(keep.is_written(), "nothing is left to be written");
        for id in self.book.all_acknowledged() {
            let place = keep.store.find(Key::Outcome(id));
            let place = place.unwrap_or_else(|| panic!("{id} was acknowledged and is lost"));
            let entry = keep.store.read(place).expect("it can be read");
            let Record::Outcome(outcome) = entry.head else { unreachable!() };
            if outcome.status == Status::Ok {
                let value = self.book.value(id);
                assert_eq!(entry.parts.first().map(|part| &part[..]), Some(value.as_bytes()));
            }
        }
        let pending = keep.store.keys().find(|key| matches!(key, Key::Pending(_)));
        assert_eq!(pending, None, "nothing is to be run again");
    }
}

/// The bounds of a controller that others may follow, perhaps with a store.
pub(super) fn limits(mortal: bool, store: bool) -> Limits {
    let limits = Limits { receipts: mortal, store, ..Limits::default() };
    let for_ever = Limits { orphan_bytes: u64::MAX, orphan_time: u64::MAX, ..limits };
    if store { for_ever } else { limits }
}
