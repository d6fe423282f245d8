use crate::ColumnType;

/// Why bytes or values are not a row or a transaction.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The bytes end inside a column, an operation or a transaction.
    #[error("the bytes end early: {needed} more were needed")]
    Truncated {
        /// How many bytes were missing.
        needed: usize,
    },
    /// Bytes are left after the last column.
    #[error("{bytes} bytes are left after the last column")]
    Trailing {
        /// How many bytes are left.
        bytes: usize,
    },
    /// A text column does not hold UTF-8.
    #[error("a text column does not hold UTF-8")]
    NotUtf8,
    /// Text with a zero character, which PostgreSQL cannot hold.
    #[error("a text column holds a zero character (U+0000)")]
    ZeroInText,
    /// The byte that says whether a nullable column is present is neither 0 nor 1.
    #[error("a null marker is {0}, expected 0 or 1")]
    NullMarker(u8),
    /// The kind of an operation is unknown.
    #[error("an operation of kind {0}, expected 1 (put) or 2 (delete)")]
    OpKind(u8),
    /// A row of another number of columns than its table.
    #[error("table `{table}` has {expected} columns, the row has {found}")]
    ColumnCount {
        /// The table's name.
        table: &'static str,
        /// Columns of the table.
        expected: usize,
        /// Values of the row.
        found: usize,
    },
    /// A value of another type than its column.
    #[error("column `{column}` is {expected:?}, the value is {found:?} (None: null)")]
    WrongType {
        /// The column's name.
        column: &'static str,
        /// The column's type.
        expected: ColumnType,
        /// The value's type; `None` is null in a column that is not nullable.
        found: Option<ColumnType>,
    },
}
