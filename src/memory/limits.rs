//! How much shared memory this process may keep.

use std::sync::OnceLock;

use rustix::process::{Resource, getrlimit};

use super::usage;

/// Bytes and segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// Bytes of all segments made here.
    pub(super) bytes: usize,
    /// Segments made here, and descriptors kept of segments made elsewhere.
    pub(super) count: usize,
}

impl Limits {
    /// A quarter of what this process may use at all; read once.
    pub(super) fn get() -> Self {
        static LIMITS: OnceLock<Limits> = OnceLock::new();
        *LIMITS.get_or_init(|| {
            let bytes = usage::allowed(std::process::id()) / 4;
            let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
            Self {
                bytes: usize::try_from(bytes).unwrap_or(usize::MAX),
                count: (descriptors / 8).clamp(4, 128) as usize,
            }
        })
    }
}
