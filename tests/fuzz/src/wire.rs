//! What comes over the wire, in both directions, and what it does to a shard and to a client.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use vyuha_core::SimdLevel;
use vyuha_game::presence::Patience;
use vyuha_game::{Content, ItemRow, Outbox, SessionId, Shard, ShardConfig};
use vyuha_net::client::{ClientContent, ClientCore, World};
use vyuha_protocol::frame::{
    CLIENT_PAYLOAD_BYTES_MAX, Frame, SERVER_PAYLOAD_BYTES_MAX, append_frame, first_frame,
};
use vyuha_protocol::message::{
    ClientMessage, Deposit, Drop, EnteredZone, Equip, Hello, Input, Login, Logout, Message, Move, Offer,
    PickUp, Ping, Say, ServerMessage, Welcome, append,
};
use vyuha_protocol::msgpack;
use vyuha_protocol::snapshot::{SNAPSHOT_KIND, Snapshot};
use vyuha_protocol::{EntityId, PROTOCOL_VERSION, TileMap, ZoneId};

use crate::stored::character;
use crate::text::world_folder;

/// Bytes from a client, cut into frames and messages.
pub fn client_frames(input: &[u8]) {
    each_frame(input, CLIENT_PAYLOAD_BYTES_MAX, |kind, payload| {
        if let Ok(message) = ClientMessage::decode(kind, payload) {
            assert!(ClientMessage::ALL.iter().any(|(name, ..)| *name == message.name()));
        }
    });
}

/// Bytes from a server, as the client takes them, at once and byte by byte: both ways give the same events.
pub fn server_frames(input: &[u8]) {
    let events = |chunk: usize| {
        let maps = HashMap::from([(ZoneId(1), Arc::new(TileMap::open(64, 64)))]);
        let mut core = ClientCore::new(Arc::new(ClientContent { hash: [9; 32], maps }));
        core.hello().expect("the first message is sent");
        core.select_character(vyuha_protocol::CharacterId(5)).expect("a request is sent");
        let mut events = Vec::new();
        for bytes in input.chunks(chunk) {
            if core.receive(bytes).is_err() {
                break;
            }
            loop {
                match core.next_event() {
                    Ok(Some(event)) => events.push(format!("{event:?}")),
                    Ok(None) => break,
                    Err(fault) => {
                        events.push(fault.to_string());
                        return events;
                    }
                }
            }
        }
        events
    };
    let whole = events(usize::MAX);
    assert_eq!(events(7), whole, "how the bytes were cut into reads must not matter");
}

/// A snapshot's payload, applied twice to a client's view.
pub fn snapshot(input: &[u8]) {
    let Ok(snapshot) = Snapshot::read(input) else { return };
    assert_eq!(snapshot.blocks().count(), usize::from(snapshot.head.blocks));
    let mut world = World::default();
    for _ in 0..2 {
        if world.apply(&snapshot).is_err() {
            return;
        }
    }
    assert!(world.len() <= input.len() / 12, "each entity takes twelve bytes");
}

/// Bytes from a client that plays: a shard acts on them, and its client understands all it is told.
pub fn play(input: &[u8]) {
    let (mut shard, session, mut out) = playing();
    let (mut world, mut frame) = (World::default(), Vec::new());
    each_frame(input, CLIENT_PAYLOAD_BYTES_MAX, |kind, payload| {
        if let Ok(message) = ClientMessage::decode(kind, payload) {
            shard.receive(session, message, &mut out);
        }
        shard.tick(&mut (), &mut out);
        for transaction in vyuha_record::transactions(&out.transactions) {
            transaction.expect("a shard's transactions are sound").for_each(|op| {
                op.expect("and so are their operations");
            });
        }
        out.clear();
        frame.clear();
        if shard.write_snapshot(session, &mut frame) {
            let told = first_frame(&frame, SERVER_PAYLOAD_BYTES_MAX).expect("a frame").expect("a whole one");
            let snapshot = Snapshot::read(told.payload).expect("a snapshot is sound");
            world.apply(&snapshot).expect("a client can hold it");
        }
    });
}

/// A message in MessagePack, from a browser and to one: what is read is a frame, and says the same again.
pub fn msgpack(input: &[u8]) {
    let mut frames = Vec::new();
    if msgpack::append_client_frame(&mut frames, input).is_ok() {
        let frame = first_frame(&frames, u32::MAX).expect("a frame").expect("a whole one");
        let (mut packed, mut again) = (Vec::new(), Vec::new());
        msgpack::append_of_client(&mut packed, frame).expect("what was read is a client's message");
        msgpack::append_client_frame(&mut again, &packed).expect("what was written can be read");
        assert_eq!(again, frames);
        frames.clear();
    }
    assert!(frames.is_empty(), "what is refused leaves nothing");
    if msgpack::append_server_frame(&mut frames, input).is_ok() {
        let frame = first_frame(&frames, u32::MAX).expect("a frame").expect("a whole one");
        let (mut packed, mut again) = (Vec::new(), Vec::new());
        msgpack::append_of_server(&mut packed, frame).expect("what was read is a server's message");
        msgpack::append_server_frame(&mut again, &packed).expect("what was written can be read");
        assert_eq!(again, frames);
    }
}

/// The test world.
pub fn content() -> Arc<Content> {
    static CONTENT: OnceLock<Arc<Content>> = OnceLock::new();
    let content =
        CONTENT.get_or_init(|| Arc::new(Content::load(&world_folder()).expect("the test world is sound")));
    content.clone()
}

/// What a shard of the test world is told.
pub fn shard_config() -> ShardConfig {
    ShardConfig {
        zones: content().zones.iter().map(|zone| zone.id).collect(),
        tick_hz: 30,
        save_interval_ticks: 4,
        snapshot_bytes_max: 16 << 10,
        requests_per_second_max: 30,
        patience: Patience { away_ticks: 3, leave_ticks: 9 },
        seed: 7,
        began_ms: 0,
        next_item_id: 1000,
        item_id_stride: 1,
        simd: SimdLevel::detect(),
    }
}

/// What the character of the test world carries.
pub fn item() -> ItemRow {
    ItemRow { id: 9, kind: 1, count: 30, place: 0, owner: 5, slot: 3, x: 0, y: 0, wear: 0 }
}

/// A shard of the test world in which one character, with an item, has just arrived.
fn playing() -> (Shard, SessionId, Outbox) {
    let mut shard = Shard::new(shard_config(), content(), &[], &[]).expect("the configuration fits");
    let (session, mut out) = (SessionId(0), Outbox::default());
    shard.bootstrap(&mut out);
    shard.join(session, 1, character(), &[item()], &mut out).expect("the character is sound");
    (shard, session, out)
}

fn each_frame(mut bytes: &[u8], payload_bytes_max: u32, mut visit: impl FnMut(u16, &[u8])) {
    while let Ok(Some(frame)) = first_frame(bytes, payload_bytes_max) {
        let mut again = Vec::new();
        append_frame(&mut again, frame.kind, |out| out.extend_from_slice(frame.payload));
        assert_eq!(again, bytes[..frame.bytes()], "a frame has one encoding");
        visit(frame.kind, frame.payload);
        bytes = &bytes[frame.bytes()..];
    }
}

/// A message's frame.
fn one<M: Message>(message: &M) -> Vec<u8> {
    let mut frame = Vec::new();
    append(&mut frame, message);
    frame
}

/// The nonce of the session of [`playing`], which every run of it has.
pub fn nonce() -> u32 {
    let (_, _, out) = playing();
    let mut nonces = out.messages.iter().filter_map(|message| {
        let frame = first_frame(out.frame(message), SERVER_PAYLOAD_BYTES_MAX).ok()??;
        match ServerMessage::decode(frame.kind, frame.payload) {
            Ok(ServerMessage::EnteredZone(entered)) => Some(entered.nonce.to_native()),
            _ => None,
        }
    });
    nonces.next().expect("who joins is told of the zone")
}

pub fn client_seeds() -> Vec<Vec<u8>> {
    let heading = |heading_x, heading_y| Input { sequence: 1, heading_x, heading_y };
    let text = |length: usize| "a".repeat(length);
    let nonce = nonce();
    vec![
        [
            one(&Hello { version: PROTOCOL_VERSION, content_hash: [9; 32] }),
            one(&Login { request: 1, account: "abe".to_owned(), password: text(12) }),
        ]
        .concat(),
        [
            one(&heading(127, 0)),
            one(&Say { request: 2, text: text(40) }),
            one(&PickUp { request: 3, nonce, entity: EntityId::new(3, 0).0 }),
            one(&Drop { request: 4, nonce, slot: 3, count: 10 }),
            one(&Ping { stamp: 99 }),
            one(&Move { request: 5, nonce, place: 0, from: 3, to: 4 }),
            one(&Equip { request: 6, nonce, slot: 4 }),
            one(&Deposit { request: 7, nonce, slot: 4, count: 1, tab: 0 }),
            one(&Offer { request: 8, nonce, slot: 4, count: 1 }),
            one(&heading(-127, 5)),
            one(&Logout { request: 9 }),
        ]
        .concat(),
    ]
}

pub fn server_seeds() -> Vec<Vec<u8>> {
    let (mut shard, session, out) = playing();
    let told: Vec<u8> = out.messages.iter().flat_map(|message| out.frame(message).to_vec()).collect();
    let entered = EnteredZone {
        request: 1,
        zone: 1,
        tick_hz: 30,
        speed: 341,
        entity: 7,
        x: 70_000,
        y: 90_000,
        inventory: Vec::new(),
        worn: Vec::new(),
        nonce: 5,
    };
    let welcome = one(&Welcome { version: PROTOCOL_VERSION, build: "test".to_owned() });
    let mut snapshots = [welcome.clone(), one(&entered)].concat();
    for _ in 0..3 {
        shard.tick(&mut (), &mut Outbox::default());
        shard.write_snapshot(session, &mut snapshots);
    }
    vec![snapshots, [welcome.clone(), told].concat()]
}

pub fn snapshot_seeds() -> Vec<Vec<u8>> {
    let mut payloads = Vec::new();
    each_frame(&server_seeds()[0], SERVER_PAYLOAD_BYTES_MAX, |kind, payload| {
        if kind == SNAPSHOT_KIND {
            payloads.push(payload.to_vec());
        }
    });
    payloads
}

pub fn msgpack_seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for frames in client_seeds() {
        each_frame(&frames, CLIENT_PAYLOAD_BYTES_MAX, |kind, payload| {
            let mut packed = Vec::new();
            let frame = Frame { kind, payload };
            msgpack::append_of_client(&mut packed, frame).expect("a seed is sound");
            seeds.push(packed);
        });
    }
    for frames in server_seeds() {
        each_frame(&frames, SERVER_PAYLOAD_BYTES_MAX, |kind, payload| {
            let mut packed = Vec::new();
            let frame = Frame { kind, payload };
            msgpack::append_of_server(&mut packed, frame).expect("a seed is sound");
            seeds.push(packed);
        });
    }
    seeds
}
