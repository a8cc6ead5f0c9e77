//! Random histories of a store, for the comparison with the model.

use std::sync::Arc;

use proptest::prelude::*;
use sessionwarden_machine::ids::Now;
use sessionwarden_store::{Due, Item, Write, contract::Step};

fn any_item() -> impl Strategy<Value = Item> {
    let time = || prop_oneof![8 => 0_i64..10, 1 => Just(i64::MIN), 1 => Just(i64::MAX)];
    let due = (prop_oneof!["1#eu", "2#us"], time())
        .prop_map(|(partition, at)| Due { partition: Arc::from(partition), at: Now(at) });
    (
        "[ab]#[ab]{0,1}",
        any::<u16>(),
        proptest::collection::vec(any::<u8>(), 0..40),
        proptest::option::of(due),
        proptest::collection::vec("(role|node)/[12]", 0..4),
        proptest::option::of(time()),
    )
        .prop_map(|(key, schema, body, due, depends, expires)| Item {
            key: Arc::from(key),
            rev: 0,
            schema,
            body,
            due,
            depends: depends.into_iter().map(Arc::from).collect(),
            expires: expires.map(Now),
        })
}

/// One call with few keys, things and times, so that histories cross.
pub(crate) fn any_step() -> impl Strategy<Value = Step> {
    let write = (any_item(), 0_u64..4).prop_map(|(item, expected)| Write { item, expected });
    prop_oneof![
        8 => proptest::collection::vec(write, 0..6).prop_map(Step::Save),
        1 => (0_i64..12, 0_usize..3).prop_map(|(now, limit)| Step::Collect(Now(now), limit)),
        1 => ("[ab]", proptest::collection::vec(any::<u8>(), 0..4)).prop_map(|(name, value)| Step::SetCheckpoint(name, value)),
    ]
}
