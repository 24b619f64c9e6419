//! What the benchmarks of the core share: messages as they are typical, and a cluster without
//! sockets.

#![allow(dead_code, reason = "each benchmark uses a part of it")]

pub(crate) mod life;
pub(crate) mod messages;
pub(crate) mod script;
