use crate::{RecordError, Table, Value};

/// A durable row, declared with [`crate::record!`].
pub trait Record: Sized {
    /// The layout.
    const TABLE: Table;

    /// Appends the journal form.
    ///
    /// # Panics
    /// On text or a blob of 4 GiB or more, which no journal frame could carry.
    fn encode(&self, out: &mut Vec<u8>);
    /// Reads the journal form; every byte must be used.
    fn decode(row: &[u8]) -> Result<Self, RecordError>;
    /// Appends the journal form of the key columns.
    fn encode_key(&self, out: &mut Vec<u8>);
    /// A row from the values of its columns, in declared order.
    fn from_values(values: &[Value]) -> Result<Self, RecordError>;
    /// The values of the columns, in declared order.
    fn to_values(&self) -> Vec<Value>;
}

/// Declares a durable row: the struct, its [`Record`] and its [`Table`].
///
/// Columns are `i64` (BIGINT), `String` (TEXT), `Vec<u8>` (BLOB) or an `Option` of these. `key`
/// marks the primary key's columns, `unique` a column on which the database keeps a unique index. `append_only` after the
/// table's number says that a row is written once and never changed.
/// A change of layout needs a migration; the start-up check names every difference.
///
/// ```
/// vyuha_record::record! {
///     /// A guild.
///     pub struct GuildRow in "guild", table 900 {
///         /// Its number.
///         key id: i64,
///         /// Its name, as displayed.
///         unique name: String,
///         /// Who leads it, if anyone does.
///         leader: Option<i64>,
///     }
/// }
/// use vyuha_record::Record;
///
/// let guild = GuildRow { id: 7, name: "Night Watch".into(), leader: None };
/// let mut bytes = Vec::new();
/// guild.encode(&mut bytes);
/// assert_eq!(GuildRow::decode(&bytes), Ok(guild));
/// ```
#[macro_export]
macro_rules! record {
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident in $table:literal, table $id:literal $(, $append_only:ident)? {
            $($columns:tt)*
        }
    ) => {
        $crate::record! {
            @columns [$(#[$meta])* $vis struct $name in $table, table $id $(, $append_only)?] [] $($columns)*
        }
    };

    (@columns $head:tt [$($done:tt)*] $(#[$meta:meta])* key $field:ident : $ty:ty $(, $($rest:tt)*)?) => {
        $crate::record! { @columns $head [$($done)* {[$(#[$meta])*] $field $ty, true, false}] $($($rest)*)? }
    };
    (@columns $head:tt [$($done:tt)*] $(#[$meta:meta])* unique $field:ident : $ty:ty $(, $($rest:tt)*)?) => {
        $crate::record! { @columns $head [$($done)* {[$(#[$meta])*] $field $ty, false, true}] $($($rest)*)? }
    };
    (@columns $head:tt [$($done:tt)*] $(#[$meta:meta])* $field:ident : $ty:ty $(, $($rest:tt)*)?) => {
        $crate::record! { @columns $head [$($done)* {[$(#[$meta])*] $field $ty, false, false}] $($($rest)*)? }
    };

    (
        @columns [
            $(#[$meta:meta])* $vis:vis struct $name:ident in $table:literal, table $id:literal
            $(, $append_only:ident)?
        ]
        [$({[$(#[$column_meta:meta])*] $field:ident $ty:ty, $key:literal, $unique:literal})*]
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq)]
        $vis struct $name {
            $($(#[$column_meta])* pub $field: $ty,)*
        }

        impl $crate::Record for $name {
            const TABLE: $crate::Table = {
                const COLUMNS: &[$crate::Column] = &[$($crate::Column {
                    name: stringify!($field),
                    ty: <$ty as $crate::ColumnValue>::TYPE,
                    key: $key,
                    unique: $unique,
                    nullable: <$ty as $crate::ColumnValue>::NULLABLE,
                }),*];
                $crate::Table::new($id, $table, COLUMNS)$(.$append_only())?
            };

            fn encode(&self, out: &mut Vec<u8>) {
                $($crate::ColumnValue::encode(&self.$field, out);)*
            }

            fn decode(row: &[u8]) -> Result<Self, $crate::RecordError> {
                let mut reader = $crate::Reader::new(row);
                // Fields are evaluated in the order written, which is journal order.
                let decoded = Self { $($field: <$ty as $crate::ColumnValue>::decode(&mut reader)?,)* };
                reader.finish()?;
                Ok(decoded)
            }

            fn encode_key(&self, out: &mut Vec<u8>) {
                $(if $key {
                    $crate::ColumnValue::encode(&self.$field, out);
                })*
            }

            fn from_values(values: &[$crate::Value]) -> Result<Self, $crate::RecordError> {
                <Self as $crate::Record>::TABLE.check(values)?;
                let mut columns = values.iter();
                Ok(Self {
                    $($field: columns
                        .next()
                        .and_then(<$ty as $crate::ColumnValue>::from_value)
                        .expect("`check` proved the number and the types of the values"),)*
                })
            }

            fn to_values(&self) -> Vec<$crate::Value> {
                vec![$($crate::ColumnValue::to_value(&self.$field)),*]
            }
        }
    };
}
