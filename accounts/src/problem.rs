//! What is answered where something is refused: RFC 9457 problem details, each with a stable code.
//!
//! A code never changes its meaning. Nothing of what was sent is repeated but what the JSON reader says of its shape, and
//! nothing of the inside is told: that is in the log, under the request's id.

use std::borrow::Cow;
use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use vyuha_gateway::accounts::AccountsError;
use vyuha_store::StoreError;
use vyuha_store::sql::SqlError;

/// What problem details are sent as.
pub const PROBLEM_JSON: &str = "application/problem+json";

macro_rules! codes {
    ($($(#[doc = $doc:literal])* $name:ident = $code:literal, $status:ident, $title:literal;)*) => {
        /// Why a request was refused.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, ToSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum Code { $($(#[doc = $doc])* $name,)* }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Code] = &[$(Code::$name),*];

            /// The code as programs see it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Code::$name => $code,)* }
            }

            /// The status that it is answered with.
            pub const fn status(self) -> StatusCode {
                match self { $(Code::$name => StatusCode::$status,)* }
            }

            /// What it says to people, the same for every request.
            pub const fn title(self) -> &'static str {
                match self { $(Code::$name => $title,)* }
            }
        }
    };
}

codes! {
    /// There is nothing at this path.
    NotFound = "not_found", NOT_FOUND, "There is nothing here.";
    /// The path does not know this method.
    MethodNotAllowed = "method_not_allowed", METHOD_NOT_ALLOWED, "This path does not take that method.";
    /// The version of the interface is missing or unknown.
    VersionUnknown = "version_unknown", BAD_REQUEST, "This version of the interface does not exist here.";
    /// The body is not JSON.
    BodyMalformed = "body_malformed", BAD_REQUEST, "The body is not well-formed JSON.";
    /// The body is JSON of another shape.
    BodyInvalid = "body_invalid", UNPROCESSABLE_ENTITY, "The body does not have the expected shape.";
    /// The body is too long.
    BodyTooLarge = "body_too_large", PAYLOAD_TOO_LARGE, "The body is too long.";
    /// The body is of another media type.
    ContentTypeUnsupported = "content_type_unsupported", UNSUPPORTED_MEDIA_TYPE, "The body must be application/json.";
    /// A parameter of the query is wrong.
    QueryInvalid = "query_invalid", BAD_REQUEST, "A parameter of the query is unknown or out of range.";
    /// The request did not arrive, or was not done, in time.
    RequestTimeout = "request_timeout", REQUEST_TIMEOUT, "The request took too long.";
    /// The idempotency key is not well formed.
    IdempotencyKeyInvalid = "idempotency_key_invalid", BAD_REQUEST, "An Idempotency-Key has 1 to 64 letters, digits, '-' and '_'.";
    /// The idempotency key was used for another request.
    IdempotencyKeyReused = "idempotency_key_reused", UNPROCESSABLE_ENTITY, "The Idempotency-Key was used for another request.";
    /// The first request with this idempotency key is under way.
    IdempotencyInProgress = "idempotency_in_progress", CONFLICT, "The request with this Idempotency-Key is still under way.";
    /// There is no access token, or not a good one.
    Unauthorized = "unauthorized", UNAUTHORIZED, "A valid access token is needed.";
    /// No such account, or the wrong password.
    CredentialsWrong = "credentials_wrong", UNAUTHORIZED, "The login or the password is wrong.";
    /// The account has no password to show, and the session is not of the last few minutes.
    SignInAgain = "sign_in_again", UNAUTHORIZED, "Sign in again, and do this within 5 minutes.";
    /// The password is right; a code is needed as well.
    SecondFactorRequired = "second_factor_required", UNAUTHORIZED, "A code of the second factor is needed as well.";
    /// The code of the second factor is wrong or was used.
    SecondFactorWrong = "second_factor_wrong", UNAUTHORIZED, "The code of the second factor is wrong or was used.";
    /// The second factor is set up already.
    SecondFactorPresent = "second_factor_present", CONFLICT, "The second factor is on already.";
    /// No second factor is being set up, or none is on.
    SecondFactorAbsent = "second_factor_absent", CONFLICT, "There is no second factor to do that with.";
    /// The token is unknown, used or too old.
    TokenInvalid = "token_invalid", UNPROCESSABLE_ENTITY, "The token is unknown, was used, or is too old.";
    /// The refresh token is unknown, used or too old, or its session is over.
    RefreshInvalid = "refresh_invalid", UNAUTHORIZED, "The session is over: sign in again.";
    /// The e-mail address is not well formed.
    EmailInvalid = "email_invalid", UNPROCESSABLE_ENTITY, "That is no e-mail address.";
    /// The password is not well formed.
    PasswordInvalid = "password_invalid", UNPROCESSABLE_ENTITY, "A password has 8 to 128 bytes.";
    /// Accounts cannot be registered here.
    RegistrationClosed = "registration_closed", FORBIDDEN, "Accounts cannot be registered here.";
    /// The account is suspended.
    AccountSuspended = "account_suspended", FORBIDDEN, "The account is suspended.";
    /// The caller may not do that.
    Forbidden = "forbidden", FORBIDDEN, "You may not do that.";
    /// There is no such account.
    AccountUnknown = "account_unknown", NOT_FOUND, "There is no such account.";
    /// The account has no such session.
    SessionUnknown = "session_unknown", NOT_FOUND, "The account has no such session.";
    /// A cookie vouches for a write that no page of ours asked for.
    OriginRefused = "origin_refused", FORBIDDEN, "A cookie vouches for writes of our own pages only.";
    /// A call between servers is not signed as it must be, or with another key.
    SignatureInvalid = "signature_invalid", UNAUTHORIZED, "The signature is not good.";
    /// The time of a signature is too far from ours.
    SignatureStale = "signature_stale", UNAUTHORIZED, "The signature is too old, or too new.";
    /// A signed call was seen before.
    SignatureReplayed = "signature_replayed", UNAUTHORIZED, "This signed call was seen before: sign each with a nonce of its own.";
    /// There is no such identity provider.
    ProviderUnknown = "provider_unknown", NOT_FOUND, "There is no such identity provider.";
    /// An identity provider is away, or answers what it may not.
    ProviderUnavailable = "provider_unavailable", SERVICE_UNAVAILABLE, "The identity provider does not answer: begin again in a while.";
    /// What came from the identity provider proves nothing.
    IdentityRefused = "identity_refused", UNAUTHORIZED, "The identity provider's answer was not accepted: begin again.";
    /// The identity's address has an account that must be signed in to first.
    IdentityUnlinked = "identity_unlinked", CONFLICT, "An account has this address: sign in to it and link the identity there.";
    /// The identity signs in to another account, or the account has one of this provider.
    IdentityTaken = "identity_taken", CONFLICT, "The identity has an account, or the account an identity of this provider.";
    /// The account has no identity of this provider.
    IdentityUnknown = "identity_unknown", NOT_FOUND, "The account has no identity of this provider.";
    /// Without this identity nobody could sign in.
    LastWayIn = "last_way_in", CONFLICT, "This is the last way in to the account: set a password first.";
    /// The account has no such profile.
    ProfileUnknown = "profile_unknown", NOT_FOUND, "The account has no such profile.";
    /// The profile's name is not well formed.
    ProfileNameInvalid = "profile_name_invalid", UNPROCESSABLE_ENTITY, "A profile's name has 1 to 32 characters, none of them a control character, and no space at either end.";
    /// The account has a profile of that name.
    ProfileNameTaken = "profile_name_taken", CONFLICT, "The account has a profile of that name.";
    /// The account has as many profiles as it may have.
    ProfileLimit = "profile_limit", CONFLICT, "The account has as many profiles as it may have.";
    /// The profile is frozen.
    ProfileFrozen = "profile_frozen", CONFLICT, "The profile is frozen.";
    /// The profile has characters, deleted ones that can come back among them.
    ProfileNotEmpty = "profile_not_empty", CONFLICT, "The profile has characters: one goes with the last of them.";
    /// The profile owes.
    ProfileInDebt = "profile_in_debt", CONFLICT, "The profile owes: its debt is settled first.";
    /// More is settled than is owed.
    DebtExceeded = "debt_exceeded", CONFLICT, "The profile owes less than that.";
    /// The account has no other profile.
    LastProfile = "last_profile", CONFLICT, "An account has at least one profile.";
    /// The settings are too long.
    SettingsTooLarge = "settings_too_large", UNPROCESSABLE_ENTITY, "Settings have at most 8,192 bytes of JSON.";
    /// The write does not say which version it changes.
    PreconditionRequired = "precondition_required", PRECONDITION_REQUIRED, "If-Match must name the version that is changed, as ETag told it.";
    /// What is to be changed has another version by now.
    PreconditionFailed = "precondition_failed", PRECONDITION_FAILED, "It has been changed since: read it again.";
    /// The account has no such character.
    CharacterUnknown = "character_unknown", NOT_FOUND, "The account has no such character.";
    /// The character's name is not well formed.
    CharacterNameInvalid = "character_name_invalid", UNPROCESSABLE_ENTITY, "A character's name has 3 to 16 letters, digits or single inner spaces, and begins with a letter.";
    /// The character's name holds a word that none may have.
    CharacterNameRefused = "character_name_refused", UNPROCESSABLE_ENTITY, "No character may be called that.";
    /// The character's name is taken.
    CharacterNameTaken = "character_name_taken", CONFLICT, "There is a character of that name.";
    /// The profile has as many characters as it may have.
    CharacterLimit = "character_limit", CONFLICT, "The profile has as many characters as it may have.";
    /// The character is deleted.
    CharacterDeleted = "character_deleted", CONFLICT, "The character is deleted: restore it first.";
    /// The character is not deleted.
    CharacterNotDeleted = "character_not_deleted", CONFLICT, "The character is not deleted.";
    /// The character plays.
    CharacterInPlay = "character_in_play", CONFLICT, "The character plays: leave the game first.";
    /// The challenge is unknown, was answered or is too old.
    ChallengeInvalid = "challenge_invalid", UNPROCESSABLE_ENTITY, "The challenge is unknown, was answered, or is too old.";
    /// The key or its signature is not good.
    KeyInvalid = "key_invalid", UNPROCESSABLE_ENTITY, "That is no key, or the signature is not that key's.";
    /// The key is a device's already.
    DeviceTaken = "device_taken", CONFLICT, "This key is a device's already.";
    /// The account has as many devices as it may have.
    DevicesFull = "devices_full", CONFLICT, "The account has as many devices as it may have: revoke one.";
    /// There is no such device.
    DeviceUnknown = "device_unknown", NOT_FOUND, "There is no such device.";
    /// No such device, or not its signature.
    DeviceRefused = "device_refused", UNAUTHORIZED, "There is no such device, or the signature is not its.";
    /// The device is banned.
    DeviceBanned = "device_banned", FORBIDDEN, "The device is banned.";
    /// The event is not well formed.
    EventInvalid = "event_invalid", UNPROCESSABLE_ENTITY, "The event is not well formed.";
    /// There is a later event than the device has seen.
    EventConflict = "event_conflict", CONFLICT, "There is a later event: catch up.";
    /// The account has as many streams as it may have.
    StreamsFull = "streams_full", CONFLICT, "The account has as many streams as it may have.";
    /// Connections from the caller's address are banned.
    AddressBanned = "address_banned", FORBIDDEN, "Your address is banned.";
    /// There is no such ban.
    BanUnknown = "ban_unknown", NOT_FOUND, "There is no such ban.";
    /// As many ranges of addresses are banned as may be.
    BanLimit = "ban_limit", CONFLICT, "As many ranges of addresses are banned as may be: lift one first.";
    /// Neither the account nor the address is banned.
    NotBanned = "not_banned", CONFLICT, "Nothing is banned that could be appealed against.";
    /// The account has appealed against this ban.
    AppealPresent = "appeal_present", CONFLICT, "You have appealed against this ban.";
    /// There is no such appeal.
    AppealUnknown = "appeal_unknown", NOT_FOUND, "There is no such appeal.";
    /// The appeal was decided.
    AppealDecided = "appeal_decided", CONFLICT, "The appeal is decided already.";
    /// Too many calls.
    RateLimited = "rate_limited", TOO_MANY_REQUESTS, "Too many calls: wait as long as Retry-After says.";
    /// Too many attempts.
    TooManyAttempts = "too_many_attempts", TOO_MANY_REQUESTS, "Too many attempts: wait a while.";
    /// The path takes a WebSocket, some a sub-protocol of their own.
    UpgradeRequired = "upgrade_required", UPGRADE_REQUIRED, "This path takes a WebSocket, of its sub-protocol where it has one.";
    /// Too many connections from one address.
    TooManyConnections = "too_many_connections", TOO_MANY_REQUESTS, "There are too many connections from this address.";
    /// A service behind this one is away or busy.
    Unavailable = "unavailable", SERVICE_UNAVAILABLE, "The service cannot answer just now: try again.";
    /// A fault of the server.
    Internal = "internal", INTERNAL_SERVER_ERROR, "The server failed; the fault is in its log.";
}

/// A refusal on its way to the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong, for programs.
    pub code: Code,
    /// What is wrong with this very request, for people.
    pub detail: Option<Cow<'static, str>>,
    /// Seconds after which it may be tried again.
    pub retry_after_s: Option<u64>,
}

/// A problem as it is sent.
#[derive(Debug, Serialize, ToSchema)]
#[schema(title = "Problem", example = json!({
    "type": "urn:vyuha:problem:credentials_wrong",
    "title": "The login or the password is wrong.",
    "status": 401,
    "code": "credentials_wrong"
}))]
pub struct ProblemBody {
    /// Identifies the kind of problem: `urn:vyuha:problem:` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind of problem in words.
    pub title: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// The stable code.
    pub code: Code,
    /// What is wrong with this request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<Cow<'static, str>>,
}

impl Problem {
    /// With this detail.
    #[must_use]
    pub fn detail(self, detail: impl Into<Cow<'static, str>>) -> Problem {
        Problem { detail: Some(detail.into()), ..self }
    }

    /// Too many attempts; the next one may be made in so many milliseconds.
    pub fn too_many(wait_ms: i64) -> Problem {
        let seconds = wait_ms.max(0).unsigned_abs().div_ceil(1000).max(1);
        Problem { retry_after_s: Some(seconds), ..Code::TooManyAttempts.into() }
    }
}

impl From<Code> for Problem {
    fn from(code: Code) -> Problem {
        Problem { code, detail: None, retry_after_s: None }
    }
}

impl From<SqlError> for Problem {
    fn from(error: SqlError) -> Problem {
        tracing::error!(%error, "a request could not use the database");
        let retry_after = match &error {
            SqlError::Store(StoreError::Unavailable { retry_after, .. }) => *retry_after,
            _ => Duration::ZERO,
        };
        // Whole seconds, and the next one at the earliest.
        Problem { retry_after_s: Some(retry_after.as_secs() + 1), ..Code::Unavailable.into() }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Problem {
        match error {
            // What undid the transaction is told to whoever runs it.
            StoreError::Undone => Code::Unavailable.into(),
            error => SqlError::from(error).into(),
        }
    }
}

impl From<AccountsError> for Problem {
    fn from(error: AccountsError) -> Problem {
        match error {
            AccountsError::Busy => Problem { retry_after_s: Some(2), ..Code::Unavailable.into() },
            AccountsError::Password(_) => Code::PasswordInvalid.into(),
            error => {
                tracing::error!(%error, "a password could not be hashed or verified");
                Code::Internal.into()
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Problem { code, detail, retry_after_s } = self;
        let body = ProblemBody {
            kind: format!("urn:vyuha:problem:{}", code.as_str()),
            title: code.title(),
            status: code.status().as_u16(),
            code,
            detail,
        };
        let mut response = (code.status(), axum::Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if let Some(seconds) = retry_after_s {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if code == Code::Unauthorized {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_sent_under_their_own_names() {
        let mut names: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        for code in Code::ALL {
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
            assert!(code.status().is_client_error() || code.status().is_server_error());
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Code::ALL.len());
    }

    #[test]
    fn the_wait_is_at_least_a_second_and_rounded_up() {
        for (wait_ms, seconds) in [(-5, 1), (0, 1), (1, 1), (1000, 1), (1001, 2), (900_000, 900)] {
            assert_eq!(Problem::too_many(wait_ms).retry_after_s, Some(seconds), "{wait_ms}");
        }
    }
}
