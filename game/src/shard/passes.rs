//! The passes of a tick, each a system's rules applied to all that they concern.

use vyuha_protocol::ErrorCode;
use vyuha_protocol::message::Away;
use vyuha_record::Transaction;

use super::LeaveCause;
use super::session::Sessions;
use super::zone::{Walkers, ZoneState};
use super::{Outbox, SessionId, Shard};
use crate::character::slots_due;
use crate::ground;
use crate::presence::{STATE_AWAY, Verdict, judge};

/// Each character in a zone takes the steps that its inputs have earned.
pub fn move_characters(shard: &mut Shard, zone: usize) {
    let zone = &mut shard.zones[zone];
    let content = &shard.content.zones[zone.content];
    let Walkers { ids, from, to } = &mut zone.walkers;
    ids.clear();
    ids.extend(zone.players.keys());
    from.clear();
    zone.zone.positions(ids, from);
    to.clear();
    for ((&entity, &session_id), from) in zone.players.iter().zip(from) {
        let session = shard.sessions.get_mut(session_id).expect("every player of a zone has a session");
        let from = from.expect("a session's entity lives as long as the session");
        if let Some(place) = session.steering.advance(&content.map, from, content.kind.player_speed) {
            to.push((entity, place));
            if content.gates.iter().any(|gate| gate.at == place.tile()) {
                shard.at_gates.push(session_id);
            }
        }
    }
    zone.zone.place_all(to);
}

/// Those who walked onto a gate go where it leads.
pub fn cross(shard: &mut Shard, out: &mut Outbox) {
    for session in std::mem::take(&mut shard.at_gates) {
        shard.cross(session, out);
    }
}

/// The NPCs of a zone whose turn it is decide.
pub fn think(shard: &mut Shard, zone: usize) {
    let zone = &mut shard.zones[zone];
    zone.npcs.think(zone.zone.tick(), &mut zone.zone, &mut zone.rng);
}

/// Each zone whose turn it is, and that lacks items of its own, gets one.
pub fn litter(shard: &mut Shard, out: &mut Outbox) {
    for zone in 0..shard.zones.len() {
        let state = &shard.zones[zone];
        let content = &shard.content.zones[state.content];
        let interval_ticks = u64::from(content.kind.litter_interval_s) * u64::from(shard.config.tick_hz);
        let due = shard.tick.is_multiple_of(interval_ticks) && shard.durable_open;
        if due && state.ground.count() < content.litter_target() as usize {
            let rng = &mut shard.zones[zone].rng;
            if let Some((kind, count)) = ground::litter(&content.ground, rng) {
                shard.lay_litter(zone, kind, count, out);
            }
        }
    }
}

/// Those who trade and are not within reach of each other any more do so no longer.
pub fn part(shard: &mut Shard, out: &mut Outbox) {
    shard.end_far_trades(out);
}

/// The sessions whose turn it is, each once a second, are marked away or ended if nobody is there.
pub fn look_for_players(shard: &mut Shard, out: &mut Outbox) {
    let (tick, patience) = (shard.tick, shard.config.patience);
    let tick_hz = u32::from(shard.config.tick_hz.max(1));
    for slot in slots_due(tick, tick_hz, shard.sessions.len()) {
        let id = SessionId(slot as u32);
        let Some(session) = shard.sessions.get_mut(id) else { continue };
        match judge(session.presence, tick, patience) {
            Verdict::Stays => {}
            Verdict::GoesAway => {
                session.presence.is_away = true;
                shard.zones[session.zone].zone.set_state(session.entity, STATE_AWAY);
                let left_ticks = patience.leave_ticks.saturating_sub(patience.away_ticks);
                out.send(id, &Away { away: true, closing_s: left_ticks.div_ceil(tick_hz) });
            }
            Verdict::Leaves => {
                shard.end(id, LeaveCause::Away, out);
                out.close_durable(id, ErrorCode::AwayTooLong);
            }
        }
    }
}

/// The characters whose turn it is, and that stand elsewhere than they were saved, are saved.
pub fn save(shard: &mut Shard, out: &mut Outbox) {
    let due = slots_due(shard.tick, shard.config.save_interval_ticks, shard.sessions.len());
    out.transact(|transaction| {
        for slot in due {
            save_place(&mut shard.sessions, &shard.zones, SessionId(slot as u32), transaction);
        }
    });
}

/// A character that stands elsewhere than it was saved is saved.
pub(super) fn save_place(
    sessions: &mut Sessions,
    zones: &[ZoneState],
    number: SessionId,
    transaction: &mut Transaction<'_>,
) {
    let Some(session) = sessions.get_mut(number) else { return };
    let zone = &zones[session.zone];
    let at = zone.place_of(session.entity);
    if at != session.character.place() {
        session.character.set_place(zone.id, at);
        transaction.put(&session.character);
    }
}
