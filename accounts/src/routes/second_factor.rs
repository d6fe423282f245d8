//! Codes beside the password: turned on with the password and a first code, off with the password and a code.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Json;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use vyuha_store::sql::SqlTransaction;

use crate::http::{App, Body, Caller, From};
use crate::login;
use crate::notice::Notice;
use crate::problem::{Code, Problem, ProblemBody};
use crate::second_factor::{self, Enrolment};
use crate::throttle::CODE;

/// Somebody who shows once more who they are.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BeginSecondFactor {
    /// The password, if the account has one.
    #[schema(max_length = 128)]
    password: Option<String>,
}

/// What goes into an authenticator.
#[derive(Serialize, ToSchema)]
pub(crate) struct SecondFactorBegun {
    /// The shared secret in base 32.
    secret: String,
    /// The same, to be shown as a QR code.
    #[schema(example = "otpauth://totp/Vyuha:asha?secret=...&issuer=Vyuha")]
    url: String,
}

/// The first code.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConfirmSecondFactor {
    /// Six digits.
    #[schema(example = "123456", max_length = 32)]
    code: String,
}

/// What to keep in a safe place.
#[derive(Serialize, ToSchema)]
pub(crate) struct SecondFactorConfirmed {
    /// Each is good once in place of a code. They are not shown again.
    recovery_codes: Vec<String>,
}

/// Somebody who wants no code any more.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RemoveSecondFactor {
    /// The password, if the account has one.
    #[schema(max_length = 128)]
    password: Option<String>,
    /// A code, or a recovery code.
    #[schema(example = "123456", max_length = 32)]
    code: String,
}

/// Set up
///
/// It is on once a code of it was shown. An account without a password is asked for a session of the last 5 minutes.
#[utoipa::path(post, path = "/api/v1/me/second-factor", tag = "second factor", operation_id = "begin_second_factor",
    request_body = BeginSecondFactor, security(("access_token" = [])),
    responses(
        (status = 200, description = "What goes into an authenticator.", body = SecondFactorBegun),
        (status = 401, description = "The access token or the password is not good, or the session is too old: see `code`.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "It is on already.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 429, description = "Too many failures.", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn begin(
    State(app): State<App>,
    caller: Caller,
    from: From,
    Body(BeginSecondFactor { password }): Body<BeginSecondFactor>,
) -> Result<Json<SecondFactorBegun>, Problem> {
    let id = caller.account;
    let account = app.sql.transaction(move |tx| login::load(tx, id)).await?.ok_or(Code::Unauthorized)?;
    if account.second_factor {
        return Err(Code::SecondFactorPresent.into());
    }
    login::prove_owner(&app, &caller, &from.site, password, None).await?;
    let service = app.clone();
    let Enrolment { secret, url } = app
        .sql
        .transaction(move |tx| {
            let rows = tx.query("SELECT name FROM account WHERE id = ?1", &[account.id.into()])?;
            let name = rows.first().ok_or(Code::Unauthorized)?.text(0)?;
            second_factor::begin(tx, &service.vault, &service.config.site, account.id, &name)
        })
        .await?;
    Ok(Json(SecondFactorBegun { secret, url }))
}

/// Turn on
#[utoipa::path(post, path = "/api/v1/me/second-factor/confirm", tag = "second factor", operation_id = "confirm_second_factor",
    request_body = ConfirmSecondFactor, security(("access_token" = [])),
    responses(
        (status = 200, description = "It is on.", body = SecondFactorConfirmed),
        (status = 401, description = "The access token or the code is not good: see `code`.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "It is on already, or was not set up.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 429, description = "Too many wrong codes.", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn confirm(
    State(app): State<App>,
    caller: Caller,
    Body(ConfirmSecondFactor { code }): Body<ConfirmSecondFactor>,
) -> Result<Json<SecondFactorConfirmed>, Problem> {
    let (account, now_ms, vault) = (caller.account, app.now_ms(), app.vault.clone());
    let counted = app.throttle.count(now_ms, &[(CODE, &account.to_string())]).map_err(Problem::too_many)?;
    let confirm =
        move |tx: &mut dyn SqlTransaction| second_factor::confirm(tx, &vault, account, &code, now_ms);
    let recovery_codes = counted.judge(app.sql.transaction(confirm).await)?;
    app.notify(account, &Notice::SecondFactorOn);
    Ok(Json(SecondFactorConfirmed { recovery_codes }))
}

/// Turn off
#[utoipa::path(post, path = "/api/v1/me/second-factor/remove", tag = "second factor", operation_id = "remove_second_factor",
    request_body = RemoveSecondFactor, security(("access_token" = [])),
    responses(
        (status = 204, description = "It is off."),
        (status = 401, description = "The access token, the password or the code is not good, or the session is too old: see `code`.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "It is not on.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 429, description = "Too many failures.", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn remove(
    State(app): State<App>,
    caller: Caller,
    from: From,
    Body(RemoveSecondFactor { password, code }): Body<RemoveSecondFactor>,
) -> Result<StatusCode, Problem> {
    let account = login::prove_owner(&app, &caller, &from.site, password, Some(code)).await?;
    if !account.second_factor {
        return Err(Code::SecondFactorAbsent.into());
    }
    app.sql.transaction(move |tx| second_factor::remove(tx, account.id)).await?;
    app.notify(caller.account, &Notice::SecondFactorOff);
    Ok(StatusCode::NO_CONTENT)
}
