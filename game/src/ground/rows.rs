//! The row of a zone that has been played.

use vyuha_record::record;

record! {
    /// A zone whose ground was littered. A zone without one is new; a zone with one is never littered whole again,
    /// however little is left on its ground.
    pub struct ZoneRow in "zone", table 4 {
        /// The zone's id.
        key id: i64,
        /// Heaps that were laid when it was new.
        heaps: i64,
    }
}
