//! Many engines and many tasks.

use super::kit::submit;
use super::model::Model;
use crate::wire::ClientId;

#[test]
fn a_hundred_thousand_tasks_on_a_thousand_engines_all_end() {
    let mut model = Model::new(false);
    model.audit = false;
    model.join_client(0);
    (0..1000).for_each(|_| model.join_engine());
    for _ in 0..10 {
        model.say(ClientId(0), 10_000, |first| submit(first, 10_000));
    }
    model.settle();
    model.assert_quiet();
    assert_eq!(model.outcomes(), 100_000);
}
