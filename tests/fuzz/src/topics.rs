//! What web clients send to subscribe to topics.

use vyuha_topics::Topic;
use vyuha_topics::message::{Authenticate, ClientMessage, Place, Subscribe, Unsubscribe};

/// A message of a client in MessagePack, and the topic that it names.
pub fn topics(input: &[u8]) {
    let Ok(message) = ClientMessage::decode(input) else { return };
    if let ClientMessage::Subscribe(Subscribe { topic, .. })
    | ClientMessage::Unsubscribe(Unsubscribe { topic, .. }) = &message
        && let Ok(parsed) = topic.parse::<Topic>()
    {
        assert_eq!(parsed.to_string(), *topic, "a topic has one name");
    }
    assert_eq!(ClientMessage::decode(&message.encode()), Ok(message), "what is read can be written");
}

/// One of each message.
pub fn seeds() -> Vec<Vec<u8>> {
    let subscribe = |topic: &str, after| Subscribe { request: 7, topic: topic.into(), after };
    [
        ClientMessage::Authenticate(Authenticate { token: "eyJ0.e30.x".into() }),
        ClientMessage::Subscribe(subscribe("world/events", None)),
        ClientMessage::Subscribe(subscribe(
            "character/12/position",
            Some(Place { epoch: 1 << 52, seq: 300 }),
        )),
        ClientMessage::Unsubscribe(Unsubscribe { request: 8, topic: "player/7/notifications".into() }),
    ]
    .map(|message| message.encode())
    .into()
}
