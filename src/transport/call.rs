//! What is said on a connection over a network before it is encrypted: the gate calls, and who knows
//! the cluster's secret can answer.
//!
//! A handshake of TLS costs the gate as much as very many answers that are wrong, so only who knows
//! the secret has it compute one. A call is random, so an answer is worth nothing on another
//! connection; and it is worth a handshake and nothing else: what is wanted, and by whom, is proved
//! inside the encryption (`proof`). Both sides say so many bytes and no more, and nothing is parsed.

use ring::hmac;

use super::directory::random;

/// Length of a call: magic, version, random bytes.
pub(crate) const CALL: usize = 8 + 2 + 16;
/// Length of an answer: magic, then an HMAC of the call.
pub(crate) const REPLY: usize = 8 + 32;
/// Length of the magic, by which noise is told before all of it has come.
pub(crate) const MAGIC: usize = 8;

/// Version of what is said here and in the proof.
pub(crate) const VERSION: u16 = 2;
const CALLS: &[u8; MAGIC] = b"oarlink\n";
const ANSWERS: &[u8; MAGIC] = b"oarhere\n";

/// A fatal alert of TLS, as which a wrong answer is told to who waits for a handshake: access denied.
pub(crate) const DENIED: [u8; 7] = [21, 3, 3, 0, 2, 2, 49];

/// Why a call is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Uncalled {
    /// It is none.
    Noise,
    /// It is one of another version.
    Version,
}

/// A new call.
pub(crate) fn call() -> std::io::Result<[u8; CALL]> {
    let mut call = [0; CALL];
    call[..8].copy_from_slice(CALLS);
    call[8..10].copy_from_slice(&VERSION.to_le_bytes());
    call[10..].copy_from_slice(&random::<16>()?);
    Ok(call)
}

/// The answer of who knows the secret.
pub(crate) fn answer(call: &[u8; CALL], token: &[u8]) -> Result<[u8; REPLY], Uncalled> {
    if call[..8] != *CALLS {
        return Err(Uncalled::Noise);
    }
    if call[8..10] != VERSION.to_le_bytes() {
        return Err(Uncalled::Version);
    }
    let mut reply = [0; REPLY];
    reply[..MAGIC].copy_from_slice(ANSWERS);
    reply[MAGIC..].copy_from_slice(hmac::sign(&key(token), &message(call)).as_ref());
    Ok(reply)
}

/// Whether an answer begins as one.
pub(crate) fn is_answer(magic: [u8; MAGIC]) -> bool {
    magic == *ANSWERS
}

/// Whether what follows its magic is right; in constant time.
pub(crate) fn is_right(call: &[u8; CALL], sum: &[u8; REPLY - MAGIC], token: &[u8]) -> bool {
    hmac::verify(&key(token), &message(call), sum).is_ok()
}

fn key(token: &[u8]) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, token)
}

fn message(call: &[u8; CALL]) -> Vec<u8> {
    [b"oarlock link call\0", &call[..]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &[u8] = &[7; 32];

    fn hears(call: &[u8; CALL], reply: &[u8; REPLY], token: &[u8]) -> bool {
        let (magic, sum) = reply.split_at(MAGIC);
        is_answer(magic.try_into().unwrap()) && is_right(call, sum.try_into().unwrap(), token)
    }

    #[test]
    fn an_answer_is_right_for_one_call_of_one_cluster() {
        let call = call().unwrap();
        let reply = answer(&call, TOKEN).unwrap();
        assert!(hears(&call, &reply, TOKEN));
        assert!(!hears(&call, &reply, &[8; 32]));
        assert!(!hears(&super::call().unwrap(), &reply, TOKEN));
        for bit in 0..REPLY * 8 {
            let mut tampered = reply;
            tampered[bit / 8] ^= 1 << (bit % 8);
            assert!(!hears(&call, &tampered, TOKEN), "bit {bit}");
        }
    }

    #[test]
    fn what_is_no_call_or_one_of_another_version_is_not_answered() {
        assert_eq!(answer(&[0; CALL], TOKEN), Err(Uncalled::Noise));
        let mut call = call().unwrap();
        call[8] += 1;
        assert_eq!(answer(&call, TOKEN), Err(Uncalled::Version));
    }
}
