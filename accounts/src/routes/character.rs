//! The characters of one's own account.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Json;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::profile::{needs_session, number as profile_number};
use crate::characters;
use crate::http::{App, Body, Caller};
use crate::problem::{Code, Problem, ProblemBody};

/// A character.
#[derive(Serialize, ToSchema)]
pub(crate) struct Character {
    /// Its number.
    #[schema(example = 12)]
    id: i64,
    /// Its name.
    #[schema(example = "Abe")]
    name: String,
    /// Its profile.
    #[schema(example = 3)]
    profile: i64,
    /// The zone where it was saved last.
    #[schema(example = 1)]
    zone: i64,
    /// When it was made, milliseconds since 1970 UTC.
    created_ms: i64,
    /// When it was deleted, milliseconds since 1970 UTC, if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    deleted_ms: Option<i64>,
    /// When it goes for good then.
    #[serde(skip_serializing_if = "Option::is_none")]
    purge_ms: Option<i64>,
}

/// An account's characters.
#[derive(Serialize, ToSchema)]
pub(crate) struct Characters {
    /// Of all profiles, by number.
    characters: Vec<Character>,
}

/// A new character.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewCharacter {
    /// 3 to 16 letters, digits or single inner spaces, beginning with a letter; unlike every other character's.
    #[schema(example = "Abe", min_length = 3, max_length = 16)]
    name: String,
}

/// A character that was made.
#[derive(Serialize, ToSchema)]
pub(crate) struct MadeCharacter {
    /// Its number.
    #[schema(example = 12)]
    character: i64,
}

/// A character that was deleted.
#[derive(Serialize, ToSchema)]
pub(crate) struct DeletedCharacter {
    /// When it goes for good, milliseconds since 1970 UTC; until then its name stays taken and it can be restored.
    purge_ms: i64,
}

/// List the characters
#[utoipa::path(get, path = "/api/v1/me/characters", tag = "profiles", operation_id = "list_characters",
    security(("access_token" = [])),
    responses((status = 200, description = "The account's characters, deleted ones among them.", body = Characters)))]
pub(crate) async fn list(State(app): State<App>, caller: Caller) -> Result<Json<Characters>, Problem> {
    let now_ms = app.now_ms();
    let found = app.sql.transaction(move |tx| characters::list(tx, caller.account, now_ms)).await?;
    let character = |found: characters::Character| Character {
        id: found.id,
        name: found.name,
        profile: found.profile,
        zone: found.zone,
        created_ms: found.created_ms,
        deleted_ms: found.deleted.map(|(deleted_ms, _)| deleted_ms),
        purge_ms: found.deleted.map(|(_, purge_ms)| purge_ms),
    };
    Ok(Json(Characters { characters: found.into_iter().map(character).collect() }))
}

/// Make a character
#[utoipa::path(post, path = "/api/v1/me/profiles/{profile}/characters", tag = "profiles", operation_id = "create_character",
    params(("profile" = i64, Path, description = "The profile's number.")),
    request_body = NewCharacter, security(("access_token" = [])),
    responses(
        (status = 201, description = "There is a new character.", body = MadeCharacter),
        (status = 409, description = "The name is taken, the profile is frozen or has as many as it may have: see `code`.", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn create(
    State(app): State<App>,
    caller: Caller,
    Path(profile): Path<String>,
    Body(NewCharacter { name }): Body<NewCharacter>,
) -> Result<(StatusCode, Json<MadeCharacter>), Problem> {
    let (profile, now_ms) = (profile_number(&profile)?, app.now_ms());
    app.names.check(&name)?;
    let newcomer = app.newcomer.clone();
    app.sql
        .transaction(move |tx| {
            needs_session(tx, &caller, now_ms)?;
            let character = characters::create(tx, caller.account, profile, &name, &newcomer, now_ms)?;
            Ok((StatusCode::CREATED, Json(MadeCharacter { character })))
        })
        .await
}

/// Delete a character
///
/// It can be restored until it goes for good. One that plays is not deleted.
#[utoipa::path(delete, path = "/api/v1/me/characters/{character}", tag = "profiles", operation_id = "delete_character",
    params(("character" = i64, Path, description = "Its number.")), security(("access_token" = [])),
    responses(
        (status = 200, description = "It is deleted.", body = DeletedCharacter),
        (status = 409, description = "It plays, is deleted already, or its profile is frozen: see `code`.", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn delete(
    State(app): State<App>,
    caller: Caller,
    Path(character): Path<String>,
) -> Result<Json<DeletedCharacter>, Problem> {
    let (character, now_ms, grace_ms) = (number(&character)?, app.now_ms(), app.config.character_grace_ms);
    let account = caller.account;
    if app.game.playing(account).await? == Some(character) {
        return Err(Code::CharacterInPlay.into());
    }
    let purge_ms = app
        .sql
        .transaction(move |tx| {
            needs_session(tx, &caller, now_ms)?;
            characters::delete(tx, account, character, grace_ms, now_ms)
        })
        .await?;
    // It may have entered meanwhile. If not, whoever enters from now on finds it deleted.
    let playing = app.game.playing(account).await;
    if !matches!(playing, Ok(other) if other != Some(character)) {
        app.sql.transaction(move |tx| characters::undelete(tx, character)).await?;
        playing?;
        return Err(Code::CharacterInPlay.into());
    }
    Ok(Json(DeletedCharacter { purge_ms }))
}

/// Restore a character
#[utoipa::path(delete, path = "/api/v1/me/characters/{character}/deletion", tag = "profiles", operation_id = "restore_character",
    params(("character" = i64, Path, description = "Its number.")), security(("access_token" = [])),
    responses(
        (status = 204, description = "It is there again."),
        (status = 409, description = "It is not deleted.", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn restore(
    State(app): State<App>,
    caller: Caller,
    Path(character): Path<String>,
) -> Result<StatusCode, Problem> {
    let (character, now_ms) = (number(&character)?, app.now_ms());
    app.sql
        .transaction(move |tx| {
            needs_session(tx, &caller, now_ms)?;
            characters::restore(tx, caller.account, character, now_ms)?;
            Ok(StatusCode::NO_CONTENT)
        })
        .await
}

fn number(text: &str) -> Result<i64, Problem> {
    text.parse().map_err(|_| Code::CharacterUnknown.into())
}
