//! Bans of accounts and of ranges of addresses: put, listed and lifted.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Json;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{Staff, cut, needs_reason, page};
use crate::bans::{self, Ban, Filter, Target, parse_range};
use crate::http::{App, Body, From, Parameters};
use crate::one_time;
use crate::problem::{Code, Problem, ProblemBody};
use crate::secret::Kind;
use crate::sessions::{self, EndReason};
use crate::staff::Permission;

/// What is to be banned: an account or a range of addresses.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewBan {
    /// The number of an account.
    account: Option<i64>,
    /// An address, or a range of them: no wider than /16 of IPv4 or /32 of IPv6.
    #[schema(example = "192.0.2.0/24", max_length = 64)]
    addresses: Option<String>,
    /// Until when, milliseconds since 1970 UTC; for good without.
    until_ms: Option<i64>,
    /// Why; the person is told.
    #[schema(min_length = 1, max_length = 500, example = "plays by a program")]
    reason: String,
}

/// A ban that was put.
#[derive(Serialize, ToSchema)]
pub(crate) struct BanPut {
    /// Its number.
    ban: i64,
}

/// A ban.
#[derive(Serialize, ToSchema)]
pub(crate) struct ListedBan {
    /// Its number.
    ban: i64,
    /// Which account, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<i64>,
    /// Which addresses, if it is those.
    #[serde(skip_serializing_if = "Option::is_none")]
    addresses: Option<String>,
    /// Why.
    reason: String,
    /// Since when, milliseconds since 1970 UTC; 0 where only the log knows.
    since_ms: i64,
    /// Until when; absent where it is for good.
    #[serde(skip_serializing_if = "Option::is_none")]
    until_ms: Option<i64>,
    /// By whom; 0 for another server.
    actor: i64,
    /// When it was lifted or replaced, if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_ms: Option<i64>,
    /// By whom it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_by: Option<i64>,
}

impl std::convert::From<Ban> for ListedBan {
    fn from(ban: Ban) -> ListedBan {
        let (account, addresses) = match ban.target {
            Target::Account(account) => (Some(account), None),
            Target::Range(range) => (None, Some(range.to_string())),
        };
        ListedBan {
            ban: ban.id,
            account,
            addresses,
            reason: ban.reason,
            since_ms: ban.since_ms,
            until_ms: ban.until_ms,
            actor: ban.actor,
            ended_ms: ban.ended.map(|(at_ms, _)| at_ms),
            ended_by: ban.ended.map(|(_, actor)| actor),
        }
    }
}

/// A page of bans.
#[derive(Serialize, ToSchema)]
pub(crate) struct ListedBans {
    /// Newest first.
    bans: Vec<ListedBan>,
    /// For `before`, to get the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<i64>,
}

/// Which bans.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct BanPage {
    /// Bans of the page.
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<usize>,
    /// `next` of the page before.
    before: Option<i64>,
    /// Those of one account.
    #[param(minimum = 0)]
    account: Option<i64>,
    /// Those of one kind: `account` or `address`.
    #[param(max_length = 16)]
    kind: Option<String>,
    /// Those that hold; all without.
    in_force: Option<bool>,
}

/// List bans
#[utoipa::path(get, path = "/api/v1/staff/bans", tag = "staff", operation_id = "list_bans",
    params(BanPage), security(("access_token" = [])),
    responses(
        (status = 200, description = "A page of bans.", body = ListedBans),
        (status = 400, description = "A parameter is unknown or out of range.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, description = "The caller may not do that.", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Staff,
    Parameters(BanPage { limit, before, account, kind, in_force }): Parameters<BanPage>,
) -> Result<Json<ListedBans>, Problem> {
    caller.needs(Permission::Look)?;
    let limit = page(limit)?;
    let kind = match kind.as_deref() {
        None => None,
        Some("account") => Some("account"),
        Some("address") => Some("address"),
        Some(_) => return Err(Code::QueryInvalid.into()),
    };
    if account.is_some_and(|account| account < 0) {
        return Err(Code::QueryInvalid.into());
    }
    let in_force_ms = in_force.unwrap_or(false).then(|| app.now_ms());
    let filter = Filter { account, kind, in_force_ms };
    let before = before.unwrap_or(i64::MAX);
    let mut found = app.sql.transaction(move |tx| bans::list(tx, &filter, before, limit + 1)).await?;
    let next = cut(&mut found, limit, |ban| ban.id);
    Ok(Json(ListedBans { bans: found.into_iter().map(ListedBan::from).collect(), next }))
}

/// Ban
///
/// An account: its sessions end, and whoever plays is thrown out. Or a range of addresses: nothing is answered there but this, and
/// nobody comes into the game from there; who plays already plays on. A ban that held of the same is replaced.
#[utoipa::path(post, path = "/api/v1/staff/bans", tag = "staff", operation_id = "ban",
    request_body = NewBan, security(("access_token" = [])),
    responses(
        (status = 201, description = "It holds, on other nodes within 10 s.", body = BanPut),
        (status = 403, description = "The caller may not do that.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "As many ranges are banned as may be, or the request is under way: see `code`.", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn put(
    State(app): State<App>,
    caller: Staff,
    from: From,
    Body(NewBan { account, addresses, until_ms, reason }): Body<NewBan>,
) -> Result<(StatusCode, Json<BanPut>), Problem> {
    caller.needs(Permission::Suspend)?;
    let now_ms = app.now_ms();
    needs_reason(&reason, until_ms, now_ms)?;
    let ban = match (account, addresses) {
        (Some(account), None) => ban_account(&app, caller, account, until_ms, reason, "ban").await?,
        (None, Some(addresses)) => {
            let range = parse_range(&addresses)?;
            if range.contains(&from.address.to_canonical()) {
                return Err(Problem::from(Code::BodyInvalid).detail("your own address is among these"));
            }
            let target = Target::Range(range);
            let put = app.sql.transaction(move |tx| {
                let ban = bans::put(tx, &target, until_ms, &reason, caller.actor(), now_ms)?;
                caller.record(tx, now_ms, "ban", 0, &detail(&format!("{range} "), until_ms, &reason))?;
                Ok::<_, Problem>(ban)
            });
            let ban = put.await?;
            app.refresh_bans().await?;
            ban
        }
        _ => return Err(Problem::from(Code::BodyInvalid).detail("name either an account or addresses")),
    };
    Ok((StatusCode::CREATED, Json(BanPut { ban })))
}

/// Lift a ban
#[utoipa::path(delete, path = "/api/v1/staff/bans/{ban}", tag = "staff", operation_id = "lift_ban",
    params(("ban" = i64, Path, description = "Its number.")), security(("access_token" = [])),
    responses(
        (status = 204, description = "It does not hold any more."),
        (status = 403, description = "The caller may not do that.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "There is no such ban.", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn lift(
    State(app): State<App>,
    caller: Staff,
    Path(ban): Path<String>,
) -> Result<StatusCode, Problem> {
    caller.needs(Permission::Suspend)?;
    let id: i64 = ban.parse().map_err(|_| Code::BanUnknown)?;
    let now_ms = app.now_ms();
    app.sql
        .transaction(move |tx| {
            let ban = bans::find(tx, id)?.ok_or(Code::BanUnknown)?;
            let subject = match ban.target {
                Target::Account(account) => {
                    caller.needs_touch(tx, account)?;
                    account
                }
                Target::Range(_) => 0,
            };
            if bans::lift(tx, &ban, caller.actor(), now_ms)? {
                caller.record(tx, now_ms, "lift", subject, &format!("ban {id}"))?;
            }
            Ok::<_, Problem>(())
        })
        .await?;
    app.refresh_bans().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Bans an account from now on, ends its sessions and has whoever plays thrown out; the ban's number.
pub(super) async fn ban_account(
    app: &App,
    caller: Staff,
    subject: i64,
    until_ms: Option<i64>,
    reason: String,
    action: &'static str,
) -> Result<i64, Problem> {
    let now_ms = app.now_ms();
    let (ban, ended) = app
        .sql
        .transaction(move |tx| {
            caller.needs_touch(tx, subject)?;
            let ban = bans::put(tx, &Target::Account(subject), until_ms, &reason, caller.actor(), now_ms)?;
            caller.record(tx, now_ms, action, subject, &detail("", until_ms, &reason))?;
            one_time::revoke(tx, Kind::Ticket, subject)?;
            let ended = sessions::end_all(tx, subject, None, EndReason::Staff, now_ms)?;
            Ok::<_, Problem>((ban, ended))
        })
        .await?;
    app.revoke(&ended);
    app.throw_out(subject);
    Ok(ban)
}

/// What the log says of a ban.
fn detail(what: &str, until_ms: Option<i64>, reason: &str) -> String {
    match until_ms {
        Some(until_ms) => format!("{what}until {until_ms}: {reason}"),
        None => format!("{what}for good: {reason}"),
    }
}
