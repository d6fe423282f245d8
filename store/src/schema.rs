//! What a database has, compared with what the records declare.

use vyuha_record::{ColumnType, Table};

/// A column that the database has.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own that the database states")]
pub(crate) struct LiveColumn {
    pub name: String,
    /// In capitals, as the engine names it.
    pub ty: String,
    pub key: bool,
    pub nullable: bool,
    /// Whether an index over this column alone, the key's aside, keeps its values apart.
    pub unique: bool,
    /// Whether its value chooses the partition: PostgreSQL then wants it in the key, declared or not.
    pub partitions: bool,
}

/// Every way in which the live schema is not what `tables` declare, in words. `live` gives a table's columns, none
/// where it is missing.
pub(crate) fn differences<E>(
    tables: &[Table],
    type_name: fn(ColumnType) -> &'static str,
    mut live: impl FnMut(&str) -> Result<Vec<LiveColumn>, E>,
) -> Result<Vec<String>, E> {
    let mut differences = Vec::new();
    for (i, table) in tables.iter().enumerate() {
        if let Some(twin) = tables[..i].iter().find(|other| other.id == table.id || other.name == table.name)
        {
            differences.push(format!("`{}` and `{}` share a number or a name", twin.name, table.name));
        }
        let columns = live(table.name)?;
        if columns.is_empty() {
            differences.push(format!("table `{}` is missing", table.name));
        } else {
            of_table(table, columns, type_name, &mut differences);
        }
    }
    Ok(differences)
}

fn of_table(
    table: &Table,
    mut live: Vec<LiveColumn>,
    type_name: fn(ColumnType) -> &'static str,
    differences: &mut Vec<String>,
) {
    for column in table.columns {
        let name = format!("`{}.{}`", table.name, column.name);
        let Some(at) = live.iter().position(|live| live.name == column.name) else {
            differences.push(format!("column {name} is missing"));
            continue;
        };
        let live = live.swap_remove(at);
        let expected_type = type_name(column.ty);
        if live.ty != expected_type {
            differences.push(format!("column {name} is {}, declared {expected_type}", live.ty));
        }
        for (what, is, declared) in [
            ("part of the key", live.key && !live.partitions, column.key && !live.partitions),
            ("nullable", live.nullable, column.nullable),
            ("unique", live.unique, column.unique),
        ] {
            if is != declared {
                let not = |yes| if yes { "" } else { "not " };
                differences.push(format!(
                    "column {name} is {}{what} in the database, declared {}{what}",
                    not(is),
                    not(declared)
                ));
            }
        }
    }
    differences
        .extend(live.iter().map(|extra| format!("column `{}.{}` is not declared", table.name, extra.name)));
}
