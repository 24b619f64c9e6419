//! What is asked of the controller, and its answers.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::core::Core;
use crate::wire::{FromClient, Message, Reply, Request};

/// Something that was asked.
pub(super) struct Question {
    /// What was asked, if another controller may be asked the same.
    pub(super) again: Option<Request>,
    /// The answer when it has come.
    pub(super) answer: Option<Reply>,
}

#[derive(Default)]
pub(super) struct Replies {
    next: u64,
    pub(super) open: HashMap<u64, Question>,
}

impl Replies {
    /// Questions of a session that is over are refused, since the controller may have done what was
    /// asked; those that can be asked again are given.
    pub(super) fn refuse_open(&mut self) -> Vec<(u64, Request)> {
        let text = "the session with the controller broke before it answered; what was asked may or may \
                    not have been done\n\nhint: ask again";
        let mut again = Vec::new();
        for (id, question) in self.open.iter_mut().filter(|(_, asked)| asked.answer.is_none()) {
            match &question.again {
                Some(body) => again.push((*id, body.clone())),
                None => question.answer = Some(Reply::Refused(text.to_owned())),
            }
        }
        again
    }
}

impl Core {
    /// Asks; the answer is fetched by [`Core::answer`].
    pub fn ask(&self, body: Request) -> u64 {
        if let Some(again) = &self.again {
            again.lock().ask(&body);
        }
        let id = {
            let mut replies = self.replies.lock();
            replies.next += 1;
            let id = replies.next;
            let again = self.again.is_some() && body.can_be_asked_again();
            let again = again.then(|| body.clone());
            replies.open.insert(id, Question { again, answer: None });
            id
        };
        let head = FromClient::Request { id, body };
        if let Err(fault) = self.uplink.push(Message::bare(head))
            && let Some(question) = self.replies.lock().open.get_mut(&id)
        {
            question.answer = Some(Reply::Refused(fault));
        }
        self.flush(true);
        id
    }

    /// Waits for the answer; `None` if it has not come in time.
    pub fn answer(&self, id: u64, until: Instant) -> Option<Reply> {
        self.need();
        let mut replies = self.replies.lock();
        loop {
            if replies.open.get(&id).is_some_and(|question| question.answer.is_some()) {
                return replies.open.remove(&id).and_then(|question| question.answer);
            }
            if self.gone.load(Ordering::Acquire)
                || self.replied.wait_until(&mut replies, until).timed_out()
            {
                return None;
            }
        }
    }

    /// The answer is no longer wanted.
    pub fn forget_answer(&self, id: u64) {
        self.replies.lock().open.remove(&id);
    }
}
