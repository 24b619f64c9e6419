//! Directories, peers and lanes to test with.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::transport::link::{Frames, Lanes, LinkError, Receiver, Sender};
use crate::transport::outbox::Shared;
use crate::transport::{
    Accepted, Arrival, CloseReason, ConnectError, Door, Event, Keeper, Outbox, Sink, connect,
    directory,
    session::{self, Kinship, Pulse},
};
use crate::wire::limits::HEARTBEAT;
use crate::wire::{Head, Hello, Message, Parts, Role, SessionId};

/// Longer than anything here takes on a busy machine; a test that needs it fails.
pub(super) const LONG: Duration = Duration::from_secs(20);
pub(super) const TOKEN: &[u8] = b"a token of the tests";

/// What the peers in these tests say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Say {
    /// Must not overtake its like.
    Ordered(u64),
    /// May overtake everything.
    Free(u64),
}

impl Head for Say {
    fn in_order(&self) -> bool {
        matches!(self, Self::Ordered(_))
    }
}

pub(super) fn with_parts(head: Say, lens: &[usize]) -> Message<Say> {
    let parts = lens.iter().map(|&len| Bytes::from(vec![len as u8; len])).collect::<Parts>();
    Message { head, parts }
}

/// A directory fit for a cluster; goes with the value.
pub(super) struct Dir(PathBuf);

impl Dir {
    pub(super) fn new() -> Self {
        Self::with_mode(0o700)
    }

    pub(super) fn with_mode(mode: u32) -> Self {
        let name = &directory::random_name().unwrap()[..12];
        let path = std::env::temp_dir().join(format!("oar-{name}"));
        fs::DirBuilder::new().mode(mode).create(&path).unwrap();
        Self(path)
    }

    /// Names of the sockets in it, without the door.
    pub(super) fn lanes(&self) -> Vec<String> {
        let names = fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter_map(|name| name.into_string().ok()).filter(|n| directory::is_name(n)).collect()
    }
}

impl std::ops::Deref for Dir {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// One end of a session.
pub(super) struct Peer {
    pub(super) outbox: Outbox<Say>,
    pub(super) events: mpsc::Receiver<Event<Say>>,
}

impl Peer {
    pub(super) fn say(&self, message: Message<Say>) {
        self.outbox.push(message).unwrap();
    }

    pub(super) async fn event(&mut self) -> Event<Say> {
        timeout(LONG, self.events.recv()).await.expect("an event in time").expect("a last event")
    }

    /// The next messages, as many as come together.
    pub(super) async fn messages(&mut self) -> Vec<Message<Say>> {
        match self.event().await {
            Event::Messages(messages) => messages,
            Event::Closed(reason) => panic!("closed while messages were due: {reason}"),
        }
    }

    /// Takes messages until the session ends; their heads, and why it ended.
    pub(super) async fn rest(&mut self) -> (Vec<Say>, CloseReason) {
        let mut heads = Vec::new();
        loop {
            match self.event().await {
                Event::Messages(messages) => heads.extend(messages.iter().map(|m| m.head)),
                Event::Closed(reason) => {
                    assert!(self.events.recv().await.is_none(), "the end is the last event");
                    return (heads, reason);
                }
            }
        }
    }
}

pub(super) fn sink() -> (Sink<Say, Event<Say>>, mpsc::Receiver<Event<Say>>) {
    let (sender, events) = mpsc::channel(4);
    (Sink::new(sender, |event| event), events)
}

pub(super) fn hello() -> Hello {
    Hello {
        tally: None,
        before: None,
        lease: 0,
        token: TOKEN.to_vec(),
        role: Role::Engine,
        session: SessionId([5; 16]),
        pid: std::process::id(),
        host: "here".into(),
        python: "3.11".into(),
    }
}

/// An open door and those who knocked.
pub(super) struct House {
    pub(super) dir: Dir,
    pub(super) door: Door,
    pub(super) arrivals: mpsc::Receiver<Arrival>,
}

impl House {
    pub(super) fn open() -> Self {
        Self::open_in(Dir::new())
    }

    pub(super) fn open_in(dir: Dir) -> Self {
        Self::open_with(dir, TOKEN.to_vec())
    }

    pub(super) fn open_with(dir: Dir, token: Vec<u8>) -> Self {
        let (sender, arrivals) = mpsc::channel(8);
        let keeper = Keeper { token, session: SessionId([9; 16]), pid: 1, lease: Duration::ZERO };
        let door = Door::open(&dir, keeper, sender, |arrival| arrival).unwrap();
        Self { dir, door, arrivals }
    }

    pub(super) async fn arrival(&mut self) -> Arrival {
        timeout(LONG, self.arrivals.recv()).await.expect("somebody in time").expect("an open door")
    }

    /// Lets the next one in.
    pub(super) async fn admit(&mut self) -> Peer {
        let (sink, events) = sink();
        let outbox = self.arrival().await.admit((3, false), None, sink).unwrap();
        Peer { outbox, events }
    }

    /// A new session: our end and the peer's.
    pub(super) async fn pair(&mut self) -> (Peer, Peer) {
        let dir = self.dir.to_path_buf();
        let hello = hello();
        let (ours, theirs) = tokio::join!(self.admit(), dial(&dir, &hello));
        let (accepted, theirs) = theirs.unwrap();
        assert_eq!(
            accepted,
            Accepted {
                number: 3,
                controller: SessionId([9; 16]),
                pid: 1,
                beat: HEARTBEAT,
                lease: Duration::ZERO,
                resumed: false,
                far: false
            }
        );
        (ours, theirs)
    }
}

pub(super) async fn dial(dir: &Path, hello: &Hello) -> Result<(Accepted, Peer), ConnectError> {
    let (sink, events) = sink();
    let (accepted, outbox) = connect(dir, hello, None, sink, LONG).await?;
    Ok((accepted, Peer { outbox, events }))
}

/// A lane in memory.
pub(super) struct Out(pub(super) mpsc::Sender<Frames>);
pub(super) struct In(pub(super) mpsc::Receiver<Frames>);

impl Sender for Out {
    async fn send(&mut self, frames: Frames) -> Result<(), LinkError> {
        self.0.send(frames).await.map_err(|_| LinkError("gone".into()))
    }
}

impl Receiver for In {
    async fn recv(&mut self) -> Result<Frames, LinkError> {
        match self.0.recv().await {
            // What stands for a read that fails.
            Some((first, _)) if first == "broken" => Err(LinkError("broken".into())),
            Some(frames) => Ok(frames),
            None => std::future::pending().await,
        }
    }
}

/// The far end of a session in memory, in the hands of the test.
pub(super) struct Raw {
    pub(super) ctl: (mpsc::Sender<Frames>, mpsc::Receiver<Frames>),
    pub(super) bulk: (mpsc::Sender<Frames>, mpsc::Receiver<Frames>),
    pub(super) lifeline: DuplexStream,
    pub(super) beats: mpsc::Receiver<()>,
}

/// A session over memory; a lane holds `room` messages before it makes the sender wait.
pub(super) fn raw(room: usize, silence: Option<Duration>) -> (Peer, Raw) {
    raw_kin(room, silence, Kinship::default())
}

/// As [`raw`], with a peer in some process.
pub(super) fn raw_kin(room: usize, silence: Option<Duration>, kinship: Kinship) -> (Peer, Raw) {
    let ((ctl_out, ctl_far), (ctl_near, ctl_in)) = (mpsc::channel(room), mpsc::channel(room));
    let ((bulk_out, bulk_far), (bulk_near, bulk_in)) = (mpsc::channel(room), mpsc::channel(room));
    let (lifeline, far) = tokio::io::duplex(16);
    let (shared, stop) = Shared::new();
    let outbox = Outbox::new(shared.clone());
    let lanes = Lanes {
        ctl: (Out(ctl_out), In(ctl_in)),
        bulk: (Out(bulk_out), In(bulk_in)),
        carrying: Vec::new(),
    };
    let (sink, events) = sink();
    let pulse = Pulse { silence, beat: HEARTBEAT, mutual: false };
    let (beat, beats) = mpsc::channel(1000);
    let lifeline = (lifeline, move || {
        let _ = beat.try_send(());
    });
    tokio::spawn(session::run(shared, stop, lanes, lifeline, sink, pulse, kinship));
    let raw = Raw { ctl: (ctl_near, ctl_far), bulk: (bulk_near, bulk_far), lifeline: far, beats };
    (Peer { outbox, events }, raw)
}
