//! What an account's devices tell each other: events in streams, kept until they are over.
//!
//! A stream's events are numbered from 1 on without a gap, in the order of their transactions: its sequence, the only order there
//! is. An event with a key supersedes the stream's earlier ones with that key; so of two devices that write at once the later
//! transaction wins, on every device alike. Who must not overwrite what they have not seen says up to where they have
//! ([`Publish::after`]).
//!
//! An event goes when it is superseded, when its time is over, when each of the account's devices has acknowledged it (unless it
//! has a key: then it is the state of something), and when its stream has [`EVENTS_MAX`] later ones.

use serde::{Deserialize, Serialize};
use vyuha_record::Value;
use vyuha_store::sql::{SqlRow, SqlTransaction};

use crate::problem::{Code, Problem};

/// Streams that an account may have.
pub const STREAMS_MAX: i64 = 32;
/// Events that a stream keeps.
pub const EVENTS_MAX: i64 = 256;
/// The longest body, in bytes of UTF-8.
pub const BODY_BYTES_MAX: usize = 2048;
/// The longest name of a stream, and the longest key, in bytes.
pub const NAME_BYTES_MAX: usize = 64;
/// How long an event is kept at most, and how long if nothing is said, in seconds: 30 days and 7.
pub const TTL_S_MAX: i64 = 30 * 24 * 3600;
/// How long it is kept if nothing is said.
pub const TTL_S: i64 = 7 * 24 * 3600;
/// Events that one catch-up gives.
pub const CATCH_UP_MAX: usize = 32;

/// An event that a device has.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Publish {
    /// Its stream, which begins with its first event.
    pub stream: String,
    /// The device's own number of it, greater than that of any of its events before in this stream. Sent again it is known.
    pub number: i64,
    /// What it is the state of, where it supersedes earlier ones.
    #[serde(default)]
    pub key: String,
    /// Refuses it where the stream has a later event than this one; with a key, a later one with that key.
    pub after: Option<i64>,
    /// What it says.
    pub body: String,
    /// How long it is kept, in seconds.
    pub ttl_s: Option<i64>,
}

/// What became of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Published {
    /// It is there now.
    New(Event),
    /// It had been sent before; its sequence, if it still is there.
    Known(Option<i64>),
}

/// An event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Event {
    /// Its stream.
    pub stream: String,
    /// Its place in the stream.
    pub sequence: i64,
    /// Which device it is of.
    pub device: String,
    /// That device's number of it.
    pub number: i64,
    /// What it is the state of; empty if it is none.
    pub key: String,
    /// What it says.
    pub body: String,
    /// When it came, milliseconds since 1970 UTC.
    pub created_ms: i64,
    /// When it is over, milliseconds since 1970 UTC.
    pub expires_ms: i64,
}

/// The next events of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Caught {
    /// In their order.
    pub events: Vec<Event>,
    /// The stream's last sequence.
    pub sequence: i64,
    /// Whether there are more.
    pub more: bool,
    /// Whether events that were asked for had to make room for later ones.
    pub gap: bool,
}

/// A stream as a device sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stream {
    /// Its name.
    pub stream: String,
    /// Its last sequence.
    pub sequence: i64,
    /// What this device has acknowledged.
    pub acknowledged: i64,
    /// This device's last number.
    pub number: i64,
}

impl Publish {
    fn check(&self) -> Result<(), Problem> {
        let invalid = |detail: &'static str| Err(Problem::from(Code::EventInvalid).detail(detail));
        if !is_name(&self.stream) || !(self.key.is_empty() || is_name(&self.key)) {
            return invalid("a stream or key has 1 to 64 letters, digits, '.', '_', '/' and '-'");
        }
        // A database may take no text with a zero in it.
        if self.body.len() > BODY_BYTES_MAX || self.body.contains('\0') {
            return invalid("a body has up to 2,048 bytes, and no zero");
        }
        if self.number < 1 || self.after.is_some_and(|after| after < 0) {
            return invalid("numbers count from 1");
        }
        if !(1..=TTL_S_MAX).contains(&self.ttl_s.unwrap_or(TTL_S)) {
            return invalid("an event is kept for 1 to 2,592,000 seconds");
        }
        Ok(())
    }
}

fn is_name(text: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._/-".contains(&byte))
}

/// Publishes an event of one of the account's devices.
///
/// # Errors
/// [`Code::EventInvalid`], [`Code::EventConflict`], [`Code::StreamsFull`].
pub fn publish(
    tx: &mut dyn SqlTransaction,
    account: i64,
    device: &str,
    event: &Publish,
    now_ms: i64,
) -> Result<Published, Problem> {
    event.check()?;
    let stream = || Value::from(event.stream.clone());
    let rows = tx.query(
        "SELECT published FROM device_cursor WHERE device = ?1 AND stream = ?2",
        &[device.into(), stream()],
    )?;
    let published = rows.first().map(|row| row.int(0)).transpose()?;
    if published.is_some_and(|published| event.number <= published) {
        let rows = tx.query(
            "SELECT sequence FROM device_event WHERE account = ?1 AND stream = ?2 AND device = ?3 AND number = ?4",
            &[account.into(), stream(), device.into(), event.number.into()],
        )?;
        return Ok(Published::Known(rows.first().map(|row| row.int(0)).transpose()?));
    }
    let sequence = next_sequence(tx, account, &event.stream)?;
    if let Some(after) = event.after {
        let rows = tx.query(
            "SELECT MAX(sequence) FROM device_event WHERE account = ?1 AND stream = ?2 AND key = ?3 AND expires_ms > ?4",
            &[account.into(), stream(), event.key.clone().into(), now_ms.into()],
        )?;
        let with_key = rows.first().map(|row| row.optional_int(0)).transpose()?.flatten();
        let last = if event.key.is_empty() { sequence - 1 } else { with_key.unwrap_or(0) };
        if last > after {
            return Err(Problem::from(Code::EventConflict).detail(format!("the last one is {last}")));
        }
    }
    if !event.key.is_empty() {
        tx.execute(
            "DELETE FROM device_event WHERE account = ?1 AND stream = ?2 AND key = ?3",
            &[account.into(), stream(), event.key.clone().into()],
        )?;
    }
    let Publish { stream: name, number, key, body, ttl_s, .. } = event.clone();
    let expires_ms = now_ms + ttl_s.unwrap_or(TTL_S) * 1000;
    let device = device.to_owned();
    let event = Event { stream: name, sequence, device, number, key, body, created_ms: now_ms, expires_ms };
    insert(tx, account, &event)?;
    make_room(tx, account, &event.stream)?;
    set_cursor(tx, &event.device, &event.stream, 0, number)?;
    Ok(Published::New(event))
}

fn next_sequence(tx: &mut dyn SqlTransaction, account: i64, stream: &str) -> Result<i64, Problem> {
    let rows = tx.query(
        "UPDATE device_stream SET sequence = sequence + 1 WHERE account = ?1 AND name = ?2 RETURNING sequence",
        &[account.into(), stream.into()],
    )?;
    if let Some(row) = rows.first() {
        return Ok(row.int(0)?);
    }
    let rows = tx.query("SELECT COUNT(*) FROM device_stream WHERE account = ?1", &[account.into()])?;
    if rows.first().map_or(Ok(0), |row| row.int(0))? >= STREAMS_MAX {
        return Err(Code::StreamsFull.into());
    }
    let sql = "INSERT INTO device_stream (account, name, sequence, dropped) VALUES (?1, ?2, 1, 0)";
    tx.execute(sql, &[account.into(), stream.into()])?;
    Ok(1)
}

fn insert(tx: &mut dyn SqlTransaction, account: i64, event: &Event) -> Result<(), Problem> {
    let Event { stream, sequence, device, number, key, body, created_ms, expires_ms } = event.clone();
    tx.execute(
        "INSERT INTO device_event (account, stream, sequence, key, device, number, body, created_ms, expires_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        &[
            account.into(),
            stream.into(),
            sequence.into(),
            key.into(),
            device.into(),
            number.into(),
            body.into(),
            created_ms.into(),
            expires_ms.into(),
        ],
    )?;
    Ok(())
}

/// Drops a stream's oldest event where there is one too many, and notes that it did.
fn make_room(tx: &mut dyn SqlTransaction, account: i64, stream: &str) -> Result<(), Problem> {
    let rows = tx.query(
        "SELECT sequence FROM device_event WHERE account = ?1 AND stream = ?2
         ORDER BY sequence DESC LIMIT 1 OFFSET ?3",
        &[account.into(), stream.into(), EVENTS_MAX.into()],
    )?;
    let Some(row) = rows.first() else { return Ok(()) };
    let oldest = row.int(0)?;
    tx.execute(
        "DELETE FROM device_event WHERE account = ?1 AND stream = ?2 AND sequence <= ?3",
        &[account.into(), stream.into(), oldest.into()],
    )?;
    tx.execute(
        "UPDATE device_stream SET dropped = ?3 WHERE account = ?1 AND name = ?2",
        &[account.into(), stream.into(), oldest.into()],
    )?;
    Ok(())
}

/// Moves a device's cursor, never back.
fn set_cursor(
    tx: &mut dyn SqlTransaction,
    device: &str,
    stream: &str,
    acknowledged: i64,
    published: i64,
) -> Result<(), Problem> {
    tx.execute(
        "INSERT INTO device_cursor AS c (device, stream, acknowledged, published) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (device, stream) DO UPDATE SET
            acknowledged = CASE WHEN c.acknowledged < ?3 THEN ?3 ELSE c.acknowledged END,
            published = CASE WHEN c.published < ?4 THEN ?4 ELSE c.published END",
        &[device.into(), stream.into(), acknowledged.into(), published.into()],
    )?;
    Ok(())
}

/// The account's events of a stream after a sequence, its own included.
///
/// # Errors
/// [`Code::EventInvalid`].
pub fn catch_up(
    tx: &mut dyn SqlTransaction,
    account: i64,
    stream: &str,
    after: i64,
    now_ms: i64,
) -> Result<Caught, Problem> {
    let Some((sequence, dropped)) = last(tx, account, stream)? else {
        return Ok(Caught { events: Vec::new(), sequence: 0, more: false, gap: false });
    };
    let rows = tx.query(
        "SELECT sequence, device, number, key, body, created_ms, expires_ms FROM device_event
         WHERE account = ?1 AND stream = ?2 AND sequence > ?3 AND expires_ms > ?4 ORDER BY sequence LIMIT ?5",
        &[account.into(), stream.into(), after.into(), now_ms.into(), Value::Int(CATCH_UP_MAX as i64 + 1)],
    )?;
    let event = |row: &SqlRow| {
        Ok(Event {
            stream: stream.to_owned(),
            sequence: row.int(0)?,
            device: row.text(1)?,
            number: row.int(2)?,
            key: row.text(3)?,
            body: row.text(4)?,
            created_ms: row.int(5)?,
            expires_ms: row.int(6)?,
        })
    };
    let events = rows.iter().take(CATCH_UP_MAX).map(event).collect::<Result<_, Problem>>()?;
    Ok(Caught { events, sequence, more: rows.len() > CATCH_UP_MAX, gap: after < dropped })
}

/// Notes that a device needs the events up to this one no more; those that no device needs are deleted.
///
/// # Errors
/// [`Code::EventInvalid`] where there is no such event yet.
pub fn acknowledge(
    tx: &mut dyn SqlTransaction,
    account: i64,
    device: &str,
    stream: &str,
    sequence: i64,
) -> Result<(), Problem> {
    let known = last(tx, account, stream)?.is_some_and(|(last, _)| (0..=last).contains(&sequence));
    if !known {
        return Err(Problem::from(Code::EventInvalid).detail("the stream has no such event yet"));
    }
    set_cursor(tx, device, stream, sequence, 0)?;
    tx.execute(
        "DELETE FROM device_event WHERE account = ?1 AND stream = ?2 AND key = '' AND sequence <=
            (SELECT MIN(COALESCE(c.acknowledged, 0)) FROM device d
             LEFT JOIN device_cursor c ON c.device = d.id AND c.stream = ?2 WHERE d.account = ?1)",
        &[account.into(), stream.into()],
    )?;
    Ok(())
}

/// The account's streams by name.
pub fn streams(tx: &mut dyn SqlTransaction, account: i64, device: &str) -> Result<Vec<Stream>, Problem> {
    let rows = tx.query(
        "SELECT s.name, s.sequence, COALESCE(c.acknowledged, 0), COALESCE(c.published, 0) FROM device_stream s
         LEFT JOIN device_cursor c ON c.device = ?2 AND c.stream = s.name
         WHERE s.account = ?1 ORDER BY s.name",
        &[account.into(), device.into()],
    )?;
    let stream = |row: &SqlRow| {
        Ok(Stream {
            stream: row.text(0)?,
            sequence: row.int(1)?,
            acknowledged: row.int(2)?,
            number: row.int(3)?,
        })
    };
    rows.iter().map(stream).collect()
}

/// A stream's last sequence, and the last one that was dropped.
fn last(tx: &mut dyn SqlTransaction, account: i64, stream: &str) -> Result<Option<(i64, i64)>, Problem> {
    if !is_name(stream) {
        return Err(Problem::from(Code::EventInvalid).detail("there is no stream of such a name"));
    }
    let rows = tx.query(
        "SELECT sequence, dropped FROM device_stream WHERE account = ?1 AND name = ?2",
        &[account.into(), stream.into()],
    )?;
    rows.first().map(|row| Ok((row.int(0)?, row.int(1)?))).transpose()
}

#[cfg(test)]
mod tests;
