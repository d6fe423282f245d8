//! What a device and a server send each other before they know each other, and after.

use vyuha_accounts::devices::handshake::{ClientHandshake, Fresh, Handshake, HandshakeError, Step};
use vyuha_accounts::devices::keys::KeyPair;

/// One exchange, the same each time: the device's messages and a frame, then what the server answered with.
struct Exchange {
    hello: Vec<u8>,
    auth: Vec<u8>,
    frame: Vec<u8>,
    reply: Vec<u8>,
    finish: Vec<u8>,
}

fn key(seed: u8) -> KeyPair {
    KeyPair::from_seed(&[seed; 32])
}

fn fresh(seed: u8) -> Fresh {
    Fresh { nonce: [seed; 32], ephemeral: [seed; 32] }
}

fn device() -> (ClientHandshake, Vec<u8>) {
    ClientHandshake::begin([7; 16], key(2), key(1).public(), &fresh(3))
}

fn exchange() -> Exchange {
    let (waiting, hello) = device();
    let mut server = Handshake::new(0);
    let Ok(Step::Send(reply)) = server.receive(&hello, &key(1), &fresh(4), 0) else {
        panic!("a hello is answered");
    };
    let (waiting, auth) = waiting.answer(&reply).expect("an answer is taken");
    server.receive(&auth, &key(1), &fresh(4), 0).expect("so is the answer to it");
    let (finish, _) = server.judge(Some(&key(2).public())).expect("the device has the key");
    let mut frames = waiting.finish(&finish).expect("the server knows the secret");
    let frame = frames.sealer.seal(b"{}").expect("a message can be sealed");
    Exchange { hello, auth, frame, reply, finish }
}

/// Messages, each after a byte with its length: to a server, and to a device. Neither takes anything but the one exchange, and
/// neither takes anything after it refused something.
pub fn handshake(mut input: &[u8]) {
    let mut messages = Vec::new();
    while let Some((&length, rest)) = input.split_first() {
        let (message, rest) = rest.split_at(usize::from(length).min(rest.len()));
        messages.push(message);
        input = rest;
    }
    let known = exchange();
    let mut server = Handshake::new(0);
    let mut refused = false;
    for (at, message) in messages.iter().take(2).enumerate() {
        let step = server.receive(message, &key(1), &fresh(4), 0);
        assert!(step.is_err() || !refused, "what was refused stays refused");
        assert!(step.is_err() || message.len() == [known.hello.len(), known.auth.len()][at]);
        refused = step.is_err();
    }
    let is_exchange = messages.len() >= 2 && messages[0] == known.hello && messages[1] == known.auth;
    match server.judge(Some(&key(2).public())) {
        Ok((finish, mut frames)) => {
            assert!(is_exchange, "no other messages give keys");
            assert_eq!(finish, known.finish);
            for message in messages.iter().skip(2) {
                let opened = frames.opener.open(message);
                assert!(opened.is_err() || *message == known.frame, "only what the device sealed is opened");
            }
        }
        Err(error) => assert!(!is_exchange && HandshakeError::ALL.contains(&error)),
    }
    for message in messages {
        if let Ok((waiting, auth)) = device().0.answer(message) {
            assert_eq!(message, known.reply, "a device answers its own server alone");
            assert_eq!(auth, known.auth);
            assert!(waiting.finish(&message[..message.len().min(33)]).is_err());
        }
    }
}

pub fn handshake_seeds() -> Vec<Vec<u8>> {
    let Exchange { hello, auth, frame, reply, finish } = exchange();
    let said = |messages: &[&Vec<u8>]| {
        let message = |message: &&Vec<u8>| [&[message.len() as u8], &message[..]].concat();
        messages.iter().flat_map(message).collect::<Vec<u8>>()
    };
    vec![said(&[&hello, &auth, &frame]), said(&[&reply, &finish]), said(&[&auth, &hello])]
}
