//! The last chance to write something down: a cluster with a store stops, and what is only in memory
//! goes with it.
//!
//! It is tried for a while. Then each record is written for which there is room, and an outcome
//! without room becomes one that says so, which is short. What remains is told: of a task whose outcome
//! is nowhere the next controller knows that an engine had it, so it is not simply run again.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;

use super::keep::{AGAIN, Keep};
use super::run::Shell;
use crate::store::{Class, Outcome, Record, StoreError};
use crate::wire::{ClientId, Message, Parts, SessionId, Status, TaskId};

/// How long it is tried: whoever stops a cluster waits ten seconds for its end.
const PATIENCE: Duration = Duration::from_secs(3);
/// What is told of outcomes that are not in the store begins so; `oarlock stop` looks for it.
const UNWRITTEN: &str = "not written when the cluster stopped";
/// Clients that are named.
const NAMED: usize = 8;

/// What could not be written.
#[derive(Debug, Default)]
pub(super) struct Unwritten {
    /// Tasks whose outcomes are replaced by one that says so.
    values: Vec<TaskId>,
    /// Tasks of whose outcomes nothing is there.
    outcomes: Vec<TaskId>,
    /// Records of other kinds.
    others: usize,
    /// Why.
    why: String,
}

impl Shell {
    /// Writes what is left to be written; says what could not be, if anything could not. All else
    /// survives a loss of power then, too.
    pub(super) async fn write_last(&mut self) -> Option<String> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let mut is_told = false;
        while let Some(keep) = &mut self.keep {
            let Err(fault) = keep.write() else { break };
            if !is_told {
                self.door.note(&format!(
                    "store: what ended last could not be written down ({fault}); since the cluster \
                     stops, it is tried for {} s",
                    PATIENCE.as_secs()
                ));
            }
            is_told = true;
            if tokio::time::Instant::now() + AGAIN > deadline {
                break;
            }
            tokio::time::sleep(AGAIN).await;
        }
        let keep = self.keep.as_mut()?;
        let mut unwritten = keep.write_each();
        if let Err(error) = keep.store.sync() {
            unwritten.fault(&error);
            unwritten.others += 1;
        }
        let text = unwritten.text(|client| self.reactor.session(client))?;
        self.door.note(&format!("store: {text}"));
        Some(text)
    }
}

impl Keep {
    /// Writes each record for which there is room.
    fn write_each(&mut self) -> Unwritten {
        let mut unwritten = Unwritten::default();
        let forgotten = self.forgotten();
        let mut left = Vec::new();
        for entry in std::mem::take(&mut self.queue) {
            let ended = match &entry.head {
                // Nobody wants it any more.
                Record::Outcome(outcome) if forgotten.contains(&outcome.id) => continue,
                Record::Outcome(outcome) => Some(outcome.clone()),
                _ => None,
            };
            let Err(error) = self.store.append(Class::Due, &[entry]) else { continue };
            unwritten.fault(&error);
            match ended {
                Some(outcome) => left.push((outcome, error.to_string())),
                None => unwritten.others += 1,
            }
        }
        for (outcome, why) in left {
            let id = outcome.id;
            let text = format!(
                "it ended, but its result could not be stored before the cluster stopped: {why}"
            );
            let head = Record::Outcome(Outcome { status: Status::Refused, ..outcome });
            let entry = Message { head, parts: Parts::from_buf([Bytes::from(text)]) };
            match self.store.append(Class::Due, &[entry]) {
                Ok(_) => unwritten.values.push(id),
                Err(_) => unwritten.outcomes.push(id),
            }
        }
        unwritten
    }

    /// Tasks among what is to be written whose outcomes are forgotten already.
    fn forgotten(&self) -> HashSet<TaskId> {
        let ended: BTreeSet<TaskId> = self
            .queue
            .iter()
            .filter_map(|entry| match &entry.head {
                Record::Outcome(outcome) => Some(outcome.id),
                _ => None,
            })
            .collect();
        let mut all = HashSet::new();
        for entry in &self.queue {
            let Record::Forgotten(gone) = &entry.head else { continue };
            for &(client, seq, count) in &gone.tasks {
                let Some(more) = count.checked_sub(1) else { continue };
                let last = TaskId { client, seq: seq.saturating_add(more) };
                all.extend(ended.range(TaskId { client, seq }..=last));
            }
        }
        all
    }
}

impl Unwritten {
    /// The first reason is told.
    fn fault(&mut self, why: &StoreError) {
        if self.why.is_empty() {
            self.why = why.to_string();
        }
    }

    /// How it is told; `None` if all was written.
    fn text(&self, session: impl Fn(ClientId) -> Option<SessionId>) -> Option<String> {
        let Self { values, outcomes, others, why } = self;
        if values.is_empty() && outcomes.is_empty() && *others == 0 {
            return None;
        }
        let mut text = format!("{UNWRITTEN} ({why})");
        if !values.is_empty() {
            let whose = whose(values, &session);
            let _ =
                write!(text, "; {} results of {whose}: their tasks end as refused", values.len());
        }
        if !outcomes.is_empty() {
            let whose = whose(outcomes, &session);
            let _ = write!(
                text,
                "; how {} tasks of {whose} ended: after the next start they are run again if they \
                 have retries left, or else are told as lost",
                outcomes.len()
            );
        }
        if *others > 0 {
            let _ =
                write!(text, "; {others} notes of attempts, cancellations and what is forgotten");
        }
        Some(text)
    }
}

/// Clients by their sessions, and how many of these tasks are of each.
fn whose(tasks: &[TaskId], session: impl Fn(ClientId) -> Option<SessionId>) -> String {
    let mut counts = BTreeMap::<ClientId, usize>::new();
    for id in tasks {
        *counts.entry(id.client).or_default() += 1;
    }
    let named = counts.iter().take(NAMED).map(|(client, count)| {
        let name = session(*client).map_or("unknown".to_owned(), |session| session.to_string());
        format!("session {name} ({count})")
    });
    let mut text = named.collect::<Vec<_>>().join(", ");
    if counts.len() > NAMED {
        let _ = write!(text, " and {} more", counts.len() - NAMED);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Forgotten, Limits, Store};

    const fn task(client: u32, seq: u64) -> TaskId {
        TaskId { client: ClientId(client), seq }
    }

    #[test]
    fn what_is_forgotten_is_no_outcome_to_be_written() {
        let directory = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(&directory.path().join("store"), Limits::default()).unwrap();
        let mut keep = Keep::new(store, directory.path().to_owned());
        for id in [task(1, 0), task(1, 1), task(1, 2), task(1, 3), task(2, 1), task(2, u64::MAX)] {
            let (status, engine) = (Status::Ok, None);
            let outcome = Outcome { id, status, engine, submitted: 0, started: 0, completed: 0 };
            keep.queue.push_back(Message::bare(Record::Outcome(outcome)));
        }
        for tasks in [vec![(1, 1, 2), (1, 3, 0)], vec![(2, u64::MAX, 1), (3, 0, u64::MAX)]] {
            let tasks =
                tasks.into_iter().map(|(client, seq, count)| (ClientId(client), seq, count));
            let gone = Forgotten { tasks: tasks.collect(), ..Forgotten::default() };
            keep.queue.push_back(Message::bare(Record::Forgotten(gone)));
        }
        let expected = HashSet::from([task(1, 1), task(1, 2), task(2, u64::MAX)]);
        assert_eq!(keep.forgotten(), expected);
    }
}
