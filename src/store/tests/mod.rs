//! Stores on a real disk, small ones.

mod compaction;
mod damage;
mod kit;
mod opening;
