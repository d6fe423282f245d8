//! What a person may ask about themselves: all that is kept about them, and that it goes.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Json;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::profile::needs_session;
use crate::http::{App, Body, Caller, From};
use crate::problem::{Code, Problem, ProblemBody};
use crate::secret::Kind;
use crate::sessions::{self, EndReason};
use crate::{erasure, export, login, one_time, staff};

/// Somebody who shows once more that it is them.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Proof {
    /// The password, if the account has one; one that has none is asked for a session of the last 5 minutes.
    #[schema(example = "correct horse battery staple", max_length = 128)]
    password: Option<String>,
    /// A code of the second factor, or a recovery code, where the account asks for one.
    #[schema(example = "123456", max_length = 32)]
    code: Option<String>,
}

/// Somebody who wants their account to go.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeleteAccount {
    /// The password, if the account has one; one that has none is asked for a session of the last 5 minutes.
    #[schema(example = "correct horse battery staple", max_length = 128)]
    password: Option<String>,
    /// A code of the second factor, or a recovery code, where the account asks for one.
    #[schema(example = "123456", max_length = 32)]
    code: Option<String>,
    /// The account's number: what is to be deleted.
    #[schema(example = 7)]
    account: i64,
}

/// All that is kept about a person.
#[derive(Serialize, ToSchema)]
pub(crate) struct Export {
    /// When it was collected, milliseconds since 1970 UTC.
    made_ms: i64,
    /// Lists of rows by what they are about: `account`, `identities`, `sessions`, `devices`, `device_events`, `device_bans`, `profiles`, `debts`, `characters`, `items`, `ledger` (how
    /// many entries), `events`, `role`, `staff_actions`; each of at most 10,000.
    #[schema(value_type = Object)]
    sections: Map<String, Value>,
}

/// An account that is to go.
#[derive(Serialize, ToSchema)]
pub(crate) struct AccountDeletion {
    /// When all that is kept about its owner goes, milliseconds since 1970 UTC, unless they sign in until then.
    erase_ms: i64,
}

/// Get all that is kept about oneself
///
/// One document, for which the password is shown once more, and a code where the second factor is on.
#[utoipa::path(post, path = "/api/v1/me/export", tag = "account", operation_id = "export_account",
    request_body = Proof, security(("access_token" = [])),
    responses(
        (status = 200, description = "All of it.", body = Export),
        (status = 401, description = "The access token, the password or the code is not good, or the session is too old: see `code`.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 429, description = "Too many failures.", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn export(
    State(app): State<App>,
    caller: Caller,
    from: From,
    Body(Proof { password, code }): Body<Proof>,
) -> Result<Json<Export>, Problem> {
    login::prove_owner(&app, &caller, &from.site, password, code).await?;
    let made_ms = app.now_ms();
    app.sql
        .transaction(move |tx| {
            needs_session(tx, &caller, made_ms)?;
            Ok(Json(Export { made_ms, sections: export::collect(tx, caller.account)? }))
        })
        .await
}

/// Delete the account
///
/// Its sessions end, and whoever plays is thrown out. After a while all that is kept about its owner goes for good; whoever signs in
/// before then has changed their mind. Staff gives its role up first.
#[utoipa::path(delete, path = "/api/v1/me", tag = "account", operation_id = "delete_account",
    request_body = DeleteAccount, security(("access_token" = [])),
    responses(
        (status = 202, description = "It is going to be deleted.", body = AccountDeletion),
        (status = 401, description = "The access token, the password or the code is not good, or the session is too old: see `code`.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, description = "The account is the staff's.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 429, description = "Too many failures.", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn delete(
    State(app): State<App>,
    caller: Caller,
    from: From,
    Body(DeleteAccount { password, code, account }): Body<DeleteAccount>,
) -> Result<(StatusCode, Json<AccountDeletion>), Problem> {
    if account != caller.account {
        return Err(
            Problem::from(Code::BodyInvalid).detail("account is the number of the account that is deleted")
        );
    }
    login::prove_owner(&app, &caller, &from.site, password, code).await?;
    let (now_ms, grace_ms) = (app.now_ms(), app.config.erasure_grace_ms);
    let (erase_ms, ended) = app
        .sql
        .transaction(move |tx| {
            needs_session(tx, &caller, now_ms)?;
            if staff::role_of(tx, account)?.is_some() {
                return Err(Problem::from(Code::Forbidden).detail("staff gives its role up first"));
            }
            let erase_ms = erasure::request(tx, account, grace_ms, now_ms)?;
            let ended = sessions::end_all(tx, account, None, EndReason::Erasure, now_ms)?;
            for kind in [Kind::Ticket, Kind::Reset] {
                one_time::revoke(tx, kind, account)?;
            }
            Ok((erase_ms, ended))
        })
        .await?;
    app.revoke(&ended);
    app.throw_out(account);
    Ok((StatusCode::ACCEPTED, Json(AccountDeletion { erase_ms })))
}
