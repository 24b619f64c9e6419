//! Small stores in real files.

mod compaction;
mod damage;
mod killed;
mod kit;
mod opening;
