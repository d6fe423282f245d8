//! The runs of nodes: which began when, with how many shards. A shard's numbers for new items and in the ledger belong to its run,
//! so that none is ever used twice, whatever was deleted since.

use vyuha_record::record;
use vyuha_store::{Durability, StoreError, TypedStore as _};

use crate::clock;

/// A run can give 2^40 item ids (a thousand a second for 34 years), and there is room for 2^23 runs.
pub const SOURCE_BITS: u32 = 40;

record! {
    /// A run of a node, written when it begins.
    pub struct RunRow in "run", table 40 {
        /// Its number among all runs of all nodes of a database, which is the lease's token.
        key epoch: i64,
        /// The node's name.
        node: String,
        /// Its shards.
        shards: i64,
        /// When it began, in milliseconds since 1970.
        began_ms: i64,
    }
}

/// The first item id that a shard of a run gives, which is its name in the ledger.
pub fn source(epoch: i64, shard: u16) -> i64 {
    (epoch << SOURCE_BITS) + i64::from(shard)
}

/// Notes down that a run begins. Every run of the node comes back by rising epoch, this one last.
///
/// # Errors
/// If the database fails, or another process has the node.
pub async fn begin(durability: &Durability, node: &str, shards: u16) -> Result<Vec<RunRow>, StoreError> {
    let (node, began_ms, epoch) = (node.to_owned(), clock::unix_ms(), durability.epoch() as i64);
    let begin = move |store: &mut dyn vyuha_store::Store| {
        let filter = [("node", node.as_str().into())];
        store.insert_row(&RunRow { epoch, node: node.clone(), shards: shards.into(), began_ms })?;
        store.load::<RunRow>(&filter)
    };
    durability.handle().call(begin).await
}
