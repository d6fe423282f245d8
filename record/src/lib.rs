//! How a durable row is declared once: [`record!`] gives the struct, its journal form and the
//! layout that a store needs to bind, load and check it.
//!
//! - A **row** is encoded column by column, in the order of declaration, little-endian: `i64` as 8
//!   bytes, text and blobs as a `u32` length and the bytes, a nullable column as a 0/1 byte first.
//!   One row has exactly one encoding. Text never holds U+0000: it is journalled as U+FFFD.
//! - A **transaction** is a length and a list of operations (put a row, delete a key).
//!
//! Every decoder is total: any bytes give a value or a [`RecordError`], never a panic. Nothing here
//! does I/O or knows a database.

mod codec;
mod error;
mod record;
mod table;
mod transaction;
mod value;

pub use codec::{ColumnValue, Reader};
pub use error::RecordError;
pub use record::Record;
pub use table::{Column, Table, schema_fingerprint};
pub use transaction::{Op, Ops, Transaction, Transactions, transactions};
pub use value::{ColumnType, Value};
