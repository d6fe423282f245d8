//! The parts of a node that run without threads and sockets' waits, for the fault simulator, which puts them together in
//! another way than [`crate::node`] does.

pub use crate::doors::{
    Admission, Departures, Leaving, Neighbours, Notice, Requests, Resumption, SeatChange, ShardDoors,
};
pub use crate::driver::{Driver, DriverError, Parts};
pub use crate::hot::{HotFeed, HotFeeds};
pub use crate::placement::ZoneTable;
pub use crate::run::source;
pub use crate::seats::{Claim, Seats};
pub use crate::shards::zones_of_shards;
pub use crate::sign_in::error_message;
pub use crate::tickets::Ticket;
pub use crate::topics::{TopicFeed, TopicFeeds};
