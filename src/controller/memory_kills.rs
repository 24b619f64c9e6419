//! Whether the system killed an engine because memory ran out.
//!
//! A process cannot be asked who killed it, but the kernel counts, for each memory group, the
//! processes it killed for want of memory, before it kills them, and anybody may read that. Each
//! count explains one death only, so that a kill by hand that follows is not blamed on memory.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use crate::memory::usage::group_files;

/// Counts that have explained a death, for each counter.
static EXPLAINED: Mutex<Option<HashMap<PathBuf, u64>>> = Mutex::new(None);

/// The counter of a process's memory group, as it was when the process started.
#[derive(Debug)]
pub(super) struct MemoryKills {
    counter: PathBuf,
    before: u64,
}

impl MemoryKills {
    /// Looks up the memory group of a process; none where the system does not tell.
    pub(super) fn of(pid: u32) -> Option<Self> {
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        let (counter, before) = candidates(&groups)
            .into_iter()
            .find_map(|path| read(&path).map(|before| (path, before)))?;
        Some(Self { counter, before })
    }

    /// Whether a kill for want of memory has been counted that explains no other death yet; it
    /// then explains this one.
    pub(super) fn explain(&self) -> bool {
        let mut explained = EXPLAINED.lock();
        let explained = explained.get_or_insert_default();
        let Some(now) = read(&self.counter) else { return false };
        let known = explained.get(&self.counter).map_or(self.before, |told| self.before.max(*told));
        if now <= known {
            return false;
        }
        explained.insert(self.counter.clone(), known + 1);
        true
    }
}

/// Files that may hold the counter.
fn candidates(groups: &str) -> Vec<PathBuf> {
    group_files(groups, "memory.events", "memory.oom_control")
}

fn read(path: &Path) -> Option<u64> {
    count(&fs::read_to_string(path).ok()?)
}

fn count(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_is_sought_in_the_group_and_then_in_the_root_of_either_kind() {
        let found = candidates("9:name=systemd:/\n4:cpu,memory:/a:b\n0::/c\n");
        let found: Vec<_> = found.iter().filter_map(|path| path.to_str()).collect();
        assert_eq!(
            found,
            [
                "/sys/fs/cgroup/memory/a:b/memory.oom_control",
                "/sys/fs/cgroup/memory/memory.oom_control",
                "/sys/fs/cgroup/c/memory.events",
                "/sys/fs/cgroup/memory.events",
            ]
        );
    }

    #[test]
    fn both_kinds_of_counters_are_read() {
        assert_eq!(count("low 0\noom 3\noom_kill 2\noom_group_kill 0\n"), Some(2));
        assert_eq!(count("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n"), Some(1));
        assert_eq!(count("oom_kill_disable 0\nunder_oom 0\n"), None);
    }

    #[test]
    fn one_count_explains_one_death() {
        let directory = std::env::temp_dir().join(format!("oarlock-kills-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let counter = directory.join("memory.events");
        fs::write(&counter, "oom_kill 5\n").unwrap();
        let kills = || MemoryKills { counter: counter.clone(), before: 5 };
        let (one, other) = (kills(), kills());
        assert!(!one.explain());
        fs::write(&counter, "oom_kill 6\n").unwrap();
        assert!(one.explain());
        assert!(!other.explain());
        fs::remove_dir_all(&directory).unwrap();
    }
}
