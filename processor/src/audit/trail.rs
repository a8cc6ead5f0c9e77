#[cfg(feature = "aws")]
use super::AuditObjects;
use super::{AuditEntry, AuditError, AuditFile};

/// Where the audit trail is kept.
#[derive(Debug)]
pub enum AuditTrail {
    /// In a file of this machine.
    File(AuditFile),
    /// In objects of S3.
    #[cfg(feature = "aws")]
    Objects(Box<AuditObjects>),
}

impl AuditTrail {
    /// Appends the entries in one write; durable on return.
    ///
    /// # Errors
    /// An entry is too long, or the write failed. The chain is unbroken all the same, and the entries can be appended
    /// again; those of a write whose answer was lost may then stand in it twice.
    pub async fn append(&mut self, entries: &[AuditEntry]) -> Result<(), AuditError> {
        match self {
            Self::File(file) => {
                file.append(entries)?;
                file.sync()
            }
            #[cfg(feature = "aws")]
            Self::Objects(objects) => objects.append(entries).await,
        }
    }
}

impl From<AuditFile> for AuditTrail {
    fn from(file: AuditFile) -> Self {
        Self::File(file)
    }
}

#[cfg(feature = "aws")]
impl From<AuditObjects> for AuditTrail {
    fn from(objects: AuditObjects) -> Self {
        Self::Objects(Box::new(objects))
    }
}
