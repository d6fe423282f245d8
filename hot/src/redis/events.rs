//! Streams and groups of consumers, in Redis's terms.

use ::redis::streams::{StreamAutoClaimReply, StreamId, StreamReadReply};
use ::redis::{FromRedisValue, Value};

use super::connection::Connection;
use crate::{Event, EventId, HotError};

pub(super) async fn last(connection: &Connection, key: &str) -> Result<EventId, HotError> {
    let mut info = ::redis::cmd("XINFO");
    info.arg("STREAM").arg(key);
    let answer: Result<std::collections::HashMap<String, Value>, _> = connection.command(&info).await;
    let info = match answer {
        Err(HotError::Refused(reason)) if reason.contains("no such key") => return Ok(EventId::default()),
        answer => answer?,
    };
    let id = info.get("last-generated-id").and_then(|id| String::from_redis_value_ref(id).ok());
    id.as_deref().map_or_else(|| Err(unexpected()), event_id)
}

pub(super) async fn create_group(connection: &Connection, key: &str, group: &str) -> Result<(), HotError> {
    let mut create = ::redis::cmd("XGROUP");
    create.arg("CREATE").arg(key).arg(group).arg("0").arg("MKSTREAM");
    match connection.command::<()>(&create).await {
        Err(HotError::Refused(reason)) if reason.contains("BUSYGROUP") => Ok(()),
        answer => answer,
    }
}

pub(super) async fn read(
    connection: &Connection,
    key: &str,
    (group, consumer): (&str, &str),
    count_max: usize,
) -> Result<Vec<Event>, HotError> {
    if count_max == 0 {
        return Ok(Vec::new());
    }
    let mut read = ::redis::cmd("XREADGROUP");
    read.arg("GROUP").arg(group).arg(consumer).arg("COUNT").arg(count_max).arg("STREAMS").arg(key).arg(">");
    let reply: Option<StreamReadReply> = connection.command(&read).await.map_err(no_group)?;
    let ids = reply.into_iter().flat_map(|reply| reply.keys).flat_map(|stream| stream.ids);
    ids.map(|id| event(&id)).collect()
}

pub(super) async fn claim(
    connection: &Connection,
    key: &str,
    (group, consumer): (&str, &str),
    idle_ms: u64,
    count_max: usize,
) -> Result<Vec<Event>, HotError> {
    let mut events = Vec::new();
    let mut from = "0-0".to_owned();
    while events.len() < count_max {
        let mut claim = ::redis::cmd("XAUTOCLAIM");
        claim.arg(key).arg(group).arg(consumer).arg(idle_ms).arg(&from);
        claim.arg("COUNT").arg(count_max - events.len());
        let reply: StreamAutoClaimReply = connection.command(&claim).await.map_err(no_group)?;
        for id in reply.claimed {
            events.push(event(&id)?);
        }
        from = reply.next_stream_id;
        if from == "0-0" {
            break;
        }
    }
    Ok(events)
}

fn event(id: &StreamId) -> Result<Event, HotError> {
    let body = id.map.get("e").and_then(|body| Vec::<u8>::from_redis_value_ref(body).ok());
    Ok(Event { id: event_id(&id.id)?, body: body.ok_or_else(unexpected)? })
}

fn event_id(text: &str) -> Result<EventId, HotError> {
    let parts = text
        .split_once('-')
        .and_then(|(sequence, index)| Some((sequence.parse().ok()?, index.parse().ok()?)));
    parts.map(|(sequence, index)| EventId { sequence, index }).ok_or_else(unexpected)
}

fn no_group(error: HotError) -> HotError {
    match error {
        HotError::Refused(reason) if reason.contains("NOGROUP") => HotError::NoGroup,
        error => error,
    }
}

fn unexpected() -> HotError {
    HotError::Refused("a stream holds what this program did not write".to_owned())
}
