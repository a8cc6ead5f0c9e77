use std::{collections::BTreeMap, sync::Arc};

use sessionwarden_machine::ids::Now;

use crate::{Due, DueItem, Item, Saved, Store, Write};

/// One call of a random history.
#[derive(Clone, Debug)]
pub enum Step {
    /// [`Store::save`].
    Save(Vec<Write>),
    /// [`Store::collect`] at a time, with a limit.
    Collect(Now, usize),
    /// [`Store::set_checkpoint`].
    SetCheckpoint(String, Vec<u8>),
}

/// Runs `steps` against the store and a model without any index, and compares all that can be read after each.
///
/// # Panics
/// At the first difference, and when the store fails.
pub async fn agrees_with_model<S: Store>(store: &S, steps: &[Step]) {
    let mut model = Model::default();
    for step in steps {
        match step {
            Step::Save(writes) => {
                let expected: Vec<Saved> = writes.iter().map(|write| model.save(write)).collect();
                assert_eq!(store.save(writes.clone()).await.expect("save"), expected, "{step:?}");
            }
            Step::Collect(now, limit) => {
                let expected = model.collect(*now, *limit);
                assert_eq!(store.collect(*now, *limit).await.expect("collect"), expected, "{step:?}");
            }
            Step::SetCheckpoint(name, value) => {
                model.checkpoints.insert(name.clone(), value.clone());
                store.set_checkpoint(name, value).await.expect("set_checkpoint");
            }
        }
        model.compare(store).await;
    }
}

#[derive(Default)]
struct Model {
    items: BTreeMap<Arc<str>, Item>,
    checkpoints: BTreeMap<String, Vec<u8>>,
}

impl Model {
    fn save(&mut self, write: &Write) -> Saved {
        let rev = self.items.get(&write.item.key).map_or(0, |item| item.rev);
        if rev != write.expected {
            return Saved::Conflict;
        }
        self.items.insert(Arc::clone(&write.item.key), Item { rev: rev + 1, ..write.item.clone() });
        Saved::Saved { rev: rev + 1 }
    }

    fn collect(&mut self, now: Now, limit: usize) -> Vec<Item> {
        let mut expired: Vec<Item> =
            self.items.values().filter(|item| item.expires.is_some_and(|at| at < now)).cloned().collect();
        expired.sort_by(|a, b| (a.expires, &a.key).cmp(&(b.expires, &b.key)));
        expired.truncate(limit);
        for item in &expired {
            self.items.remove(&item.key);
        }
        expired
    }

    fn due(&self, until: Now) -> Vec<DueItem> {
        let entry = |item: &Item| {
            let due: Due = item.due.clone().filter(|due| due.at <= until)?;
            Some(DueItem { key: Arc::clone(&item.key), due })
        };
        let mut due: Vec<DueItem> = self.items.values().filter_map(entry).collect();
        due.sort_by(|a, b| (a.due.at, &a.key).cmp(&(b.due.at, &b.key)));
        due
    }

    async fn compare<S: Store>(&self, store: &S) {
        let keys: Vec<Arc<str>> = self.items.keys().cloned().collect();
        assert_eq!(store.keys("", None, usize::MAX).await.expect("keys"), keys);
        for (key, item) in &self.items {
            assert_eq!(store.load(key).await.expect("load").as_ref(), Some(item));
        }
        for until in [Now(i64::MIN), Now(0), Now(5), Now(i64::MAX)] {
            let due = self.due(until);
            assert_eq!(store.due(until, usize::MAX).await.expect("due"), due);
            assert_eq!(store.due(until, 2).await.expect("due"), due[..due.len().min(2)]);
        }
        let mut things: Vec<&Arc<str>> = self.items.values().flat_map(|item| &item.depends).collect();
        things.sort_unstable();
        things.dedup();
        for thing in things {
            let depends = |key: &&Arc<str>| self.items[*key].depends.contains(thing);
            let expected: Vec<Arc<str>> = keys.iter().filter(depends).cloned().collect();
            assert_eq!(store.dependents(thing, None, usize::MAX).await.expect("dependents"), expected);
            let after: Vec<Arc<str>> = expected.iter().skip(1).take(1).cloned().collect();
            let first = expected.first().map(|key| &**key);
            assert_eq!(store.dependents(thing, first, 1).await.expect("dependents"), after);
        }
        for (name, value) in &self.checkpoints {
            assert_eq!(store.checkpoint(name).await.expect("checkpoint").as_ref(), Some(value));
        }
    }
}

/// Compares every index with the items it follows.
///
/// # Panics
/// At the first entry that is missing or too many, and when the store fails.
pub async fn indexes_agree<S: Store>(store: &S) {
    let mut model = Model::default();
    for key in store.keys("", None, usize::MAX).await.expect("keys") {
        let item = store.load(&key).await.expect("load").expect("a listed key");
        model.items.insert(key, item);
    }
    model.compare(store).await;
}
