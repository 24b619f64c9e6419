//! What a task wrote to one of its streams: sent as it comes, up to a bound; beyond it the end is
//! kept and sent last, with the number of bytes between.
//!
//! Invariant: at most half of [`OUTPUT_MAX`] waits here, whatever a task writes, and at most
//! `OUTPUT_MAX` and a short note leave.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::wire::limits::{INLINE_MAX, OUTPUT_MAX};

/// What of a flood is sent at once: its beginning.
const HEAD: usize = OUTPUT_MAX / 2;
/// What is kept of its end.
const TAIL: usize = OUTPUT_MAX - HEAD;
/// Longest piece in one message, so that output travels with the packets and the result does not
/// overtake it.
const PIECE: usize = INLINE_MAX / 2;
/// So much that was written is sent without waiting for the next report.
const AT_ONCE: usize = 64 * 1024;

/// See the head of this file.
#[derive(Default)]
pub(super) struct Output {
    /// Written and not yet sent.
    fresh: String,
    /// Bytes of the beginning, sent or not.
    head: usize,
    /// The last bytes after the beginning; they may start within a character.
    tail: VecDeque<u8>,
    /// Bytes that were in the tail and had to go.
    dropped: u64,
}

impl Output {
    /// Takes text in. Says whether there is enough of it to be sent now.
    pub(super) fn write(&mut self, text: &str) -> bool {
        let mut room = HEAD.saturating_sub(self.head).min(text.len());
        while !text.is_char_boundary(room) {
            room -= 1;
        }
        let (first, rest) = text.split_at(room);
        self.fresh.push_str(first);
        self.head += room;
        if !rest.is_empty() {
            // A character that did not fit ends the beginning, or a shorter one would overtake it.
            self.head = HEAD;
            self.keep(rest.as_bytes());
        }
        self.fresh.len() >= AT_ONCE
    }

    fn keep(&mut self, bytes: &[u8]) {
        let last = &bytes[bytes.len().saturating_sub(TAIL)..];
        let surplus = (self.tail.len() + last.len()).saturating_sub(TAIL);
        self.tail.drain(..surplus);
        self.dropped += (surplus + bytes.len() - last.len()) as u64;
        self.tail.extend(last);
    }

    /// What was written since the last time, in pieces.
    pub(super) fn flush(&mut self, send: impl FnMut(Bytes)) {
        cut(Bytes::from(std::mem::take(&mut self.fresh)), send);
    }

    /// Everything that is left; nothing is written afterwards.
    pub(super) fn finish(&mut self, send: impl FnMut(Bytes)) {
        let tail = Vec::from(std::mem::take(&mut self.tail));
        // Where bytes were dropped, the rest of a character may lead.
        let half = tail.iter().take_while(|byte| !is_boundary(**byte)).count();
        let dropped = self.dropped + half as u64;
        if dropped > 0 {
            let note = format!("\n[oarlock: {dropped} bytes of output were dropped]\n");
            self.fresh.push_str(&note);
        }
        self.fresh.push_str(&String::from_utf8_lossy(&tail[half..]));
        self.flush(send);
    }
}

fn cut(mut text: Bytes, mut send: impl FnMut(Bytes)) {
    while !text.is_empty() {
        let mut end = text.len().min(PIECE);
        while end < text.len() && !is_boundary(text[end]) {
            end -= 1;
        }
        send(text.split_to(end));
    }
}

/// Whether a character of UTF-8 begins with this byte.
fn is_boundary(byte: u8) -> bool {
    byte & 0xc0 != 0x80
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All that leaves, when these texts are written and output is sent after each.
    fn sent<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
        let (mut output, mut bytes) = (Output::default(), Vec::new());
        let mut take = |piece: Bytes| {
            assert!(!piece.is_empty() && piece.len() <= PIECE);
            assert!(std::str::from_utf8(&piece).is_ok(), "no character is cut");
            bytes.extend_from_slice(&piece);
        };
        for text in texts {
            if output.write(text) {
                output.flush(&mut take);
            }
            assert!(output.tail.len() <= TAIL && output.fresh.len() <= HEAD);
        }
        output.finish(&mut take);
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn up_to_the_bound_everything_arrives() {
        let line = "0123456789abcde\n";
        let all = line.repeat(OUTPUT_MAX / line.len());
        assert_eq!(sent(std::iter::repeat_n(line, OUTPUT_MAX / line.len())), all);
        assert_eq!(sent([&*all]), all);
        assert_eq!(sent([]), "");
    }

    #[test]
    fn of_a_flood_the_beginning_and_the_end_arrive_and_how_much_was_between() {
        let lines: Vec<String> = (0..500_000).map(|number| format!("{number:09}\n")).collect();
        let text = sent(lines.iter().map(String::as_str));
        let dropped = lines.len() * 10 - OUTPUT_MAX;
        let note = format!("\n[oarlock: {dropped} bytes of output were dropped]\n");
        let (head, tail) = text.split_once(&note).unwrap();
        assert_eq!((head.len(), tail.len()), (HEAD, TAIL));
        assert!(head.starts_with("000000000\n000000001\n") && tail.ends_with("000499999\n"));
    }

    #[test]
    fn a_single_write_longer_than_everything_is_cut_too() {
        let text = sent([&*"é".repeat(3 * OUTPUT_MAX)]);
        let (head, tail) = text.split_once("\n[oarlock: ").unwrap();
        assert!(head.chars().all(|c| c == 'é') && tail.ends_with("dropped]\n") == tail.is_empty());
        assert!(text.len() < OUTPUT_MAX + 100);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_uncounted(
            texts in prop::collection::vec(("[aé€😀]{1,3}", 0..300_000usize), 0..8),
        ) {
            let texts: Vec<String> = texts.into_iter().map(|(s, n)| s.repeat(n)).collect();
            let all = texts.concat();
            let text = sent(texts.iter().map(String::as_str));
            if let Some((head, rest)) = text.split_once("\n[oarlock: ") {
                let (count, tail) = rest.split_once(" bytes of output were dropped]\n").unwrap();
                let count: usize = count.parse().unwrap();
                prop_assert!(all.starts_with(head) && all.ends_with(tail));
                prop_assert_eq!(head.len() + count + tail.len(), all.len());
            } else {
                prop_assert_eq!(text, all);
            }
        }
    }
}
