//! Small stores in real files.

mod compaction;
mod damage;
mod kit;
mod opening;
