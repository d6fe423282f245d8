//! How things came to be as they are: the last entries of the ledger about an item, or about what a holder has of a kind.

use vyuha_game::ItemRow;
use vyuha_game::inventory::{PLACE_BANK, PLACE_EQUIPMENT, PLACE_GROUND, PLACE_INVENTORY};
use vyuha_game::ledger::{Finding, LedgerRow, PLACE_NOWHERE, Reason};
use vyuha_gateway::{ItemHistory, ItemPlace, ScanMovement};
use vyuha_record::{Record, Value};
use vyuha_store::{Reading, StoreError};

use super::columns;

/// Entries of a history, the newest ones.
const ENTRIES_MAX: usize = 100;

/// Where an item is and how it came there.
pub fn of_item(reading: &mut Reading, id: i64) -> Result<ItemHistory, StoreError> {
    let sql = format!("SELECT {} FROM item WHERE id = ?1 LIMIT {ENTRIES_MAX}", columns::<ItemRow>());
    let rows = reading.query(&sql, &[id.into()])?;
    let places = rows.iter().map(|row| {
        let ItemRow { kind, count, place, owner, slot, .. } = ItemRow::from_values(row)?;
        Ok(ItemPlace { kind, count, holder: holder(place, owner), slot })
    });
    let places = places.collect::<Result<_, StoreError>>()?;
    Ok(ItemHistory { item: id.to_string(), places, history: entries(reading, "item = ?1", &[id.into()])? })
}

/// How what was found came about.
pub fn of_finding(reading: &mut Reading, finding: &Finding) -> Result<Vec<ScanMovement>, StoreError> {
    match *finding {
        Finding::Twice { item }
        | Finding::Misplaced { item, .. }
        | Finding::SlotTaken { items: [_, item] } => entries(reading, "item = ?1", &[item.into()]),
        Finding::Unbalanced { place, owner, kind, .. } => entries(
            reading,
            "kind = ?1 AND ((from_place = ?2 AND from_owner = ?3) OR (to_place = ?2 AND to_owner = ?3))",
            &[kind.into(), place.into(), owner.into()],
        ),
    }
}

/// The newest entries that meet a condition, the oldest of them first.
fn entries(reading: &mut Reading, which: &str, values: &[Value]) -> Result<Vec<ScanMovement>, StoreError> {
    let sql = format!(
        "SELECT {} FROM ledger WHERE {which} ORDER BY at_ms DESC, source DESC, seq DESC, idx DESC LIMIT {ENTRIES_MAX}",
        columns::<LedgerRow>()
    );
    let rows = reading.query(&sql, values)?;
    rows.iter().rev().map(|row| Ok(movement(&LedgerRow::from_values(row)?))).collect()
}

fn movement(row: &LedgerRow) -> ScanMovement {
    ScanMovement {
        at_unix_ms: row.at_ms,
        reason: Reason::word(row.reason),
        item: row.item.to_string(),
        kind: row.kind,
        count: row.count,
        from: holder(row.from_place, row.from_owner),
        to: holder(row.to_place, row.to_owner),
        source: row.source.to_string(),
        seq: row.seq,
    }
}

fn holder(place: i64, owner: i64) -> String {
    match place {
        PLACE_NOWHERE => "nowhere".to_owned(),
        PLACE_INVENTORY => format!("inventory of character {owner}"),
        PLACE_GROUND => format!("ground of zone {owner}"),
        PLACE_EQUIPMENT => format!("equipment of character {owner}"),
        PLACE_BANK => format!("bank of character {owner}"),
        place => format!("place {place} of {owner}"),
    }
}
