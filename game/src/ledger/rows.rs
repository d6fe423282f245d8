//! The row of a movement.

use vyuha_record::record;

record! {
    /// Items that went from one holder to another. Never changed once it is written.
    pub struct LedgerRow in "ledger", table 10, append_only {
        /// What wrote it: the first item id of a shard's run; 0 for what there was before the ledger.
        key source: i64,
        /// The source's transaction, from 1.
        key seq: i64,
        /// Its place in the transaction, from 0.
        key idx: i64,
        /// When, in milliseconds since 1970, by the shard's ticks.
        at_ms: i64,
        /// A [`super::Reason`]'s number.
        reason: i64,
        /// The id of the stack that moved.
        item: i64,
        /// Its kind.
        kind: i64,
        /// How many, at least 1.
        count: i64,
        /// An item row's place, or [`super::PLACE_NOWHERE`].
        from_place: i64,
        /// The character or zone there.
        from_owner: i64,
        /// An item row's place.
        to_place: i64,
        /// The character or zone there.
        to_owner: i64,
        /// The other character of a trade; else 0.
        counterparty: i64,
    }
}
