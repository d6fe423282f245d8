//! Many journalled changes of a row are one row image: the last.

use std::collections::{BTreeMap, HashMap};

use vyuha_record::{Op, Table, Value, transactions};

use crate::StoreError;

/// What some frames come to, ready for one SQL transaction: at most one change a key, by key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// The tables that change, by number.
    pub tables: Vec<TableChanges>,
}

/// The changes of one table. No key is in both lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableChanges {
    /// The table.
    pub table: Table,
    /// Whole rows to write, whether they are new or not.
    pub upserts: Vec<Vec<Value>>,
    /// Keys of rows to delete, whether they are there or not.
    pub deletes: Vec<Vec<Value>>,
}

/// Gathers frames into [`Changes`].
pub(crate) struct Merger {
    tables: HashMap<u16, Table>,
    /// The row image by table and key; `None` is a deletion.
    images: BTreeMap<(u16, Vec<Value>), Option<Vec<Value>>>,
}

impl Merger {
    pub fn new(tables: &[Table]) -> Self {
        Self { tables: tables.iter().map(|table| (table.id, *table)).collect(), images: BTreeMap::new() }
    }

    /// Keys changed so far.
    pub fn rows(&self) -> usize {
        self.images.len()
    }

    /// Adds a frame, all or nothing.
    pub fn add(&mut self, payload: &[u8]) -> Result<(), StoreError> {
        let mut frame = Vec::new();
        for ops in transactions(payload) {
            for op in ops? {
                frame.push(match op? {
                    Op::Put { table, row } => {
                        let layout = self.table(table)?;
                        let values = layout.decode_values(row)?;
                        ((table, layout.key_of(&values)), Some(values))
                    }
                    Op::Delete { table, key } => ((table, self.table(table)?.decode_key(key)?), None),
                });
            }
        }
        self.images.extend(frame);
        Ok(())
    }

    /// What was gathered; nothing stays behind.
    pub fn take(&mut self) -> Changes {
        let mut changes = Changes::default();
        for ((id, key), image) in std::mem::take(&mut self.images) {
            if changes.tables.last().is_none_or(|last| last.table.id != id) {
                let table = self.tables[&id];
                changes.tables.push(TableChanges { table, upserts: Vec::new(), deletes: Vec::new() });
            }
            let last = changes.tables.last_mut().expect("a table was pushed above");
            match image {
                Some(row) => last.upserts.push(row),
                None => last.deletes.push(key),
            }
        }
        changes
    }

    fn table(&self, id: u16) -> Result<&Table, StoreError> {
        self.tables.get(&id).ok_or(StoreError::UnknownTable { id })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use vyuha_record::{Record, RecordError, Transaction, record};

    use super::*;

    record! { struct OneRow in "one", table 900 { key id: i64, value: i64 } }
    record! { struct TwoRow in "two", table 901 { value: i64, key a: String, key b: i64 } }

    fn frame(work: impl FnOnce(&mut Transaction<'_>)) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut transaction = Transaction::begin(&mut bytes);
        work(&mut transaction);
        transaction.commit();
        bytes
    }

    fn merger() -> Merger {
        Merger::new(&[TwoRow::TABLE, OneRow::TABLE])
    }

    #[test]
    fn the_last_image_of_a_key_is_kept_in_the_order_of_keys() {
        let mut merger = merger();
        let two = TwoRow { value: 1, a: "x".into(), b: -1 };
        for bytes in [
            frame(|t| t.put(&TwoRow { value: 0, ..two.clone() })),
            frame(|t| [3, -5, 2].into_iter().for_each(|id| t.put(&OneRow { id, value: 1 }))),
            frame(|t| {
                t.delete(&OneRow { id: 2, value: 0 });
                t.delete(&OneRow { id: 7, value: 0 });
                t.put(&OneRow { id: 7, value: 9 });
            }),
            frame(|t| t.put(&two)),
        ] {
            merger.add(&bytes).unwrap();
        }
        assert_eq!(merger.rows(), 5);
        let changes = merger.take();
        let [one, other] = &changes.tables[..] else { panic!("{changes:?}") };
        assert_eq!((one.table, other.table), (OneRow::TABLE, TwoRow::TABLE));
        let upserts: Vec<_> = one.upserts.iter().map(|row| OneRow::from_values(row).unwrap().id).collect();
        assert_eq!(upserts, [-5, 3, 7]);
        assert_eq!(one.deletes, [[Value::Int(2)]]);
        assert_eq!((other.upserts.clone(), other.deletes.len()), (vec![two.to_values()], 0));
        assert_eq!(merger.take(), Changes::default());
    }

    #[test]
    fn a_bad_frame_leaves_what_was_there() {
        let mut merger = merger();
        merger.add(&frame(|t| t.put(&OneRow { id: 1, value: 1 }))).unwrap();
        record! { struct UnknownRow in "unknown", table 999 { key id: i64 } }
        let unknown = frame(|t| {
            t.put(&OneRow { id: 2, value: 2 });
            t.put(&UnknownRow { id: 1 });
        });
        assert!(matches!(merger.add(&unknown), Err(StoreError::UnknownTable { id: 999 })));
        record! { struct LongerRow in "one", table 900 { key id: i64, value: i64, more: i64 } }
        let longer = frame(|t| t.put(&LongerRow { id: 2, value: 2, more: 2 }));
        assert!(matches!(merger.add(&longer), Err(StoreError::Row(RecordError::Trailing { bytes: 8 }))));
        assert_eq!(merger.take().tables[0].upserts, [OneRow { id: 1, value: 1 }.to_values()]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Wherever frames are split into transactions, the rows come out as if written one by one.
        #[test]
        fn merging_changes_nothing(ops in prop::collection::vec((0_i64..6, proptest::option::of(0_i64..9), any::<bool>()), 0..60)) {
            let mut merger = merger();
            let (mut model, mut merged) = (BTreeMap::new(), BTreeMap::new());
            for (id, value, ends) in ops {
                let row = OneRow { id, value: value.unwrap_or_default() };
                let bytes = frame(|t| if value.is_some() { t.put(&row) } else { t.delete(&row) });
                merger.add(&bytes).unwrap();
                match value {
                    Some(_) => model.insert(vec![Value::Int(id)], row.to_values()),
                    None => model.remove(&vec![Value::Int(id)]),
                };
                if ends {
                    for changes in merger.take().tables {
                        changes.deletes.iter().for_each(|key| drop(merged.remove(key)));
                        merged.extend(changes.upserts.into_iter().map(|row| (changes.table.key_of(&row), row)));
                    }
                    prop_assert_eq!(&merged, &model);
                }
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in any::<Vec<u8>>()) {
            let _ = merger().add(&bytes);
        }
    }
}
