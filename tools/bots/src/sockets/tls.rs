//! TLS of the links: what is sent is sealed when it is queued, and what arrives is opened before anybody hears of it.

use super::{Arrived, Links, Sink};

impl Links {
    /// Seals what `write` appends and has it sent. Returns how many bytes `write` appended, or `None` if more waits for the
    /// end of the handshake than may.
    pub(super) fn send_sealed(&mut self, slot: u32, write: impl FnOnce(&mut Vec<u8>)) -> Option<usize> {
        let mut tls = self.slots[slot as usize].tls.take()?;
        let mut plain = std::mem::take(&mut self.plain);
        plain.clear();
        write(&mut plain);
        let mut sealed = Ok(());
        self.put(slot, |out| sealed = tls.seal(&plain, out));
        let bytes = plain.len();
        self.plain = plain;
        self.slots[slot as usize].tls = Some(tls);
        sealed.ok().map(|()| bytes)
    }

    /// Hands out what arrived on an open connection.
    pub(super) fn arrived(&mut self, slot: u32, bytes: &[u8], sink: Sink<'_>) {
        let link = &mut self.slots[slot as usize];
        let serial = link.serial;
        let Some(mut tls) = link.tls.take() else { return sink(self, slot, Arrived::Bytes(bytes)) };
        let mut plain = std::mem::take(&mut self.plain);
        plain.clear();
        let mut opened = Ok(());
        self.put(slot, |out| opened = tls.open(bytes, &mut plain, out));
        self.slots[slot as usize].tls = Some(tls);
        if !plain.is_empty() {
            sink(self, slot, Arrived::Bytes(&plain));
        }
        if let Err(error) = opened
            && self.link(slot, serial).is_some()
        {
            sink(self, slot, Arrived::Failed(error.kind()));
        }
        self.plain = plain;
    }
}
