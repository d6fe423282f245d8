//! Both sides against each other, and the server's against everything else.

use proptest::prelude::*;

use super::*;

const DEVICE: DeviceId = [7; 16];

fn key(seed: u8) -> KeyPair {
    KeyPair::from_seed(&[seed; 32])
}

fn server() -> KeyPair {
    key(1)
}

fn fresh(seed: u8) -> Fresh {
    Fresh { nonce: [seed; 32], ephemeral: [seed ^ 0xa5; 32] }
}

/// One whole exchange: what the device and the server said.
struct Exchange {
    hello: Vec<u8>,
    reply: Vec<u8>,
    auth: Vec<u8>,
}

fn exchange(device: u8, client: u8, ours: u8) -> Exchange {
    let (waiting, hello) = ClientHandshake::begin(DEVICE, key(device), server().public(), &fresh(client));
    let mut handshake = Handshake::new(0);
    let reply = sent(handshake.receive(&hello, &server(), &fresh(ours), 0));
    let (_, auth) = waiting.answer(&reply).unwrap();
    Exchange { hello, reply, auth }
}

#[track_caller]
fn sent(step: Result<Step, HandshakeError>) -> Vec<u8> {
    let Ok(Step::Send(message)) = step else { panic!("{step:?}") };
    message
}

/// What comes of these messages, and of a key in the end.
fn outcome(
    messages: &[&[u8]],
    ours: u8,
    public: Option<&PublicKey>,
) -> Result<(Vec<u8>, Frames), HandshakeError> {
    let mut handshake = Handshake::new(0);
    for message in messages {
        handshake.receive(message, &server(), &fresh(ours), 0)?;
    }
    handshake.judge(public)
}

#[test]
fn both_sides_come_to_the_same_keys() {
    let (waiting, hello) = ClientHandshake::begin(DEVICE, key(2), server().public(), &fresh(3));
    assert_eq!(hello.len(), CLIENT_HELLO_BYTES);
    let mut handshake = Handshake::new(1000);
    let reply = sent(handshake.receive(&hello, &server(), &fresh(4), 1000));
    assert_eq!(reply.len(), SERVER_HELLO_BYTES);
    let (waiting, auth) = waiting.answer(&reply).unwrap();
    assert_eq!(auth.len(), CLIENT_AUTH_BYTES);
    let step = handshake.receive(&auth, &server(), &fresh(5), 1000 + HANDSHAKE_MS_MAX);
    assert!(matches!(step, Ok(Step::LookUp(DEVICE))), "{step:?}");
    let (finish, mut ours) = handshake.judge(Some(&key(2).public())).unwrap();
    assert_eq!(finish.len(), SERVER_FINISH_BYTES);
    let mut theirs = waiting.finish(&finish).unwrap();
    for text in [&b"one"[..], b"two"] {
        assert_eq!(ours.opener.open(&theirs.sealer.seal(text).unwrap()).unwrap(), text);
        assert_eq!(theirs.opener.open(&ours.sealer.seal(text).unwrap()).unwrap(), text);
    }
    // What one side sent cannot be sent back to it.
    let reflected = theirs.sealer.seal(b"three").unwrap();
    assert!(theirs.opener.open(&reflected).is_err());
}

#[test]
fn a_message_that_is_not_the_next_one_is_refused_in_each_state() {
    let Exchange { hello, reply, auth } = exchange(2, 3, 4);
    let with = |message: &[u8], at: usize, byte: u8| {
        let mut message = message.to_vec();
        message[at] = byte;
        message
    };
    let finish = [&[4][..], &[0; 32]].concat();
    let malformed = HandshakeError::Malformed;
    let out_of_order = HandshakeError::OutOfOrder;
    let check = |before: &[&[u8]], message: &[u8], expected: HandshakeError| {
        let mut handshake = Handshake::new(0);
        for message in before {
            handshake.receive(message, &server(), &fresh(4), 0).unwrap();
        }
        let refused = handshake.receive(message, &server(), &fresh(4), 0);
        assert_eq!(refused.err(), Some(expected), "after {}: {message:02x?}", before.len());
        // Nothing is taken any more, whatever it is.
        for message in [&hello, &auth] {
            let refused = handshake.receive(message, &server(), &fresh(4), 0);
            assert_eq!(refused.err(), Some(out_of_order));
        }
        assert_eq!(handshake.judge(Some(&key(2).public())).err(), Some(out_of_order));
    };
    check(&[], &[], malformed);
    check(&[], &[0], malformed);
    check(&[], &[5; 82], malformed);
    check(&[], &hello[..hello.len() - 1], malformed);
    check(&[], &[&hello[..], &[0]].concat(), malformed);
    check(&[], &with(&hello, 1, 0), HandshakeError::VersionUnknown);
    check(&[], &with(&hello, 1, 2), HandshakeError::VersionUnknown);
    for message in [&auth, &reply, &finish] {
        check(&[], message, out_of_order);
    }
    let greeted: &[&[u8]] = &[&hello];
    check(greeted, &[], malformed);
    check(greeted, &[255], malformed);
    check(greeted, &auth[..auth.len() - 1], malformed);
    check(greeted, &[&auth[..], &[0]].concat(), malformed);
    for message in [&hello, &reply, &finish] {
        check(greeted, message, out_of_order);
    }
    let claimed: &[&[u8]] = &[&hello, &auth];
    for message in [&hello[..], &auth, &reply, &finish, &[], &[9]] {
        check(claimed, message, out_of_order);
    }
}

#[test]
fn nothing_is_judged_before_it_was_claimed() {
    let Exchange { hello, .. } = exchange(2, 3, 4);
    let public = key(2).public();
    assert_eq!(outcome(&[], 4, Some(&public)).err(), Some(HandshakeError::OutOfOrder));
    assert_eq!(outcome(&[&hello], 4, Some(&public)).err(), Some(HandshakeError::OutOfOrder));
}

#[test]
fn what_was_recorded_is_of_no_use() {
    let Exchange { hello, auth, .. } = exchange(2, 3, 4);
    let public = key(2).public();
    assert!(outcome(&[&hello, &auth], 4, Some(&public)).is_ok());
    // The server's randomness is another each time.
    assert_eq!(outcome(&[&hello, &auth], 5, Some(&public)).err(), Some(HandshakeError::Refused));
    // An answer of the same device to the same server, of another exchange.
    let other = exchange(2, 6, 4);
    assert_eq!(outcome(&[&hello, &other.auth], 4, Some(&public)).err(), Some(HandshakeError::Refused));
}

#[test]
fn another_device_is_refused() {
    let Exchange { hello, auth, .. } = exchange(2, 3, 4);
    for other in [None, Some(key(9).public()), Some([0xff; 32]), Some([0; 32])] {
        let refused = outcome(&[&hello, &auth], 4, other.as_ref());
        assert_eq!(refused.err(), Some(HandshakeError::Refused), "{other:02x?}");
    }
    // Who has some key, and says to be a device that has another.
    let mut forged = hello.clone();
    forged[2] ^= 1;
    let refused = outcome(&[&forged, &auth], 4, Some(&key(2).public()));
    assert_eq!(refused.err(), Some(HandshakeError::Refused));
}

#[test]
fn an_answer_with_a_bit_changed_is_refused() {
    let Exchange { hello, auth, .. } = exchange(2, 3, 4);
    for bit in (8..auth.len() * 8).step_by(5) {
        let mut forged = auth.clone();
        forged[bit / 8] ^= 1 << (bit % 8);
        let refused = outcome(&[&hello, &forged], 4, Some(&key(2).public()));
        assert_eq!(refused.err(), Some(HandshakeError::Refused), "bit {bit}");
    }
}

#[test]
fn who_signs_but_does_not_know_the_secret_is_refused_and_the_other_way_round() {
    let (waiting, hello) = ClientHandshake::begin(DEVICE, key(9), server().public(), &fresh(3));
    let mut handshake = Handshake::new(0);
    let reply = sent(handshake.receive(&hello, &server(), &fresh(4), 0));
    let (_, auth) = waiting.answer(&reply).unwrap();
    // The code is right, the signature is another key's.
    handshake.receive(&auth, &server(), &fresh(4), 0).unwrap();
    assert_eq!(handshake.judge(Some(&key(2).public())).err(), Some(HandshakeError::Refused));
    // The signature is right, the code is not.
    let mut forged = exchange(2, 3, 4).auth;
    let last = forged.len() - 1;
    forged[last] ^= 1;
    let mut handshake = Handshake::new(0);
    handshake.receive(&hello, &server(), &fresh(4), 0).unwrap();
    let refused = handshake.receive(&forged, &server(), &fresh(4), 0);
    assert_eq!(refused.err(), Some(HandshakeError::Refused));
}

#[test]
fn a_point_of_low_order_is_refused() {
    // Zero, one, and a point of order 8 with its twin beyond the prime (RFC 7748 takes both).
    let order_8 = [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a, 0xda,
        0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
    ];
    let mut one = [0; 32];
    one[0] = 1;
    let mut prime = [0xff; 32];
    (prime[0], prime[31]) = (0xed, 0x7f);
    for point in [[0; 32], one, order_8, prime] {
        let mut hello = exchange(2, 3, 4).hello;
        hello[50..].copy_from_slice(&point);
        let refused = Handshake::new(0).receive(&hello, &server(), &fresh(4), 0);
        assert_eq!(refused.err(), Some(HandshakeError::PointRefused), "{point:02x?}");
    }
}

#[test]
fn who_takes_too_long_is_refused() {
    let Exchange { hello, auth, .. } = exchange(2, 3, 4);
    let mut handshake = Handshake::new(500);
    let late = handshake.receive(&hello, &server(), &fresh(4), 501 + HANDSHAKE_MS_MAX);
    assert_eq!(late.err(), Some(HandshakeError::Timeout));
    let mut handshake = Handshake::new(500);
    handshake.receive(&hello, &server(), &fresh(4), 500).unwrap();
    let late = handshake.receive(&auth, &server(), &fresh(4), 501 + HANDSHAKE_MS_MAX);
    assert_eq!(late.err(), Some(HandshakeError::Timeout));
    assert_eq!(handshake.judge(Some(&key(2).public())).err(), Some(HandshakeError::OutOfOrder));
}

#[test]
fn a_device_talks_to_its_own_server_alone() {
    let begin = |server: PublicKey| ClientHandshake::begin(DEVICE, key(2), server, &fresh(3));
    let reply = |hello: &[u8]| sent(Handshake::new(0).receive(hello, &server(), &fresh(4), 0));
    let (waiting, hello) = begin(key(8).public());
    assert_eq!(waiting.answer(&reply(&hello)).err(), Some(HandshakeError::Refused));
    for at in 2..SERVER_HELLO_BYTES {
        let (waiting, hello) = begin(server().public());
        let mut forged = reply(&hello);
        forged[at] ^= 1;
        assert_eq!(waiting.answer(&forged).err(), Some(HandshakeError::Refused), "byte {at}");
    }
    let (waiting, hello) = begin(server().public());
    let (waiting, _) = waiting.answer(&reply(&hello)).unwrap();
    assert_eq!(waiting.finish(&[&[4][..], &[0; 32]].concat()).err(), Some(HandshakeError::Refused));
}

/// The exchange that `docs/devices.md` gives to whoever writes a client.
#[test]
fn the_documented_exchange_is_this_one() {
    use crate::secret::hex;
    let document = include_str!("../../../../docs/devices.md");
    let Exchange { hello, reply, auth } = exchange(2, 3, 4);
    let (finish, mut frames) = outcome(&[&hello, &auth], 4, Some(&key(2).public())).unwrap();
    let frame = frames.sealer.seal(b"{}").unwrap();
    let server_key = server().public();
    let said = [
        ("server key", &server_key[..]),
        ("ClientHello", &hello),
        ("ServerHello", &reply),
        ("ClientAuth", &auth),
        ("ServerFinish", &finish),
        ("frame", &frame),
    ];
    let lines: Vec<String> =
        said.iter().map(|(name, bytes)| format!("    {name:<12} {}\n", hex(bytes))).collect();
    assert!(document.contains(&lines.concat()), "docs/devices.md should say:\n{}", lines.concat());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However messages of several exchanges, changed ones and noise are put together, keys come of one order alone: what this
    /// device said to this server in this exchange.
    #[test]
    fn keys_come_of_the_whole_exchange_alone(
        picks in prop::collection::vec((0_usize..7, any::<prop::sample::Index>(), 0_u8..4), 0..4),
        judged in 0_u8..3,
    ) {
        let (mine, other) = (exchange(2, 3, 4), exchange(2, 5, 6));
        let pool = [
            &mine.hello, &mine.auth, &mine.hello, &mine.auth, &other.hello, &other.auth, &mine.reply,
        ];
        let messages: Vec<Vec<u8>> = picks.iter().map(|(pick, at, change)| {
            let mut message = pool[*pick].clone();
            // Mostly as it was, so that it gets far enough to go wrong late.
            if *change == 1 {
                let at = at.index(message.len());
                message[at] ^= 1;
            }
            message
        }).collect();
        let keys = [Some(key(2).public()), Some(key(9).public()), None];
        let public = keys[usize::from(judged)].as_ref();
        let said: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
        let expected = said == [&mine.hello[..], &mine.auth] && judged == 0;
        prop_assert_eq!(outcome(&said, 4, public).is_ok(), expected);
    }

    /// Noise is refused, and never more than that.
    #[test]
    fn noise_is_refused(messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..140), 1..4)) {
        let said: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
        prop_assert!(outcome(&said, 4, Some(&key(2).public())).is_err());
    }
}
