//! The account itself.

use axum::extract::State;
use axum::response::Json;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::{App, Caller};
use crate::problem::{Code, Problem};

/// An account as its owner sees it.
#[derive(Serialize, ToSchema)]
pub(crate) struct Me {
    /// Its number.
    #[schema(example = 7)]
    account: i64,
    /// Its name.
    #[schema(example = "player-0123456789abcdef")]
    name: String,
    /// Its address, if it has one.
    email: Option<String>,
    /// Whether signing in takes a code.
    second_factor: bool,
    /// When it was made, milliseconds since 1970 UTC.
    created_ms: i64,
}

/// Show the account
#[utoipa::path(get, path = "/api/v1/me", tag = "account", operation_id = "show_account",
    security(("access_token" = [])),
    responses((status = 200, description = "The account.", body = Me)))]
pub(crate) async fn me(State(app): State<App>, caller: Caller) -> Result<Json<Me>, Problem> {
    let id = caller.account;
    app.sql
        .transaction(move |tx| {
            let rows = tx.query(
                "SELECT name, email, second_factor_ms, created_ms FROM account WHERE id = ?1",
                &[id.into()],
            )?;
            let row = rows.first().ok_or(Code::Unauthorized)?;
            Ok(Json(Me {
                account: id,
                name: row.text(0)?,
                email: row.optional_text(1)?,
                second_factor: row.optional_int(2)?.is_some(),
                created_ms: row.int(3)?,
            }))
        })
        .await
}
