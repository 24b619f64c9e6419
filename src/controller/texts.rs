//! What users read when a task or a request is refused: what happened, to whom, what was done
//! about it, and a hint after an empty line.

use crate::wire::{EngineId, EngineInfo, FuncId};

/// Engines named in one text; the rest is counted.
const NAMED: usize = 16;

fn names(ids: impl ExactSizeIterator<Item = EngineId>) -> String {
    let total = ids.len();
    let mut text: Vec<_> = ids.take(NAMED).map(|id| id.to_string()).collect();
    if total > NAMED {
        text.push(format!("and {} more", total - NAMED));
    }
    text.join(", ")
}

fn living(list: &[EngineInfo]) -> String {
    if list.is_empty() {
        return "there are no engines now".to_owned();
    }
    format!("engines now: {}", names(list.iter().map(|info| info.id)))
}

/// A direct task or a request names an engine that is not there.
pub(crate) fn no_engine(engine: EngineId, list: &[EngineInfo]) -> String {
    format!(
        "engine {engine} is not there, so nothing was sent to it\n\n\
         hint: {}; take a new view, it may have ended since the view was made",
        living(list)
    )
}

/// A direct task names an engine that was asked to shut down.
pub(crate) fn draining(engine: EngineId) -> String {
    format!(
        "engine {engine} is shutting down, so the task was not sent to it\n\n\
         hint: use the engines that remain"
    )
}

/// None of the engines a task may run on is there.
pub(crate) fn no_engine_of(set: &[EngineId], list: &[EngineInfo]) -> String {
    if set.is_empty() {
        return "the task may run on no engine at all, so it was not run\n\n\
                hint: name at least one engine, or none to mean all"
            .to_owned();
    }
    format!(
        "none of the engines the task may run on is there ({}), so it was not run\n\n\
         hint: {}",
        names(set.iter().copied()),
        living(list)
    )
}

/// A task names a function that is not known.
pub(crate) fn no_func(func: FuncId) -> String {
    format!(
        "the controller does not know the function of the task ({func:?}), so it was not run\n\n\
         hint: submit it again; the function is then sent anew"
    )
}

/// A client's tasks waited long enough for the first engine to come. Clients know the refusal by how
/// it begins.
pub(crate) fn deserted(waited: f64, tasks: usize, last: Option<&(EngineId, String)>) -> String {
    let tasks = match tasks {
        1 => "the one task of this client that waited was".to_owned(),
        tasks => format!("the {tasks} tasks of this client that waited were"),
    };
    let last = last.map_or_else(
        || "none has ever been there".to_owned(),
        |(engine, cause)| format!("the last, engine {engine}, ended: {cause}"),
    );
    let waited = if waited < 10.0 { format!("{waited:.1}") } else { format!("{waited:.0}") };
    format!(
        "no engine was there for {waited} s, so {tasks} given up; {last}\n\n\
         hint: start engines and submit again; `oarlock.Cluster(restart=True)` replaces those that \
         end, and `client.engines_timeout` says how long tasks wait (None for ever)"
    )
}

/// The head and the parts of a submission do not agree.
pub(crate) fn miscounted(said: u64, came: usize) -> String {
    format!(
        "the submission announced {said} parts and {came} came, so none of its tasks was run\n\n\
         hint: this is a fault of the client's software, not of the task"
    )
}

/// An engine gave back a task after it had said that it runs.
pub(crate) fn given_back(engine: EngineId) -> String {
    format!(
        "engine {engine} gave the task back after it had started it; it was not run elsewhere\n\n\
         hint: submit it again"
    )
}

/// A watched task is not known.
pub(crate) const UNKNOWN_TASK: &str = "no such task, or its result is no longer kept\n\n\
     hint: the controller keeps the latest results only; keep what you need where you fetched it";

/// A client that comes back asks for a task that ended while it was away, and whose outcome was dropped.
pub(crate) const DROPPED: &str = "no such task any more: it ended while its client was away, and its \
     result is no longer kept; it was not run again\n\n\
     hint: results wait for a client that is away for 10 minutes, within 256 MiB, unless somebody \
     purges them; a controller with a store keeps them all";

/// Why a cancelled task ended, when its engine ended first.
pub(crate) fn ended(cause: &str) -> String {
    format!("its engine ended: {cause}")
}
