//! New passwords: for one who forgot the old one, and for one who did not. Either ends the sessions elsewhere.

use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;
use vyuha_gateway::accounts::check_password;
use vyuha_store::sql::SqlTransaction;

use crate::devices::enrolled;
use crate::email::Email;
use crate::http::{App, Body, Caller, From};
use crate::login;
use crate::mail::Topic;
use crate::notice::Notice;
use crate::one_time::{self, NOBODY, RESET_MS};
use crate::problem::{Code, Problem, ProblemBody};
use crate::secret::Kind;
use crate::sessions::{self, EndReason};
use crate::throttle::{MAIL_ADDRESS, MAILBOX, TOKEN_ADDRESS};

/// Somebody who forgot the password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RequestPasswordReset {
    /// The account's address.
    #[schema(example = "asha@example.com", max_length = 254)]
    email: String,
}

/// Somebody who got the mail.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResetPassword {
    /// The token in the mail.
    token: String,
    /// The new password, 8 to 128 bytes.
    #[schema(min_length = 8, max_length = 128)]
    password: String,
}

/// Somebody who wants another password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangePassword {
    /// The password as it is, if the account has one.
    #[schema(max_length = 128)]
    password: Option<String>,
    /// A code of the second factor, or a recovery code, where the account asks for one.
    #[schema(example = "123456", max_length = 32)]
    code: Option<String>,
    /// The new one, 8 to 128 bytes.
    #[schema(min_length = 8, max_length = 128)]
    new_password: String,
}

/// Ask for a new password
///
/// Sends a token to the address if it has an account. The answer is the same if not.
#[utoipa::path(post, path = "/api/v1/password-resets", tag = "password", operation_id = "request_password_reset",
    request_body = RequestPasswordReset,
    responses(
        (status = 202, description = "If the address has an account, a mail is on its way."),
        (status = 429, description = "Too many attempts from this address.", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn request_reset(
    State(app): State<App>,
    from: From,
    Body(RequestPasswordReset { email }): Body<RequestPasswordReset>,
) -> Result<StatusCode, Problem> {
    let email = Email::parse(&email).map_err(|_| Code::EmailInvalid)?;
    let now_ms = app.now_ms();
    app.throttle.count(now_ms, &[(MAIL_ADDRESS, &from.site)]).map_err(Problem::too_many)?.stands();
    // A mailbox that has had enough keeps the token that it was sent last.
    let Ok(counted) = app.throttle.count(now_ms, &[(MAILBOX, email.as_str())]) else {
        return Ok(StatusCode::ACCEPTED);
    };
    let address = email.as_str().to_owned();
    let (account, token) = app
        .sql
        .transaction(move |tx| {
            let account = login::find(tx, &address)?.map_or(NOBODY, |account| account.id);
            one_time::revoke(tx, Kind::Reset, account)?;
            let token = one_time::issue(tx, Kind::Reset, account, now_ms, RESET_MS)?;
            Ok::<_, Problem>((account, token))
        })
        .await?;
    counted.stands();
    if account != NOBODY {
        app.mailer.send(Topic::Reset, email.as_str(), Some(&token.text));
    }
    Ok(StatusCode::ACCEPTED)
}

/// Set the new password
///
/// The token is good once. Every session of the account ends, and its devices are revoked.
#[utoipa::path(post, path = "/api/v1/password-resets/confirm", tag = "password", operation_id = "reset_password",
    request_body = ResetPassword,
    responses(
        (status = 204, description = "The password is set."),
        (status = 422, description = "The token is unknown, was used or is too old, or that is no password: see `code`.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 429, description = "Too many wrong tokens from this address.", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn reset(
    State(app): State<App>,
    from: From,
    Body(ResetPassword { token, password }): Body<ResetPassword>,
) -> Result<StatusCode, Problem> {
    check_password(&password).map_err(|_| Code::PasswordInvalid)?;
    let now_ms = app.now_ms();
    let counted = app.throttle.count(now_ms, &[(TOKEN_ADDRESS, &from.site)]).map_err(Problem::too_many)?;
    let judged = async {
        let shown = token.clone();
        let known = app.sql.transaction(move |tx| one_time::peek(tx, Kind::Reset, &shown, now_ms)).await?;
        known.ok_or(Code::TokenInvalid)?;
        let hash = app.hasher.hash(&password).await?;
        let set = move |tx: &mut dyn SqlTransaction| {
            let account = one_time::redeem(tx, Kind::Reset, &token, now_ms)?.ok_or(Code::TokenInvalid)?;
            login::set_password(tx, account, &hash)?;
            // Whoever had the account may have enrolled one.
            let mut ended = enrolled::revoke_all(tx, account, EndReason::Password, now_ms)?;
            ended.extend(sessions::end_all(tx, account, None, EndReason::Password, now_ms)?);
            one_time::revoke(tx, Kind::Ticket, account)?;
            Ok::<_, Problem>((account, ended, login::email_of(tx, account)?))
        };
        app.sql.transaction(set).await
    };
    let (account, ended, email) = counted.judge(judged.await)?;
    app.revoke(&ended);
    app.notify(account, &Notice::PasswordChanged);
    if let Some(email) = email {
        app.mailer.send(Topic::PasswordChanged, &email, None);
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Change or set the password
///
/// Every other session of the account ends. An account that has no password yet is asked for a session of the last 5 minutes.
#[utoipa::path(put, path = "/api/v1/me/password", tag = "password", operation_id = "change_password",
    request_body = ChangePassword, security(("access_token" = [])),
    responses(
        (status = 204, description = "The password is set."),
        (status = 401, description = "The access token, the old password or the code is not good, or the session is too old: see `code`.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 429, description = "Too many failures.", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn change(
    State(app): State<App>,
    caller: Caller,
    from: From,
    Body(ChangePassword { password, code, new_password }): Body<ChangePassword>,
) -> Result<StatusCode, Problem> {
    check_password(&new_password).map_err(|_| Code::PasswordInvalid)?;
    let account = login::prove_owner(&app, &caller, &from.site, password, code).await?;
    let hash = app.hasher.hash(&new_password).await?;
    let now_ms = app.now_ms();
    let (ended, email) = app
        .sql
        .transaction(move |tx| {
            if !login::is_unchanged(tx, &account)? {
                return Err(Problem::from(Code::CredentialsWrong));
            }
            login::set_password(tx, account.id, &hash)?;
            let ended =
                sessions::end_all(tx, account.id, Some(&caller.session), EndReason::Password, now_ms)?;
            one_time::revoke(tx, Kind::Ticket, account.id)?;
            one_time::revoke(tx, Kind::Reset, account.id)?;
            Ok((ended, login::email_of(tx, account.id)?))
        })
        .await?;
    app.revoke(&ended);
    app.notify(caller.account, &Notice::PasswordChanged);
    app.notify_ended(caller.account, &ended, EndReason::Password);
    if let Some(email) = email {
        app.mailer.send(Topic::PasswordChanged, &email, None);
    }
    Ok(StatusCode::NO_CONTENT)
}
