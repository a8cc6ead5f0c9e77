//! Where the messages of a route go, and what cannot go there.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::{FutureExt, future::BoxFuture};
use serde_json::{Value, json};
use sessionwarden_machine::ids::Now;

use super::Message;
use crate::feed::{FileError, lines::LineFile};

/// Why a message did not arrive. The text names no secret and no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undelivered {
    /// It was refused: trying again has no hope.
    #[error("refused: {0}")]
    Refused(String),
    /// It may arrive later.
    #[error("{0}")]
    Later(String),
}

/// Takes the messages of one route.
pub trait Deliver: Send + Sync {
    /// Delivers a message, in a bounded time. It may arrive more than once; its id tells readers.
    ///
    /// # Errors
    /// It did not arrive, as far as is known.
    fn deliver<'a>(&'a self, message: &'a Message, now: Now) -> BoxFuture<'a, Result<(), Undelivered>>;
}

/// A file of JSON lines, each on the disk before it counts as delivered. A clone writes to the same file.
#[derive(Clone, Debug)]
pub struct JsonLines {
    path: PathBuf,
    /// Absent after a failure that leaves it unknown what is on the disk, until it is opened again.
    file: Arc<Mutex<Option<LineFile>>>,
}

impl JsonLines {
    /// Opens the file to append to it, or creates it. A torn last line is cut off.
    ///
    /// # Errors
    /// It cannot be opened, or somebody writes to it already.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let file = Arc::new(Mutex::new(Some(LineFile::open(path)?)));
        Ok(Self { path: path.to_owned(), file })
    }

    /// Appends one line, and returns when it is on the disk.
    async fn append(&self, mut line: String) -> Result<(), FileError> {
        line.push('\n');
        let lines = self.clone();
        let written = tokio::task::spawn_blocking(move || lines.write(line.as_bytes())).await;
        written.unwrap_or_else(|_| Err(FileError::Unsafe(self.path.clone())))
    }

    fn write(&self, line: &[u8]) -> Result<(), FileError> {
        let mut slot = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let mut file = match slot.take() {
            Some(file) => file,
            None => LineFile::open(&self.path)?,
        };
        file.append(line)?;
        file.sync()?;
        *slot = Some(file);
        Ok(())
    }
}

impl Deliver for JsonLines {
    fn deliver<'a>(&'a self, message: &'a Message, _: Now) -> BoxFuture<'a, Result<(), Undelivered>> {
        let appended = self.append(message.json());
        async move { appended.await.map_err(|error| Undelivered::Later(error.to_string())) }.boxed()
    }
}

/// What no route could take: a file of JSON lines in the data folder, each with `at`, `route`, `reason` and `message`.
/// Nothing that was to be told is lost without a trace.
#[derive(Clone, Debug)]
pub struct DeadLetters(JsonLines);

impl DeadLetters {
    /// The file's name in the data folder.
    pub const FILE: &str = "dead-letters.jsonl";

    /// Opens the file in this folder to append to it, or creates it.
    ///
    /// # Errors
    /// As [`JsonLines::open`].
    pub fn open(folder: &Path) -> Result<Self, FileError> {
        JsonLines::open(&folder.join(Self::FILE)).map(Self)
    }

    /// Keeps a message; it is on the disk on return.
    ///
    /// # Errors
    /// It cannot be written, and is to be given again.
    pub async fn put(&self, route: &str, reason: &str, message: &Message, now: Now) -> Result<(), FileError> {
        let whole: Option<Value> = serde_json::from_str(&message.json()).ok();
        let line = json!({
            "at": now.as_event_time().to_string(), "route": route, "reason": reason, "message": whole,
        });
        self.0.append(line.to_string()).await
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use sessionwarden_machine::{effect::Severity, ids::EffectId};

    use super::*;

    const NOW: Now = Now(1_795_000_000_000);

    fn message(number: usize) -> Message {
        Message {
            id: EffectId(format!("finding/{number}").into()),
            subject: "s".into(),
            body: "b".into(),
            object: json!({ "report": { "text": "two\nlines" } }),
            kind: "finding",
            severity: Severity::High,
            control: "document".into(),
            causes: Vec::new(),
            account: None,
            region: "eu-west-1".into(),
        }
    }

    #[tokio::test]
    async fn a_file_has_one_object_in_each_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("told.jsonl");
        let lines = JsonLines::open(&path).unwrap();
        for number in 0..3 {
            lines.deliver(&message(number), NOW).await.unwrap();
        }
        assert!(matches!(JsonLines::open(&path), Err(FileError::InUse(_))));
        drop(lines);
        JsonLines::open(&path).unwrap().deliver(&message(3), NOW).await.unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let objects: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let ids: Vec<&str> = objects.iter().map(|object| object["id"].as_str().unwrap()).collect();
        assert_eq!(ids, ["finding/0", "finding/1", "finding/2", "finding/3"]);
        assert_eq!(objects[0]["report"]["text"], "two\nlines");
    }

    // A full disk is no reason to lose a message.
    #[tokio::test]
    async fn what_cannot_be_written_is_tried_again() {
        let full = Path::new("/dev/full");
        if !full.exists() {
            eprintln!("not run: this system has no /dev/full");
            return;
        }
        let lines = JsonLines::open(full).unwrap();
        for _ in 0..2 {
            let failed = lines.deliver(&message(1), NOW).await.unwrap_err();
            assert!(matches!(&failed, Undelivered::Later(why) if why.contains("No space left")), "{failed}");
        }
    }

    #[tokio::test]
    async fn a_dead_letter_says_whose_when_and_why() {
        let folder = tempfile::tempdir().unwrap();
        let letters = DeadLetters::open(folder.path()).unwrap();
        letters.put("pager", "refused: status 400", &message(1), NOW).await.unwrap();
        let text = fs::read_to_string(folder.path().join("dead-letters.jsonl")).unwrap();
        let letter: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(letter["at"], "2026-11-18T11:06:40Z");
        assert_eq!((&letter["route"], &letter["reason"]), (&json!("pager"), &json!("refused: status 400")));
        let told: serde_json::Value = serde_json::from_str(&message(1).json()).unwrap();
        assert_eq!(letter["message"], told);
    }
}
