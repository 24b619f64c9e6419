//! How much memory a process uses, and how much it may.

use std::fs;
use std::path::{Path, PathBuf};

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
    let files = group_files(&groups, "memory.max", "memory.limit_in_bytes");
    files.iter().filter_map(|file| read(file)).min()
}

/// The files about the memory of a member of these groups (`/proc/…/cgroup`), of each group and then of all
/// above it, by the name they have in the newer and in the older kind. In a container the path of a
/// group may be one of the host's, and only that of the root is there.
pub fn group_files(groups: &str, newer: &str, older: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(kinds), Some(group)) = (fields.next(), fields.next()) else { continue };
        let (root, file) = if kinds.is_empty() {
            ("/sys/fs/cgroup", newer)
        } else if kinds.split(',').any(|kind| kind == "memory") {
            // The older kind has a tree of its own for memory.
            ("/sys/fs/cgroup/memory", older)
        } else {
            continue;
        };
        let place = Path::new(root).join(group.trim_start_matches('/'));
        let above = place.ancestors().take_while(|above| above.starts_with(root));
        files.extend(above.map(|above| above.join(file)));
    }
    files
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
    fn files_are_sought_in_the_group_and_in_all_above_it_of_either_kind() {
        let groups = "9:name=systemd:/\n4:cpu,memory:/a:b\n0::/c/d\n";
        let found = group_files(groups, "memory.max", "memory.limit_in_bytes");
        let found: Vec<_> = found.iter().filter_map(|path| path.to_str()).collect();
        assert_eq!(
            found,
            [
                "/sys/fs/cgroup/memory/a:b/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory/memory.limit_in_bytes",
                "/sys/fs/cgroup/c/d/memory.max",
                "/sys/fs/cgroup/c/memory.max",
                "/sys/fs/cgroup/memory.max",
            ]
        );
    }

    #[test]
    fn of_a_process_that_is_not_there_nothing_is_known() {
        assert_eq!(resident(u32::MAX), None);
        assert!(allowed(u32::MAX) > 0);
    }
}
