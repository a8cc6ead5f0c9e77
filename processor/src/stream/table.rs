//! The lease table as the worker needs it.

use sessionwarden_machine::lease::{Answer, Lease, ShardId, Write};
use sessionwarden_store::StoreError;

/// The lease rows of one stream. Every write is conditional; a call that fails may have done its work all the same.
pub trait LeaseTable: Send + Sync {
    /// All rows, as they are stored now.
    fn list(&self) -> impl Future<Output = Result<Vec<Lease>, StoreError>> + Send;

    /// Creates the row unless there is one; tells whether it did.
    fn create(&self, lease: &Lease) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Performs a conditional write.
    fn write(&self, write: &Write) -> impl Future<Output = Result<Answer, StoreError>> + Send;

    /// Deletes the row of an ended shard if its fence is `fence`; tells whether it did.
    fn delete(&self, shard: &ShardId, fence: u64) -> impl Future<Output = Result<bool, StoreError>> + Send;
}

#[cfg(feature = "aws")]
impl LeaseTable for sessionwarden_store::DynamoDbLeases {
    async fn list(&self) -> Result<Vec<Lease>, StoreError> {
        self.list().await
    }

    async fn create(&self, lease: &Lease) -> Result<bool, StoreError> {
        self.create(lease).await
    }

    async fn write(&self, write: &Write) -> Result<Answer, StoreError> {
        self.write(write).await
    }

    async fn delete(&self, shard: &ShardId, fence: u64) -> Result<bool, StoreError> {
        self.delete(shard, fence).await
    }
}
