//! Maps for keys that are numbers of our own or already random bytes: mixing a word costs one
//! multiplication. Keys are never chosen by somebody who is not authenticated.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

/// A map with the fast hasher.
pub(crate) type Map<K, V> = HashMap<K, V, BuildHasherDefault<Mix>>;
/// A set with the fast hasher.
pub(crate) type Set<K> = HashSet<K, BuildHasherDefault<Mix>>;

/// Multiply and rotate, word by word.
#[derive(Clone, Copy, Default)]
pub(crate) struct Mix(u64);

impl Mix {
    fn word(&mut self, word: u64) {
        // An odd constant without structure (2^64 divided by the golden ratio).
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

impl Hasher for Mix {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.word(u64::from_le_bytes(word));
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.word(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        self.word(number);
    }

    fn write_usize(&mut self, number: usize) {
        self.word(number as u64);
    }

    fn finish(&self) -> u64 {
        // The table takes its buckets from the low bits, where the product is weakest.
        self.0.rotate_left(26)
    }
}
