//! Who may say what, and how often.

use vyuha_protocol::{ErrorCode, text};

use super::{Allowance, CHAT_BURST, CHAT_INTERVAL_S};

/// Judges a text said at a tick; the allowance changes only if it may be said.
pub fn speak(allowance: &mut Allowance, said: &str, tick: u64, tick_hz: u16) -> Result<(), ErrorCode> {
    text::check_chat(said)?;
    let interval_ticks = CHAT_INTERVAL_S * u64::from(tick_hz);
    let whole_at_tick = allowance.whole_at_tick.max(tick) + interval_ticks;
    if whole_at_tick > tick + CHAT_BURST * interval_ticks {
        return Err(ErrorCode::ChatTooFast);
    }
    allowance.whole_at_tick = whole_at_tick;
    Ok(())
}
