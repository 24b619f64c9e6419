//! Messages of no-op tasks as Python makes them: one part of some dozens of bytes each.

use _oarlock::wire::{
    ClientId, EngineId, FromClient, FromEngine, FuncId, Kind, Message, Parts, Rules, Status,
    Target, TaskId, ToClient, ToEngine,
};
use bytes::Bytes;

/// The client that submits everything.
pub(crate) const CLIENT: ClientId = ClientId(0);
/// The function of every task.
pub(crate) const FUNC: FuncId = FuncId([7; 16]);
/// When everything happens, by the calendar; a stamp of today is nine bytes on the wire.
pub(crate) const START: i64 = 1_800_000_000_000_000_000;
/// Bytes of a pickled `((5,), {})`.
pub(crate) const ARGS: usize = 21;
/// Bytes of a pickled small integer.
const VALUE: usize = 5;

/// So many parts of this length that share one buffer, as those of one packet do.
fn shared(count: usize, len: usize) -> Parts {
    let mut blob = Bytes::from(vec![7; count * len]);
    // Once cloned it counts its owners, as the blob of a packet does.
    drop(blob.clone());
    (0..count).map(|_| blob.split_to(len)).collect()
}

/// A submission of `count` tasks.
pub(crate) fn submit(first: u64, count: usize) -> Message<FromClient> {
    let (counts, target, rules) = (vec![1; count], Target::Any, Rules::default());
    let head = FromClient::Submit { first, func: FUNC, kind: Kind::Apply, target, counts, rules };
    Message { head, parts: shared(count, ARGS) }
}

/// A task on its way to an engine.
pub(crate) fn task(seq: u64) -> Message<ToEngine> {
    let id = TaskId { client: CLIENT, seq };
    let (kind, ticket, attempt, timeout, force) = (Kind::Apply, seq + 1, 1, 0, false);
    let head = ToEngine::Task { id, func: FUNC, kind, ticket, attempt, timeout, force };
    Message { head, parts: shared(1, ARGS) }
}

/// Its result on the way to the controller.
pub(crate) fn result(
    (id, ticket): (TaskId, u64),
    started: i64,
    completed: i64,
) -> Message<FromEngine> {
    let head = FromEngine::Result { id, ticket, status: Status::Ok, started, completed };
    Message { head, parts: shared(1, VALUE) }
}

/// Its result on the way to the client.
pub(crate) fn told(seq: u64) -> Message<ToClient> {
    let head = ToClient::Result {
        seq,
        status: Status::Ok,
        engine: Some(EngineId(1)),
        submitted: None,
        started: START,
        completed: START + 20_000,
    };
    Message { head, parts: shared(1, VALUE) }
}
