//! How much memory a process uses, and how much it may.

use std::fs;
use std::path::Path;

/// Bytes of a process that are in memory, those it shares with others included; none if it is not
/// there.
pub fn resident(pid: u32) -> Option<u64> {
    let pages = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = pages.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

/// Bytes that a process and those in its control groups may use: what these grant, or all there
/// are.
pub fn allowed(pid: u32) -> u64 {
    let system = rustix::system::sysinfo();
    #[allow(clippy::useless_conversion, reason = "the width differs between machines")]
    let installed = u64::from(system.totalram).saturating_mul(u64::from(system.mem_unit));
    installed.min(granted(pid).unwrap_or(u64::MAX))
}

/// What its control groups grant a process, if they limit it.
fn granted(pid: u32) -> Option<u64> {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_uses_some_memory_and_less_than_it_may() {
        let own = std::process::id();
        let used = resident(own).unwrap();
        assert!(used > 100_000, "{used}");
        assert!(used < allowed(own), "{used}");
    }

    #[test]
    fn of_a_process_that_is_not_there_nothing_is_known() {
        assert_eq!(resident(u32::MAX), None);
        assert!(allowed(u32::MAX) > 0);
    }
}
