//! The account itself.

use axum::extract::State;
use axum::response::Json;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::{App, Caller};
use crate::overview::{self, Overview};
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
    let (account, now_ms) = (caller.account, app.now_ms());
    let overview = match app.overviews.get(account, now_ms) {
        Ok(overview) => overview,
        Err(unknown) => {
            let read = app.sql.transaction(move |tx| overview::load(tx, account)).await?;
            let read = read.ok_or(Code::Unauthorized)?;
            app.overviews.keep(unknown, account, now_ms, read.clone());
            read
        }
    };
    let Overview { name, email, second_factor, created_ms } = overview;
    Ok(Json(Me { account, name, email, second_factor, created_ms }))
}
