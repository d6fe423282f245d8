use crate::{ColumnType, Reader, RecordError, Value};

/// One column of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// The name in the database.
    pub name: &'static str,
    /// What it holds.
    pub ty: ColumnType,
    /// Whether it is part of the primary key.
    pub key: bool,
    /// Whether no two rows may hold the same value, the key aside.
    pub unique: bool,
    /// Whether it may hold null.
    pub nullable: bool,
}

/// The layout of a durable row: enough to decode, bind and load it without its Rust type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Table {
    /// The number that stands for the table in the journal; never used again for another table.
    pub id: u16,
    /// The name in the database.
    pub name: &'static str,
    /// The columns, in journal order.
    pub columns: &'static [Column],
    /// Whether a row is written once and never changed: whatever is put is new.
    pub is_append_only: bool,
}

impl Table {
    /// A table, checked at compile time when used for a `const` (as [`crate::record!`] does).
    ///
    /// # Panics
    /// Where no column is a key, a key is nullable, or a name is not lower-case ASCII letters,
    /// digits and `_` (names are spliced into SQL).
    pub const fn new(id: u16, name: &'static str, columns: &'static [Column]) -> Self {
        assert!(is_identifier(name), "a table's name is lower-case letters, digits and _");
        let mut has_key = false;
        let mut i = 0;
        while i < columns.len() {
            let column = &columns[i];
            assert!(is_identifier(column.name), "a column's name is lower-case letters, digits and _");
            assert!(!(column.key && column.nullable), "a key column cannot be nullable");
            has_key |= column.key;
            i += 1;
        }
        assert!(has_key, "a table needs a key column");
        Self { id, name, columns, is_append_only: false }
    }

    /// The same, of rows that are written once and never changed.
    #[must_use]
    pub const fn append_only(self) -> Self {
        Self { is_append_only: true, ..self }
    }

    /// The key columns, in journal order.
    pub fn key_columns(&self) -> impl Iterator<Item = &'static Column> + use<> {
        self.columns.iter().filter(|column| column.key)
    }

    /// Reads a whole row in its journal form.
    pub fn decode_values(&self, row: &[u8]) -> Result<Vec<Value>, RecordError> {
        decode(self.columns.iter(), row)
    }

    /// Reads a key in its journal form.
    pub fn decode_key(&self, key: &[u8]) -> Result<Vec<Value>, RecordError> {
        decode(self.key_columns(), key)
    }

    /// The key of a row; `values` must have passed [`Self::check`] or come from this table.
    pub fn key_of(&self, values: &[Value]) -> Vec<Value> {
        self.columns.iter().zip(values).filter(|(column, _)| column.key).map(|(_, v)| v.clone()).collect()
    }

    /// Succeeds where `values` are a row of this table: their number, types and nulls fit.
    pub fn check(&self, values: &[Value]) -> Result<(), RecordError> {
        if values.len() != self.columns.len() {
            return Err(RecordError::ColumnCount {
                table: self.name,
                expected: self.columns.len(),
                found: values.len(),
            });
        }
        self.columns.iter().zip(values).try_for_each(|(column, value)| column.check(value))
    }
}

impl Column {
    /// Succeeds where the column can hold `value`.
    pub fn check(&self, value: &Value) -> Result<(), RecordError> {
        let found = value.ty();
        let fits = found.map_or(self.nullable, |ty| ty == self.ty);
        match value {
            _ if !fits => Err(RecordError::WrongType { column: self.name, expected: self.ty, found }),
            Value::Text(text) if text.contains('\0') => Err(RecordError::ZeroInText),
            _ => Ok(()),
        }
    }
}

/// A hash over everything that decides how journalled bytes are read: the row format's version and
/// every table's number, name and columns. The order of `tables` does not matter. Stable between
/// builds and machines (64-bit FNV-1a, <http://www.isthe.com/chongo/tech/comp/fnv/>).
pub fn schema_fingerprint(tables: &[Table]) -> u64 {
    const ROW_FORMAT: u8 = 1;
    let mut sorted: Vec<&Table> = tables.iter().collect();
    sorted.sort_by_key(|table| (table.id, table.name));
    let mut hash = Fnv(0xcbf2_9ce4_8422_2325);
    hash.write(&[ROW_FORMAT]);
    for table in sorted {
        hash.write(&table.id.to_le_bytes());
        hash.name(table.name);
        hash.write(&(table.columns.len() as u32).to_le_bytes());
        for column in table.columns {
            hash.name(column.name);
            hash.write(&[column.ty as u8, u8::from(column.key), u8::from(column.nullable)]);
        }
    }
    hash.0
}

const fn is_identifier(name: &str) -> bool {
    let bytes = name.as_bytes();
    let mut i = 0;
    while i < bytes.len() {
        if !(bytes[i].is_ascii_lowercase() || bytes[i] == b'_' || (i > 0 && bytes[i].is_ascii_digit())) {
            return false;
        }
        i += 1;
    }
    !bytes.is_empty()
}

fn decode(columns: impl Iterator<Item = &'static Column>, bytes: &[u8]) -> Result<Vec<Value>, RecordError> {
    let mut reader = Reader::new(bytes);
    let values = columns.map(|column| reader.value(column.ty, column.nullable)).collect::<Result<_, _>>()?;
    reader.finish()?;
    Ok(values)
}

struct Fnv(u64);

impl Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    /// The length goes first, so that no two lists of names run together.
    fn name(&mut self, name: &str) {
        self.write(&(name.len() as u32).to_le_bytes());
        self.write(name.as_bytes());
    }
}
