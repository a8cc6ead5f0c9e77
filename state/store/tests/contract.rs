//! The contract, against every backend.

use proptest::prelude::*;
use sessionwarden_machine::ids::Now;
use sessionwarden_store::{
    Backend, Embedded, Fault, Faulty, Memory, Op, Saved, Store, StoreError, Write,
    contract::{self, item, put},
};

use self::histories::any_step;

mod histories;

async fn embedded(folder: &tempfile::TempDir) -> Embedded {
    Embedded::open(folder.path()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_keeps_the_contract() {
    contract::all(async || Memory::new()).await;
    contract::all(async || Backend::Memory(Memory::new())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded_keeps_the_contract() {
    let mut folders = Vec::new();
    contract::all(async || {
        folders.push(tempfile::tempdir().unwrap());
        Backend::Embedded(embedded(folders.last().unwrap()).await)
    })
    .await;
}

#[tokio::test]
async fn faulty_without_a_script_keeps_the_contract() {
    contract::all(async || Faulty::new(Memory::new())).await;
}

#[tokio::test]
async fn faults_come_in_order_before_or_after_the_write() {
    let store = Faulty::new(Memory::new());
    let write = |expected| vec![Write { item: item("s", "", Some(1), &[], None), expected }];
    store.script(
        Op::Save,
        [Fault::ErrorBefore, Fault::ConflictBefore, Fault::Pass, Fault::ErrorAfter, Fault::ConflictAfter],
    );
    assert!(matches!(store.save(write(0)).await, Err(StoreError::Unavailable { .. })));
    assert_eq!(store.save(write(0)).await.unwrap(), [Saved::Conflict]);
    assert_eq!(store.load("s").await.unwrap(), None);
    assert_eq!(store.save(write(0)).await.unwrap(), [Saved::Saved { rev: 1 }]);
    assert!(store.save(write(1)).await.is_err());
    assert_eq!(store.inner().load("s").await.unwrap().unwrap().rev, 2);
    assert_eq!(store.save(write(2)).await.unwrap(), [Saved::Conflict]);
    assert_eq!(store.load("s").await.unwrap().unwrap().rev, 3);
    assert_eq!(store.save(write(3)).await.unwrap(), [Saved::Saved { rev: 4 }]);
}

#[tokio::test]
async fn every_method_can_fail_once() {
    let store = Faulty::new(Memory::new());
    put(&store, item("s", "", Some(1), &[], Some(1)), 0).await;
    for op in [Op::Load, Op::Due, Op::Dependents, Op::Keys, Op::Checkpoint] {
        store.script(op, [Fault::ErrorBefore]);
    }
    store.script(Op::Collect, [Fault::ErrorBefore, Fault::ErrorAfter]);
    store.script(Op::SetCheckpoint, [Fault::ErrorAfter]);
    assert!(store.load("s").await.is_err() && store.load("s").await.is_ok());
    assert!(store.due(Now(1), 1).await.is_err() && store.due(Now(1), 1).await.is_ok());
    assert!(store.dependents("t", None, 1).await.is_err() && store.dependents("t", None, 1).await.is_ok());
    assert!(store.keys("", None, 1).await.is_err() && store.keys("", None, 1).await.is_ok());
    assert!(store.checkpoint("c").await.is_err() && store.checkpoint("c").await.unwrap().is_none());
    assert!(store.set_checkpoint("c", b"1").await.is_err());
    assert_eq!(store.checkpoint("c").await.unwrap(), Some(b"1".to_vec()));
    assert!(store.collect(Now(9), 9).await.is_err() && store.load("s").await.unwrap().is_some());
    assert!(store.collect(Now(9), 9).await.is_err() && store.load("s").await.unwrap().is_none());
}

#[test]
#[should_panic(expected = "only a save can lose a race")]
fn a_conflict_of_a_read_is_refused() {
    Faulty::new(Memory::new()).script(Op::Load, [Fault::ConflictBefore]);
}

proptest! {
    #[test]
    fn memory_agrees_with_the_model(steps in proptest::collection::vec(any_step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(contract::agrees_with_model(&Memory::new(), &steps));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn embedded_agrees_with_the_model_and_after_reopening(steps in proptest::collection::vec(any_step(), 1..24)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        runtime.block_on(async {
            let store = embedded(&folder).await;
            contract::agrees_with_model(&store, &steps).await;
            let mut before = Vec::new();
            for key in store.keys("", None, usize::MAX).await.unwrap() {
                before.push(store.load(&key).await.unwrap());
            }
            drop(store);
            let store = embedded(&folder).await;
            contract::indexes_agree(&store).await;
            let mut after = Vec::new();
            for key in store.keys("", None, usize::MAX).await.unwrap() {
                after.push(store.load(&key).await.unwrap());
            }
            assert_eq!(after, before);
        });
    }
}
