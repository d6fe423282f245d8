//! The way into the game.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Json;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::profile::needs_session;
use crate::characters;
use crate::http::{App, BodyIfAny, Caller};
use crate::one_time::{self, Admitted, TICKET_MS};
use crate::problem::{Code, Problem, ProblemBody};
use crate::profiles;
use crate::secret::Kind;

/// With what to play.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TicketWish {
    /// The profile; without one that of the character, or else the session's.
    #[schema(example = 3)]
    profile: Option<i64>,
    /// The character; without one whichever of the profile.
    #[schema(example = 12)]
    character: Option<i64>,
}

/// A ticket into the game.
#[derive(Serialize, ToSchema)]
pub(crate) struct IssuedTicket {
    /// To be sent as `RedeemTicket` after `Hello`. Good once.
    ticket: String,
    /// The account.
    #[schema(example = 7)]
    account: i64,
    /// The profile whose characters it lets in.
    #[schema(example = 3)]
    profile: i64,
    /// The character that it lets in, if one was named.
    #[schema(example = 12)]
    #[serde(skip_serializing_if = "Option::is_none")]
    character: Option<i64>,
    /// Where to connect, host and port.
    #[schema(example = "127.0.0.1:7777")]
    address: String,
    /// How long it is good, in seconds.
    #[schema(example = 60)]
    expires_in: i64,
}

/// Get a ticket
///
/// It signs the account in to the game in place of a password, with one profile, or one character of it. It ends with its session.
#[utoipa::path(post, path = "/api/v1/tickets", tag = "game", operation_id = "issue_ticket",
    request_body = Option<TicketWish>, security(("access_token" = [])),
    responses(
        (status = 201, description = "A ticket.", body = IssuedTicket),
        (status = 409, description = "The profile is frozen, or the character deleted: see `code`.", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn issue(
    State(app): State<App>,
    caller: Caller,
    BodyIfAny(TicketWish { profile, character }): BodyIfAny<TicketWish>,
) -> Result<(StatusCode, Json<IssuedTicket>), Problem> {
    let (account, now_ms) = (caller.account, app.now_ms());
    let (token, profile) = app
        .sql
        .transaction(move |tx| {
            needs_session(tx, &caller, now_ms)?;
            let chosen = match (profile, character) {
                (Some(profile), _) => profiles::find(tx, account, profile, now_ms)?,
                (None, Some(character)) => characters::needs_entry(tx, account, character, now_ms)?,
                (None, None) => profiles::active(tx, account, &caller.session, now_ms)?,
            };
            chosen.needs_to_be_active()?;
            if let Some(character) = character
                && characters::needs_entry(tx, account, character, now_ms)?.id != chosen.id
            {
                return Err(Problem::from(Code::CharacterUnknown));
            }
            one_time::revoke(tx, Kind::Ticket, account)?;
            let admitted = Admitted { account, profile: chosen.id, character };
            Ok((one_time::issue_ticket(tx, admitted, now_ms)?, chosen.id))
        })
        .await?;
    let ticket = IssuedTicket {
        ticket: token.text,
        account,
        profile,
        character,
        address: app.config.game_address.clone(),
        expires_in: TICKET_MS / 1000,
    };
    Ok((StatusCode::CREATED, Json(ticket)))
}
