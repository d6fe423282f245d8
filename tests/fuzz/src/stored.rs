//! What comes back from the disk: transactions, and the journal's segments.

use std::path::Path;
use std::sync::Arc;

use vyuha_game::{CharacterRow, ItemRow, TABLES};
use vyuha_record::{Op, Transaction, Value};
use vyuha_store::journal::SEGMENT_BYTES_MIN;
use vyuha_store::{Batch, Journal, JournalConfig};

use crate::disk::MemoryDisk;

const DIR: &str = "journal";
const SCHEMA: u64 = 7;

/// Journalled transactions; rows that are accepted are encoded as they came.
pub fn transactions(input: &[u8]) {
    let mut transactions = 0;
    for transaction in vyuha_record::transactions(input) {
        let Ok(ops) = transaction else { break };
        transactions += 1;
        for op in ops {
            let Ok(op) = op else { break };
            let table_of = |id| TABLES.iter().find(|table| table.id == id);
            match op {
                Op::Put { table, row } => {
                    let Some(table) = table_of(table) else { continue };
                    let Ok(values) = table.decode_values(row) else { continue };
                    table.check(&values).expect("what was decoded fits its table");
                    assert_eq!(encoded(&values, table.columns), row, "a row has one encoding");
                }
                Op::Delete { table, key } => {
                    if let Some(table) = table_of(table) {
                        let _ = table.decode_key(key).map(|key| assert!(!key.is_empty()));
                    }
                }
            }
        }
    }
    assert!(transactions <= input.len() / 4, "each has a length of four bytes");
}

/// The journal form of a row, as the format describes it.
fn encoded(values: &[Value], columns: &[vyuha_record::Column]) -> Vec<u8> {
    let mut row = Vec::new();
    for (value, column) in values.iter().zip(columns) {
        if column.nullable {
            row.push(u8::from(*value != Value::Null));
        }
        match value {
            Value::Null => {}
            Value::Int(number) => row.extend_from_slice(&number.to_le_bytes()),
            Value::Text(text) => prefixed(&mut row, text.as_bytes()),
            Value::Blob(bytes) => prefixed(&mut row, bytes),
        }
    }
    row
}

fn prefixed(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// A character that stands in the test world.
pub fn character() -> CharacterRow {
    CharacterRow {
        id: 5,
        account: 4,
        name: "Abe".to_owned(),
        name_key: "abe".to_owned(),
        zone: 1,
        x: 70_000,
        y: 90_000,
        created_ms: 1_700_000_000_000,
    }
}

pub fn transaction_seeds() -> Vec<Vec<u8>> {
    let item = ItemRow { id: 9, kind: 1, count: 30, place: 0, owner: 5, slot: 3, x: 0, y: 0, wear: 0 };
    let mut bytes = Vec::new();
    let mut transaction = Transaction::begin(&mut bytes);
    transaction.put(&character());
    transaction.put(&item);
    transaction.commit();
    let mut transaction = Transaction::begin(&mut bytes);
    transaction.delete(&item);
    transaction.commit();
    vec![bytes, Vec::new()]
}

/// A journal's files (for each a name's number, a length and bytes): it is refused, or opened and then read whole,
/// and opened again it holds the same.
pub fn journal(input: &[u8]) {
    let disk = Arc::new(MemoryDisk::default());
    let mut rest = input;
    while let Some((head, after)) = rest.split_first_chunk::<5>() {
        let length = u32::from_le_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let (bytes, after) = after.split_at(length.min(after.len()));
        disk.put(&Path::new(DIR).join(format!("{:012}.segment", head[0])), bytes.to_vec());
        rest = after;
    }
    let Some(first) = frames(&disk) else { return };
    assert_eq!(frames(&disk), Some(first), "a journal that was opened is sound");
}

/// Every frame of the journal that a disk holds; none if it is refused.
fn frames(disk: &Arc<MemoryDisk>) -> Option<Vec<(u64, Vec<u8>)>> {
    let config = JournalConfig {
        dir: DIR.into(),
        segment_bytes: SEGMENT_BYTES_MIN,
        bytes_max: 1 << 30,
        producers: 1,
        queue_batches: 1,
        schema: SCHEMA,
    };
    let (journal, producers) = Journal::open(disk.clone(), &config, 0, Box::new(|_| {})).ok()?;
    let mut reader = journal.reader(1);
    let mut frames = Vec::new();
    while let Some(frame) = reader.next_frame().expect("an opened journal is read without an error") {
        frames.push((frame.seq, frame.payload.to_vec()));
    }
    drop(producers);
    journal.join().expect("nothing was written");
    Some(frames)
}

pub fn journal_seeds() -> Vec<Vec<u8>> {
    let disk = Arc::new(MemoryDisk::default());
    let config = JournalConfig {
        dir: DIR.into(),
        segment_bytes: SEGMENT_BYTES_MIN,
        bytes_max: 1 << 30,
        producers: 1,
        queue_batches: 8,
        schema: SCHEMA,
    };
    let opened = Journal::open(disk.clone(), &config, 0, Box::new(|_| {}));
    let (journal, mut producers) = opened.expect("a new journal opens");
    for number in 1..=4 {
        let bytes = vec![number as u8; 900];
        producers[0].submit(Batch { number, bytes }).expect("the queue has room");
        while producers[0].durable() < number {
            std::thread::yield_now();
        }
    }
    drop(producers);
    journal.join().expect("a disk in memory does not fail");
    let mut whole = Vec::new();
    for (path, bytes) in disk.files() {
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u8>().ok());
        let Some(number) = number else { continue };
        whole.push(number);
        prefixed(&mut whole, &bytes);
    }
    vec![whole]
}
