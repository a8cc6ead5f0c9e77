//! The database's errors, as the store's own.

use std::{any::Any, io, path::Path};

use redb::{CommitError, DatabaseError, StorageError, TableError, TransactionError};

use crate::StoreError;

/// An error that does not know its file yet.
pub(super) enum Failure {
    Locked,
    Format(u64),
    Damaged(String),
    Io(io::Error),
}

impl Failure {
    pub(super) fn at(self, path: &Path) -> StoreError {
        let path = path.to_owned();
        match self {
            Self::Locked => StoreError::Locked { path },
            Self::Format(found) => StoreError::Format { path, found, known: super::FORMAT },
            Self::Damaged(what) => StoreError::Damaged { path, what },
            Self::Io(source) => StoreError::Io { path, source },
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::InvalidData => Self::Damaged(error.to_string()),
            io::ErrorKind::UnexpectedEof => Self::Damaged("it is cut short".into()),
            _ => Self::Io(error),
        }
    }
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Io(source) => source.into(),
            StorageError::PreviousIo | StorageError::DatabaseClosed => Self::Io(io::Error::other(error)),
            other => Self::Damaged(other.to_string()),
        }
    }
}

impl From<DatabaseError> for Failure {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::DatabaseAlreadyOpen => Self::Locked,
            DatabaseError::Storage(error) => error.into(),
            other => Self::Damaged(other.to_string()),
        }
    }
}

impl From<TransactionError> for Failure {
    fn from(error: TransactionError) -> Self {
        match error {
            TransactionError::Storage(error) => error.into(),
            other => Self::Damaged(other.to_string()),
        }
    }
}

impl From<TableError> for Failure {
    fn from(error: TableError) -> Self {
        match error {
            TableError::Storage(error) => error.into(),
            other => Self::Damaged(other.to_string()),
        }
    }
}

impl From<CommitError> for Failure {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Storage(error) => error.into(),
            other => Self::Damaged(other.to_string()),
        }
    }
}

/// redb panics on some damage that its checksums do not cover.
pub(super) fn panicked(path: &Path, error: tokio::task::JoinError) -> StoreError {
    let what = match error.try_into_panic() {
        Ok(panic) => text_of(&*panic).unwrap_or("the database stopped without a reason").to_owned(),
        Err(cancelled) => return StoreError::Unavailable { why: cancelled.to_string() },
    };
    StoreError::Damaged { path: path.to_owned(), what }
}

fn text_of(panic: &(dyn Any + Send)) -> Option<&str> {
    panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied())
}
