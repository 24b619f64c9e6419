//! How much shared memory this process may keep.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use rustix::process::{Resource, getrlimit};

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
            let system = rustix::system::sysinfo();
            #[allow(clippy::useless_conversion, reason = "the width differs between machines")]
            let installed = u64::from(system.totalram).saturating_mul(u64::from(system.mem_unit));
            let bytes = installed.min(granted().unwrap_or(u64::MAX)) / 4;
            let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
            Self {
                bytes: usize::try_from(bytes).unwrap_or(usize::MAX),
                count: (descriptors / 8).clamp(4, 128) as usize,
            }
        })
    }
}

/// What the control groups of this process grant it, if they limit it.
fn granted() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::/"));
    let root = Path::new("/sys/fs/cgroup");
    let mut place = root.join(path.unwrap_or_default());
    // The older kind has a tree of its own for memory.
    let older = root.join("memory/memory.limit_in_bytes");
    let mut least = read(&older);
    while place.starts_with(root) {
        least = [least, read(&place.join("memory.max"))].into_iter().flatten().min();
        place.pop();
    }
    least
}

fn read(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}
