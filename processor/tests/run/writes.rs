//! How often one input is written.

use std::sync::{Arc, Mutex};

use sessionwarden::local::LocalOrganization;
use sessionwarden_machine::{effect::Mode, ids::Now, settings::Settings};
use sessionwarden_store::{DueItem, Item, Memory, Saved, Store, StoreError, Write};
use sessionwarden_world::{LogFate, StartSession};

use crate::{
    evidence::{ONE, two_accounts},
    hands::{Fate, Hands},
    stage::{START, Stage, settings},
};

/// A store that remembers the key of every item that was written.
#[derive(Clone, Default)]
struct Counting {
    inner: Memory,
    written: Arc<Mutex<Vec<Arc<str>>>>,
}

impl Counting {
    /// How often each item was written since the last time, by its key.
    fn take(&self) -> Vec<(Arc<str>, usize)> {
        let mut written = std::mem::take(&mut *self.written.lock().unwrap());
        written.sort();
        written.chunk_by(|a, b| a == b).map(|same| (Arc::clone(&same[0]), same.len())).collect()
    }
}

impl Store for Counting {
    async fn load(&self, key: &str) -> Result<Option<Item>, StoreError> {
        self.inner.load(key).await
    }

    async fn save(&self, writes: Vec<Write>) -> Result<Vec<Saved>, StoreError> {
        self.written.lock().unwrap().extend(writes.iter().map(|write| Arc::clone(&write.item.key)));
        self.inner.save(writes).await
    }

    async fn due(&self, until: Now, limit: usize) -> Result<Vec<DueItem>, StoreError> {
        self.inner.due(until, limit).await
    }

    async fn dependents(&self, thing: &str, after: Option<&str>, limit: usize) -> Result<Vec<Arc<str>>, StoreError> {
        self.inner.dependents(thing, after, limit).await
    }

    async fn expired(&self, now: Now, limit: usize) -> Result<Vec<Item>, StoreError> {
        self.inner.expired(now, limit).await
    }

    async fn collect(&self, now: Now, limit: usize) -> Result<Vec<Item>, StoreError> {
        self.inner.collect(now, limit).await
    }

    async fn keys(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Arc<str>>, StoreError> {
        self.inner.keys(prefix, after, limit).await
    }

    async fn checkpoint(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner.checkpoint(name).await
    }

    async fn set_checkpoint(&self, name: &str, value: &[u8]) -> Result<(), StoreError> {
        self.inner.set_checkpoint(name, value).await
    }
}

/// At most two writes of an item for an input with effects, and none for one that changes nothing.
#[tokio::test]
async fn an_input_is_written_twice_at_the_most_and_not_at_all_where_it_changes_nothing() {
    let organization = LocalOrganization::new(two_accounts());
    let settings = Settings { mode: Mode::Observe, ..settings(&organization) };
    let hands = Hands::new(organization.clone(), |_, _, _| Fate::Answered);
    let folder = tempfile::tempdir().unwrap();
    let store = Counting::default();
    let mut stage = Stage::new(folder.path(), store.clone(), Some(hands), settings);
    let events = organization.with(|world| {
        let account = world.accounts()[ONE].clone();
        let request = StartSession {
            region: world.regions()[0].clone(),
            target: Arc::clone(&account.nodes[0].id),
            document: Some("AWS-StartPortForwardingSession".into()),
            reason: None,
            just_in_time: false,
            log: LogFate::Never,
        };
        world.start_session(&account.users[0], &request).unwrap();
        world.drain_events()
    });
    stage.deliver(&events, START).await.unwrap();
    let written = store.take();
    assert!(!written.is_empty() && written.iter().all(|(_, times)| *times <= 2), "{written:?}");
    for _ in 0..3 {
        stage.deliver(&events, START).await.unwrap();
        assert_eq!(store.take(), [], "a repetition changes nothing");
    }
    let later = START.plus_ms(100);
    stage.handler.recheck(later).await.unwrap();
    let written = store.take();
    assert!(!written.is_empty() && written.iter().all(|(_, times)| *times <= 2), "{written:?}");
    stage.handler.recheck(later).await.unwrap();
    assert_eq!(store.take(), [], "nothing is due");
}
