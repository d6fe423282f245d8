use crate::{Reader, Record, RecordError};

const OP_PUT: u8 = 1;
const OP_DELETE: u8 = 2;

/// Appends one transaction to a buffer of journal bytes: a `u32` length, then operations of a kind
/// (`u8`), a table (`u16`) and a row or key with its `u32` length.
///
/// Nothing stays in the buffer unless [`Self::commit`] is called, so a rule that refuses half-way
/// just returns.
#[derive(Debug)]
pub struct Transaction<'a> {
    bytes: &'a mut Vec<u8>,
    start: usize,
    committed: bool,
}

impl<'a> Transaction<'a> {
    /// Begins a transaction at the end of `bytes`.
    pub fn begin(bytes: &'a mut Vec<u8>) -> Self {
        let start = bytes.len();
        bytes.extend_from_slice(&[0; 4]);
        Self { bytes, start, committed: false }
    }

    /// Writes the whole row, whether it is new or not.
    pub fn put<R: Record>(&mut self, row: &R) {
        self.op(OP_PUT, R::TABLE.id, |out| row.encode(out));
    }

    /// Deletes the row with the key of `row`, if there is one.
    pub fn delete<R: Record>(&mut self, row: &R) {
        self.op(OP_DELETE, R::TABLE.id, |out| row.encode_key(out));
    }

    /// Keeps the transaction. One without operations leaves nothing behind.
    pub fn commit(mut self) {
        let ops_start = self.start + 4;
        let len = self.bytes.len() - ops_start;
        if len > 0 {
            let len = u32::try_from(len).expect("a transaction is shorter than 4 GiB");
            self.bytes[self.start..ops_start].copy_from_slice(&len.to_le_bytes());
            self.committed = true;
        }
    }

    fn op(&mut self, kind: u8, table: u16, encode: impl FnOnce(&mut Vec<u8>)) {
        self.bytes.push(kind);
        self.bytes.extend_from_slice(&table.to_le_bytes());
        let len_at = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        encode(self.bytes);
        let len = u32::try_from(self.bytes.len() - len_at - 4).expect("a row is shorter than 4 GiB");
        self.bytes[len_at..len_at + 4].copy_from_slice(&len.to_le_bytes());
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if !self.committed {
            self.bytes.truncate(self.start);
        }
    }
}

/// One operation of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op<'a> {
    /// Write a whole row.
    Put {
        /// The table's number.
        table: u16,
        /// The row in journal form.
        row: &'a [u8],
    },
    /// Delete a row.
    Delete {
        /// The table's number.
        table: u16,
        /// The key in journal form.
        key: &'a [u8],
    },
}

/// The transactions in journal bytes, in order.
pub fn transactions(bytes: &[u8]) -> Transactions<'_> {
    Transactions { reader: Reader::new(bytes) }
}

/// See [`transactions`]. Ends after the first error.
#[derive(Debug, Clone)]
pub struct Transactions<'a> {
    reader: Reader<'a>,
}

impl<'a> Iterator for Transactions<'a> {
    type Item = Result<Ops<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        next_of(&mut self.reader, |reader| reader.prefixed().map(|ops| Ops { reader: Reader::new(ops) }))
    }
}

/// The operations of one transaction, in order. Ends after the first error.
#[derive(Debug, Clone)]
pub struct Ops<'a> {
    reader: Reader<'a>,
}

impl<'a> Iterator for Ops<'a> {
    type Item = Result<Op<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        next_of(&mut self.reader, |reader| {
            let [kind] = reader.array()?;
            let table = u16::from_le_bytes(reader.array()?);
            let body = reader.prefixed()?;
            match kind {
                OP_PUT => Ok(Op::Put { table, row: body }),
                OP_DELETE => Ok(Op::Delete { table, key: body }),
                other => Err(RecordError::OpKind(other)),
            }
        })
    }
}

fn next_of<'a, T>(
    reader: &mut Reader<'a>,
    read: impl FnOnce(&mut Reader<'a>) -> Result<T, RecordError>,
) -> Option<Result<T, RecordError>> {
    if reader.is_empty() {
        return None;
    }
    let item = read(reader);
    if item.is_err() {
        *reader = Reader::new(&[]);
    }
    Some(item)
}
