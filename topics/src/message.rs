//! What goes over the wire: a message is an array of its name and its fields by name, in MessagePack, as the game's own
//! messages are for browsers: `["Subscribe", {"request": 1, "topic": "world/events"}]`.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The longest message of a client, in bytes. A token is the longest thing in one.
pub const CLIENT_MESSAGE_BYTES_MAX: usize = 4096;

/// What a client says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientMessage {
    /// Shows an access token: the first, or a fresh one.
    Authenticate(Authenticate),
    /// Wants to hear a topic.
    Subscribe(Subscribe),
    /// Wants to hear a topic no more.
    Unsubscribe(Unsubscribe),
}

/// See [`ClientMessage::Authenticate`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Authenticate {
    /// The access token.
    pub token: String,
}

/// See [`ClientMessage::Subscribe`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subscribe {
    /// Names the request in its answer.
    pub request: u32,
    /// The topic's name.
    pub topic: String,
    /// What was heard last, by a client that comes back.
    #[serde(default)]
    pub after: Option<Place>,
}

/// See [`ClientMessage::Unsubscribe`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unsubscribe {
    /// Names the request in its answer.
    pub request: u32,
    /// The topic's name.
    pub topic: String,
}

/// A place in what a topic says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// Which count it is: numbers of two epochs have nothing to do with each other. Below 2^53.
    pub epoch: u64,
    /// The number of a message, from 1; 0 before the first.
    pub seq: u64,
}

/// What a client sent is none of [`ClientMessage`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("that is no message of {}", crate::SUBPROTOCOL)]
pub struct Malformed;

impl ClientMessage {
    /// Reads one, which must be all there is.
    ///
    /// # Errors
    /// [`Malformed`], also where it is longer than [`CLIENT_MESSAGE_BYTES_MAX`].
    pub fn decode(mut bytes: &[u8]) -> Result<ClientMessage, Malformed> {
        if bytes.len() > CLIENT_MESSAGE_BYTES_MAX || !matches!(rmp::decode::read_array_len(&mut bytes), Ok(2))
        {
            return Err(Malformed);
        }
        let (name, fields) = rmp::decode::read_str_from_slice(bytes).map_err(|_| Malformed)?;
        match name {
            "Authenticate" => read(fields).map(ClientMessage::Authenticate),
            "Subscribe" => read(fields).map(ClientMessage::Subscribe),
            "Unsubscribe" => read(fields).map(ClientMessage::Unsubscribe),
            _ => Err(Malformed),
        }
    }

    /// Writes one, as a client does.
    pub fn encode(&self) -> Vec<u8> {
        let bytes = match self {
            ClientMessage::Authenticate(fields) => encode("Authenticate", fields),
            ClientMessage::Subscribe(fields) => encode("Subscribe", fields),
            ClientMessage::Unsubscribe(fields) => encode("Unsubscribe", fields),
        };
        bytes.into()
    }
}

fn read<T: DeserializeOwned>(mut fields: &[u8]) -> Result<T, Malformed> {
    match T::deserialize(&mut rmp_serde::Deserializer::new(&mut fields)) {
        Ok(message) if fields.is_empty() => Ok(message),
        _ => Err(Malformed),
    }
}

/// Somebody is known now, or still.
#[derive(Debug, Serialize, Deserialize)]
pub struct Welcome {
    /// The account.
    pub account: i64,
    /// When the token is no good any more, milliseconds since 1970 UTC; a fresh one must be shown before. None for a page with a
    /// cookie, which shows nothing.
    pub expires_ms: Option<i64>,
    /// How often something comes even if nothing happens, in milliseconds.
    pub heartbeat_ms: u32,
}

/// A topic is heard from now on.
#[derive(Debug, Serialize, Deserialize)]
pub struct Subscribed {
    /// The request's.
    pub request: u32,
    /// The topic's name.
    pub topic: String,
    /// The epoch of the numbers that follow.
    pub epoch: u64,
    /// The next message has the number after this one.
    pub seq: u64,
    /// Whether something may have been missed since the place that was asked for.
    pub gap: bool,
}

/// A topic is heard no more.
#[derive(Debug, Serialize, Deserialize)]
pub struct Unsubscribed {
    /// The request's.
    pub request: u32,
}

/// A request was refused; nothing has changed.
#[derive(Debug, Serialize, Deserialize)]
pub struct Refused {
    /// The request's.
    pub request: u32,
    /// Why: a [`crate::Refusal`]'s code.
    pub code: String,
}

/// What a topic says.
#[derive(Debug, Serialize, Deserialize)]
pub struct Message<T> {
    /// The topic's name.
    pub topic: String,
    /// Its number, one more than the last one's.
    pub seq: u64,
    /// When it was said, milliseconds since 1970 UTC.
    pub at_ms: i64,
    /// What: its shape is the topic's own.
    pub data: T,
}

/// Something of a topic was lost; what follows is of another epoch.
#[derive(Debug, Serialize, Deserialize)]
pub struct Gap {
    /// The topic's name.
    pub topic: String,
    /// The epoch from now on.
    pub epoch: u64,
    /// The next message has the number after this one.
    pub seq: u64,
}

/// A topic may be heard no more: it is another's now.
#[derive(Debug, Serialize, Deserialize)]
pub struct Ended {
    /// The topic's name.
    pub topic: String,
    /// Why: a [`crate::Refusal`]'s code.
    pub code: String,
}

/// Nothing happened, and the connection lasts.
#[derive(Debug, Serialize, Deserialize)]
pub struct Heartbeat {
    /// The server's time, milliseconds since 1970 UTC.
    pub at_ms: i64,
}

/// Writes a message of the server.
pub fn encode<T: Serialize>(name: &str, fields: &T) -> Bytes {
    let mut out = Vec::with_capacity(128);
    rmp::encode::write_array_len(&mut out, 2).expect("memory takes what is written");
    rmp::encode::write_str(&mut out, name).expect("memory takes what is written");
    let mut serializer = rmp_serde::Serializer::new(&mut out).with_struct_map();
    fields.serialize(&mut serializer).expect("numbers, texts and lists are written to memory without fail");
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscribe(topic: &str, after: Option<Place>) -> ClientMessage {
        ClientMessage::Subscribe(Subscribe { request: 7, topic: topic.into(), after })
    }

    #[track_caller]
    fn check(bytes: &[u8], expected: Option<&ClientMessage>) {
        let read = ClientMessage::decode(bytes);
        assert_eq!(read.as_ref(), expected.ok_or(&Malformed), "{bytes:02x?}");
    }

    #[test]
    fn messages_are_read_as_they_are_written() {
        for message in [
            ClientMessage::Authenticate(Authenticate { token: "x".repeat(3000) }),
            subscribe("world/events", None),
            subscribe("नमस्ते", Some(Place { epoch: (1 << 53) - 1, seq: 0 })),
            ClientMessage::Unsubscribe(Unsubscribe { request: u32::MAX, topic: String::new() }),
        ] {
            let bytes = message.encode();
            check(&bytes, Some(&message));
            for end in 0..bytes.len() {
                check(&bytes[..end], None);
            }
            check(&[&bytes[..], b"\xc0"].concat(), None);
        }
        check(b"\x92\xa9Subscribe\x82\xa5topic\xa1x\xa7request\x07", Some(&subscribe("x", None)));
        check(
            b"\x92\xa9Subscribe\x83\xa5topic\xa1x\xa7request\x07\xa5after\xc0",
            Some(&subscribe("x", None)),
        );
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for bytes in [
            &b""[..],
            b"\xc0",
            b"\x92",
            b"\x90",
            b"\x91\xa9Subscribe",
            b"\x93\xa9Subscribe\x80\xc0",
            b"\x92\xa9Subscribe\x80",
            b"\x92\xa9Subscribe\xc0",
            b"\x92\xa9Subscribe\x81\xa7request\x07",
            b"\x92\xa9Subscribe\x82\xa5topic\xa1x\xa7request\xff",
            b"\x92\xa9Subscribe\x82\xa5topic\xa1x\xa7request\xa17",
            b"\x92\xa9Subscribe\x82\xa5topic\xa2\xc3\x28\xa7request\x07",
            b"\x92\xa9Subscribe\x82\xa5topic\xdb\xff\xff\xff\xff\xa7request\x07",
            b"\x92\xa9Subscribe\x83\xa5topic\xa1x\xa7request\x07\xa5after\x81\xa3seq\x01",
            b"\x92\xa9Subscribe\x83\xa5topic\xa1x\xa7request\x07\xa4more\x07",
            b"\x92\xa9Subscribe\x83\xa5topic\xa1x\xa7request\x07\xa7request\x07",
            b"\x92\xa9subscribe\x82\xa5topic\xa1x\xa7request\x07",
            b"\x92\xa7Message\x80",
            b"\xdd\xff\xff\xff\xff",
            &[0x91; CLIENT_MESSAGE_BYTES_MAX],
            b"{\"Subscribe\":{}}",
        ] {
            check(bytes, None);
        }
        let long = ClientMessage::Authenticate(Authenticate { token: "x".repeat(CLIENT_MESSAGE_BYTES_MAX) });
        check(&long.encode(), None);
    }
}
