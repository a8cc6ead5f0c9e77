//! One place for all that could not be read.

use std::fmt;

use futures_util::future::BoxFuture;

use super::{Parked, ParkedError, ParkedFile};
#[cfg(feature = "aws")]
use crate::outbound::ParkedQueue;

/// Keeps what could not be read in a way of its own.
pub trait Park: fmt::Debug + Send {
    /// Keeps one record; it is durable on return.
    ///
    /// # Errors
    /// It is not kept, or perhaps not: it has to be given again.
    fn park<'a>(&'a mut self, parked: &'a Parked) -> BoxFuture<'a, Result<(), ParkedError>>;
}

/// Where what could not be read is kept (I12).
#[derive(Debug)]
pub enum Parking {
    /// A file, for a run on one machine.
    File(ParkedFile),
    /// A queue, for workers that come and go.
    #[cfg(feature = "aws")]
    Queue(ParkedQueue),
    /// Somewhere else.
    Elsewhere(Box<dyn Park>),
}

impl Parking {
    /// Keeps one record. It is durable after [`Self::sync`].
    ///
    /// # Errors
    /// It is not kept, or perhaps not: it has to be given again.
    pub async fn park(&mut self, parked: &Parked) -> Result<(), ParkedError> {
        match self {
            Self::File(file) => file.write(parked),
            #[cfg(feature = "aws")]
            Self::Queue(queue) => {
                let lost = |why| ParkedError::Queue { place: parked.file.clone(), why };
                queue.park(parked).await.map_err(lost)
            }
            Self::Elsewhere(keeper) => keeper.park(parked).await,
        }
    }

    /// Makes durable what was kept since the last time. All but a file have done so by their answers.
    ///
    /// # Errors
    /// Any of it may be lost.
    pub fn sync(&mut self) -> Result<(), ParkedError> {
        match self {
            Self::File(file) => file.sync(),
            #[cfg(feature = "aws")]
            Self::Queue(_) => Ok(()),
            Self::Elsewhere(_) => Ok(()),
        }
    }
}

impl From<ParkedFile> for Parking {
    fn from(file: ParkedFile) -> Self {
        Self::File(file)
    }
}

#[cfg(feature = "aws")]
impl From<ParkedQueue> for Parking {
    fn from(queue: ParkedQueue) -> Self {
        Self::Queue(queue)
    }
}
