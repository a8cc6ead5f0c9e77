//! The embedded backend's own promises: locking, versions, damage, and a kill in the middle.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use sessionwarden_store::{
    Embedded, Item, Saved, Store, StoreError, Write,
    contract::{self, item, put},
};

/// Set for the child process that is killed: the folder it writes to.
const CHILD: &str = "SESSIONWARDEN_STORE_TEST_FOLDER";
const ITEMS: u64 = 40;

fn file(folder: &Path) -> PathBuf {
    folder.join("sessionwarden.redb")
}

async fn open_error(folder: &Path) -> StoreError {
    match Embedded::open(folder).await {
        Ok(_) => panic!("the store opened"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn a_closed_store_reopens_with_everything() {
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("made/on/demand");
    let store = Embedded::open(&inside).await.unwrap();
    let stored = item("session#a", "x", Some(3), &["role/1/r"], Some(9));
    put(&store, stored.clone(), 0).await;
    store.set_checkpoint("file", b"17").await.unwrap();
    drop(store);
    let names: Vec<_> = fs::read_dir(&inside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["sessionwarden.redb"]);
    let store = Embedded::open(&inside).await.unwrap();
    assert_eq!(store.load("session#a").await.unwrap(), Some(Item { rev: 1, ..stored }));
    assert_eq!(store.checkpoint("file").await.unwrap(), Some(b"17".to_vec()));
    contract::indexes_agree(&store).await;
}

#[tokio::test]
async fn a_beginning_that_was_cut_off_is_begun_again() {
    for left in [&b""[..], b"redb", &[0; 8_192]] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("sessionwarden.redb.new"), left).unwrap();
        let store = Embedded::open(folder.path()).await.unwrap();
        assert_eq!(put(&store, item("s", "", None, &[], None), 0).await, Saved::Saved { rev: 1 });
        assert!(file(folder.path()).exists());
        assert!(!folder.path().join("sessionwarden.redb.new").exists());
    }
}

#[tokio::test]
async fn a_file_of_another_format_or_program_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let format: redb::TableDefinition<'_, &str, u64> = redb::TableDefinition::new("format");
    drop(Embedded::open(folder.path()).await.unwrap());
    let db = redb::Database::open(file(folder.path())).unwrap();
    let txn = db.begin_write().unwrap();
    txn.open_table(format).unwrap().insert("format", 2).unwrap();
    txn.commit().unwrap();
    drop(db);
    let error = open_error(folder.path()).await;
    assert!(matches!(error, StoreError::Format { found: 2, known: 1, .. }), "{error}");
    assert!(error.to_string().contains("sessionwarden.redb"), "{error}");

    let other = tempfile::tempdir().unwrap();
    let db = redb::Database::create(file(other.path())).unwrap();
    let txn = db.begin_write().unwrap();
    txn.open_table(redb::TableDefinition::<&str, &str>::new("recipes")).unwrap();
    txn.commit().unwrap();
    drop(db);
    let error = open_error(other.path()).await.to_string();
    assert!(
        error.ends_with("sessionwarden.redb: the store is damaged: it is a database of another program"),
        "{error}"
    );
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_an_error_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("taken");
    fs::write(&path, "a file").unwrap();
    let error = open_error(&path).await;
    assert!(matches!(&error, StoreError::Io { .. }), "{error}");
    assert!(error.to_string().contains("taken"), "{error}");
}

#[tokio::test]
async fn damage_is_an_error_that_names_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let store = Embedded::open(folder.path()).await.unwrap();
    for n in 0..200 {
        put(&store, item(&format!("session#{n}"), &"body ".repeat(200), Some(n), &["role/1/r"], None), 0).await;
    }
    drop(store);
    let sound = fs::read(file(folder.path())).unwrap();

    let body = sound.windows(10).position(|bytes| bytes == b"body body ").unwrap();
    let mut flipped = sound.clone();
    flipped[body + 2_000] ^= 1;
    let mut zeroed = sound.clone();
    zeroed[body..body + 8_192].fill(0);
    let cases = [
        ("text", b"this is no database, but it is long enough to look at".repeat(100)),
        ("cut in half", sound[..sound.len() / 2].to_vec()),
        ("cut to a page", sound[..4_096].to_vec()),
        ("cut to a line", sound[..100].to_vec()),
        ("emptied", Vec::new()),
        ("a flipped bit", flipped),
        ("zeroed pages", zeroed),
    ];
    for (name, bytes) in cases {
        fs::write(file(folder.path()), bytes).unwrap();
        let error = open_error(folder.path()).await;
        assert!(matches!(error, StoreError::Damaged { .. }), "{name}: {error:?}");
        assert!(error.to_string().contains("sessionwarden.redb: the store is damaged: "), "{name}: {error}");
    }
    fs::write(file(folder.path()), sound).unwrap();
    contract::indexes_agree(&Embedded::open(folder.path()).await.unwrap()).await;
}

fn written(n: u64, rev: u64) -> Item {
    let things = [format!("role/1/{}", (n + rev) % 5), format!("node/1/{}", rev % 3)];
    let due = (!(n + rev).is_multiple_of(4)).then_some((n + 10 * rev) as i64);
    item(&format!("session#{n}"), &format!("{rev} ").repeat(200), due, &[&things[0], &things[1]], Some(rev as i64))
}

/// The child: batches of seven items, each acknowledged on standard output once the store says it is saved.
async fn write_until_killed(folder: &Path) {
    let store = Embedded::open(folder).await.unwrap();
    let mut revs = [0; ITEMS as usize];
    for n in 0..ITEMS {
        revs[n as usize] = store.load(&format!("session#{n}")).await.unwrap().map_or(0, |item| item.rev);
    }
    for batch in 0.. {
        let numbers = (0..7).map(|at| (batch * 7 + at) % ITEMS);
        let writes: Vec<Write> = numbers
            .clone()
            .map(|n| Write { item: written(n, revs[n as usize] + 1), expected: revs[n as usize] })
            .collect();
        let saved = store.save(writes).await.unwrap();
        let mut out = std::io::stdout().lock();
        for (n, saved) in numbers.zip(saved) {
            let Saved::Saved { rev } = saved else { panic!("the only writer lost a race") };
            revs[n as usize] = rev;
            writeln!(out, "saved {n} {rev}").unwrap();
        }
        out.flush().unwrap();
    }
}

#[tokio::test]
async fn a_killed_store_keeps_every_acknowledged_write() {
    if let Some(folder) = std::env::var_os(CHILD) {
        return write_until_killed(Path::new(&folder)).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged: BTreeMap<u64, u64> = BTreeMap::new();
    for lines_before_kill in [1, 30, 100, 400] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_killed_store_keeps_every_acknowledged_write", "--nocapture"])
            .env(CHILD, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut seen = 0;
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            let Some((n, rev)) = line.strip_prefix("saved ").and_then(|saved| saved.split_once(' ')) else { continue };
            let (n, rev): (u64, u64) = (n.parse().unwrap(), rev.parse().unwrap());
            assert!(acknowledged.insert(n, rev).is_none_or(|before| before + 1 >= rev), "{line}");
            seen += 1;
            if seen == lines_before_kill {
                assert!(matches!(open_error(folder.path()).await, StoreError::Locked { .. }));
                child.kill().unwrap();
            }
        }
        assert!(!child.wait().unwrap().success());
        assert!(seen >= lines_before_kill, "the child ended by itself after {seen} writes");

        let store = Embedded::open(folder.path()).await.unwrap();
        for (n, rev) in &mut acknowledged {
            let found = store.load(&format!("session#{n}")).await.unwrap().unwrap();
            // The commit that the kill cut off may be there although nobody was told.
            assert!(found.rev == *rev || found.rev == *rev + 1, "session {n}: {} after {rev}", found.rev);
            assert_eq!(found, Item { rev: found.rev, ..written(*n, found.rev) });
            *rev = found.rev;
        }
        contract::indexes_agree(&store).await;
    }
}
