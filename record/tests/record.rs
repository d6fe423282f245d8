//! Rows and transactions: what goes in comes out, and no bytes make a decoder panic.

use proptest::prelude::*;
use vyuha_record::{
    ColumnType, Op, Record, RecordError, Table, Transaction, Value, record, schema_fingerprint, transactions,
};

record! {
    /// Every column type, a key of two columns, and columns named like the macro's own words.
    struct AllRow in "all_types", table 900 {
        key id: i64,
        count: i64,
        unique name: String,
        blob: Vec<u8>,
        key part: String,
        maybe_int: Option<i64>,
        maybe_text: Option<String>,
        maybe_blob: Option<Vec<u8>>,
        key: i64,
        unique: i64,
    }
}

record! {
    struct PairRow in "pair", table 901 { key id: i64, value: i64 }
}

fn row() -> impl Strategy<Value = AllRow> {
    (
        any::<i64>(),
        any::<i64>(),
        "[^\\x00]*",
        any::<Vec<u8>>(),
        "[^\\x00]{0,8}",
        any::<Option<i64>>(),
        proptest::option::of("[^\\x00]{0,8}"),
        any::<Option<Vec<u8>>>(),
        (any::<i64>(), any::<i64>()),
    )
        .prop_map(|(id, count, name, blob, part, maybe_int, maybe_text, maybe_blob, (key, unique))| {
            AllRow { id, count, name, blob, part, maybe_int, maybe_text, maybe_blob, key, unique }
        })
}

fn encoded(row: &impl Record) -> Vec<u8> {
    let mut bytes = Vec::new();
    row.encode(&mut bytes);
    bytes
}

fn ops_of(bytes: &[u8]) -> Result<Vec<Op<'_>>, RecordError> {
    transactions(bytes).try_fold(Vec::new(), |mut all, ops| {
        for op in ops? {
            all.push(op?);
        }
        Ok(all)
    })
}

#[test]
fn the_layout_is_as_declared() {
    let table = AllRow::TABLE;
    assert_eq!((table.id, table.name, table.columns.len()), (900, "all_types", 10));
    let keys: Vec<_> = table.key_columns().map(|column| column.name).collect();
    assert_eq!(keys, ["id", "part"]);
    let of = |name: &str| *table.columns.iter().find(|column| column.name == name).unwrap();
    assert!(of("name").unique && !of("name").nullable && of("name").ty == ColumnType::Text);
    assert!(of("maybe_blob").nullable && of("maybe_blob").ty == ColumnType::Blob);
    assert!(!of("key").key && !of("unique").unique);
}

#[test]
fn the_journal_form_is_what_the_module_says() {
    let pair = PairRow { id: 1, value: -2 };
    assert_eq!(encoded(&pair), [[1, 0, 0, 0, 0, 0, 0, 0], (-2_i64).to_le_bytes()].concat());
    let mut bytes = Vec::new();
    let mut transaction = Transaction::begin(&mut bytes);
    transaction.delete(&pair);
    transaction.commit();
    assert_eq!(bytes, [15, 0, 0, 0, 2, 133, 3, 8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn bad_rows_are_refused() {
    let good = encoded(&PairRow { id: 1, value: 2 });
    let check = |bytes: &[u8], error: RecordError| {
        assert_eq!(PairRow::decode(bytes), Err(error.clone()));
        assert_eq!(PairRow::TABLE.decode_values(bytes), Err(error));
    };
    check(&good[..15], RecordError::Truncated { needed: 1 });
    check(&[], RecordError::Truncated { needed: 8 });
    check(&[&good[..], &[0]].concat(), RecordError::Trailing { bytes: 1 });

    record! { struct TextRow in "text", table 902 { key id: String, other: Option<i64> } }
    assert_eq!(TextRow::decode(&[1, 0, 0, 0, 0xff, 0]), Err(RecordError::NotUtf8));
    assert_eq!(TextRow::decode(&[0, 0, 0, 0, 2]), Err(RecordError::NullMarker(2)));
    assert_eq!(TextRow::decode(&[255, 255, 255, 255]), Err(RecordError::Truncated { needed: 0xffff_ffff }));
}

#[test]
fn text_never_holds_a_zero_character() {
    record! { struct TextRow in "texts", table 902 { key id: i64, text: String } }
    let row = TextRow { id: 1, text: "a\0b".into() };
    let decoded = TextRow::decode(&encoded(&row)).unwrap();
    assert_eq!(decoded.text, "a\u{fffd}b", "what is journalled fits every store");
    assert_eq!(TextRow::TABLE.check(&row.to_values()), Err(RecordError::ZeroInText));
    assert_eq!(TextRow::TABLE.check(&decoded.to_values()), Ok(()));
    let mut bytes = encoded(&decoded);
    let at = bytes.len() - 2;
    bytes[at] = 0;
    assert!(TextRow::decode(&bytes).is_err());
    let mut zero = encoded(&TextRow { id: 1, text: "a".into() });
    *zero.last_mut().unwrap() = 0;
    assert_eq!(TextRow::decode(&zero), Err(RecordError::ZeroInText));
}

#[test]
fn values_of_another_shape_are_refused() {
    let wrong = |values: &[Value], error: RecordError| assert_eq!(PairRow::from_values(values), Err(error));
    wrong(&[1.into()], RecordError::ColumnCount { table: "pair", expected: 2, found: 1 });
    wrong(
        &[1.into(), "x".into()],
        RecordError::WrongType { column: "value", expected: ColumnType::Int, found: Some(ColumnType::Text) },
    );
    wrong(
        &[Value::Null, 1.into()],
        RecordError::WrongType { column: "id", expected: ColumnType::Int, found: None },
    );
}

#[test]
fn bad_transactions_are_refused() {
    let mut bytes = Vec::new();
    let mut transaction = Transaction::begin(&mut bytes);
    transaction.put(&PairRow { id: 1, value: 2 });
    transaction.commit();
    assert_eq!(ops_of(&bytes).unwrap().len(), 1);
    for len in 1..bytes.len() {
        assert!(matches!(ops_of(&bytes[..len]), Err(RecordError::Truncated { .. })), "cut at {len}");
    }
    bytes[4] = 3;
    assert_eq!(ops_of(&bytes), Err(RecordError::OpKind(3)));
}

#[test]
fn a_dropped_or_empty_transaction_leaves_nothing() {
    let mut bytes = vec![7];
    Transaction::begin(&mut bytes).put(&PairRow { id: 1, value: 2 });
    assert_eq!(bytes, [7]);
    Transaction::begin(&mut bytes).commit();
    assert_eq!(bytes, [7]);
}

#[test]
fn the_fingerprint_follows_the_layout() {
    let tables = [AllRow::TABLE, PairRow::TABLE];
    let reference = schema_fingerprint(&tables);
    // Written into every segment of every journal: it must never change by accident.
    assert_eq!(schema_fingerprint(&[PairRow::TABLE]), FINGERPRINT_OF_PAIR);
    assert_eq!(schema_fingerprint(&[PairRow::TABLE, AllRow::TABLE]), reference);
    let changed: &[(&str, Table)] = &[
        ("number", Table { id: 903, ..PairRow::TABLE }),
        ("name", Table { name: "pairs", ..PairRow::TABLE }),
        ("a column less", Table { columns: &PairRow::TABLE.columns[..1], ..PairRow::TABLE }),
    ];
    for (what, table) in changed {
        assert_ne!(schema_fingerprint(&[AllRow::TABLE, *table]), reference, "{what}");
    }
    for change in 0..4 {
        let mut column = PairRow::TABLE.columns[1];
        match change {
            0 => column.name = "amount",
            1 => column.ty = ColumnType::Blob,
            2 => column.key = true,
            _ => column.nullable = true,
        }
        let columns = vec![PairRow::TABLE.columns[0], column].leak();
        let table = Table::new(901, "pair", columns);
        assert_ne!(schema_fingerprint(&[AllRow::TABLE, table]), reference, "change {change}");
    }
}

const FINGERPRINT_OF_PAIR: u64 = 8_963_992_788_020_755_952;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_row_comes_back_by_every_way(row in row()) {
        let bytes = encoded(&row);
        prop_assert_eq!(AllRow::decode(&bytes).unwrap(), row.clone());
        let values = AllRow::TABLE.decode_values(&bytes).unwrap();
        prop_assert_eq!(&values, &row.to_values());
        prop_assert_eq!(AllRow::from_values(&values).unwrap(), row.clone());
        let mut key = Vec::new();
        row.encode_key(&mut key);
        prop_assert_eq!(AllRow::TABLE.decode_key(&key).unwrap(), AllRow::TABLE.key_of(&values));
    }

    #[test]
    fn random_bytes_never_panic_and_have_one_encoding(bytes in any::<Vec<u8>>()) {
        if let Ok(row) = AllRow::decode(&bytes) {
            prop_assert_eq!(encoded(&row), bytes.clone());
        }
        prop_assert_eq!(AllRow::decode(&bytes).is_ok(), AllRow::TABLE.decode_values(&bytes).is_ok());
        let _ = AllRow::TABLE.decode_key(&bytes);
        let _ = ops_of(&bytes);
    }

    /// Random bytes seldom get past the first length: so damage good rows too.
    #[test]
    fn a_damaged_row_never_panics(row in row(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = encoded(&row);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(row) = AllRow::decode(&bytes) {
            prop_assert_eq!(encoded(&row), bytes);
        }
    }

    #[test]
    fn transactions_come_back_in_order(rows in prop::collection::vec((any::<i64>(), any::<i64>(), any::<bool>()), 0..20)) {
        let mut bytes = Vec::new();
        for pair in rows.chunks(3) {
            let mut transaction = Transaction::begin(&mut bytes);
            for &(id, value, put) in pair {
                let row = PairRow { id, value };
                if put { transaction.put(&row) } else { transaction.delete(&row) }
            }
            transaction.commit();
        }
        prop_assert_eq!(transactions(&bytes).count(), rows.len().div_ceil(3));
        let mut expected = rows.iter();
        for op in ops_of(&bytes).unwrap() {
            let &(id, value, put) = expected.next().unwrap();
            match op {
                Op::Put { table, row } => {
                    prop_assert!(put && table == 901);
                    prop_assert_eq!(PairRow::decode(row).unwrap(), PairRow { id, value });
                }
                Op::Delete { table, key } => {
                    prop_assert!(!put && table == 901);
                    prop_assert_eq!(PairRow::TABLE.decode_key(key).unwrap(), vec![Value::Int(id)]);
                }
            }
        }
        prop_assert!(expected.next().is_none());
    }
}
