use super::*;
use crate::frame::{CLIENT_PAYLOAD_BYTES_MAX, FRAME_HEAD_BYTES, first_frame};
use proptest::prelude::*;

/// Sends a message through bytes at every alignment and compares what comes out.
macro_rules! check {
    ($direction:ident, $message:expr, $name:ident) => {{
        let message: $name = $message;
        for offset in 0..8 {
            let mut bytes = vec![0xaa; offset];
            append(&mut bytes, &message);
            let frame = first_frame(&bytes[offset..], CLIENT_PAYLOAD_BYTES_MAX).unwrap().unwrap();
            assert_eq!(frame.kind, $name::KIND);
            let $direction::$name(archived) = $direction::decode(frame.kind, frame.payload).unwrap() else {
                panic!("{} came back as another message", $name::NAME)
            };
            let back: $name = rkyv::deserialize::<$name, Failure>(archived).unwrap();
            assert_eq!(back, message);
        }
        let (mut frame, mut packed, mut back) = (Vec::new(), Vec::new(), Vec::new());
        append(&mut frame, &message);
        $direction::decode($name::KIND, &frame[FRAME_HEAD_BYTES..]).unwrap().append_msgpack(&mut packed);
        $direction::append_frame_of_msgpack(&mut back, &packed).unwrap();
        assert_eq!(back, frame, "{} by MessagePack", $name::NAME);
    }};
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn messages_survive_the_wire(request: u32, text in ".{0,40}", n: i64, small: u8, count: u32, flag: bool) {
        let slot = InventorySlot { slot: small, kind: small as u16, count };
        check!(ClientMessage, Hello { version: request, content_hash: [small; 32] }, Hello);
        check!(ClientMessage, Login { request, account: text.clone(), password: text.clone() }, Login);
        check!(ClientMessage, RedeemTicket { request, ticket: text.clone() }, RedeemTicket);
        check!(ClientMessage, SelectCharacter { request, character: n }, SelectCharacter);
        check!(ClientMessage, Input { sequence: request, heading_x: small as i8, heading_y: -3 }, Input);
        check!(ClientMessage, Say { request, text: text.clone() }, Say);
        check!(ClientMessage, Drop { request, nonce: count, slot: small, count }, Drop);
        check!(ClientMessage, Withdraw { request, nonce: count, slot: 7, count, keep: flag }, Withdraw);
        let characters = vec![CharacterSummary { character: n, name: text.clone(), zone: 3 }; small as usize % 5];
        check!(ServerMessage, Characters { request, characters }, Characters);
        check!(ServerMessage, PickedUp { request, entity: count, slot }, PickedUp);
        check!(ClientMessage, Resume { ticket: [small; 16], received: count }, Resume);
        check!(ServerMessage, Resumed { ticket: [small; 16], request }, Resumed);
        check!(ServerMessage, Error { request, code: 7, closing: flag, text: text.clone() }, Error);
        let inventory = vec![slot; small as usize % 28];
        let item = ItemSlot { place: 3, slot: 399, kind: 7, count, wear: 9, item: n };
        let (worn, nonce) = (vec![item; small as usize % 11], count);
        check!(ServerMessage, EnteredZone { request, zone: 1, tick_hz: 30, speed: 9, entity: 4, x: 5, y: 6, inventory, worn, nonce }, EnteredZone);
        let (yours, theirs) = (vec![item; small as usize % 28], vec![item]);
        check!(ServerMessage, TradeChanged { partner: 4, revision: count, yours, theirs, your_step: 1, their_step: 2 }, TradeChanged);
    }

    #[test]
    fn any_payload_is_refused_or_read_without_panic(
        choice in 0usize..64, bytes in proptest::collection::vec(any::<u8>(), 0..96),
    ) {
        let (_, kind, ..) = ClientMessage::ALL[choice % ClientMessage::ALL.len()];
        let _ = ClientMessage::decode(kind, &bytes);
        let (_, kind, ..) = ServerMessage::ALL[choice % ServerMessage::ALL.len()];
        let _ = ServerMessage::decode(kind, &bytes);
    }
}

#[test]
fn truncated_and_unknown_are_refused() {
    let mut bytes = Vec::new();
    append(&mut bytes, &Say { request: 1, text: "a text long enough to lie out of line".into() });
    let payload = &bytes[crate::frame::FRAME_HEAD_BYTES..];
    // An archive is read from its end: what is shorter than the message's fixed part can be nothing, what
    // points before the payload's begin is refused.
    for cut in 0..size_of::<rkyv::Archived<Say>>() {
        let got = ClientMessage::decode(Say::KIND, &payload[..cut]).err();
        assert_eq!(got, Some(DecodeError::Malformed("Say")), "cut to {cut}");
    }
    let headless = ClientMessage::decode(Say::KIND, &payload[1..]).err();
    assert_eq!(headless, Some(DecodeError::Malformed("Say")));
    assert_eq!(ClientMessage::decode(0xdead, payload).err(), Some(DecodeError::UnknownKind(0xdead)));
}

#[test]
fn kinds_are_unique_and_tell_the_direction() {
    let mut kinds: Vec<u16> = ClientMessage::ALL.iter().chain(ServerMessage::ALL).map(|m| m.1).collect();
    kinds.push(crate::snapshot::SNAPSHOT_KIND);
    kinds.sort_unstable();
    assert!(kinds.windows(2).all(|pair| pair[0] != pair[1]));
    assert!(ClientMessage::ALL.iter().all(|m| m.1 < 0x8000));
    assert!(ServerMessage::ALL.iter().all(|m| m.1 >= 0x8000));
}
