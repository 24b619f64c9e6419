//! What a peer says first on an encrypted connection: what it wants, and a proof that it knows the
//! cluster's secret. Of fixed size, so nothing is parsed or allocated for a stranger.
//!
//! The proof is an HMAC over a value that only the two ends of this one connection have (an exporter
//! of TLS), so it is worth nothing on another, neither recorded nor passed on; and over what is
//! wanted, so it is worth nothing for anything else.

use std::time::Duration;

use ring::hmac;

use super::call::VERSION;
use super::directory::is_name;
use crate::wire::Role;

/// Length of what is said.
pub(crate) const PRELUDE: usize = 76;
/// Length of the answer: how it went, and the patience of the controller in milliseconds.
pub(crate) const ANSWER: usize = 5;
/// Label of the value that both ends of a connection have and nobody else.
pub(crate) const LABEL: &[u8] = b"EXPORTER-oarlock-link";

const MAGIC: &[u8; 8] = b"oarlink\n";
/// Magic, version, what is wanted, by whom.
const WISH: usize = 8 + 2 + 1 + 1 + 32;

/// What a peer wants behind the gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// The door, to say who it is.
    Door(Role),
    /// A lane that was told to it under this name.
    Lane(String),
}

/// Why a peer is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    Noise,
    Version,
    Token,
}

/// How the gate answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It goes on; the other side counts silence after so long, and so should this one.
    Welcome(Duration),
    /// The proof is wrong.
    Token,
    /// Another version is spoken here.
    Version,
    /// What is wanted is not there.
    Absent,
}

/// A wish with its proof, for the connection with this bond.
pub(crate) fn prelude(wish: &Wish, token: &[u8], bond: &[u8]) -> [u8; PRELUDE] {
    let mut said = [0; PRELUDE];
    said[..8].copy_from_slice(MAGIC);
    said[8..10].copy_from_slice(&VERSION.to_le_bytes());
    match wish {
        Wish::Door(Role::Engine) => said[10] = 1,
        Wish::Door(Role::Client) => said[10] = 2,
        Wish::Lane(name) => {
            said[10] = 3;
            // A name that is too long is none, and is refused.
            let len = name.len().min(32);
            said[12..12 + len].copy_from_slice(&name.as_bytes()[..len]);
        }
    }
    let (wish, proof) = said.split_at_mut(WISH);
    proof.copy_from_slice(sum(token, bond, wish).as_ref());
    said
}

/// What is wanted, if the proof is right.
pub(crate) fn check(said: &[u8; PRELUDE], token: &[u8], bond: &[u8]) -> Result<Wish, Denied> {
    let (wish, proof) = said.split_at(WISH);
    if wish[..8] != *MAGIC {
        return Err(Denied::Noise);
    }
    if wish[8..10] != VERSION.to_le_bytes() {
        return Err(Denied::Version);
    }
    // In constant time; nothing of the wish is looked at before.
    hmac::verify(&key(token), &message(bond, wish), proof).map_err(|_| Denied::Token)?;
    match (wish[10], std::str::from_utf8(&wish[12..])) {
        (1, _) => Ok(Wish::Door(Role::Engine)),
        (2, _) => Ok(Wish::Door(Role::Client)),
        (3, Ok(name)) if is_name(name) => Ok(Wish::Lane(name.to_owned())),
        _ => Err(Denied::Noise),
    }
}

fn key(token: &[u8]) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, token)
}

fn message(bond: &[u8], wish: &[u8]) -> Vec<u8> {
    [b"oarlock link proof\0", bond, wish].concat()
}

fn sum(token: &[u8], bond: &[u8], wish: &[u8]) -> hmac::Tag {
    hmac::sign(&key(token), &message(bond, wish))
}

impl Answer {
    pub(crate) fn to_bytes(self) -> [u8; ANSWER] {
        let (number, patience) = match self {
            Self::Welcome(patience) => (0, patience),
            Self::Token => (1, Duration::ZERO),
            Self::Version => (2, Duration::ZERO),
            Self::Absent => (3, Duration::ZERO),
        };
        let millis = u32::try_from(patience.as_millis()).unwrap_or(u32::MAX).to_le_bytes();
        [number, millis[0], millis[1], millis[2], millis[3]]
    }

    pub(crate) fn from_bytes([number, patience @ ..]: [u8; ANSWER]) -> Option<Self> {
        match number {
            0 => {
                let patience = u64::from(u32::from_le_bytes(patience)).max(1);
                Some(Self::Welcome(Duration::from_millis(patience)))
            }
            1 => Some(Self::Token),
            2 => Some(Self::Version),
            3 => Some(Self::Absent),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &[u8] = &[7; 32];
    const BOND: &[u8] = &[9; 32];

    #[test]
    fn a_proof_is_worth_something_for_one_wish_on_one_connection_of_one_cluster() {
        let name = "0123456789abcdef0123456789abcdef".to_owned();
        let wishes = [Wish::Door(Role::Engine), Wish::Door(Role::Client), Wish::Lane(name)];
        for wish in wishes {
            let said = prelude(&wish, TOKEN, BOND);
            assert_eq!(check(&said, TOKEN, BOND), Ok(wish));
            assert_eq!(check(&said, &[8; 32], BOND), Err(Denied::Token));
            assert_eq!(check(&said, TOKEN, &[8; 32]), Err(Denied::Token));
            for bit in 0..PRELUDE * 8 {
                let mut tampered = said;
                tampered[bit / 8] ^= 1 << (bit % 8);
                let denied = check(&tampered, TOKEN, BOND).unwrap_err();
                assert_eq!(denied == Denied::Token, bit >= 80, "bit {bit}: {denied:?}");
            }
        }
    }

    #[test]
    fn who_knows_the_token_can_still_not_name_a_file_elsewhere() {
        for name in ["../../../../../../../../tmp/xyzab", "door.sock", ""] {
            let said = prelude(&Wish::Lane(name.to_owned()), TOKEN, BOND);
            assert_eq!(check(&said, TOKEN, BOND), Err(Denied::Noise), "{name}");
        }
    }

    #[test]
    fn an_answer_is_what_was_answered() {
        let welcome = Answer::Welcome(Duration::from_millis(1234));
        for answer in [welcome, Answer::Token, Answer::Version, Answer::Absent] {
            assert_eq!(Answer::from_bytes(answer.to_bytes()), Some(answer));
        }
        assert_eq!(Answer::from_bytes([9; ANSWER]), None);
    }
}
