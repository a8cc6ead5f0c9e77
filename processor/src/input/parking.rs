//! One place for all that could not be read.

use super::{Parked, ParkedError, ParkedFile};
#[cfg(feature = "aws")]
use crate::outbound::ParkedQueue;

/// Where what could not be read is kept (I12).
#[derive(Debug)]
pub enum Parking {
    /// A file, for a run on one machine.
    File(ParkedFile),
    /// A queue, for workers that come and go.
    #[cfg(feature = "aws")]
    Queue(ParkedQueue),
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
        }
    }

    /// Makes durable what was kept since the last time. A queue has done so by its answers.
    ///
    /// # Errors
    /// Any of it may be lost.
    pub fn sync(&mut self) -> Result<(), ParkedError> {
        match self {
            Self::File(file) => file.sync(),
            #[cfg(feature = "aws")]
            Self::Queue(_) => Ok(()),
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
