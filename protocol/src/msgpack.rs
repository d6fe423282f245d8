//! The MessagePack form of the vocabulary, for clients behind WebSockets.
//!
//! A message is an array of its name and its fields: `["Say", {"request": 7, "text": "hello"}]`. Fields are a map by
//! name; whoever reads also takes them as an array in their order. A snapshot is `["Snapshot", bin]`, and its bytes are
//! those of [`crate::snapshot`]: they are translated by nobody, so that a browser costs a server next to nothing more
//! than any other client.
//!
//! Names and types follow from the declarations in [`crate::message`]. Reading allocates at most what the input is long.

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::frame::{CLIENT_PAYLOAD_BYTES_MAX, Frame, append_frame};
use crate::message::{ClientMessage, DecodeError, Message, ServerMessage};
use crate::snapshot::SNAPSHOT_KIND;

/// What this form is called when a WebSocket is opened (`Sec-WebSocket-Protocol`).
pub const SUBPROTOCOL: &str = "vyuha.msgpack.v1";

/// Longest MessagePack message that a server accepts from a client: the longest payload with its names.
pub const CLIENT_MESSAGE_BYTES_MAX: usize = 2 * CLIENT_PAYLOAD_BYTES_MAX as usize;

/// What a snapshot is called.
pub const SNAPSHOT_NAME: &str = "Snapshot";

/// Why MessagePack was refused.
#[derive(Debug, Error, PartialEq, Eq, Clone, Copy)]
pub enum MsgpackError {
    /// It is no array of a name and fields.
    #[error("a message is an array of its name and its fields")]
    Shape,
    /// No message of this direction has this name.
    #[error("no message has that name")]
    UnknownName,
    /// A field is missing, unknown, there twice, of another type or out of its range, or bytes follow.
    #[error("the fields are not those of {0}")]
    Fields(&'static str),
}

/// Appends a message.
pub fn append<M: Message + Serialize>(out: &mut Vec<u8>, message: &M) {
    append_head(out, M::NAME);
    message
        .serialize(&mut rmp_serde::Serializer::new(out).with_struct_map())
        .expect("a message of numbers and texts is written to memory without fail");
}

/// Appends what a client's frame holds, as the client would have said it in MessagePack.
pub fn append_of_client(out: &mut Vec<u8>, frame: Frame<'_>) -> Result<(), DecodeError> {
    ClientMessage::decode(frame.kind, frame.payload).map(|message| message.append_msgpack(out))
}

/// Appends what a server's frame holds: a message or a snapshot, whose bytes are not looked at.
pub fn append_of_server(out: &mut Vec<u8>, frame: Frame<'_>) -> Result<(), DecodeError> {
    if frame.kind == SNAPSHOT_KIND {
        append_head(out, SNAPSHOT_NAME);
        rmp::encode::write_bin(out, frame.payload).expect("memory takes what is written");
        return Ok(());
    }
    ServerMessage::decode(frame.kind, frame.payload).map(|message| message.append_msgpack(out))
}

/// Appends a client's message in MessagePack as a frame; nothing where it is refused.
pub fn append_client_frame(frames: &mut Vec<u8>, bytes: &[u8]) -> Result<(), MsgpackError> {
    ClientMessage::append_frame_of_msgpack(frames, bytes)
}

/// Appends a server's message or snapshot in MessagePack as a frame; nothing where it is refused.
pub fn append_server_frame(frames: &mut Vec<u8>, bytes: &[u8]) -> Result<(), MsgpackError> {
    let (name, mut body) = split(bytes)?;
    if name != SNAPSHOT_NAME {
        return ServerMessage::append_frame_of_msgpack(frames, bytes);
    }
    let length = rmp::decode::read_bin_len(&mut body).map_err(|_| MsgpackError::Fields(SNAPSHOT_NAME))?;
    if body.len() != length as usize {
        return Err(MsgpackError::Fields(SNAPSHOT_NAME));
    }
    append_frame(frames, SNAPSHOT_KIND, |out| out.extend_from_slice(body));
    Ok(())
}

fn append_head(out: &mut Vec<u8>, name: &str) {
    rmp::encode::write_array_len(out, 2).expect("memory takes what is written");
    rmp::encode::write_str(out, name).expect("memory takes what is written");
}

/// A message's name and what follows it.
pub(crate) fn split(mut bytes: &[u8]) -> Result<(&str, &[u8]), MsgpackError> {
    if !matches!(rmp::decode::read_array_len(&mut bytes), Ok(2)) {
        return Err(MsgpackError::Shape);
    }
    rmp::decode::read_str_from_slice(bytes).map_err(|_| MsgpackError::Shape)
}

/// A message of its fields, which must be all there is.
pub(crate) fn read_fields<M: Message + DeserializeOwned>(mut fields: &[u8]) -> Result<M, MsgpackError> {
    let message = M::deserialize(&mut rmp_serde::Deserializer::new(&mut fields));
    match message {
        Ok(message) if fields.is_empty() => Ok(message),
        _ => Err(MsgpackError::Fields(M::NAME)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{FRAME_HEAD_BYTES, first_frame};
    use crate::message::{self, Drop, Error, Hello, Input, Ping, Say};
    use proptest::prelude::*;
    use serde_json::json;

    /// Bytes in MessagePack of a JSON value, so that tables can be read.
    fn packed(value: &serde_json::Value) -> Vec<u8> {
        rmp_serde::to_vec(value).unwrap()
    }

    #[track_caller]
    fn reads<M: Message>(value: &serde_json::Value, expected: &M) {
        let (mut frames, mut frame) = (Vec::new(), Vec::new());
        assert_eq!(append_client_frame(&mut frames, &packed(value)), Ok(()), "{value}");
        message::append(&mut frame, expected);
        assert_eq!(frames, frame, "{value}");
    }

    #[track_caller]
    fn refuses(value: &serde_json::Value, expected: MsgpackError) {
        let mut frames = Vec::new();
        assert_eq!(append_client_frame(&mut frames, &packed(value)), Err(expected), "{value}");
        assert_eq!(frames, [0; 0], "{value}");
    }

    #[test]
    fn messages_are_read_by_name_and_by_order() {
        let say = Say { request: 7, text: "नमस्ते".into() };
        reads(&json!(["Say", { "request": 7, "text": "नमस्ते" }]), &say);
        reads(&json!(["Say", { "text": "नमस्ते", "request": 7 }]), &say);
        reads(&json!(["Say", [7, "नमस्ते"]]), &say);
        reads(&json!(["Input", [1, -127, 127]]), &Input { sequence: 1, heading_x: -127, heading_y: 127 });
        reads(&json!(["Ping", { "stamp": u64::MAX }]), &Ping { stamp: u64::MAX });
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for value in [
            json!(null),
            json!("Ping"),
            json!({ "Ping": { "stamp": 1 } }),
            json!([]),
            json!(["Ping"]),
            json!(["Ping", { "stamp": 1 }, 3]),
            json!([20, { "stamp": 1 }]),
        ] {
            refuses(&value, MsgpackError::Shape);
        }
        for name in ["", "ping", "Pong", "Snapshot", "Welcome", "Ping\0"] {
            refuses(&json!([name, { "stamp": 1 }]), MsgpackError::UnknownName);
        }
        for fields in [
            json!(null),
            json!(1),
            json!([]),
            json!([1, 2, 3, 4, 5]),
            json!([1, 2, 3]),
            json!({}),
            json!({ "request": 1, "nonce": 5, "slot": 2 }),
            json!({ "request": 1, "slot": 2, "count": 3 }),
            json!({ "request": 1, "nonce": 5, "slot": 2, "count": 3, "more": 4 }),
            json!({ "request": 1, "nonce": 5, "slot": 256, "count": 3 }),
            json!({ "request": -1, "nonce": 5, "slot": 2, "count": 3 }),
            json!({ "request": 1, "nonce": 5, "slot": 2.5, "count": 3 }),
            json!({ "request": 1, "nonce": 5, "slot": "2", "count": 3 }),
            json!({ "request": 1, "nonce": 5, "slot": [2], "count": 3 }),
            json!({ "request": true, "nonce": 5, "slot": 2, "count": 3 }),
            json!({ "request": null, "nonce": 5, "slot": 2, "count": 3 }),
        ] {
            refuses(&json!(["Drop", fields]), MsgpackError::Fields("Drop"));
        }
        refuses(&json!(["Input", [1, 128, 0]]), MsgpackError::Fields("Input"));
        refuses(&json!(["Hello", [1, "x".repeat(31)]]), MsgpackError::Fields("Hello"));
    }

    #[test]
    fn cut_and_lengthened_messages_are_refused_and_append_nothing() {
        let mut whole = Vec::new();
        append(&mut whole, &Hello { version: 1, content_hash: [7; 32] });
        for cut in 0..whole.len() {
            let mut frames = Vec::new();
            append_client_frame(&mut frames, &whole[..cut]).unwrap_err();
            assert_eq!(frames, [0; 0], "cut to {cut}");
        }
        let longer = [whole.as_slice(), &[0]].concat();
        assert_eq!(append_client_frame(&mut Vec::new(), &longer), Err(MsgpackError::Fields("Hello")));
    }

    #[test]
    fn a_length_that_is_not_there_takes_no_memory() {
        // ["Say", [1, a text of 4 GiB]]
        let mut bytes = Vec::new();
        append_head(&mut bytes, "Say");
        bytes.extend([0x92, 0x01, 0xdb, 0xff, 0xff, 0xff, 0xff, b'x']);
        assert_eq!(append_client_frame(&mut Vec::new(), &bytes), Err(MsgpackError::Fields("Say")));
        // ["Say", ...], nested without end.
        let mut bytes = Vec::new();
        append_head(&mut bytes, "Say");
        bytes.resize(CLIENT_MESSAGE_BYTES_MAX, 0x91);
        assert_eq!(append_client_frame(&mut Vec::new(), &bytes), Err(MsgpackError::Fields("Say")));
    }

    #[test]
    fn the_longest_message_fits() {
        let mut frame = Vec::new();
        let mut text = String::new();
        while frame.len() < FRAME_HEAD_BYTES + CLIENT_PAYLOAD_BYTES_MAX as usize {
            text.push('x');
            frame.clear();
            message::append(&mut frame, &Say { request: u32::MAX, text: text.clone() });
        }
        let mut bytes = Vec::new();
        append(&mut bytes, &Say { request: u32::MAX, text });
        assert!(bytes.len() <= CLIENT_MESSAGE_BYTES_MAX, "{} bytes", bytes.len());
    }

    #[test]
    fn a_snapshot_goes_through_as_it_is() {
        let (mut packed, mut back) = (Vec::new(), Vec::new());
        let mut frames = Vec::new();
        append_frame(&mut frames, SNAPSHOT_KIND, |out| out.extend([1, 2, 3]));
        append_of_server(&mut packed, first_frame(&frames, 10).unwrap().unwrap()).unwrap();
        append_server_frame(&mut back, &packed).unwrap();
        assert_eq!(back, frames);
        packed.push(4);
        assert_eq!(append_server_frame(&mut back, &packed), Err(MsgpackError::Fields("Snapshot")));
        append_client_frame(&mut back, &packed).unwrap_err();
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_read_without_panic(
            name in proptest::option::of(0..ClientMessage::ALL.len()),
            bytes in proptest::collection::vec(any::<u8>(), 0..64),
        ) {
            let mut message = Vec::new();
            if let Some(name) = name {
                append_head(&mut message, ClientMessage::ALL[name].0);
            }
            message.extend(&bytes);
            let mut frames = Vec::new();
            match append_client_frame(&mut frames, &message) {
                // What was read is a sound frame, and says the same again.
                Ok(()) => {
                    let frame = first_frame(&frames, u32::MAX).unwrap().unwrap();
                    let mut again = Vec::new();
                    append_of_client(&mut again, frame).unwrap();
                    let mut frames_again = Vec::new();
                    append_client_frame(&mut frames_again, &again).unwrap();
                    prop_assert_eq!(frames_again, frames);
                }
                Err(_) => prop_assert!(frames.is_empty()),
            }
            let _ = append_server_frame(&mut Vec::new(), &message);
        }

        #[test]
        fn damaged_messages_never_panic(at in 0usize..200, value: u8, text in ".{0,40}", flag: bool) {
            let mut bytes = Vec::new();
            append(&mut bytes, &Error { request: 1, code: 2, closing: flag, text: text.clone() });
            let at = at % bytes.len();
            bytes[at] = value;
            let _ = append_server_frame(&mut Vec::new(), &bytes);
            let mut bytes = Vec::new();
            append(&mut bytes, &Drop { request: 70_000, nonce: 9, slot: 200, count: 3 });
            let at = at % bytes.len();
            bytes[at] = value;
            let _ = append_client_frame(&mut Vec::new(), &bytes);
        }
    }
}
