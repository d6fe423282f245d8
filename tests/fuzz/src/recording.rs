//! The recording of a shard's inputs, read and played again.

use std::sync::{Arc, Mutex};

use vyuha_core::SimdLevel;
use vyuha_game::shard::log::{
    FRAME_HEAD_BYTES, Head, PREAMBLE_BYTES, Recorded, Replay, Sink, ZonesBetween, append_frame,
    check_preamble, first_frame, preamble,
};
use vyuha_game::{Outbox, SessionId, Shard};
use vyuha_protocol::EntityId;
use vyuha_protocol::message::{Drop, Input, Message, PickUp, Say};

use crate::stored::character;
use crate::wire::{content, item, nonce, shard_config};

/// A recording, or its frames' payloads, each behind a length, so that changes need no checksum: a head that is accepted is
/// encoded as it came, and its ticks are refused or made.
pub fn recording(input: &[u8]) {
    let mut payloads = match input.split_first_chunk::<PREAMBLE_BYTES>() {
        Some((first, frames)) if check_preamble(first).is_ok() => framed(frames),
        _ => behind_lengths(input),
    }
    .into_iter();
    let Some(first) = payloads.next() else { return };
    let Ok(head) = Head::decode(first, SimdLevel::detect()) else { return };
    let mut again = Vec::new();
    head.encode(&mut again);
    assert_eq!(again, first, "a head has one encoding");
    let Ok(mut replay) = Replay::new(head, content()) else { return };
    let mut away = ZonesBetween::default();
    for record in payloads {
        // A tick that led elsewhere is gone on from, to see more of what may come.
        if replay.tick(record, &mut away).is_err() {
            return;
        }
    }
}

fn framed(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut payloads = Vec::new();
    while let Ok(Some(payload)) = first_frame(bytes) {
        payloads.push(payload);
        bytes = &bytes[FRAME_HEAD_BYTES + payload.len()..];
    }
    payloads
}

fn behind_lengths(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut payloads = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk() {
        let (payload, rest) = rest.split_at(rest.len().min(u32::from_le_bytes(*length) as usize));
        payloads.push(payload);
        bytes = rest;
    }
    payloads
}

/// Keeps every record.
struct Kept(Arc<Mutex<Vec<Vec<u8>>>>);

impl Sink for Kept {
    fn take(&mut self, record: Vec<u8>) -> bool {
        self.0.lock().expect("nobody panics with it").push(record);
        true
    }

    fn overflowed(&mut self) {}
}

pub fn seeds() -> Vec<Vec<u8>> {
    let head = Head {
        build: "test".to_owned(),
        shard: 0,
        content_hash: content().hash,
        config: shard_config(),
        ground: Vec::new(),
        known: Vec::new(),
    };
    let mut first = Vec::new();
    head.encode(&mut first);
    let records = [vec![first], records()].concat();
    let mut whole = preamble().to_vec();
    let mut unchecked = Vec::new();
    for payload in &records {
        append_frame(&mut whole, payload);
        unchecked.extend_from_slice(&(payload.len() as u32).to_le_bytes());
        unchecked.extend_from_slice(payload);
    }
    vec![unchecked, whole]
}

/// What is recorded of a character that comes, plays and leaves.
fn records() -> Vec<Vec<u8>> {
    let kept = Arc::new(Mutex::new(Vec::new()));
    let shard = Shard::new(shard_config(), content(), &[], &[]).expect("the configuration fits");
    let mut shard = Recorded::new(shard, Some(Box::new(Kept(kept.clone()))));
    let (session, mut out) = (SessionId(0), Outbox::default());
    shard.bootstrap(&mut out);
    shard.set_durable_open(true);
    shard.join(session, 1, character(), &[item()], &mut out).expect("the character is sound");
    for sequence in 1..=4 {
        receive(&mut shard, session, &Input { sequence, heading_x: 127, heading_y: 0 }, &mut out);
        match sequence {
            1 => receive(&mut shard, session, &Say { request: 2, text: "hello".to_owned() }, &mut out),
            2 => receive(
                &mut shard,
                session,
                &Drop { request: 3, nonce: nonce(), slot: 3, count: 10 },
                &mut out,
            ),
            3 => {
                let entity = EntityId::new(3, 0).0;
                receive(&mut shard, session, &PickUp { request: 4, nonce: nonce(), entity }, &mut out);
            }
            _ => shard.leave(session, &mut out),
        }
        shard.tick(&mut (), &mut out);
        out.clear();
    }
    drop(shard);
    std::mem::take(&mut kept.lock().expect("nobody panics with it"))
}

fn receive<M: Message>(shard: &mut Recorded, session: SessionId, message: &M, out: &mut Outbox) {
    let mut payload = Vec::new();
    message.archive(&mut payload);
    shard.receive(session, M::KIND, &payload, out).expect("the message is sound");
}
