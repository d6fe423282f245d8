//! What a request costs.

use vyuha_protocol::ErrorCode;

use super::Budget;

/// Takes a request made at a tick out of a budget of so many a second; one that is refused costs nothing.
pub fn spend(budget: &mut Budget, tick: u64, tick_hz: u16, per_second_max: u32) -> Result<(), ErrorCode> {
    let (cost, whole) = (u64::from(tick_hz), u64::from(tick_hz) * u64::from(per_second_max));
    let regained = tick.wrapping_sub(budget.tick).saturating_mul(per_second_max.into());
    let spent = budget.spent.saturating_sub(regained) + cost;
    if spent > whole {
        return Err(ErrorCode::RequestsTooFast);
    }
    *budget = Budget { spent, tick };
    Ok(())
}
