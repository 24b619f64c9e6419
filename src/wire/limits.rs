//! Every number that a peer could otherwise choose for us.

use std::time::Duration;

/// Version of everything in `wire`; peers of another version are refused at the door.
pub const PROTOCOL: u16 = 6;

/// Bytes a peer may send before it is authenticated.
pub const HELLO_MAX: usize = 4096;
/// Time a peer has from its connection to the end of the handshake.
pub const HELLO_DEADLINE: Duration = Duration::from_secs(5);
/// Time for an attempt to connect over a network, which takes a dozen ways to and fro.
pub const FAR_DEADLINE: Duration = Duration::from_secs(15);
/// Peers that may be in the handshake at once; for a further one, the oldest gives way.
pub const HELLO_CONCURRENT: usize = 64;
/// Peers over a network that may be in the handshake at once; for a further one, the oldest gives way.
pub const LINK_CONCURRENT: usize = 256;
/// Strangers over a network that are heard in a second; the others wait with the kernel. So each keeps
/// its place for half a second at least, however many come, and all of them cost some five percent of a
/// core (measured on two busy ones: 70 to 115 µs each, where a session takes 2 ms of the controller's).
pub const LINK_RATE: u32 = 512;
/// Bytes that are read of a peer over a network before it has proved who it is.
pub const LINK_BUDGET: usize = 16 * 1024;
/// Longest path of a socket; the kernel's own limit is 108 bytes, with the final zero.
pub const SOCKET_PATH_MAX: usize = 100;

/// What one packet carries inline: small parts share it, larger ones travel on the bulk lane.
pub const INLINE_MAX: usize = 64 * 1024;
/// A part at most this long is inlined even when its message goes in pieces.
pub const INLINE_PART: usize = 4 * 1024;
/// Size of one piece on the bulk lane.
pub const CHUNK: usize = 64 * 1024;
/// Messages in one packet.
pub const PACKET_MESSAGES: usize = 512;
/// Longest header or blob accepted from an authenticated peer, in bytes.
pub const FRAME_MAX: usize = 8 * 1024 * 1024;
/// Longest single part, whatever lane it uses, in bytes.
pub const PART_MAX: u64 = 1 << 40;
/// Parts of one message.
pub const PARTS_MAX: usize = 1 << 20;
/// Parts lent in one packet; further ones travel.
pub const LOANS_MAX: usize = 256;
/// Longest header of a packet without its loans, of which each is shorter than 64 bytes.
pub const HEADER_MAX: usize = FRAME_MAX - 64 * LOANS_MAX;
/// Short parts that follow each other on the bulk lane share one stream of at most this length.
pub const RUN_MAX: u64 = 1024 * 1024;
/// Bytes of messages held back until their parts are there; beyond it the ctl lane is not read.
pub const HELD_MAX: usize = 64 * 1024 * 1024;
/// Reserved for a stream before its bytes are there; longer ones grow by doubling.
pub const RESERVE_MAX: usize = 64 * 1024 * 1024;

/// Packets that may be on the way without an acknowledgement, far below the socket's own queue.
pub const PACKET_CREDIT: u64 = 1024;
/// Chunks that may be on the way without an acknowledgement (4 MiB).
pub const CHUNK_CREDIT: u64 = 64;

/// A sign of life is sent to a peer that counts silence when nothing else was for this long. Each
/// wakes both processes once; two fall into the three seconds after which silence looks suspicious.
pub const HEARTBEAT: Duration = Duration::from_millis(1250);
/// Signs of life sent to a peer that gives none itself; further ones would only fill its queue.
pub const BEATS_UNHEARD: u32 = 60;
/// A peer silent for this long is shown as suspect, unless said otherwise.
pub const SUSPECT: Duration = Duration::from_secs(3);
/// A peer silent for this long is lost, unless said otherwise.
pub const SILENCE: Duration = Duration::from_secs(10);
/// Time a closing session waits for the goodbye of its peer.
pub const GOODBYE: Duration = Duration::from_millis(500);
/// The same over a network, where a chunk takes a second on a thin line.
pub const FAR_GOODBYE: Duration = Duration::from_secs(3);
/// Time a send may stay pending; longer means the credit is broken, so the session is closed.
pub const SEND_STALL: Duration = Duration::from_millis(100);

/// Captured output of one task and stream, in bytes: of more, the beginning and the end are kept,
/// and what was between is counted.
pub const OUTPUT_MAX: usize = 1024 * 1024;

/// Bytes of outcomes that an engine queues before it waits to have them taken.
pub const QUEUED_MAX: usize = 64 * 1024 * 1024;

/// Exit status of an engine that was given up because of the task it ran.
pub const FORCED: i32 = 86;
