use crate::{ColumnType, RecordError, Value};

/// A Rust type that a column can have: `i64`, `String`, `Vec<u8>` or an `Option` of these.
pub trait ColumnValue: Sized {
    /// The column's type.
    const TYPE: ColumnType;
    /// Whether the column may hold null.
    const NULLABLE: bool;

    /// Appends the journal form.
    ///
    /// # Panics
    /// On text or a blob of 4 GiB or more, which no journal frame could carry.
    fn encode(&self, out: &mut Vec<u8>);
    /// Reads the journal form.
    fn decode(reader: &mut Reader<'_>) -> Result<Self, RecordError>;
    /// The value without its Rust type.
    fn to_value(&self) -> Value;
    /// Takes the value back, if it is of this type.
    fn from_value(value: &Value) -> Option<Self>;
}

/// Takes columns off the front of a byte slice.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads from the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// Succeeds only where every byte was taken.
    pub fn finish(self) -> Result<(), RecordError> {
        if self.bytes.is_empty() { Ok(()) } else { Err(RecordError::Trailing { bytes: self.bytes.len() }) }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], RecordError> {
        let Some((taken, rest)) = self.bytes.split_at_checked(len) else {
            return Err(RecordError::Truncated { needed: len - self.bytes.len() });
        };
        self.bytes = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        let Some((taken, rest)) = self.bytes.split_first_chunk() else {
            return Err(RecordError::Truncated { needed: N - self.bytes.len() });
        };
        self.bytes = rest;
        Ok(*taken)
    }

    pub(crate) fn prefixed(&mut self) -> Result<&'a [u8], RecordError> {
        let len = u32::from_le_bytes(self.array()?);
        self.take(len as usize)
    }

    /// Reads one column by its declared layout.
    pub(crate) fn value(&mut self, ty: ColumnType, nullable: bool) -> Result<Value, RecordError> {
        if nullable && !self.present()? {
            return Ok(Value::Null);
        }
        match ty {
            ColumnType::Int => i64::decode(self).map(Value::Int),
            ColumnType::Text => String::decode(self).map(Value::Text),
            ColumnType::Blob => Vec::decode(self).map(Value::Blob),
        }
    }

    fn present(&mut self) -> Result<bool, RecordError> {
        match self.array()? {
            [0] => Ok(false),
            [1] => Ok(true),
            [other] => Err(RecordError::NullMarker(other)),
        }
    }
}

fn put_prefixed(out: &mut Vec<u8>, bytes: &[u8]) {
    let len = u32::try_from(bytes.len()).expect("a column is shorter than 4 GiB");
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(bytes);
}

impl ColumnValue for i64 {
    const TYPE: ColumnType = ColumnType::Int;
    const NULLABLE: bool = false;

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_le_bytes());
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, RecordError> {
        reader.array().map(Self::from_le_bytes)
    }

    fn to_value(&self) -> Value {
        Value::Int(*self)
    }

    fn from_value(value: &Value) -> Option<Self> {
        if let Value::Int(int) = value { Some(*int) } else { None }
    }
}

impl ColumnValue for String {
    const TYPE: ColumnType = ColumnType::Text;
    const NULLABLE: bool = false;

    fn encode(&self, out: &mut Vec<u8>) {
        // PostgreSQL cannot hold this one character in text, and what is journalled must fit every store.
        if self.contains('\0') {
            put_prefixed(out, self.replace('\0', "\u{fffd}").as_bytes());
        } else {
            put_prefixed(out, self.as_bytes());
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, RecordError> {
        let text = str::from_utf8(reader.prefixed()?).map_err(|_| RecordError::NotUtf8)?;
        if text.contains('\0') { Err(RecordError::ZeroInText) } else { Ok(text.to_owned()) }
    }

    fn to_value(&self) -> Value {
        Value::Text(self.clone())
    }

    fn from_value(value: &Value) -> Option<Self> {
        if let Value::Text(text) = value { Some(text.clone()) } else { None }
    }
}

impl ColumnValue for Vec<u8> {
    const TYPE: ColumnType = ColumnType::Blob;
    const NULLABLE: bool = false;

    fn encode(&self, out: &mut Vec<u8>) {
        put_prefixed(out, self);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, RecordError> {
        Ok(reader.prefixed()?.to_vec())
    }

    fn to_value(&self) -> Value {
        Value::Blob(self.clone())
    }

    fn from_value(value: &Value) -> Option<Self> {
        if let Value::Blob(blob) = value { Some(blob.clone()) } else { None }
    }
}

// One impl a type: a blanket `impl<T: ColumnValue> for Option<T>` would allow `Option<Option<_>>`,
// which no database column can tell apart from `Option<_>`.
macro_rules! nullable {
    ($($inner:ty),*) => { $(
        impl ColumnValue for Option<$inner> {
            const TYPE: ColumnType = <$inner>::TYPE;
            const NULLABLE: bool = true;

            fn encode(&self, out: &mut Vec<u8>) {
                out.push(u8::from(self.is_some()));
                if let Some(value) = self {
                    value.encode(out);
                }
            }

            fn decode(reader: &mut Reader<'_>) -> Result<Self, RecordError> {
                if reader.present()? { <$inner>::decode(reader).map(Some) } else { Ok(None) }
            }

            fn to_value(&self) -> Value {
                self.as_ref().map_or(Value::Null, ColumnValue::to_value)
            }

            fn from_value(value: &Value) -> Option<Self> {
                if *value == Value::Null { Some(None) } else { <$inner>::from_value(value).map(Some) }
            }
        }
    )* };
}

nullable!(i64, String, Vec<u8>);
