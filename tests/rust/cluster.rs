//! Controller, engines and clients together over real sockets, without Python: engines here are
//! threads that answer with what they were given.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use _oarlock::client::remote::{Address, Remote};
use _oarlock::client::{Core, State, Submission, Tasks, Until};
use _oarlock::clock::wall_clock;
use _oarlock::controller::{Care, Embedded, Recipe, serve};
use _oarlock::engine::{Engine, Process, Work};
use _oarlock::wire::{FuncId, Kind, Parts, Reply, Request, Rules, Status, Target};
use bytes::Bytes;

const PATIENCE: Duration = Duration::from_secs(20);
const BOUND: u64 = 1 << 30;
const FUNC: FuncId = FuncId([5; 16]);

/// A client of the cluster in `directory` that has this Python.
fn try_connect(directory: &std::path::Path, python: &str) -> std::io::Result<Remote> {
    let (python, lease) = (python.to_owned(), Duration::MAX);
    let address = Address { directory: directory.to_owned(), python, lease, reconnect: None };
    Remote::connect(address, PATIENCE, BOUND)
}

fn directory() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("oarlock-t{}-{count}", std::process::id()))
}

fn soon() -> Instant {
    Instant::now() + PATIENCE
}

fn process() -> Process {
    Process { interrupt: Box::new(|| {}), exit: |code| panic!("an engine ended with code {code}") }
}

/// Runs an engine that answers each task with its own parts, until it is told to end.
fn echo(directory: PathBuf) -> JoinHandle<usize> {
    std::thread::spawn(move || {
        let engine =
            Engine::join(&directory, (PATIENCE, PATIENCE), String::new(), process()).unwrap();
        let mut count = 0;
        loop {
            match engine.next() {
                Work::Func(func, body) => assert_eq!((func, &body[..]), (FUNC, &b"echo"[..])),
                Work::Forget(_) => {}
                Work::Task { parts, .. } => {
                    count += 1;
                    engine.slot().done(Status::Ok, parts, |message| engine.send(message));
                }
                Work::End => break,
            }
        }
        engine.leave();
        count
    })
}

fn submit(core: &Core, tasks: Vec<Parts>) -> Tasks {
    core.pin_function(FUNC, b"echo").unwrap();
    let failed = HashMap::new();
    let what = Submission {
        func: FUNC,
        kind: Kind::Apply,
        tasks,
        items: None,
        failed,
        rules: Rules::default(),
    };
    core.submit(what, Target::Any, wall_clock())
}

fn numbered(count: usize) -> Vec<Parts> {
    (0..count).map(|number| Parts::from_elem(Bytes::from(number.to_string()), 1)).collect()
}

fn check_numbered(tasks: &Tasks) {
    assert!(tasks.wait(Until::All).until(soon()), "{} of {}", tasks.done(), tasks.len());
    for index in 0..tasks.len() {
        tasks.record(index, |record| {
            assert_eq!(record.state, State::Ok);
            assert_eq!(record.parts.as_ref().unwrap()[0], index.to_string());
            assert!(record.started > 0 && record.completed >= record.started);
            assert!(record.received > 0);
        });
    }
}

fn wait_engines(core: &Core, count: usize) {
    assert!(core.wait_engines(soon(), |there, _| there == count), "{:?}", core.engines());
}

#[test]
fn tasks_go_to_the_engines_of_an_embedded_controller_and_come_back() {
    let directory = directory();
    let embedded = Embedded::start(&directory, String::new(), BOUND, Care::default()).unwrap();
    let engines = [echo(directory.clone()), echo(directory.clone())];
    wait_engines(&embedded.core, 2);
    check_numbered(&submit(&embedded.core, numbered(5000)));
    embedded.stop();
    let ran: usize = engines.into_iter().map(|engine| engine.join().unwrap()).sum();
    assert_eq!(ran, 5000);
    assert!(!directory.exists(), "nothing is left");
}

#[test]
fn a_client_elsewhere_sees_the_same_engines_and_results() {
    let directory = directory();
    let embedded = Embedded::start(&directory, String::new(), BOUND, Care::default()).unwrap();
    let engine = echo(directory.clone());
    wait_engines(&embedded.core, 1);
    let remote = try_connect(&directory, "").unwrap();
    wait_engines(&remote.core, 1);
    let tasks = submit(&remote.core, numbered(3000));
    check_numbered(&tasks);
    // By id, from the other client.
    let ids: Vec<_> = tasks.ids(remote.core.session).skip(2990).collect();
    let watched = embedded.core.watch(ids.clone(), wall_clock());
    assert!(watched.wait(Until::All).until(soon()));
    assert_eq!(watched.ids(embedded.core.session).collect::<Vec<_>>(), ids);
    watched.record(0, |record| {
        assert_eq!(record.state, State::Ok);
        assert_eq!(record.parts.as_ref().unwrap()[0], "2990");
    });
    let question = remote.core.ask(Request::QueueStatus);
    let Some(Reply::QueueStatus(0, engines)) = remote.core.answer(question, soon()) else {
        panic!("no answer")
    };
    assert_eq!(engines[0].3, 3000, "tasks completed");
    remote.close();
    embedded.stop();
    engine.join().unwrap();
}

#[test]
fn large_parts_arrive_whole_and_in_their_places() {
    let directory = directory();
    let embedded = Embedded::start(&directory, String::new(), BOUND, Care::default()).unwrap();
    let engine = echo(directory.clone());
    let remote = try_connect(&directory, "").unwrap();
    let block = |byte: u8, len: usize| Bytes::from(vec![byte; len]);
    let task = |seed: u8| -> Parts {
        let lens = [10, 100_000, 0, 3_000_000, 65_536, 4096];
        lens.into_iter().zip(seed..).map(|(len, byte)| block(byte, len)).collect()
    };
    let sent: Vec<_> = (0..8).map(|number| task(number * 10)).collect();
    for core in [&*embedded.core, &*remote.core] {
        let tasks = submit(core, sent.clone());
        assert!(tasks.wait(Until::All).until(soon()));
        for (index, parts) in sent.iter().enumerate() {
            tasks.record(index, |record| assert!(record.parts == Some(parts)));
        }
    }
    remote.close();
    embedded.stop();
    engine.join().unwrap();
}

#[test]
fn what_was_submitted_before_a_client_closed_is_delivered() {
    let directory = directory();
    let embedded = Embedded::start(&directory, String::new(), BOUND, Care::default()).unwrap();
    let remote = try_connect(&directory, "").unwrap();
    let tasks = submit(&remote.core, numbered(1000));
    let ids: Vec<_> = tasks.ids(remote.core.session).collect();
    remote.close();
    // The tasks run though their client is gone, and others can have their results.
    let engine = echo(directory.clone());
    let watched = embedded.core.watch(ids, wall_clock());
    check_numbered(&watched);
    embedded.stop();
    assert_eq!(engine.join().unwrap(), 1000);
}

#[test]
fn a_second_controller_in_the_same_place_is_refused() {
    let directory = directory();
    let embedded = Embedded::start(&directory, String::new(), BOUND, Care::default()).unwrap();
    let error = Embedded::start(&directory, String::new(), BOUND, Care::default()).err().unwrap();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse, "{error}");
    assert!(error.to_string().contains(directory.to_str().unwrap()));
    let still = try_connect(&directory, "").unwrap();
    still.close();
    embedded.stop();
}

#[test]
fn another_version_of_python_is_refused_in_words() {
    let directory = directory();
    let embedded = Embedded::start(&directory, "3.11".to_owned(), BOUND, Care::default()).unwrap();
    let refused = try_connect(&directory, "3.12");
    let error = refused.err().unwrap().to_string();
    assert!(error.contains("3.11") && error.contains("3.12"), "{error}");
    embedded.stop();
}

fn standalone(directory: PathBuf) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let argv = vec!["none".to_owned()];
        let recipe = Recipe { argv, env: HashMap::new(), log_directory: directory.clone() };
        serve(&directory, String::new(), recipe, 0, Care::default(), None, None).unwrap();
    })
}

/// Connects as soon as a controller is there.
fn connect(directory: &std::path::Path) -> Remote {
    let deadline = soon();
    loop {
        match try_connect(directory, "") {
            Ok(remote) => return remote,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        std::thread::yield_now();
    }
}

fn stop(remote: &Remote) {
    remote.core.ask(Request::Stop);
    assert!(remote.core.wait_engines(soon(), |_, _| false) || remote.core.gone().is_some());
}

#[test]
fn an_engine_whose_controller_says_goodbye_ends() {
    let directory = directory();
    let controller = standalone(directory.clone());
    let remote = connect(&directory);
    let engine = echo(directory.clone());
    wait_engines(&remote.core, 1);
    stop(&remote);
    controller.join().unwrap();
    engine.join().unwrap();
    assert!(!directory.exists());
}

#[test]
fn waits_end_with_the_reason_when_the_controller_goes() {
    let directory = directory();
    let controller = standalone(directory.clone());
    let remote = connect(&directory);
    let tasks = submit(&remote.core, numbered(3));
    let waiting = {
        let tasks = tasks.clone();
        std::thread::spawn(move || tasks.wait(Until::All).until(soon()))
    };
    stop(&remote);
    assert!(waiting.join().unwrap());
    tasks.record(0, |record| assert_eq!(record.state, State::Gone));
    assert!(remote.core.gone().is_some());
    controller.join().unwrap();
}

#[test]
fn many_threads_may_submit_at_once() {
    let directory = directory();
    let embedded =
        Arc::new(Embedded::start(&directory, String::new(), BOUND, Care::default()).unwrap());
    let engine = echo(directory.clone());
    wait_engines(&embedded.core, 1);
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let embedded = embedded.clone();
            std::thread::spawn(move || {
                for _ in 0..50 {
                    check_numbered(&submit(&embedded.core, numbered(20)));
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(embedded.core.submitted(), 8000);
    embedded.stop();
    assert_eq!(engine.join().unwrap(), 8000);
}
