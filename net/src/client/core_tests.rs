use std::collections::HashMap;
use std::sync::Arc;

use proptest::prelude::*;
use vyuha_protocol::frame::{CLIENT_PAYLOAD_BYTES_MAX, FRAME_HEAD_BYTES, FrameError, first_frame};
use vyuha_protocol::message::{
    self, AccountRegistered, BankOpened, CharacterCreated, CharacterSummary, Characters, ClientMessage,
    DecodeError, Done, Dropped, InventorySlot, ItemSlot, LoggedIn, LoggedOut, PickedUp, Pong, Resumed, Said,
    SlotsChanged, Ticket, TradeAsked, TradeChanged, TradeDone, TradeEnded, Welcome,
};
use vyuha_protocol::motion::Heading;
use vyuha_protocol::snapshot::{Enter, SnapshotError};
use vyuha_protocol::{CharacterId, EntityId, ErrorCode, PROTOCOL_VERSION, Pos, RequestId, TileMap, ZoneId};

use super::script::{BlockScript, SnapshotScript};
use super::*;

pub const ZONE: u16 = 3;

pub fn content() -> Arc<ClientContent> {
    let maps = HashMap::from([(ZoneId(ZONE), Arc::new(TileMap::open(64, 64)))]);
    Arc::new(ClientContent { hash: [9; 32], maps })
}

pub fn entered(request: u32) -> message::EnteredZone {
    let pos = Pos::tile_centre(5, 5);
    let inventory = vec![InventorySlot { slot: 2, kind: 4, count: 30 }];
    message::EnteredZone {
        request,
        zone: ZONE,
        tick_hz: 30,
        speed: 341,
        entity: 7,
        x: pos.x,
        y: pos.y,
        inventory,
        worn: vec![],
        nonce: 77,
    }
}

fn bytes<M: message::Message>(message: &M) -> Vec<u8> {
    let mut bytes = Vec::new();
    message::append(&mut bytes, message);
    bytes
}

fn refusal(request: u32, code: u16, closing: bool) -> message::Error {
    message::Error { request, code, closing, text: "a reason long enough to lie out of line".into() }
}

/// A core with a character in the zone, and its requests 1 to 3 answered.
fn playing() -> ClientCore {
    let mut core = ClientCore::new(content());
    core.hello().unwrap();
    core.log_in("abe", "12345678").unwrap();
    core.list_characters().unwrap();
    core.select_character(CharacterId(5)).unwrap();
    let mut stream = bytes(&Welcome { version: PROTOCOL_VERSION, build: "test".into() });
    stream.extend(bytes(&LoggedIn { request: 1, account: 4 }));
    stream.extend(bytes(&Characters { request: 2, characters: vec![] }));
    stream.extend(bytes(&entered(3)));
    core.receive(&stream).unwrap();
    while core.next_event().unwrap().is_some() {}
    core
}

fn after(core: &mut ClientCore, bytes: &[u8]) -> Result<Vec<Event>, Fault> {
    core.receive(bytes)?;
    std::iter::from_fn(|| core.next_event().transpose()).collect()
}

/// What a core has to send, in words.
fn sent(core: &ClientCore) -> Vec<String> {
    let mut sent = Vec::new();
    let mut rest = core.outgoing();
    while let Some(frame) = first_frame(rest, CLIENT_PAYLOAD_BYTES_MAX).unwrap() {
        sent.push(match ClientMessage::decode(frame.kind, frame.payload).unwrap() {
            ClientMessage::Hello(m) => format!("hello {} {}", m.version, m.content_hash[31]),
            ClientMessage::RegisterAccount(m) => format!("register {}", m.request),
            ClientMessage::Login(m) => format!("login {} {} {}", m.request, m.account, m.password),
            ClientMessage::RedeemTicket(m) => format!("redeem {} {}", m.request, m.ticket),
            ClientMessage::ListCharacters(m) => format!("list {}", m.request),
            ClientMessage::CreateCharacter(m) => format!("create {} {}", m.request, m.name),
            ClientMessage::SelectCharacter(m) => format!("select {} {}", m.request, m.character),
            ClientMessage::Input(m) => format!("input {} {} {}", m.sequence, m.heading_x, m.heading_y),
            ClientMessage::Say(m) => format!("say {} {}", m.request, m.text),
            ClientMessage::PickUp(m) => format!("pick up {} {}", m.request, m.entity),
            ClientMessage::Drop(m) => format!("drop {} {} {}", m.request, m.slot, m.count),
            ClientMessage::Move(m) => {
                format!("move {} {} {} {} {}", m.request, m.nonce, m.place, m.from, m.to)
            }
            ClientMessage::Equip(m) => format!("equip {} {} {}", m.request, m.nonce, m.slot),
            ClientMessage::Unequip(m) => format!("unequip {} {} {}", m.request, m.nonce, m.slot),
            ClientMessage::OpenBank(m) => format!("open bank {}", m.request),
            ClientMessage::Deposit(m) => {
                format!("deposit {} {} {} {} {}", m.request, m.nonce, m.slot, m.count, m.tab)
            }
            ClientMessage::Withdraw(m) => {
                format!("withdraw {} {} {} {} {}", m.request, m.nonce, m.slot, m.count, m.keep)
            }
            ClientMessage::AskTrade(m) => format!("ask {} {}", m.request, m.entity),
            ClientMessage::AcceptTrade(m) => format!("accept {} {}", m.request, m.entity),
            ClientMessage::Offer(m) => format!("offer {} {} {} {}", m.request, m.nonce, m.slot, m.count),
            ClientMessage::ConfirmTrade(m) => {
                format!("confirm {} {} {} {}", m.request, m.nonce, m.revision, m.step)
            }
            ClientMessage::CancelTrade(m) => format!("cancel {}", m.request),
            ClientMessage::Ping(m) => format!("ping {}", m.stamp),
            ClientMessage::Logout(m) => format!("logout {}", m.request),
            ClientMessage::Resume(m) => format!("resume {} {}", m.ticket[0], m.received),
            ClientMessage::Acknowledge(m) => format!("acknowledge {}", m.received),
        });
        rest = &rest[frame.bytes()..];
    }
    sent
}

#[test]
fn what_is_sent_is_what_was_asked_with_rising_requests() {
    let mut core = playing();
    core.input(Heading { x: 127, y: -3 }).unwrap();
    core.say("hello").unwrap();
    core.pick_up(EntityId(77)).unwrap();
    core.drop_items(4, 20).unwrap();
    core.ping(123).unwrap();
    assert_eq!(core.log_out(), Ok(RequestId(7)));
    let sent = sent(&core);
    let wanted = [
        "hello 4 9",
        "login 1 abe 12345678",
        "list 2",
        "select 3 5",
        "input 1 127 -3",
        "say 4 hello",
        "pick up 5 77",
        "drop 6 4 20",
        "ping 123",
        "logout 7",
    ];
    assert_eq!(sent, wanted);
    let half = core.outgoing().len() / 2;
    let second = core.outgoing()[half..].to_vec();
    core.mark_sent(half);
    assert_eq!(core.outgoing(), second);
}

#[test]
fn commands_about_items_carry_the_sessions_number() {
    let mut core = playing();
    core.mark_sent(core.outgoing().len());
    core.move_item(3, 399, 0).unwrap();
    core.equip(1).unwrap();
    core.unequip(10).unwrap();
    core.open_bank().unwrap();
    core.deposit(2, 30, 7).unwrap();
    core.withdraw(350, 30, true).unwrap();
    core.ask_trade(EntityId(8)).unwrap();
    core.accept_trade(EntityId(9)).unwrap();
    core.offer(2, 0).unwrap();
    core.confirm_trade(6, 2).unwrap();
    core.cancel_trade().unwrap();
    let wanted = [
        "move 4 77 3 399 0",
        "equip 5 77 1",
        "unequip 6 77 10",
        "open bank 7",
        "deposit 8 77 2 30 7",
        "withdraw 9 77 350 30 true",
        "ask 10 8",
        "accept 11 9",
        "offer 12 77 2 0",
        "confirm 13 77 6 2",
        "cancel 14",
    ];
    assert_eq!(sent(&core), wanted);

    let slot = ItemSlot { place: 3, slot: 350, kind: 4, count: 30, wear: 2, item: 1 << 40 };
    let mut stream = bytes(&SlotsChanged { request: 4, slots: vec![slot, slot] });
    stream.extend(bytes(&SlotsChanged { request: 0, slots: vec![] }));
    stream.extend(bytes(&BankOpened { request: 7, slots: vec![slot] }));
    stream.extend(bytes(&Done { request: 10 }));
    stream.extend(bytes(&TradeAsked { entity: 8, name: "Abe".into() }));
    let (yours, theirs) = (vec![slot], vec![]);
    let (partner, revision) = (8, 6);
    let (your_step, their_step) = (1, 2);
    let changed = TradeChanged { partner, revision, yours: yours.clone(), theirs, your_step, their_step };
    stream.extend(bytes(&changed));
    stream.extend(bytes(&TradeDone { slots: vec![slot] }));
    stream.extend(bytes(&TradeEnded { code: ErrorCode::TooFar as u16 }));
    let events = vec![
        Event::SlotsChanged { request: RequestId(4), slots: vec![slot, slot] },
        Event::SlotsChanged { request: RequestId(0), slots: vec![] },
        Event::BankOpened { request: RequestId(7), slots: vec![slot] },
        Event::Done { request: RequestId(10) },
        Event::TradeAsked { entity: EntityId(8), name: "Abe".into() },
        Event::TradeChanged { partner: EntityId(8), revision, yours, theirs: vec![], your_step, their_step },
        Event::TradeDone { slots: vec![slot] },
        Event::TradeEnded { code: Some(ErrorCode::TooFar) },
    ];
    assert_eq!(after(&mut core, &stream), Ok(events));
    let not_asked = Fault::NotAsked { message: "BankOpened", request: RequestId(5) };
    assert_eq!(after(&mut core, &bytes(&BankOpened { request: 5, slots: vec![] })), Err(not_asked));
}

/// Everything a server says in one course, and the events that it makes.
/// A core in a session with a first ticket, of which one message was received.
fn in_session() -> ClientCore {
    let mut core = ClientCore::new(content());
    core.hello().unwrap();
    core.select_character(CharacterId(5)).unwrap();
    let mut stream = bytes(&Welcome { version: PROTOCOL_VERSION, build: "test".into() });
    stream.extend(bytes(&Ticket { ticket: [1; 16] }));
    stream.extend(bytes(&entered(1)));
    after(&mut core, &stream).unwrap();
    core.mark_sent(core.outgoing().len());
    core
}

fn welcomed() -> Event {
    Event::Welcome { version: PROTOCOL_VERSION, build: "test".into() }
}

#[test]
fn a_session_goes_on_where_it_broke_off() {
    let mut core = in_session();
    core.say("one").unwrap();
    core.pick_up(EntityId(77)).unwrap();
    for _ in 0..10 {
        core.input(Heading { x: 5, y: 0 }).unwrap();
    }
    let said = bytes(&Said { entity: 7, name: "Abe".into(), text: "one".into() });
    assert_eq!(after(&mut core, &said).unwrap().len(), 1);
    // Half a message and what was not sent go with the connection.
    assert_eq!(after(&mut core, &said[..9]), Ok(vec![]));
    core.resume().unwrap();
    assert_eq!(sent(&core), ["hello 4 9", "resume 1 2"]);
    core.say("two").unwrap();
    assert_eq!(core.input(Heading { x: 5, y: 0 }), Err(SendError::Resuming));
    core.mark_sent(core.outgoing().len());

    let mut stream = bytes(&Welcome { version: PROTOCOL_VERSION, build: "test".into() });
    stream.extend(bytes(&Resumed { ticket: [2; 16], request: 2 }));
    stream.extend(bytes(&Done { request: 2 }));
    stream.extend(bytes(&refusal(3, ErrorCode::ItemGone as u16, false)));
    let events = after(&mut core, &stream).unwrap();
    assert_eq!(events[..3], [welcomed(), Event::Resumed, Event::Done { request: RequestId(2) }]);
    assert!(matches!(events[3..], [Event::Refused { request: RequestId(3), .. }]));
    let wanted = ["acknowledge 2", "pick up 3 77", "say 4 two"].map(str::to_owned);
    let inputs = (3..=10).map(|sequence| format!("input {sequence} 5 0"));
    assert_eq!(sent(&core), wanted.into_iter().chain(inputs).collect::<Vec<_>>());

    core.resume().unwrap();
    assert_eq!(sent(&core), ["hello 4 9", "resume 2 4"]);
    let mut stream = bytes(&Welcome { version: PROTOCOL_VERSION, build: "test".into() });
    stream.extend(bytes(&refusal(0, ErrorCode::ResumeRefused as u16, false)));
    assert_eq!(after(&mut core, &stream).unwrap().len(), 2);
    assert_eq!((core.requests_pending().count(), core.can_resume()), (0, false));
    assert_eq!(core.resume(), Err(SendError::NoSession));
    core.log_in("abe", "12345678").unwrap();
}

#[test]
fn what_was_received_is_acknowledged_with_the_next_snapshot() {
    let mut core = in_session();
    let said = bytes(&Said { entity: 7, name: "Abe".into(), text: "x".repeat(200) });
    let enough = 1024usize.div_ceil(said.len());
    for _ in 0..enough {
        after(&mut core, &said).unwrap();
    }
    after(&mut core, &bytes(&Pong { stamp: 1 })).unwrap();
    assert_eq!(sent(&core), [""; 0]);
    for tick in 1..3 {
        let mut snapshot = Vec::new();
        SnapshotScript { tick, pos: Pos::tile_centre(5, 5), ..SnapshotScript::default() }
            .append(&mut snapshot);
        after(&mut core, &snapshot).unwrap();
    }
    // The first message of the session was its EnteredZone.
    assert_eq!(sent(&core), [format!("acknowledge {}", enough + 1)]);
}

#[test]
fn a_session_that_nobody_asked_for_again_is_a_fault() {
    let mut core = in_session();
    let resumed = bytes(&Resumed { ticket: [2; 16], request: 2 });
    assert_eq!(after(&mut core, &resumed), Err(Fault::OutOfOrder("Resumed")));
    assert_eq!(core.resume(), Err(SendError::Over));
    assert_eq!(ClientCore::new(content()).resume(), Err(SendError::NoSession));
}

fn course() -> (ClientCore, Vec<u8>, Vec<Event>) {
    let mut core = ClientCore::new(content());
    core.hello().unwrap();
    core.register("abe", "12345678").unwrap();
    core.log_in("abe", "12345678").unwrap();
    core.create_character("Abe").unwrap();
    core.list_characters().unwrap();
    core.select_character(CharacterId(5)).unwrap();
    core.say("hello").unwrap();
    core.pick_up(EntityId(70)).unwrap();
    core.drop_items(2, 10).unwrap();
    core.log_out().unwrap();
    let slot = |count| InventorySlot { slot: 2, kind: 4, count };
    let summary = CharacterSummary { character: 5, name: "Abe".into(), zone: ZONE };
    let pos = Pos::tile_centre(5, 5);
    let block = BlockScript {
        full: true,
        enters: vec![Enter { entity: 7, local: pos.local(), kind: 0, state: 0 }],
        ..BlockScript::default()
    };
    let snapshot = SnapshotScript { tick: 90, pos, blocks: vec![block], ..SnapshotScript::default() };
    let mut stream = Vec::new();
    for part in [
        bytes(&Welcome { version: PROTOCOL_VERSION, build: "a build".into() }),
        bytes(&AccountRegistered { request: 1 }),
        bytes(&LoggedIn { request: 2, account: 4 }),
        bytes(&CharacterCreated { request: 3, character: 5 }),
        bytes(&Characters { request: 4, characters: vec![summary.clone()] }),
        bytes(&entered(5)),
    ] {
        stream.extend(part);
    }
    snapshot.append(&mut stream);
    for part in [
        bytes(&Said { entity: 7, name: "Abe".into(), text: "hello, all of you".into() }),
        bytes(&Done { request: 6 }),
        // Out of order: what must be durable may be answered later.
        bytes(&Dropped { request: 8, entity: 71, slot: slot(20) }),
        bytes(&refusal(7, ErrorCode::ItemGone as u16, false)),
        bytes(&Pong { stamp: 99 }),
        bytes(&LoggedOut { request: 9 }),
    ] {
        stream.extend(part);
    }
    let text = "a reason long enough to lie out of line".to_owned();
    let summed = SnapshotSummary {
        tick: 90,
        input_ack: 0,
        pos,
        correction: 0,
        entered: 1,
        changed: 0,
        left: 0,
        strays: 0,
    };
    let events = vec![
        Event::Welcome { version: PROTOCOL_VERSION, build: "a build".into() },
        Event::Registered { request: RequestId(1) },
        Event::LoggedIn { request: RequestId(2), account: vyuha_protocol::AccountId(4) },
        Event::CharacterCreated { request: RequestId(3), character: CharacterId(5) },
        Event::Characters { request: RequestId(4), characters: vec![summary] },
        Event::EnteredZone(EnteredZone {
            request: RequestId(5),
            zone: ZoneId(ZONE),
            tick_hz: 30,
            speed: 341,
            entity: EntityId(7),
            pos,
            inventory: vec![slot(30)],
            worn: vec![],
        }),
        Event::Snapshot(summed),
        Event::Said { entity: EntityId(7), name: "Abe".into(), text: "hello, all of you".into() },
        Event::Done { request: RequestId(6) },
        Event::Dropped { request: RequestId(8), entity: EntityId(71), slot: slot(20) },
        Event::Refused { request: RequestId(7), code: Some(ErrorCode::ItemGone), text },
        Event::Pong { stamp: 99 },
        Event::LoggedOut { request: RequestId(9) },
    ];
    (core, stream, events)
}

#[test]
fn an_answer_that_nobody_asked_for_is_a_fault() {
    let slot = InventorySlot { slot: 0, kind: 1, count: 1 };
    let not_asked = |message, request| Err(Fault::NotAsked { message, request: RequestId(request) });
    let mut core = playing();
    let said = core.say("hi").unwrap().0;
    let picked = PickedUp { request: said, entity: 1, slot };
    assert_eq!(after(&mut core, &bytes(&picked)), not_asked("PickedUp", said));
    // A fault is final.
    assert_eq!(
        core.receive(&bytes(&Done { request: said })),
        Err(Fault::NotAsked { message: "PickedUp", request: RequestId(said) })
    );
    assert_eq!(core.say("hi"), Err(SendError::Over));

    let mut core = playing();
    assert_eq!(after(&mut core, &bytes(&LoggedOut { request: 3 })), not_asked("LoggedOut", 3));
    let mut core = playing();
    let done = bytes(&Done { request: core.say("hi").unwrap().0 });
    assert_eq!(after(&mut core, &[done.clone(), done].concat()), not_asked("Done", 4));
}

#[test]
fn what_the_server_sends_wrong_is_a_typed_fault() {
    let snapshot = |tick, input_ack| {
        let mut out = Vec::new();
        let pos = Pos::tile_centre(5, 5);
        SnapshotScript { tick, input_ack, pos, ..SnapshotScript::default() }.append(&mut out);
        out
    };
    let fault = |core: &mut ClientCore, bytes: &[u8]| after(core, bytes).unwrap_err();
    let fresh = || ClientCore::new(content());
    assert_eq!(fault(&mut fresh(), &snapshot(1, 0)), Fault::OutOfOrder("Snapshot"));
    assert_eq!(
        fault(&mut playing(), &[snapshot(8, 0), snapshot(8, 0)].concat()),
        Fault::TickNotRising { tick: 8, last: 8 }
    );
    let ack = ReconcileError::AckInvalid { ack: 1, acknowledged: 0, sent: 0 };
    assert_eq!(fault(&mut playing(), &snapshot(8, 1)), Fault::Reconcile(ack));
    let mut cut = snapshot(8, 0);
    cut.pop();
    cut[0] -= 1;
    assert_eq!(fault(&mut playing(), &cut), Fault::Snapshot(SnapshotError::Truncated));
    assert_eq!(fault(&mut fresh(), &[0, 0, 0, 0, 0, 0, 1, 0]), Fault::Frame(FrameError::Reserved));
    let huge = [&u32::MAX.to_le_bytes()[..], &[0; 4]].concat();
    assert!(matches!(fault(&mut fresh(), &huge), Fault::Frame(FrameError::TooLarge { .. })));
    assert_eq!(
        fault(&mut fresh(), &bytes(&message::Ping { stamp: 1 })),
        Fault::Decode(DecodeError::UnknownKind(0x0014))
    );

    for (spoil, wanted) in [
        (message::EnteredZone { zone: 99, ..entered(1) }, Fault::ZoneUnknown(ZoneId(99))),
        (message::EnteredZone { tick_hz: 0, ..entered(1) }, Fault::ZoneInvalid(ZoneId(ZONE))),
        (message::EnteredZone { speed: 2048, ..entered(1) }, Fault::ZoneInvalid(ZoneId(ZONE))),
        (message::EnteredZone { x: 0, ..entered(1) }, Fault::ZoneInvalid(ZoneId(ZONE))),
    ] {
        let mut core = fresh();
        core.select_character(CharacterId(1)).unwrap();
        assert_eq!(fault(&mut core, &bytes(&spoil)), wanted);
    }
}

#[test]
fn nothing_follows_a_close() {
    let mut core = playing();
    let stream = [bytes(&refusal(0, 999, true)), bytes(&Pong { stamp: 1 })].concat();
    let text = "a reason long enough to lie out of line".to_owned();
    assert_eq!(after(&mut core, &stream), Ok(vec![Event::Closed { code: None, text }]));
    assert_eq!(core.receive(&stream), Ok(()));
    assert_eq!(core.next_event(), Ok(None));
    assert_eq!(core.input(Heading::default()), Err(SendError::Over));
}

#[test]
fn everything_is_bounded() {
    let mut core = ClientCore::new(content());
    assert_eq!(core.input(Heading::default()), Err(SendError::NotInZone));
    assert_eq!(core.say(&"x".repeat(2000)), Err(SendError::TooLong));
    assert!(core.outgoing().is_empty());
    for _ in 0..REQUESTS_PENDING_MAX {
        core.list_characters().unwrap();
    }
    assert_eq!(core.list_characters(), Err(SendError::TooManyRequests));
    while core.ping(1).is_ok() {}
    assert_eq!(core.ping(1), Err(SendError::OutgoingFull));
    assert!(core.outgoing().len() < OUTGOING_BYTES_MAX + 1200);

    let mut core = playing();
    for _ in 0..INPUTS_PENDING_MAX {
        core.input(Heading::default()).unwrap();
    }
    let before = core.outgoing().len();
    assert_eq!(core.input(Heading::default()), Err(SendError::TooManyInputs));
    assert_eq!(core.outgoing().len(), before);

    let mut core = ClientCore::new(content());
    let piece = vec![0; RECEIVED_BYTES_MAX / 2 + 1];
    core.receive(&piece).unwrap();
    assert_eq!(core.receive(&piece), Err(Fault::ReceivedFull));
}

#[test]
fn a_snapshot_reports_the_correction() {
    let mut core = playing();
    let (sequence, pos) = core.input(Heading { x: 127, y: 0 }).unwrap();
    let snapshot = |tick, pos| {
        let mut out = Vec::new();
        SnapshotScript { tick, input_ack: sequence, pos, ..SnapshotScript::default() }.append(&mut out);
        out
    };
    for (tick, pos, correction) in [(1, pos, 0), (2, Pos { x: pos.x - 30, y: pos.y + 40 }, 50)] {
        let events = after(&mut core, &snapshot(tick, pos)).unwrap();
        assert!(matches!(events[..], [Event::Snapshot(s)] if s.correction == correction), "{events:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn events_come_back_whatever_the_stream_is_cut_into(cuts in proptest::collection::vec(1usize..60, 1..40)) {
        let (mut core, stream, wanted) = course();
        let (mut rest, mut got) = (&stream[..], Vec::new());
        for cut in cuts.iter().cycle() {
            let (piece, after_piece) = rest.split_at((*cut).min(rest.len()));
            got.extend(after(&mut core, piece).unwrap());
            rest = after_piece;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(got, wanted);
        prop_assert_eq!(core.requests_pending().count(), 0);
    }

    #[test]
    fn damaged_bytes_never_panic(
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in 1usize..200,
    ) {
        let (mut core, mut stream, _) = course();
        for (at, value) in damage {
            let at = at.index(stream.len());
            stream[at] = value;
        }
        for piece in stream.chunks(cut) {
            if after(&mut core, piece).is_err() {
                prop_assert!(core.next_event().is_err());
                break;
            }
        }
    }

    #[test]
    fn any_payload_of_any_kind_never_panics(
        choice in any::<prop::sample::Index>(),
        payload in proptest::collection::vec(any::<u8>(), 0..120),
    ) {
        let mut kinds: Vec<u16> = message::ServerMessage::ALL.iter().map(|m| m.1).collect();
        kinds.push(vyuha_protocol::snapshot::SNAPSHOT_KIND);
        let mut core = playing();
        let mut frame = vec![0; FRAME_HEAD_BYTES];
        frame[0] = payload.len() as u8;
        frame[4..6].copy_from_slice(&choice.get(&kinds).to_le_bytes());
        frame.extend(payload);
        let _ = after(&mut core, &frame);
    }
}
