//! The way into the game.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Json;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::{App, Caller};
use crate::one_time::{self, TICKET_MS};
use crate::problem::{Code, Problem};
use crate::secret::Kind;
use crate::sessions;

/// A ticket into the game.
#[derive(Serialize, ToSchema)]
pub(crate) struct IssuedTicket {
    /// To be sent as `RedeemTicket` after `Hello`. Good once.
    ticket: String,
    /// The account.
    #[schema(example = 7)]
    account: i64,
    /// Where to connect, host and port.
    #[schema(example = "127.0.0.1:7777")]
    address: String,
    /// How long it is good, in seconds.
    #[schema(example = 60)]
    expires_in: i64,
}

/// Get a ticket
///
/// It signs the account in to the game in place of a password. It ends with its session.
#[utoipa::path(post, path = "/api/v1/tickets", tag = "game", operation_id = "issue_ticket",
    security(("access_token" = [])),
    responses((status = 201, description = "A ticket.", body = IssuedTicket)))]
pub(crate) async fn issue(
    State(app): State<App>,
    caller: Caller,
) -> Result<(StatusCode, Json<IssuedTicket>), Problem> {
    let (account, now_ms) = (caller.account, app.now_ms());
    let token = app
        .sql
        .transaction(move |tx| {
            // The access token may be good for longer than the session.
            if !sessions::lasts(tx, account, &caller.session, now_ms)? {
                return Err(Problem::from(Code::Unauthorized));
            }
            one_time::revoke(tx, Kind::Ticket, account)?;
            one_time::issue(tx, Kind::Ticket, account, now_ms, TICKET_MS)
        })
        .await?;
    let address = app.config.game_address.clone();
    let ticket = IssuedTicket { ticket: token.text, account, address, expires_in: TICKET_MS / 1000 };
    Ok((StatusCode::CREATED, Json(ticket)))
}
