//! Large parts leave no memory behind.

use super::kit::{House, Say, with_parts};

/// Resident memory of this process in MiB.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() / 1024
}

/// Run in a process of its own, because memory is counted per process.
#[tokio::test]
async fn child_that_moves_large_parts() {
    if std::env::var_os("OARLOCK_TEST_MEMORY").is_none() {
        return;
    }
    let mut house = House::open();
    let mut pairs = Vec::new();
    for _ in 0..4 {
        pairs.push(house.pair().await);
    }
    let before = resident();
    for (ours, theirs) in &mut pairs {
        ours.say(with_parts(Say::Ordered(0), &[100_000_000]));
        assert_eq!(theirs.messages().await[0].parts[0].len(), 100_000_000);
        theirs.say(with_parts(Say::Ordered(0), &[100_000_000]));
        assert_eq!(ours.messages().await[0].parts[0].len(), 100_000_000);
    }
    let after = resident();
    assert!(after < before + 40, "{before} MiB became {after} MiB");
}

#[test]
fn four_peers_that_moved_100_mb_each_way_keep_less_than_40_mb() {
    let outcome = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "transport::tests::memory::child_that_moves_large_parts"])
        .env("OARLOCK_TEST_MEMORY", "1")
        .output()
        .unwrap();
    assert!(outcome.status.success(), "{}", String::from_utf8_lossy(&outcome.stdout));
}
