//! Where what could not be read is kept.

use std::sync::{Arc, Mutex, PoisonError};

use super::{Parked, ParkedError, ParkedFile};

/// Keeps what could not be read; all clones keep it in the same place.
#[derive(Clone, Debug)]
pub enum Parking {
    /// A file.
    File(Arc<Mutex<ParkedFile>>),
}

impl Parking {
    /// Keeps it in this file.
    pub fn file(file: ParkedFile) -> Self {
        Self::File(Arc::new(Mutex::new(file)))
    }

    /// Keeps one thing; in a file it is durable after [`Self::sync`].
    ///
    /// # Errors
    /// It is not kept, and has to be given again (I12).
    pub async fn park(&self, parked: &Parked) -> Result<(), ParkedError> {
        match self {
            Self::File(file) => file.lock().unwrap_or_else(PoisonError::into_inner).write(parked),
        }
    }

    /// Makes durable what was kept.
    ///
    /// # Errors
    /// Some of it may not be kept.
    pub async fn sync(&self) -> Result<(), ParkedError> {
        match self {
            Self::File(file) => file.lock().unwrap_or_else(PoisonError::into_inner).sync(),
        }
    }
}
