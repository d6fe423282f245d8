//! Values in a log, little-endian: numbers as they are, texts, blobs and rows behind a `u32` length.

use vyuha_record::Record;

use super::LogError;

/// Takes values off the front of a slice.
pub(super) struct Bytes<'a>(pub &'a [u8]);

impl<'a> Bytes<'a> {
    pub fn take(&mut self, length: usize) -> Result<&'a [u8], LogError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(LogError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], LogError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(LogError::Truncated)?;
        self.0 = rest;
        Ok(*taken)
    }

    pub fn u8(&mut self) -> Result<u8, LogError> {
        self.array().map(|[byte]| byte)
    }

    pub fn u16(&mut self) -> Result<u16, LogError> {
        self.array().map(u16::from_le_bytes)
    }

    pub fn u32(&mut self) -> Result<u32, LogError> {
        self.array().map(u32::from_le_bytes)
    }

    pub fn u64(&mut self) -> Result<u64, LogError> {
        self.array().map(u64::from_le_bytes)
    }

    pub fn blob(&mut self) -> Result<&'a [u8], LogError> {
        let length = self.u32()?;
        self.take(length as usize)
    }

    pub fn text(&mut self) -> Result<&'a str, LogError> {
        std::str::from_utf8(self.blob()?).map_err(|_| LogError::Text)
    }

    pub fn row<R: Record>(&mut self) -> Result<R, LogError> {
        Ok(R::decode(self.blob()?)?)
    }

    /// Values behind a `u32` count.
    pub fn list<T>(&mut self, read: impl Fn(&mut Self) -> Result<T, LogError>) -> Result<Vec<T>, LogError> {
        (0..self.u32()?).map(|_| read(self)).collect()
    }

    /// Succeeds only where every byte was taken.
    pub fn finish(self) -> Result<(), LogError> {
        if self.0.is_empty() { Ok(()) } else { Err(LogError::Trailing(self.0.len())) }
    }
}

/// Appends bytes behind their length.
pub(super) fn put_blob(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len() + 4;
    out.extend([0; 4]);
    write(out);
    let length = u32::try_from(out.len() - start).expect("a value is shorter than 4 GiB");
    out[start - 4..start].copy_from_slice(&length.to_le_bytes());
}

pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_blob(out, |out| out.extend(text.as_bytes()));
}

pub(super) fn put_rows<R: Record>(out: &mut Vec<u8>, rows: &[R]) {
    out.extend((rows.len() as u32).to_le_bytes());
    for row in rows {
        put_blob(out, |out| row.encode(out));
    }
}
