//! The one list of the game's systems, in the order in which they run.
//!
//! In a tick, the `BeforeSteps` passes run first. Then each zone that is due runs the `EachStep` passes, then steps itself; when all have, the
//! `EachTick` passes run. Commands run before that, as they come in.

use vyuha_core::Probe;
use vyuha_protocol::ZoneId;
use vyuha_record::{Record, Table};

use crate::character::CharacterRow;
use crate::ground::ZoneRow;
use crate::inventory::ItemRow;
use crate::ledger::LedgerRow;
use crate::shard::{Outbox, Shard, passes};

/// A system of the game: a folder of this crate.
pub struct System {
    /// The folder's name.
    pub name: &'static str,
    /// Its durable rows.
    pub tables: &'static [Table],
    pub(crate) runs: Runs,
}

/// When a system runs.
pub(crate) enum Runs {
    /// At the beginning of each tick.
    BeforeSteps(fn(&mut Shard, &mut Outbox)),
    /// Before each step of a zone, which is given by its index.
    EachStep(fn(&mut Shard, usize)),
    /// At the end of each tick.
    EachTick(fn(&mut Shard, &mut Outbox)),
    /// Only when a client asks for it.
    OnCommand,
}

/// The name of a module of this crate, which the compiler thereby knows to be there.
macro_rules! folder {
    ($module:ident) => {{
        #[allow(unused_imports, reason = "it is only looked for")]
        use crate::$module as _;
        stringify!($module)
    }};
}

/// Is told, besides the passes of each zone's step, when a system's pass is over. `()` does nothing.
pub trait TickProbe: Probe {
    /// The pass of the system of this name just ended.
    fn lap_system(&mut self, name: &'static str);

    /// What follows is of one zone, up to [`TickProbe::end_zone`].
    fn begin_zone(&mut self) {}

    /// The passes of this zone are over.
    fn end_zone(&mut self, _zone: ZoneId) {}
}

impl TickProbe for () {
    fn lap_system(&mut self, _: &'static str) {}
}

/// Every system.
pub const SYSTEMS: &[System] = &[
    System { name: folder!(gates), tables: &[], runs: Runs::BeforeSteps(passes::cross) },
    System { name: folder!(movement), tables: &[], runs: Runs::EachStep(passes::move_characters) },
    System { name: folder!(npc), tables: &[], runs: Runs::EachStep(passes::think) },
    System { name: folder!(requests), tables: &[], runs: Runs::OnCommand },
    System { name: folder!(chat), tables: &[], runs: Runs::OnCommand },
    System { name: folder!(inventory), tables: &[ItemRow::TABLE], runs: Runs::OnCommand },
    System { name: folder!(equipment), tables: &[], runs: Runs::OnCommand },
    System { name: folder!(bank), tables: &[], runs: Runs::OnCommand },
    System { name: folder!(ledger), tables: &[LedgerRow::TABLE], runs: Runs::OnCommand },
    System { name: folder!(trade), tables: &[], runs: Runs::EachTick(passes::part) },
    System { name: folder!(ground), tables: &[ZoneRow::TABLE], runs: Runs::EachTick(passes::litter) },
    System { name: folder!(presence), tables: &[], runs: Runs::EachTick(passes::look_for_players) },
    System { name: folder!(character), tables: &[CharacterRow::TABLE], runs: Runs::EachTick(passes::save) },
];

/// Every table that the game's systems write.
pub const TABLES: &[Table] = &[CharacterRow::TABLE, ItemRow::TABLE, ZoneRow::TABLE, LedgerRow::TABLE];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_those_of_the_systems() {
        let mut of_systems: Vec<u16> =
            SYSTEMS.iter().flat_map(|system| system.tables).map(|table| table.id).collect();
        of_systems.sort_unstable();
        let mut listed: Vec<u16> = TABLES.iter().map(|table| table.id).collect();
        listed.sort_unstable();
        assert_eq!(listed, of_systems);
    }
}
