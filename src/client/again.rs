//! What a client keeps to go on in another session, with the same controller or the next.
//!
//! Whatever was submitted is kept as it was sent until its tasks have their outcomes, so that it can
//! be sent again; that is bounded by what may be in flight. What has arrived is told to the
//! controller now and then, so that engines need not keep it any longer.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::core::Core;
use super::submit::IDS;
use crate::wire::{FromClient, FuncId, Message, Parts, Request};

/// What arrived is told after so long, or when it is so much.
const TELL_AFTER: Duration = Duration::from_millis(50);
const TELL_COUNT: u64 = 512;
const TELL_BYTES: usize = 1 << 20;

/// Tasks submitted one by one are kept as if in one message, so many and so many bytes of arguments at
/// most: they are let go together.
const JOINED: usize = 256;
const JOINED_BYTES: usize = 16 << 10;

/// A message that submitted tasks.
struct Sent {
    message: Message<FromClient>,
    /// The pickle of its function.
    body: Option<Bytes>,
    /// Its tasks without an outcome.
    left: u64,
    /// Of its arguments.
    bytes: usize,
}

fn bytes(parts: &Parts) -> usize {
    parts.iter().map(Bytes::len).sum()
}

/// See the head of this file.
#[derive(Default)]
pub(crate) struct Again {
    /// By the number of the first task.
    sent: BTreeMap<u64, Sent>,
    /// Tasks that are no longer wanted, as the controller was told.
    cancelled: BTreeMap<u64, Option<u32>>,
    /// How long tasks wait while no engine is there, if that was said.
    patience: Option<u64>,
    took: Took,
}

/// The number of a question to which no answer is waited for.
const UNASKED: u64 = 0;

/// Outcomes that have arrived, as far as the controller was not told.
#[derive(Default)]
struct Took {
    runs: Vec<(u64, u64)>,
    count: u64,
    bytes: usize,
    since: Option<Instant>,
}

impl FromClient {
    /// The first of the tasks it submits or watches, how many there are, and their function.
    fn tasks(&self) -> Option<(u64, u64, Option<FuncId>)> {
        let func = match self {
            Self::Submit { func, .. } | Self::Direct { func, .. } => Some(*func),
            Self::Watch { first, tasks } => return Some((*first, tasks.len() as u64, None)),
            _ => None,
        };
        self.numbers().map(|(first, count)| (first, count, func))
    }
}

impl Again {
    /// Tasks are about to be submitted.
    pub(crate) fn note(
        &mut self,
        message: &Message<FromClient>,
        body: impl FnOnce(FuncId) -> Option<Bytes>,
    ) {
        let Some((first, left, func)) = message.head.tasks() else { return };
        let body = func.and_then(body);
        if let Some(mut last) = self.sent.last_entry()
            && last.get_mut().join(message, body.as_ref())
        {
            return;
        }
        self.sent.insert(first, Sent::new(message, body, left));
    }

    /// Something is about to be asked.
    pub(crate) fn ask(&mut self, question: &Request) {
        if let Request::Patience(patience) = question {
            self.patience = Some(*patience);
        }
    }

    /// A task is no longer wanted.
    pub(crate) fn cancel(&mut self, seqs: &[u64], force: Option<u32>) {
        self.cancelled.extend(seqs.iter().map(|seq| (*seq, force)));
    }

    /// A task has its outcome.
    pub(crate) fn end(&mut self, seq: u64) {
        if !self.cancelled.is_empty() {
            self.cancelled.remove(&seq);
        }
        let Some((first, sent)) = self.sent.range_mut(..=seq).next_back() else { return };
        let first = *first;
        let (_, len, _) = sent.message.head.tasks().unwrap_or_default();
        if seq - first < len {
            sent.left -= 1;
            if sent.left == 0 {
                self.sent.remove(&first);
            }
        }
    }

    /// An outcome has arrived, perhaps not for the first time.
    pub(crate) fn took(&mut self, seq: u64, parts: &Parts) {
        let took = &mut self.took;
        match took.runs.last_mut() {
            Some((first, count)) if *first + *count == seq => *count += 1,
            _ => took.runs.push((seq, 1)),
        }
        took.count += 1;
        took.bytes += bytes(parts);
        took.since.get_or_insert_with(Instant::now);
    }

    /// When the controller is to be told what has arrived; `None` if nothing has.
    fn due(&self) -> Option<Instant> {
        let since = self.took.since?;
        let much = self.took.count >= TELL_COUNT || self.took.bytes >= TELL_BYTES;
        Some(if much { since } else { since + TELL_AFTER })
    }
}

impl Sent {
    fn new(message: &Message<FromClient>, body: Option<Bytes>, left: u64) -> Self {
        Self { message: message.clone(), body, left, bytes: bytes(&message.parts) }
    }

    /// Adds what was submitted right after this and like it; `false` if that was not the case, or it
    /// would be too much.
    fn join(&mut self, next: &Message<FromClient>, body: Option<&Bytes>) -> bool {
        use FromClient::Submit;
        let Message { head: Submit { first, func, kind, target, counts, rules }, parts } =
            &mut self.message
        else {
            return false;
        };
        let Submit { first: after, counts: more, .. } = &next.head else { return false };
        let like = matches!(&next.head, Submit { func: f, kind: k, target: t, rules: r, .. }
            if (f, k, t, r) == (&*func, &*kind, &*target, &*rules));
        let follows = *first + counts.len() as u64 == *after;
        let more_bytes = bytes(&next.parts);
        let fits = counts.len() + more.len() <= JOINED && self.bytes + more_bytes <= JOINED_BYTES;
        if !(like && follows && fits) {
            return false;
        }
        counts.extend(more);
        parts.extend(next.parts.iter().cloned());
        self.left += more.len() as u64;
        self.bytes += more_bytes;
        if self.body.is_none() {
            self.body = body.cloned();
        }
        true
    }

    /// What is to be sent again: the runs of its tasks that are pending.
    fn pieces(&self, is_pending: impl Fn(u64) -> bool) -> Vec<Message<FromClient>> {
        let Some((first, len, _)) = self.message.head.tasks() else { return Vec::new() };
        let seqs: Vec<u64> = (first..first + len).filter(|seq| is_pending(*seq)).collect();
        if seqs.len() as u64 == len {
            return vec![self.message.clone()];
        }
        let runs = seqs.chunk_by(|one, other| one + 1 == *other);
        runs.map(|run| self.message.piece(run[0], run.len())).collect()
    }
}

impl Core {
    /// There is another session: `open` lets messages go there. What has no outcome is submitted again,
    /// by growing numbers, before anything new is.
    pub(crate) fn submit_again(&self, open: impl FnOnce()) {
        let Some(again) = &self.again else { return };
        let functions = self.sending.lock();
        // Whoever asks meanwhile is seen here, or asks the new one.
        let mut replies = self.replies.lock();
        let questions = replies.refuse_open();
        open();
        drop(replies);
        self.replied.notify_all();
        let say = |head, parts| {
            // It could be sent before, or is short.
            let _ = self.uplink.push(Message { head, parts });
        };
        let again = again.lock();
        if let Some(patience) = again.patience {
            let body = Request::Patience(patience);
            say(FromClient::Request { id: UNASKED, body }, Parts::new());
        }
        for (func, body) in functions.bodies() {
            say(FromClient::Func(func), Parts::from_buf([body]));
        }
        for sent in again.sent.values() {
            let pieces = sent.pieces(|seq| self.is_pending(seq));
            let func = sent.message.head.tasks().and_then(|(_, _, func)| func);
            // One that would be forgotten again at once is made known for these tasks.
            let passing = func.filter(|func| functions.body(*func).is_none());
            if let (Some(func), Some(body)) = (passing, &sent.body) {
                say(FromClient::Func(func), Parts::from_buf([body.clone()]));
            }
            for piece in pieces {
                say(piece.head, piece.parts);
            }
            if let Some(func) = passing {
                say(FromClient::Forget(func), Parts::new());
            }
        }
        let cancelled = again.cancelled.iter().filter(|(seq, _)| self.is_pending(**seq));
        let cancelled: Vec<_> = cancelled.map(|(seq, force)| (*seq, *force)).collect();
        for same in cancelled.chunk_by(|(_, one), (_, other)| one == other) {
            for some in same.chunks(IDS) {
                let (tasks, force) = (some.iter().map(|(seq, _)| *seq).collect(), same[0].1);
                say(FromClient::Cancel { tasks, force }, Parts::new());
            }
        }
        say(FromClient::Back, Parts::new());
        for (id, body) in questions {
            say(FromClient::Request { id, body }, Parts::new());
        }
        drop(again);
        self.flush(true);
    }

    /// When [`Core::tell_taken`] is due.
    pub(crate) fn taken_due(&self) -> Option<Instant> {
        self.again.as_ref()?.lock().due()
    }

    /// Tells the controller what has arrived.
    pub(crate) fn tell_taken(&self) {
        let Some(again) = &self.again else { return };
        let took = std::mem::take(&mut again.lock().took);
        if !took.runs.is_empty() {
            let _ = self.uplink.push(Message::bare(FromClient::Took(took.runs)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::message::WATCHED;
    use crate::wire::{EngineId, Kind, Rules, Target};

    const FUNC: FuncId = FuncId([1; 16]);

    fn submission(first: u64, counts: &[u32]) -> Message<FromClient> {
        let (kind, target, rules) = (Kind::Apply, Target::Any, Rules::default());
        let parts = 0..counts.iter().sum::<u32>();
        let parts = parts.map(|number| Bytes::from(number.to_string())).collect();
        let counts = counts.to_vec();
        let head = FromClient::Submit { first, func: FUNC, kind, target, counts, rules };
        Message { head, parts }
    }

    fn sent(message: &Message<FromClient>) -> Sent {
        let mut again = Again::default();
        again.note(message, |_| None);
        again.sent.pop_first().unwrap().1
    }

    #[test]
    fn what_has_no_outcome_is_sent_again_with_its_own_parts() {
        let sent = sent(&submission(10, &[1, 2, 0, 3, 1]));
        let pieces = sent.pieces(|seq| seq != 12);
        let [front, back] = &pieces[..] else { panic!("two runs") };
        assert_eq!(front, &Message { ..submission(10, &[1, 2]) });
        let FromClient::Submit { first: 13, counts, .. } = &back.head else { panic!("{back:?}") };
        assert_eq!(counts, &[3, 1]);
        assert_eq!(back.parts.as_slice(), [&b"3"[..], b"4", b"5", b"6"]);
        assert_eq!(sent.pieces(|_| false), []);
        assert_eq!(sent.pieces(|_| true), [submission(10, &[1, 2, 0, 3, 1])]);
    }

    #[test]
    fn direct_tasks_and_watches_are_cut_too() {
        let engines: Vec<_> = (0..3).map(EngineId).collect();
        let (func, kind, rules) = (FUNC, Kind::Apply, Rules::default());
        let head = FromClient::Direct { first: 5, func, kind, engines, rules };
        let parts = Parts::from_buf([Bytes::from("x")]);
        let pieces = sent(&Message { head, parts }).pieces(|seq| seq == 6);
        let [Message { head: FromClient::Direct { first: 6, engines, .. }, parts }] = &pieces[..]
        else {
            panic!("{pieces:?}")
        };
        assert_eq!((engines.as_slice(), parts.len()), (&[EngineId(1)][..], 1));
    }

    #[test]
    fn what_has_its_outcomes_is_no_longer_kept() {
        let mut again = Again::default();
        again.note(&submission(0, &[1, 1]), |_| Some(Bytes::from("def")));
        again.note(&submission(3, &[1]), |_| None);
        again.cancel(&[1], None);
        for seq in [1, 0] {
            again.end(seq);
        }
        assert!(again.cancelled.is_empty());
        assert_eq!(again.sent.keys().collect::<Vec<_>>(), [&3]);
        again.end(7);
        again.end(3);
        assert!(again.sent.is_empty());
    }

    #[test]
    fn what_was_submitted_one_by_one_is_kept_together_as_far_as_it_is_alike_and_small() {
        let mut again = Again::default();
        for seq in 0..JOINED as u64 + 2 {
            again.note(&submission(seq, &[1]), |_| (seq == 3).then(|| Bytes::from("def")));
        }
        let mut other = submission(JOINED as u64 + 2, &[1]);
        let FromClient::Submit { kind, .. } = &mut other.head else { unreachable!() };
        *kind = Kind::Chunk;
        again.note(&other, |_| None);
        let large = Parts::from_buf([Bytes::from(vec![0; JOINED_BYTES])]);
        let after = Message { parts: large, ..submission(JOINED as u64 + 3, &[1]) };
        again.note(&after, |_| None);
        again.note(&submission(JOINED as u64 + 4, &[1]), |_| None);
        let firsts: Vec<_> = again.sent.keys().map(|first| *first as usize).collect();
        assert_eq!(firsts, [0, JOINED, JOINED + 2, JOINED + 3, JOINED + 4]);
        assert_eq!(again.sent[&0].body.as_deref(), Some(&b"def"[..]));
        for seq in (1..JOINED as u64).rev() {
            again.end(seq);
        }
        let [piece] = &again.sent[&0].pieces(|seq| seq == 0)[..] else { panic!("one run") };
        assert_eq!(*piece, submission(0, &[1]));
        again.end(0);
        assert_eq!(again.sent.len(), 4);
    }

    #[test]
    fn what_arrived_is_told_as_runs_and_soon_if_it_is_much() {
        let mut again = Again::default();
        assert_eq!(again.due(), None);
        for seq in [4, 5, 7, WATCHED] {
            again.took(seq, &Parts::new());
        }
        assert_eq!(again.took.runs, [(4, 2), (7, 1), (WATCHED, 1)]);
        let (due, since) = (again.due().unwrap(), again.took.since.unwrap());
        assert_eq!(due, since + TELL_AFTER);
        again.took(8, &Parts::from_buf([Bytes::from(vec![0; TELL_BYTES])]));
        assert_eq!(again.due(), Some(since));
    }
}
