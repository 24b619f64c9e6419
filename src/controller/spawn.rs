//! Engine processes started here, watched until they end, and why they ended.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{
    Pid, PidfdFlags, Signal, kill_process, kill_process_group, pidfd_open, pidfd_send_signal,
};
use tokio::io::unix::AsyncFd;

use super::memory_kills::MemoryKills;
use crate::wire::limits::FORCED;

/// Bytes of the end of an engine's log that are told when it ends.
const TAIL: u64 = 2048;

/// How to start an engine.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Environment beside the inherited one.
    pub env: HashMap<String, String>,
    /// Where each engine's stdout and stderr go, one file for each.
    pub log_directory: PathBuf,
}

/// A process that was started and has not been seen to end.
#[derive(Debug)]
pub(super) struct Started {
    origin: Origin,
    pidfd: OwnedFd,
    kills: Option<MemoryKills>,
}

/// Where a process comes from.
#[derive(Debug)]
enum Origin {
    /// It was started here, and its output goes to this file.
    Here(Child, PathBuf),
    /// It was started by the controller before this one, and nobody is told how it ends.
    Before(u32),
}

impl Recipe {
    /// Starts one process, in a process group of its own so that Ctrl-C in a terminal is not
    /// for it, and so that what its tasks start can be ended with it.
    pub(super) fn start(&self) -> io::Result<Started> {
        let (program, arguments) = self
            .argv
            .split_first()
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no program to start"))?;
        let (log, file) = new_log(&self.log_directory)?;
        let mut child = Command::new(program)
            .args(arguments)
            .envs(&self.env)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .process_group(0)
            .spawn()?;
        let kills = MemoryKills::of(child.id());
        let pid = Pid::from_child(&child);
        match pidfd_open(pid, PidfdFlags::NONBLOCK) {
            Ok(pidfd) => Ok(Started { origin: Origin::Here(child, log), pidfd, kills }),
            Err(error) => {
                // Nobody would notice its end.
                child.kill()?;
                child.wait()?;
                Err(error.into())
            }
        }
    }
}

fn new_log(directory: &Path) -> io::Result<(PathBuf, File)> {
    for number in 0_u32.. {
        let path = directory.join(format!("engine-{number}.log"));
        match OpenOptions::new().append(true).create_new(true).open(&path) {
            Ok(file) => return Ok((path, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    unreachable!("a directory does not hold that many files")
}

/// What is known of a process that ended.
#[derive(Clone, Debug)]
pub(super) struct End {
    /// For instance `killed by SIGKILL` or `exit code 3`.
    pub(super) cause: String,
    /// The end of its log.
    pub(super) output: String,
    /// Whether it gave itself up because of the task it ran.
    pub(super) forced: bool,
}

impl Started {
    /// A process that another started; `None` if it has ended.
    pub(super) fn elsewhere(pid: u32) -> Option<Self> {
        let pidfd = pidfd_open(number(pid)?, PidfdFlags::NONBLOCK).ok()?;
        Some(Self { origin: Origin::Before(pid), pidfd, kills: MemoryKills::of(pid) })
    }

    /// Its process.
    pub(super) fn pid(&self) -> u32 {
        match &self.origin {
            Origin::Here(child, _) => child.id(),
            Origin::Before(pid) => *pid,
        }
    }

    /// Waits until it ends, and reaps it.
    pub(super) async fn ended(self) -> End {
        let pid = self.pid();
        let Self { origin, pidfd, kills } = self;
        // A pidfd becomes readable when its process has ended.
        #[expect(deprecated, reason = "its successor is unsafe; an owned descriptor stays valid")]
        let watched = AsyncFd::new(pidfd);
        if let Ok(watched) = watched {
            let _ = watched.readable().await;
        }
        // What its tasks left behind in its group goes with it. As long as it is not reaped, nobody
        // else can have its number.
        if let Some(pid) = number(pid) {
            let _ = kill_process_group(pid, Signal::KILL);
        }
        let Origin::Here(mut child, log) = origin else {
            let memory = kills.is_some_and(|kills| kills.explain());
            let cause = if memory { "the system ran out of memory" } else { "it ended" };
            let cause = format!("{cause} (it was started by a controller before this one)");
            return End { cause, output: String::new(), forced: false };
        };
        let status = child.try_wait();
        let forced = matches!(&status, Ok(Some(status)) if status.code() == Some(FORCED));
        let cause = match status {
            Ok(Some(status)) => explain(status, kills.as_ref()),
            // Somebody else in this process reaped it.
            Ok(None) | Err(_) => "ended for an unknown reason".to_owned(),
        };
        End { cause, output: tail(&log).unwrap_or_default(), forced }
    }
}

/// The end of a process that another started; `None` if it has ended already.
pub(super) fn watch(pid: u32) -> Option<impl Future<Output = ()> + Send + use<>> {
    let pidfd = pidfd_open(number(pid)?, PidfdFlags::NONBLOCK).ok()?;
    #[expect(deprecated, reason = "its successor is unsafe; an owned descriptor stays valid")]
    let watched = AsyncFd::new(pidfd).ok()?;
    // Of one that has ended and was not reaped the descriptor is readable at once.
    Some(async move {
        let _ = watched.readable().await;
    })
}

/// Ends an engine at once that a controller before this one had started for `directory`, unless the
/// number is another process's by now.
pub(super) fn kill_of(pid: u32, directory: &Path) {
    let Some(pid) = number(pid) else { return };
    // Whose number it is cannot change while this is open.
    let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { return };
    let line = std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero()));
    let named = |word: &[u8]| word == directory.as_os_str().as_bytes();
    if line.is_ok_and(|line| line.split(|byte| *byte == 0).any(named)) {
        let _ = pidfd_send_signal(&pidfd, Signal::KILL);
    }
}

/// Ends a process at once.
pub(super) fn kill(pid: u32) {
    signal(pid, Signal::KILL.as_raw());
}

/// Sends a signal to a process; one that is gone is no error.
pub(super) fn signal(pid: u32, number: i32) {
    if let (Some(pid), Some(signal)) = (self::number(pid), Signal::from_named_raw(number)) {
        let _ = kill_process(pid, signal);
    }
}

fn number(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

fn explain(status: ExitStatus, kills: Option<&MemoryKills>) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        // The system kills for want of memory by this signal only.
        (None, Some(libc::SIGKILL)) if kills.is_some_and(MemoryKills::explain) => {
            "killed by SIGKILL (the system ran out of memory)".to_owned()
        }
        (None, Some(signal)) => {
            let name = signal_name(signal);
            if status.core_dumped() {
                format!("killed by {name} (core dumped)")
            } else {
                format!("killed by {name}")
            }
        }
        (None, None) => "ended for an unknown reason".to_owned(),
    }
}

fn signal_name(number: i32) -> String {
    let name = match number {
        libc::SIGHUP => "SIGHUP",
        libc::SIGINT => "SIGINT",
        libc::SIGQUIT => "SIGQUIT",
        libc::SIGILL => "SIGILL",
        libc::SIGTRAP => "SIGTRAP",
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGKILL => "SIGKILL",
        libc::SIGUSR1 => "SIGUSR1",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGUSR2 => "SIGUSR2",
        libc::SIGPIPE => "SIGPIPE",
        libc::SIGALRM => "SIGALRM",
        libc::SIGTERM => "SIGTERM",
        libc::SIGXCPU => "SIGXCPU",
        libc::SIGXFSZ => "SIGXFSZ",
        libc::SIGSYS => "SIGSYS",
        other => return format!("signal {other}"),
    };
    name.to_owned()
}

fn tail(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let len = file.metadata()?.len();
    file.seek(SeekFrom::Start(len.saturating_sub(TAIL)))?;
    let mut text = Vec::new();
    file.take(TAIL).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).trim_end().to_owned())
}
