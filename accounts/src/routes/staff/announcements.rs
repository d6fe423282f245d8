//! Announcements to those who play.

use std::time::Duration;

use axum::extract::State;
use axum::response::Json;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio::time::timeout;
use utoipa::ToSchema;
use vyuha_gateway::{ANNOUNCEMENT_BYTES_MAX, Announcement, is_announcement};

use super::Staff;
use crate::http::{App, Body};
use crate::problem::{Code, Problem, ProblemBody};
use crate::staff::Permission;

/// How long it is waited for that an announcement was handed on: less than a request may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(8);

/// An announcement.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewAnnouncement {
    /// What is announced, without control characters; at most 200 bytes.
    #[schema(min_length = 1, max_length = 200, example = "We are back in ten minutes.")]
    text: String,
    /// Whether the players of the other nodes are told as well.
    everywhere: bool,
}

/// What became of it.
#[derive(Serialize, ToSchema)]
pub(crate) struct Announced {
    /// Whose players are told: `every_node` or `this_node`.
    reaches: &'static str,
    /// Why not every node's, where that was wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Announce
///
/// Told at most once: who is not in the game just now misses it.
#[utoipa::path(post, path = "/api/v1/staff/announcements", tag = "staff", operation_id = "announce",
    request_body = NewAnnouncement, security(("access_token" = [])),
    responses(
        (status = 200, description = "This node's players are told.", body = Announced),
        (status = 403, description = "The caller may not do that.", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn announce(
    State(app): State<App>,
    caller: Staff,
    Body(NewAnnouncement { text, everywhere }): Body<NewAnnouncement>,
) -> Result<Json<Announced>, Problem> {
    caller.needs(Permission::Announce)?;
    if !is_announcement(&text) {
        let detail =
            format!("an announcement has 1 to {ANNOUNCEMENT_BYTES_MAX} bytes and no control characters");
        return Err(Problem::from(Code::BodyInvalid).detail(detail));
    }
    // There is room before it is in the log that it was announced.
    let place = app.announcements.try_reserve().map_err(|_| busy())?;
    let (now_ms, said) = (app.now_ms(), text.clone());
    let to = if everywhere { "every node" } else { "this node" };
    let record =
        app.sql.transaction(move |tx| caller.record(tx, now_ms, "announce", 0, &format!("to {to}: {said}")));
    record.await?;
    let (answer, answered) = oneshot::channel();
    place.send(Announcement { text, everywhere, answer });
    match timeout(ANSWER_TIMEOUT, answered).await {
        Ok(Ok(Ok(()))) if everywhere => Ok(Json(Announced { reaches: "every_node", reason: None })),
        Ok(Ok(Ok(()))) => Ok(Json(Announced { reaches: "this_node", reason: None })),
        Ok(Ok(Err(error))) => Ok(Json(Announced { reaches: "this_node", reason: Some(error.to_string()) })),
        _ => Err(busy()),
    }
}

fn busy() -> Problem {
    Problem { retry_after_s: Some(2), ..Code::Unavailable.into() }
}
