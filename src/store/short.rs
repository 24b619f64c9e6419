//! Short forms of the records that there is one of per task; all others are msgpack.

use crate::wire::compact::{Reader, Writer};
use crate::wire::{EngineId, FuncId, Head, Rules, Target, TaskId};

use super::record::{Outcome, Record};
use super::submitted::{Spread, Submitted};

/// Codes of the records that there is one of per task.
const OUTCOME: u8 = 1;
const SINGLE: u8 = 2;
const ATTEMPT: u8 = 3;
const CANCELLED: u8 = 4;

impl Head for Record {
    fn in_order(&self) -> bool {
        true
    }

    fn write_short(&self, out: &mut Writer) -> bool {
        match self {
            Self::Outcome(outcome) => {
                out.byte(OUTCOME);
                out.task(outcome.id);
                out.byte(outcome.status as u8);
                out.byte(outcome.engine.is_some().into());
                if let Some(engine) = outcome.engine {
                    out.number(engine.0.into());
                }
                for stamp in [outcome.submitted, outcome.started, outcome.completed] {
                    out.fixed(stamp.to_le_bytes());
                }
            }
            Self::Submitted(tasks) => {
                let ([(seq, 1)], Spread::Balanced(Target::Any, counts)) =
                    (&tasks.runs[..], &tasks.spread)
                else {
                    return false;
                };
                let ([count], true) = (&counts[..], tasks.rules == Rules::default()) else {
                    return false;
                };
                out.byte(SINGLE);
                out.task(TaskId { client: tasks.client, seq: *seq });
                out.fixed(tasks.func.0);
                out.byte(tasks.kind as u8);
                out.fixed(tasks.at.to_le_bytes());
                out.number((*count).into());
            }
            Self::Attempt { id, attempt } => {
                out.byte(ATTEMPT);
                out.task(*id);
                out.fixed(attempt.to_le_bytes());
            }
            Self::Cancelled(id) => {
                out.byte(CANCELLED);
                out.task(*id);
            }
            Self::Function(_) | Self::Client { .. } | Self::Forgotten(_) => return false,
        }
        true
    }

    fn read_short(code: u8, bytes: &mut Reader) -> Option<Self> {
        let id = matches!(code, OUTCOME..=CANCELLED).then(|| bytes.task())??;
        Some(match code {
            OUTCOME => Self::Outcome(Outcome {
                id,
                status: bytes.status()?,
                engine: if bytes.flag()? { Some(EngineId(bytes.small()?)) } else { None },
                submitted: bytes.stamp()?,
                started: bytes.stamp()?,
                completed: bytes.stamp()?,
            }),
            SINGLE => Self::Submitted(Submitted {
                client: id.client,
                runs: vec![(id.seq, 1)],
                func: FuncId(bytes.fixed()?),
                kind: bytes.kind()?,
                rules: Rules::default(),
                at: bytes.stamp()?,
                spread: Spread::Balanced(Target::Any, vec![bytes.small()?]),
            }),
            CANCELLED => Self::Cancelled(id),
            _ => Self::Attempt { id, attempt: u16::from_le_bytes(bytes.fixed()?) },
        })
    }
}
