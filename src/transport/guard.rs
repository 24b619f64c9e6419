//! Looks through what a peer over a network sends on a lane, before the parser of messages has it: that
//! parser allocates what the header of a frame says, and collects the frames of a message without an
//! end.
//!
//! It knows of ZMTP the greeting, and of a frame its flags and its length; of a message that it has two
//! frames at most. What it lets pass it does not change. It holds a few bytes of state, whatever comes.

use thiserror::Error;

use crate::wire::limits::FRAME_MAX;

/// Bytes before the first frame.
const GREETING: usize = 64;
/// Longest command, in bytes: peers of ours send one, of less than a hundred.
const COMMAND_MAX: u64 = 1024;

const MORE: u8 = 1;
const LONG: u8 = 2;
const COMMAND: u8 = 4;

/// A peer sent what none of ours does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum Unlawful {
    /// A frame that says it is so long.
    #[error("a frame of {0} bytes")]
    TooLong(u64),
    /// A message of more than two frames, or flags that mean nothing.
    #[error("a message that is none of this protocol")]
    Noise,
}

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Guard {
    at: At,
    /// Whether the frame before is the first of a message that goes on.
    goes_on: bool,
}

/// What comes next.
#[derive(Clone, Copy, Debug)]
enum At {
    /// The rest of the greeting.
    Greeting(usize),
    /// The flags of a frame.
    Flags,
    /// So many bytes of its length, after those that made this.
    Length { command: bool, left: u8, len: u64 },
    /// So many bytes of its body.
    Body(u64),
}

impl Guard {
    pub(crate) fn new() -> Self {
        Self { at: At::Greeting(GREETING), goes_on: false }
    }

    /// Whether these bytes may be passed on, after those of before. After a fault nothing may.
    pub(crate) fn pass(&mut self, mut bytes: &[u8]) -> Result<(), Unlawful> {
        while let Some((first, rest)) = bytes.split_first() {
            match &mut self.at {
                At::Greeting(left) => {
                    let count = bytes.len().min(*left);
                    *left -= count;
                    bytes = &bytes[count..];
                    if *left == 0 {
                        self.at = At::Flags;
                    }
                }
                At::Flags => {
                    self.flags(*first)?;
                    bytes = rest;
                }
                At::Length { command, left, len } => {
                    *left -= 1;
                    *len = *len << 8 | u64::from(*first);
                    bytes = rest;
                    if *left == 0 {
                        let most = if *command { COMMAND_MAX } else { FRAME_MAX as u64 };
                        if *len > most {
                            return Err(Unlawful::TooLong(*len));
                        }
                        self.at = if *len == 0 { At::Flags } else { At::Body(*len) };
                    }
                }
                At::Body(left) => {
                    // What is left is at most a frame.
                    let count = bytes.len().min(*left as usize);
                    *left -= count as u64;
                    bytes = &bytes[count..];
                    if *left == 0 {
                        self.at = At::Flags;
                    }
                }
            }
        }
        Ok(())
    }

    fn flags(&mut self, flags: u8) -> Result<(), Unlawful> {
        let (more, command) = (flags & MORE != 0, flags & COMMAND != 0);
        if flags & !(MORE | LONG | COMMAND) != 0 || more && (command || self.goes_on) {
            return Err(Unlawful::Noise);
        }
        if !command {
            self.goes_on = more;
        }
        let left = if flags & LONG != 0 { 8 } else { 1 };
        self.at = At::Length { command, left, len: 0 };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(flags: u8, body: &[u8]) -> Vec<u8> {
        let len = body.len() as u64;
        let head = match u8::try_from(len) {
            Ok(len) if flags & LONG == 0 => vec![flags, len],
            _ => [&[flags | LONG][..], &len.to_be_bytes()].concat(),
        };
        [head, body.to_vec()].concat()
    }

    fn announced(flags: u8, len: u64) -> Vec<u8> {
        [&[0; GREETING][..], &[flags | LONG], &len.to_be_bytes()].concat()
    }

    #[test]
    fn a_length_beyond_the_limit_is_told_before_any_byte_of_the_frame_has_come() {
        let most = FRAME_MAX as u64;
        assert_eq!(Guard::new().pass(&announced(0, most)), Ok(()));
        for len in [most + 1, 1 << 62, u64::MAX] {
            assert_eq!(Guard::new().pass(&announced(0, len)), Err(Unlawful::TooLong(len)));
        }
        assert_eq!(Guard::new().pass(&announced(COMMAND, COMMAND_MAX)), Ok(()));
        let len = COMMAND_MAX + 1;
        assert_eq!(Guard::new().pass(&announced(COMMAND, len)), Err(Unlawful::TooLong(len)));
    }

    #[test]
    fn a_message_without_an_end_and_flags_that_mean_nothing_are_noise() {
        let greeting = vec![0; GREETING];
        let endless = [greeting.clone(), frame(MORE, b"1"), frame(MORE, b"2")].concat();
        assert_eq!(Guard::new().pass(&endless), Err(Unlawful::Noise));
        // A command between changes nothing.
        let hidden =
            [greeting.clone(), frame(MORE, b""), frame(COMMAND, b"x"), frame(MORE, b"2")].concat();
        assert_eq!(Guard::new().pass(&hidden), Err(Unlawful::Noise));
        for flags in [8, 0x80, COMMAND | MORE] {
            let noise = [greeting.clone(), frame(flags, b"")].concat();
            assert_eq!(Guard::new().pass(&noise), Err(Unlawful::Noise), "{flags}");
        }
    }

    proptest! {
        #[test]
        fn what_peers_of_ours_send_passes_in_whatever_pieces(
            messages in prop::collection::vec((0..300_usize, 0..70_000_usize), 0..8),
            piece in 1..5000_usize,
        ) {
            let mut bytes = vec![7; GREETING];
            bytes.extend(frame(COMMAND, b"\x05READY"));
            for (first, second) in messages {
                bytes.extend(frame(MORE, &vec![1; first]));
                bytes.extend(frame(0, &vec![2; second]));
            }
            let mut guard = Guard::new();
            for piece in bytes.chunks(piece) {
                prop_assert_eq!(guard.pass(piece), Ok(()));
            }
        }

        /// Against a plain reading of the whole.
        #[test]
        fn whatever_comes_is_judged_alike_in_one_piece_and_in_many(
            noise in prop::collection::vec(prop_oneof![0..8_u8, any::<u8>()], 0..400),
            piece in 1..20_usize,
        ) {
            let bytes = [vec![0; GREETING], noise.clone()].concat();
            let whole = Guard::new().pass(&bytes);
            let mut guard = Guard::new();
            let pieces = bytes.chunks(piece).try_for_each(|piece| guard.pass(piece));
            prop_assert_eq!(whole, pieces);
            prop_assert_eq!(whole, plainly(&noise));
        }
    }

    /// What the guard is to say of frames that begin here.
    fn plainly(mut bytes: &[u8]) -> Result<(), Unlawful> {
        let mut goes_on = false;
        while let Some((&flags, rest)) = bytes.split_first() {
            let command = flags & COMMAND != 0;
            if flags > 7 || flags & MORE != 0 && (command || goes_on) {
                return Err(Unlawful::Noise);
            }
            goes_on = if command { goes_on } else { flags & MORE != 0 };
            let wide = if flags & LONG != 0 { 8 } else { 1 };
            let Some((len, rest)) = rest.split_at_checked(wide) else { return Ok(()) };
            let len = len.iter().fold(0_u64, |len, byte| len << 8 | u64::from(*byte));
            if len > if command { COMMAND_MAX } else { FRAME_MAX as u64 } {
                return Err(Unlawful::TooLong(len));
            }
            bytes = rest.get(len as usize..).unwrap_or_default();
        }
        Ok(())
    }
}
