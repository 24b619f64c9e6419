//! Peers that have connected and not yet said who they are.
//!
//! There are never more than a fixed number of them: when one more comes, the one that has waited
//! longest is turned away. A peer of ours says its hello as it connects, so it has spoken long
//! before it is the oldest, however many strangers come; and no stranger keeps anybody waiting.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// See the head of this file.
#[derive(Debug, Default)]
pub(crate) struct Waiting(Mutex<VecDeque<Arc<Notify>>>);

/// One place; given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    waiting: Arc<Waiting>,
    evicted: Arc<Notify>,
}

impl Waiting {
    /// A place for one more; of `most` the oldest gives way.
    pub(crate) fn enter(self: &Arc<Self>, most: usize) -> Place {
        let evicted = Arc::new(Notify::new());
        let mut places = self.0.lock();
        while places.len() >= most.max(1) {
            let oldest = places.pop_front();
            oldest.inspect(|place| place.notify_one());
        }
        places.push_back(Arc::clone(&evicted));
        Place { waiting: Arc::clone(self), evicted }
    }

    /// Takes the place of the oldest; whether there was one.
    pub(crate) fn evict(&self) -> bool {
        let oldest = self.0.lock().pop_front();
        oldest.inspect(|place| place.notify_one()).is_some()
    }
}

impl Place {
    /// Waits until the place is needed by somebody else.
    pub(crate) async fn lost(&self) {
        self.evicted.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.waiting.0.lock().retain(|place| !Arc::ptr_eq(place, &self.evicted));
    }
}
