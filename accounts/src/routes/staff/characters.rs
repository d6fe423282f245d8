//! Characters as staff finds them.

use axum::extract::State;
use axum::response::Json;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use vyuha_record::Value;
use vyuha_store::sql::{SqlRow, SqlTransaction};

use super::{Staff, beginning, cut, needs_search, page};
use crate::http::{App, Parameters};
use crate::problem::{Problem, ProblemBody};
use crate::staff::Permission;

/// The most characters of one account that are shown.
const OF_ACCOUNT_MAX: i64 = 100;
/// The number of no character.
const NOBODY: i64 = -1;

/// A character as staff sees it.
#[derive(Serialize, ToSchema)]
pub(crate) struct FoundCharacter {
    /// Its number.
    character: i64,
    /// Its name.
    name: String,
    /// Its account.
    account: i64,
    /// The number of the zone where it was saved last.
    zone: i64,
    /// When it was made, milliseconds since 1970 UTC.
    created_ms: i64,
}

/// A page of characters.
#[derive(Serialize, ToSchema)]
pub(crate) struct FoundCharacters {
    /// By number.
    characters: Vec<FoundCharacter>,
    /// For `after`, to get the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<i64>,
}

/// Which characters.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct CharacterPage {
    /// What the name begins with, or the character's number.
    #[param(max_length = 254)]
    search: Option<String>,
    /// Characters of the page.
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<usize>,
    /// `next` of the page before.
    after: Option<i64>,
}

/// Look characters up
#[utoipa::path(get, path = "/api/v1/staff/characters", tag = "staff", operation_id = "search_characters",
    params(CharacterPage), security(("access_token" = [])),
    responses(
        (status = 200, description = "A page of characters.", body = FoundCharacters),
        (status = 400, description = "A parameter is unknown or out of range.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, description = "The caller may not do that.", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn search(
    State(app): State<App>,
    caller: Staff,
    Parameters(CharacterPage { search, limit, after }): Parameters<CharacterPage>,
) -> Result<Json<FoundCharacters>, Problem> {
    caller.needs(Permission::Look)?;
    let limit = page(limit)?;
    let search = search.unwrap_or_default();
    needs_search(&search)?;
    let (pattern, id) = (beginning(&search), search.parse().unwrap_or(NOBODY));
    let mut characters = app
        .sql
        .transaction(move |tx| {
            let rows = tx.query(
                "SELECT id, name, account, zone, created_ms FROM character
                 WHERE id > ?1 AND (name_key LIKE ?2 ESCAPE '!' OR id = ?3) ORDER BY id LIMIT ?4",
                &[
                    after.unwrap_or(i64::MIN).into(),
                    pattern.clone().into(),
                    id.into(),
                    Value::Int(limit as i64 + 1),
                ],
            )?;
            rows.iter().map(found).collect::<Result<Vec<_>, Problem>>()
        })
        .await?;
    let next = cut(&mut characters, limit, |character| character.character);
    Ok(Json(FoundCharacters { characters, next }))
}

/// The characters of an account.
pub(super) fn characters_of(
    tx: &mut dyn SqlTransaction,
    account: i64,
) -> Result<Vec<FoundCharacter>, Problem> {
    let rows = tx.query(
        "SELECT id, name, account, zone, created_ms FROM character WHERE account = ?1 ORDER BY id LIMIT ?2",
        &[account.into(), OF_ACCOUNT_MAX.into()],
    )?;
    rows.iter().map(found).collect()
}

fn found(row: &SqlRow) -> Result<FoundCharacter, Problem> {
    Ok(FoundCharacter {
        character: row.int(0)?,
        name: row.text(1)?,
        account: row.int(2)?,
        zone: row.int(3)?,
        created_ms: row.int(4)?,
    })
}
