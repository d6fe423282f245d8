//! Sessions that are recorded and played again, and logs that were damaged.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock};

use proptest::prelude::*;
use vyuha_core::SimdLevel;
use vyuha_protocol::message::{ClientMessage, Drop, Input, Logout, Message, PickUp, Ping, Say};
use vyuha_protocol::{EntityId, ZoneId};

use super::bytes::Bytes;
use super::*;
use crate::content::Content;
use crate::gates::Carried;
use crate::shard::tests::play::{COIN, Play, SWORD, carried, config, content_with_gates};
use crate::shard::{MovingZone, Outbox, Part, SessionId, Shard};

const SESSIONS: u32 = 4;

#[derive(Debug, Clone)]
enum Act {
    Join(u32),
    Arrive(u32, u64),
    Leave(u32),
    Steer(u32, i8, i8),
    Say(u32, String),
    Drop(u32, u8, u32),
    PickUp(u32, u32),
    Logout(u32),
    OpenDurable(bool),
    Owe(u32, bool),
    Detach(u16),
    /// The oldest zone that is on its way, its sessions with numbers from this one on, after so many ticks.
    Attach(u32, u32),
    Tick,
}

fn act() -> impl Strategy<Value = Act> {
    let session = || 0..SESSIONS;
    prop_oneof![
        8 => session().prop_map(Act::Join),
        4 => (session(), 0..200u64).prop_map(|(session, chat_ticks)| Act::Arrive(session, chat_ticks)),
        2 => session().prop_map(Act::Leave),
        30 => (session(), any::<i8>(), any::<i8>()).prop_map(|(session, x, y)| Act::Steer(session, x, y)),
        4 => (session(), "[a-z]{0,30}").prop_map(|(session, text)| Act::Say(session, text)),
        10 => (session(), 0..4u8, 0..5u32).prop_map(|(session, slot, count)| Act::Drop(session, slot, count)),
        10 => (session(), 0..30u32).prop_map(|(session, entity)| Act::PickUp(session, entity)),
        2 => session().prop_map(Act::Logout),
        2 => (session(), any::<bool>()).prop_map(|(session, owes)| Act::Owe(session, owes)),
        3 => proptest::bool::weighted(0.8).prop_map(Act::OpenDurable),
        2 => (1..4u16).prop_map(Act::Detach),
        6 => (0..3u32, 0..9u32).prop_map(|(first, still)| Act::Attach(first, still)),
        40 => Just(Act::Tick),
    ]
}

fn world() -> Arc<Content> {
    static WORLD: OnceLock<Arc<Content>> = OnceLock::new();
    WORLD.get_or_init(|| Arc::new(content_with_gates())).clone()
}

fn head() -> Head {
    let content_hash = world().hash;
    Head { build: "test".into(), shard: 3, content_hash, config: config(), ground: vec![], known: vec![] }
}

/// Keeps what it is given, up to so many records.
#[derive(Clone)]
struct Kept {
    records: Arc<Mutex<Vec<Vec<u8>>>>,
    records_max: usize,
    overflowed: Arc<Mutex<bool>>,
}

impl Kept {
    fn up_to(records_max: usize) -> Kept {
        Kept { records: Arc::default(), records_max, overflowed: Arc::default() }
    }

    fn records(&self) -> Vec<Vec<u8>> {
        self.records.lock().unwrap().clone()
    }
}

impl Sink for Kept {
    fn take(&mut self, record: Vec<u8>) -> bool {
        let mut records = self.records.lock().unwrap();
        let takes = records.len() < self.records_max;
        if takes {
            records.push(record);
        }
        takes
    }

    fn overflowed(&mut self) {
        *self.overflowed.lock().unwrap() = true;
    }
}

/// A recorded shard and what is handed to it.
struct Session {
    shard: Recorded,
    out: Outbox,
    request: u32,
    moving: VecDeque<Box<MovingZone>>,
}

impl Session {
    fn begin(sink: Option<Kept>) -> Session {
        let shard = Shard::new(config(), world(), &[], &[]).unwrap();
        let shard = Recorded::new(shard, sink.map(|sink| Box::new(sink) as _));
        let mut session = Session { shard, out: Outbox::default(), request: 0, moving: VecDeque::new() };
        session.shard.bootstrap(&mut session.out);
        session
    }

    fn receive<M: Message>(&mut self, session: u32, message: &M) {
        let mut payload = Vec::new();
        message.archive(&mut payload);
        self.shard.receive(SessionId(session), M::KIND, &payload, &mut self.out).unwrap();
    }

    fn nonce(&self, session: u32) -> u32 {
        let playing = self.shard.sessions.iter().find(|(id, _)| id.0 == session);
        playing.map_or(0, |(_, session)| session.nonce)
    }

    fn perform(&mut self, act: &Act) {
        self.request += 1;
        let request = self.request;
        match act {
            Act::Join(session) => {
                let character = i64::from(*session);
                let row = Play::new().character(character).clone();
                let items = [
                    carried(10 * character, character, COIN, 60, 0),
                    carried(10 * character + 1, character, SWORD, 1, 1),
                ];
                // A slot that is taken refuses; that is recorded as well.
                let _ = self.shard.join(SessionId(*session), request, row, &items, &mut self.out);
            }
            Act::Arrive(session, chat_ticks) => {
                let character = i64::from(*session) + 100;
                let carried = Carried {
                    character: Play::new().character(character).clone(),
                    items: vec![carried(10 * character, character, COIN, 60, 0)],
                    request: request - 1,
                    nonce: 77,
                    sequence: request - 1,
                    chat_ticks: *chat_ticks,
                    owes: chat_ticks.is_multiple_of(2),
                };
                let _ = self.shard.arrive(SessionId(*session), carried, &mut self.out);
            }
            Act::Leave(session) => self.shard.leave(SessionId(*session), &mut self.out),
            Act::Owe(session, owes) => self.shard.set_owes(SessionId(*session), *owes, &mut self.out),
            Act::Steer(session, heading_x, heading_y) => {
                let (heading_x, heading_y) = (*heading_x, *heading_y);
                self.receive(*session, &Input { sequence: request, heading_x, heading_y });
            }
            Act::Say(session, text) => self.receive(*session, &Say { request, text: text.clone() }),
            Act::Drop(session, slot, count) => {
                let nonce = self.nonce(*session);
                self.receive(*session, &Drop { request, nonce, slot: *slot, count: *count });
            }
            Act::PickUp(session, nth) => {
                let nonce = self.nonce(*session);
                self.receive(*session, &PickUp { request, nonce, entity: EntityId::new(*nth, 0).0 });
            }
            Act::Logout(session) => self.receive(*session, &Logout { request }),
            Act::Detach(zone) => self.moving.extend(self.shard.detach(ZoneId(*zone), &mut self.out)),
            Act::Attach(first, still_ticks) => {
                if let Some(zone) = self.moving.pop_front() {
                    let numbers: Vec<SessionId> =
                        (*first..).map(SessionId).take(zone.sessions().len()).collect();
                    // Numbers that are taken make an end of the zone; that is recorded as well.
                    let _ = self.shard.attach(zone, &numbers, *still_ticks);
                }
            }
            Act::OpenDurable(open) => self.shard.set_durable_open(*open),
            Act::Tick => {
                self.shard.tick(&mut (), &mut self.out);
                let mut snapshot = Vec::new();
                self.shard.write_snapshot(SessionId(0), &mut snapshot);
                self.out.clear();
            }
        }
    }
}

/// Two players that walk, drop and talk for so many ticks: their records.
fn played(ticks: usize) -> Vec<Vec<u8>> {
    let kept = Kept::up_to(usize::MAX);
    let mut session = Session::begin(Some(kept.clone()));
    (0..2).for_each(|player| session.perform(&Act::Join(player)));
    for tick in 0..ticks {
        session.perform(&Act::Steer(0, 127, 30));
        session.perform(&Act::Steer(1, 0, if tick % 20 < 10 { 100 } else { -100 }));
        if tick == 5 {
            session.perform(&Act::Drop(1, 0, 7));
        }
        session.perform(&Act::OpenDurable(true));
        session.perform(&Act::Tick);
    }
    kept.records()
}

fn replay(simd: SimdLevel) -> Replay {
    let mut bytes = Vec::new();
    head().encode(&mut bytes);
    Replay::new(Head::decode(&bytes, simd).unwrap(), world()).unwrap()
}

/// The first difference of these records.
fn difference(records: &[Vec<u8>]) -> Option<Difference> {
    let mut replay = replay(SimdLevel::detect());
    records.iter().find_map(|record| replay.tick(record, &mut ZonesBetween::default()).unwrap())
}

/// A log as a file has it.
fn file(records: &[Vec<u8>]) -> Vec<u8> {
    let mut file = preamble().to_vec();
    let mut bytes = Vec::new();
    head().encode(&mut bytes);
    append_frame(&mut file, &bytes);
    for record in records {
        append_frame(&mut file, record);
    }
    file
}

/// The payloads of a file's whole frames, and what comes after the last one.
fn frames(file: &[u8]) -> Result<(Vec<Vec<u8>>, usize), LogError> {
    let Some((preamble, mut rest)) = file.split_first_chunk() else { return Ok((Vec::new(), file.len())) };
    check_preamble(preamble)?;
    let mut payloads = Vec::new();
    while let Some(payload) = first_frame(rest)? {
        payloads.push(payload.to_vec());
        rest = &rest[FRAME_HEAD_BYTES + payload.len()..];
    }
    Ok((payloads, rest.len()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn one_log_gives_one_state_at_every_level(acts in proptest::collection::vec(act(), 1..300)) {
        let kept = Kept::up_to(usize::MAX);
        let (mut session, mut unrecorded) = (Session::begin(Some(kept.clone())), Session::begin(None));
        for act in acts.iter().chain([&Act::Tick]) {
            session.perform(act);
            unrecorded.perform(act);
        }
        prop_assert_eq!(session.shard.state_hash(), unrecorded.shard.state_hash(), "recording changes nothing");
        let records = kept.records();
        prop_assert_eq!(records.len() as u64, session.shard.tick_number());
        for simd in SimdLevel::supported() {
            let mut replay = replay(simd);
            prop_assert!(replay.shard().zones().all(|zone| zone.zone.simd() == simd));
            let mut moving = ZonesBetween::default();
            for record in &records {
                prop_assert_eq!(replay.tick(record, &mut moving).unwrap(), None, "{}", simd.name());
            }
            prop_assert_eq!(replay.shard().state_hash(), session.shard.state_hash());
        }
    }

    #[test]
    fn bytes_of_any_kind_never_panic(bytes: Vec<u8>, at: prop::sample::Index, change in 1..=255u8) {
        let _ = Head::decode(&bytes, SimdLevel::SCALAR);
        let _ = first_frame(&bytes);
        let _ = replay(SimdLevel::SCALAR).tick(&bytes, &mut ZonesBetween::default());
        let mut records = played(3);
        let record = &mut records[1];
        let at = at.index(record.len());
        record[at] ^= change;
        let mut replay = replay(SimdLevel::SCALAR);
        let found: Vec<_> = records[..2].iter().map(|record| replay.tick(record, &mut ZonesBetween::default())).collect();
        prop_assert_eq!(&found[0], &Ok(None));
        prop_assert_ne!(&found[1], &Ok(None), "byte {} of a record means something", at);
        let mut head_bytes = Vec::new();
        head().encode(&mut head_bytes);
        let at = at % head_bytes.len();
        head_bytes[at] ^= change;
        prop_assert_ne!(Head::decode(&head_bytes, config().simd).ok(), Some(head()), "byte {} of a head", at);
    }

    #[test]
    fn a_changed_byte_is_told_and_what_was_before_it_is_read(at: prop::sample::Index, change in 1..=255u8) {
        let records = played(3);
        let mut file = file(&records);
        let at = at.index(file.len());
        file[at] ^= change;
        let error = frames(&file).unwrap_err();
        prop_assert!(
            matches!(error, LogError::NoLog | LogError::Version { .. } | LogError::Checksum),
            "byte {at}: {error}"
        );
    }
}

#[test]
fn a_log_that_was_torn_at_any_byte_is_read_to_its_last_whole_tick() {
    let records = played(4);
    let file = file(&records);
    let ends: Vec<usize> = (0..=records.len()).map(|count| self::file(&records[..count]).len()).collect();
    for length in 0..=file.len() {
        let (payloads, left) = frames(&file[..length]).unwrap();
        let whole = ends.iter().filter(|end| **end <= length).count();
        assert_eq!(payloads.len(), whole, "torn at {length}");
        assert_eq!(
            left == 0,
            length == 0 || ends.contains(&length) || length == PREAMBLE_BYTES,
            "at {length}"
        );
        if whole > 1 {
            assert_eq!(difference(&payloads[1..]), None);
        }
    }
}

/// A record with one of its hashes, counted from the end, changed.
fn with_hash_changed(record: &[u8], from_end: usize) -> Vec<u8> {
    let mut record = record.to_vec();
    let at = record.len() - 8 * from_end;
    record[at] ^= 1;
    record
}

#[test]
fn a_changed_hash_is_found_at_its_tick_zone_and_column() {
    let records = played(12);
    let parts = replay(SimdLevel::detect()).shard().parts();
    let names: Vec<&str> = parts.iter().map(|part| part.column).collect();
    let systems = ["random", "npcs", "ground", "players", "sessions"];
    let of_zone = [&["step"], &vyuha_core::COLUMNS[..], &systems].concat();
    assert_eq!(names, [&["shard"], &of_zone[..], &of_zone].concat());
    for (index, part) in parts.iter().enumerate() {
        let mut records = records.clone();
        records[7] = with_hash_changed(&records[7], parts.len() - index);
        assert_eq!(difference(&records), Some(Difference { tick: 8, parts: vec![*part] }));
    }
}

#[test]
fn a_changed_input_is_found_at_its_tick_zone_and_column() {
    let mut records = played(12);
    let mut input = Vec::new();
    Input { sequence: 15, heading_x: 127, heading_y: 30 }.archive(&mut input);
    let place_in = |record: &Vec<u8>| record.windows(input.len()).position(|bytes| bytes == input);
    let (index, at) =
        records.iter().enumerate().find_map(|(index, record)| Some((index, place_in(record)?))).unwrap();
    // The archive ends with both axes.
    records[index][at + input.len() - 2] = -100_i8 as u8;
    let found = difference(&records).expect("another way leads elsewhere");
    assert_eq!((index, found.tick), (3, 4));
    let part = |column| Part { zone: Some(ZoneId(1)), column };
    assert_eq!(found.parts, ["step", "place", "displacement"].map(part));
}

#[test]
fn every_call_is_recorded_as_it_was_made() {
    let kept = Kept::up_to(usize::MAX);
    let mut session = Session::begin(Some(kept.clone()));
    let acts = [
        Act::Join(0),
        Act::Steer(0, 1, 2),
        Act::OpenDurable(false),
        Act::Owe(0, true),
        Act::Leave(0),
        Act::Tick,
    ];
    for act in &acts {
        session.perform(act);
    }
    // What is no message never came to the shard.
    assert!(session.shard.receive(SessionId(0), 0x7777, &[], &mut session.out).is_err());
    session.perform(&Act::Tick);

    let records = kept.records();
    let mut bytes = Bytes(&records[0]);
    let mut calls = Vec::new();
    while calls.last() != Some(&Call::Tick) {
        calls.push(Call::decode(&mut bytes).unwrap());
    }
    let session = SessionId(0);
    let mut payload = Vec::new();
    Input { sequence: 2, heading_x: 1, heading_y: 2 }.archive(&mut payload);
    assert!(matches!(&calls[1], Call::Join { request: 1, items, .. } if items.len() == 2));
    assert_eq!(calls.len(), 7);
    assert_eq!(calls[0], Call::Bootstrap);
    assert_eq!(calls[2], Call::Receive { session, kind: Input::KIND, payload: &payload });
    let owes = Call::SetOwes { session, owes: true };
    assert_eq!(calls[3..], [Call::SetDurableOpen(false), owes, Call::Leave { session }, Call::Tick]);
    assert_eq!(records[1][0], 0, "the second record is a tick and nothing else");
    assert_eq!(records.len(), 2);
}

#[test]
fn a_sink_that_takes_no_more_ends_the_recording_and_not_the_play() {
    let kept = Kept::up_to(3);
    let mut session = Session::begin(Some(kept.clone()));
    (0..6).for_each(|_| session.perform(&Act::Tick));
    assert_eq!((kept.records().len(), session.shard.tick_number()), (3, 6));
    assert_eq!(difference(&kept.records()), None);
}

#[test]
fn a_tick_that_brings_too_much_ends_the_recording() {
    let kept = Kept::up_to(usize::MAX);
    let mut session = Session::begin(Some(kept.clone()));
    session.perform(&Act::Tick);
    // A message is read from its end; what is in front of it counts all the same.
    let mut payload = vec![0; 1 << 20];
    Ping { stamp: 1 }.archive(&mut payload);
    for _ in 0..=RECORD_BYTES_MAX / payload.len() {
        assert!(!*kept.overflowed.lock().unwrap());
        session.shard.receive(SessionId(0), Ping::KIND, &payload, &mut session.out).unwrap();
    }
    assert!(*kept.overflowed.lock().unwrap());
    session.perform(&Act::Tick);
    assert_eq!((kept.records().len(), session.shard.tick_number()), (1, 2));
}

/// Panics in a tick.
struct Faulty;

impl vyuha_core::Probe for Faulty {
    fn lap(&mut self, _: vyuha_core::Pass) {
        panic!("planted");
    }
}

impl crate::TickProbe for Faulty {
    fn lap_system(&mut self, _: &'static str) {}
}

#[test]
fn what_led_to_a_panic_is_recorded() {
    let kept = Kept::up_to(usize::MAX);
    let mut session = Session::begin(Some(kept.clone()));
    session.perform(&Act::Tick);
    let panicked = std::thread::spawn(move || {
        session.perform(&Act::Join(2));
        session.shard.tick(&mut Faulty, &mut session.out);
    });
    assert!(panicked.join().is_err());
    let records = kept.records();
    let mut replay = replay(SimdLevel::detect());
    assert_eq!(replay.tick(&records[0], &mut ZonesBetween::default()), Ok(None));
    assert_eq!(replay.tick(&records[1], &mut ZonesBetween::default()), Err(LogError::Truncated));
    assert_eq!(replay.shard().tick_number(), 2, "its calls were made");
    assert_eq!(replay.shard().zones().map(|zone| zone.players).sum::<usize>(), 1);
    assert_eq!(records.len(), 2);
}

#[test]
fn what_cannot_be_replayed_is_refused() {
    let mut bytes = Vec::new();
    head().encode(&mut bytes);
    let simd = SimdLevel::detect();
    assert_eq!(
        Head::decode(&bytes, simd),
        Ok(Head { config: crate::ShardConfig { simd, ..config() }, ..head() })
    );
    // Behind the build's name: numbers of messages (u32), rows (u64) and columns (u64).
    for (at, what) in [(8, "messages"), (12, "rows"), (20, "columns")] {
        let mut other = bytes.clone();
        other[at] ^= 1;
        let build = "test".to_owned();
        assert_eq!(Head::decode(&other, simd), Err(LogError::Build { build, what }));
    }
    for length in 0..bytes.len() {
        assert_eq!(Head::decode(&bytes[..length], simd), Err(LogError::Truncated));
    }
    let strange = Head { content_hash: [1; 32], ..head() };
    assert_eq!(Replay::new(strange, world()).err(), Some(ReplayError::Content));
    let mut zoneless = head();
    zoneless.config.zones.push(ZoneId(9));
    assert!(matches!(Replay::new(zoneless, world()), Err(ReplayError::Shard(_))));

    let mut version = preamble();
    assert_eq!(check_preamble(&version), Ok(()));
    version[8] += 1;
    assert_eq!(check_preamble(&version), Err(LogError::Version { found: LOG_VERSION + 1 }));
    assert_eq!(check_preamble(&[7; PREAMBLE_BYTES]), Err(LogError::NoLog));

    let records = played(3);
    let mut replay = replay(simd);
    assert_eq!(replay.tick(&records[0], &mut ZonesBetween::default()), Ok(None));
    assert_eq!(
        replay.tick(&records[2], &mut ZonesBetween::default()),
        Err(LogError::Tick { expected: 2, found: 3 })
    );
    let mut leave = vec![4];
    leave.extend(SESSIONS_MAX.to_le_bytes());
    for (record, expected) in [
        (vec![10], LogError::Call(10)),
        (vec![9, 0, 0, 0, 0, 2], LogError::Range("a yes or no")),
        (vec![5, 2], LogError::Range("a yes or no")),
        (leave, LogError::Range("a session's number")),
        (vec![], LogError::Truncated),
        ([&played(1)[0][..], &[0]].concat(), LogError::Trailing(1)),
    ] {
        assert_eq!(self::replay(simd).tick(&record, &mut ZonesBetween::default()), Err(expected));
    }
    assert!(ClientMessage::decode(0x7777, &[]).is_err());
}
