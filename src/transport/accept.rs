//! How strangers are taken in, at the door and at the gate: one at a time, each in one of few places
//! and for a limited time, until it has said who it is.
//!
//! Nothing that a stranger does ends the loop or holds it up: where no descriptor is left those give
//! way first who have said nothing, and whoever is turned away is counted (`refusals`).

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::{sleep, timeout};

use super::pace::Pace;
use super::refusals::{Fault, Refusals, Who};
use super::waiting::Waiting;
use crate::wire::limits::HELLO_DEADLINE;

/// First and longest pause after an accept that failed, for instance because the process has no
/// descriptors left; each is twice the one before.
const PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(500));

/// Where peers connect.
pub(crate) trait Listener: Send + Sync + 'static {
    /// A connection.
    type Stream: Send + 'static;

    /// The next one, and who it is as far as the system knows.
    fn next(&self) -> impl Future<Output = io::Result<(Self::Stream, Who)>> + Send;
}

/// Who asks strangers who they are.
pub(crate) trait Porter: Send + Sync + 'static {
    /// Where they come from.
    type Listener: Listener;
    /// One that is no stranger any more.
    type Guest: Send;
    /// Strangers at a time; for one more the oldest gives way.
    const PLACES: usize;

    /// Asks who is there; has no more time than a stranger may take.
    fn ask(
        &self,
        stream: <Self::Listener as Listener>::Stream,
    ) -> impl Future<Output = Result<Self::Guest, Fault>> + Send;

    /// How many are heard in a time, if that is bounded.
    fn pace(&self) -> Option<&Pace> {
        None
    }

    /// Lets in who answered.
    fn welcome(&self, guest: Self::Guest, who: Who) -> impl Future<Output = ()> + Send;
}

/// Takes in who comes, for ever.
pub(crate) async fn accept<P: Porter>(
    porter: Arc<P>,
    listener: P::Listener,
    refusals: Arc<Refusals>,
) {
    let waiting = Arc::<Waiting>::default();
    let mut pause = PAUSE.0;
    loop {
        while let Some(Err(wait)) = porter.pace().map(Pace::take) {
            // The others wait with the kernel.
            refusals.hurried();
            sleep(wait).await;
        }
        let (stream, who) = match listener.next().await {
            Ok(accepted) => accepted,
            Err(error) => {
                refusals.crowded(&error);
                // Strangers give way first; those who were let in keep what they have.
                if waiting.evict() {
                    yield_now().await;
                } else {
                    sleep(pause).await;
                    pause = PAUSE.1.min(pause * 2);
                }
                continue;
            }
        };
        pause = PAUSE.0;
        refusals.roomy();
        let place = waiting.enter(P::PLACES);
        let (porter, refusals) = (Arc::clone(&porter), Arc::clone(&refusals));
        tokio::spawn(async move {
            let asked = tokio::select! {
                asked = timeout(HELLO_DEADLINE, porter.ask(stream)) => asked,
                () = place.lost() => Ok(Err(Fault::Silent)),
            };
            drop(place);
            match asked.unwrap_or(Err(Fault::Silent)) {
                Ok(guest) => {
                    porter.pace().inspect(|pace| pace.give_back());
                    porter.welcome(guest, who).await;
                }
                // The connection is dropped, which is answer enough.
                Err(fault) => refusals.count(fault, who),
            }
        });
    }
}
