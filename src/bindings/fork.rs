//! Whether this process is the one that made an object.
//!
//! A forked child has copies of all objects but none of the threads that serve them, and a lock may
//! have been held at the moment of the fork. So nothing that was made before a fork may be used
//! after it in the child. A counter that the child's side of `fork` raises tells the two apart for
//! the price of reading it.

use std::sync::atomic::{AtomicU32, Ordering};

use pyo3::prelude::*;

use super::errors;

static FORKS: AtomicU32 = AtomicU32::new(0);

extern "C" fn in_child() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// Has forks counted from now on; called once, when the module is made.
pub(crate) fn count() {
    // SAFETY: the handler only adds to an atomic, which is allowed in a forked child.
    let refused = unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
    assert!(refused == 0, "the system has no memory to register a fork handler");
}

/// The process that made something.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Born(u32);

impl Born {
    /// This process, now.
    pub(crate) fn here() -> Self {
        Self(FORKS.load(Ordering::Relaxed))
    }

    /// Whether this process is still that one.
    pub(crate) fn is_here(self) -> bool {
        self == Self::here()
    }

    /// Refuses to go on in a forked child.
    pub(crate) fn check(self, py: Python<'_>) -> PyResult<()> {
        if self.is_here() {
            return Ok(());
        }
        let text = "this belongs to a client of the process of which this one is a fork\n\n\
                    hint: make a new client in the child";
        Err(errors::named(py, "ForkedClient", text))
    }
}
