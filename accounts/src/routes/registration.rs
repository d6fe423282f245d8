//! From an e-mail address to an account. No answer tells whether an address has one.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Json;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use vyuha_gateway::accounts::check_password;
use vyuha_store::sql::SqlTransaction;

use crate::email::Email;
use crate::http::{App, Body, From};
use crate::mail::Topic;
use crate::problem::{Code, Problem, ProblemBody};
use crate::registration::{self, Begun};
use crate::secret::{Kind, Token};
use crate::service::Service;
use crate::throttle::{MAIL_ADDRESS, MAILBOX, TOKEN_ADDRESS};

/// Somebody who wants an account.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Register {
    /// The address; its case does not count.
    #[schema(example = "asha@example.com", max_length = 254)]
    email: String,
    /// 8 to 128 bytes.
    #[schema(example = "correct horse battery staple", min_length = 8, max_length = 128)]
    password: String,
}

/// A registration that waits for its address to be confirmed.
#[derive(Serialize, ToSchema)]
pub(crate) struct Registered {
    /// Names the registration, to have its mail sent again.
    #[schema(example = "vyg_zk2fVHQ0ZcXwqO4l2wXc1cS0dGkqL7mR9tYbN3uPjA8")]
    registration: String,
}

/// A registration whose mail did not come.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResendRegistration {
    /// As it was answered to the registration.
    registration: String,
}

/// Somebody who got the mail.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConfirmRegistration {
    /// The token in the mail.
    token: String,
}

/// An account that was made.
#[derive(Serialize, ToSchema)]
pub(crate) struct RegistrationConfirmed {
    /// Its number.
    #[schema(example = 7)]
    account: i64,
}

/// Register
///
/// Sends a mail with a token to the address; with the token the account is made. An address that has an account gets a mail
/// that says so: the answer is the same.
#[utoipa::path(post, path = "/api/v1/registrations", tag = "registration", operation_id = "register",
    request_body = Register,
    responses(
        (status = 202, description = "A mail is on its way.", body = Registered),
        (status = 403, description = "Accounts cannot be registered here.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 429, description = "Too many attempts from this address.", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn register(
    State(app): State<App>,
    from: From,
    Body(wanted): Body<Register>,
) -> Result<(StatusCode, Json<Registered>), Problem> {
    if !app.config.open_registration {
        return Err(Code::RegistrationClosed.into());
    }
    let email = Email::parse(&wanted.email).map_err(|_| Code::EmailInvalid)?;
    check_password(&wanted.password).map_err(|_| Code::PasswordInvalid)?;
    let now_ms = app.now_ms();
    app.throttle.count(now_ms, &[(MAIL_ADDRESS, &from.site)]).map_err(Problem::too_many)?.stands();
    let password_hash = app.hasher.hash(&wanted.password).await?;
    let Token { text, hash } = Token::new(Kind::Registration)?;
    let begin =
        move |tx: &mut dyn SqlTransaction| registration::begin(tx, &hash, &email, &password_hash, now_ms);
    let begun = app.sql.transaction(begin).await?;
    mail(&app, &begun);
    Ok((StatusCode::ACCEPTED, Json(Registered { registration: text })))
}

/// Send the mail again
///
/// With a new token; the one before is good no longer. The answer is the same whether there is such a registration or not.
#[utoipa::path(post, path = "/api/v1/registrations/resend", tag = "registration", operation_id = "resend_registration",
    request_body = ResendRegistration,
    responses(
        (status = 202, description = "If there is such a registration, a mail is on its way."),
        (status = 429, description = "Too many attempts from this address.", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn resend(
    State(app): State<App>,
    from: From,
    Body(ResendRegistration { registration }): Body<ResendRegistration>,
) -> Result<StatusCode, Problem> {
    let now_ms = app.now_ms();
    app.throttle.count(now_ms, &[(MAIL_ADDRESS, &from.site)]).map_err(Problem::too_many)?.stands();
    let begun = app.sql.transaction(move |tx| registration::resend(tx, &registration, now_ms)).await?;
    if let Some(begun) = begun {
        mail(&app, &begun);
    }
    Ok(StatusCode::ACCEPTED)
}

/// Confirm the address
///
/// Makes the account. The token is good once.
#[utoipa::path(post, path = "/api/v1/registrations/confirm", tag = "registration", operation_id = "confirm_registration",
    request_body = ConfirmRegistration,
    responses(
        (status = 201, description = "The account was made.", body = RegistrationConfirmed),
        (status = 422, description = "The token is unknown, was used, or is too old.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 429, description = "Too many wrong tokens from this address.", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn confirm(
    State(app): State<App>,
    from: From,
    Body(ConfirmRegistration { token }): Body<ConfirmRegistration>,
) -> Result<(StatusCode, Json<RegistrationConfirmed>), Problem> {
    let now_ms = app.now_ms();
    let counted = app.throttle.count(now_ms, &[(TOKEN_ADDRESS, &from.site)]).map_err(Problem::too_many)?;
    let confirmed = app.sql.transaction(move |tx| registration::confirm(tx, &token, now_ms)).await;
    let account = counted.judge(confirmed)?;
    Ok((StatusCode::CREATED, Json(RegistrationConfirmed { account })))
}

/// Mails what is due, unless the mailbox has got enough.
fn mail(app: &Service, begun: &Begun) {
    let Ok(counted) = app.throttle.count(app.now_ms(), &[(MAILBOX, &begun.email)]) else {
        tracing::info!("a mailbox gets no more mail for a while");
        return;
    };
    counted.stands();
    if begun.taken {
        app.mailer.send(Topic::AlreadyRegistered, &begun.email, None);
    } else {
        app.mailer.send(Topic::Verify, &begun.email, Some(&begun.verification.text));
    }
}
