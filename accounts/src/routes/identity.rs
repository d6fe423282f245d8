//! Signing in at an identity provider, and linking its identities to an account.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Json;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use vyuha_store::sql::SqlTransaction;

use super::session::{self, Tokens};
use crate::http::{App, Body, Caller, From};
use crate::identities::{self, FLOW_MS, Flow, Found};
use crate::login;
use crate::mail::Topic;
use crate::notice::Notice;
use crate::oidc::{FlowSecrets, Identity, Provider};
use crate::problem::{Code, Problem, ProblemBody};
use crate::secret::{Kind, Token};
use crate::service::Service;
use crate::sessions::{self, Grant, Opened};
use crate::throttle::{FLOW_ADDRESS, TOKEN_ADDRESS};

/// The longest code of a provider, in bytes.
const CODE_BYTES_MAX: usize = 4096;

/// Somebody at whom people may sign in.
#[derive(Serialize, ToSchema)]
pub(crate) struct IdentityProvider {
    /// What it is called in paths.
    #[schema(example = "example")]
    provider: String,
    /// What people know it as.
    #[schema(example = "Example")]
    title: String,
    /// Where people may come back to.
    redirect_uris: Vec<String>,
}

/// All of them.
#[derive(Serialize, ToSchema)]
pub(crate) struct IdentityProviders {
    /// In the order of the configuration.
    providers: Vec<IdentityProvider>,
}

/// Somebody who goes to a provider.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BeginFlow {
    /// Where to come back to: one of the provider's `redirect_uris`; the first of them without.
    #[schema(example = "https://play.example.com/signed-in", max_length = 1024)]
    redirect_uri: Option<String>,
}

/// The owner of an account who goes to a provider.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BeginLink {
    /// The password, if the account has one.
    #[schema(max_length = 128)]
    password: Option<String>,
    /// A code of the second factor, or a recovery code, where the account asks for one.
    #[schema(example = "123456", max_length = 32)]
    second_factor: Option<String>,
    /// Where to come back to: one of the provider's `redirect_uris`; the first of them without.
    #[schema(example = "https://play.example.com/signed-in", max_length = 1024)]
    redirect_uri: Option<String>,
}

/// The way to a provider.
#[derive(Serialize, ToSchema)]
pub(crate) struct FlowBegun {
    /// To be kept by who began, and shown with what the provider answers; it goes nowhere else. Good once.
    #[schema(example = "vyo_zk2fVHQ0ZcXwqO4l2wXc1cS0dGkqL7mR9tYbN3uPjA8")]
    flow: String,
    /// The page to be opened in a browser.
    authorization_url: String,
    /// How long it may take to come back, in seconds.
    #[schema(example = 600)]
    expires_in: i64,
}

/// Somebody who came back from a provider.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CompleteFlow {
    /// As it was answered when the sign-in was begun.
    flow: String,
    /// The parameter `code` that the provider sent them back with; without, where a code of the second factor alone is missing.
    #[schema(max_length = 4096)]
    code: Option<String>,
    /// The parameter `state`.
    state: Option<String>,
    /// The parameter `iss`, if there was one.
    iss: Option<String>,
    /// A code of the second factor, or a recovery code, where the account asks for one.
    #[schema(example = "123456", max_length = 32)]
    second_factor: Option<String>,
}

/// The owner of an account who came back from a provider.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CompleteLink {
    /// As it was answered when the linking was begun.
    flow: String,
    /// The parameter `code` that the provider sent them back with.
    #[schema(max_length = 4096)]
    code: String,
    /// The parameter `state`.
    state: String,
    /// The parameter `iss`, if there was one.
    iss: Option<String>,
}

/// The owner of an account who wants to sign in at a provider no longer.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Unlink {
    /// The password, if the account has one.
    #[schema(max_length = 128)]
    password: Option<String>,
    /// A code of the second factor, or a recovery code, where the account asks for one.
    #[schema(example = "123456", max_length = 32)]
    second_factor: Option<String>,
}

/// An identity of the account.
#[derive(Serialize, ToSchema)]
pub(crate) struct LinkedIdentity {
    /// The provider; none if it is no longer among those of the configuration.
    provider: Option<String>,
    /// The provider's own address.
    #[schema(example = "https://id.example.com")]
    issuer: String,
    /// Since when it is linked, milliseconds since 1970 UTC.
    linked_ms: i64,
}

/// The identities of the account.
#[derive(Serialize, ToSchema)]
pub(crate) struct LinkedIdentities {
    /// Oldest first.
    identities: Vec<LinkedIdentity>,
}

/// What a provider sent somebody back with.
struct CameBack<'a> {
    flow: &'a str,
    code: String,
    state: &'a str,
    iss: Option<&'a str>,
}

/// List the providers
///
/// Those at whom people may sign in.
#[utoipa::path(get, path = "/api/v1/identity-providers", tag = "identities", operation_id = "list_identity_providers",
    responses((status = 200, description = "The providers.", body = IdentityProviders)))]
pub(crate) async fn providers(State(app): State<App>) -> Json<IdentityProviders> {
    let provider = |provider: &Provider| IdentityProvider {
        provider: provider.config.name.clone(),
        title: provider.config.title.clone(),
        redirect_uris: provider.config.redirect_uris.clone(),
    };
    Json(IdentityProviders { providers: app.providers.iter().map(provider).collect() })
}

/// Begin to sign in at a provider
///
/// Open `authorization_url` in a browser. The provider sends it back to `redirect_uri` with `code`, `state` and perhaps `iss`:
/// show them, with `flow`, to get a session.
#[utoipa::path(post, path = "/api/v1/identity-providers/{provider}/flows", tag = "identities", operation_id = "begin_identity_sign_in",
    params(("provider" = String, Path, description = "Its name.")), request_body = BeginFlow,
    responses(
        (status = 201, description = "The way to the provider.", body = FlowBegun),
        (status = 404, description = "There is no such provider.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "That is no place to come back to.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 429, description = "Too many attempts from this address.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "The provider, or the database, does not answer: see `code`.", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn begin(
    State(app): State<App>,
    from: From,
    Path(provider): Path<String>,
    Body(BeginFlow { redirect_uri }): Body<BeginFlow>,
) -> Result<(StatusCode, Json<FlowBegun>), Problem> {
    begin_flow(&app, &from, &provider, redirect_uri, None).await
}

/// Sign in with a provider's answer
///
/// Opens a session. Who is new here gets an account. `flow` is good once, whatever comes of it, but where a code of the second
/// factor is missing: it is shown again then, with `second_factor` and without `code` and `state`.
#[utoipa::path(post, path = "/api/v1/identity-providers/{provider}/sessions", tag = "identities", operation_id = "complete_identity_sign_in",
    params(("provider" = String, Path, description = "Its name.")), request_body = CompleteFlow,
    responses(
        (status = 201, description = "A session was opened.", body = Tokens),
        (status = 401, description = "The answer proves nothing, or a code is needed or wrong: see `code`.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, description = "The account is suspended, or accounts cannot be registered here: see `code`.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "There is no such provider.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "The address has an account that must be signed in to first.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "`flow` is unknown, was used or is too old, or `state` is another's.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 429, description = "Too many failures.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "The provider, or the database, does not answer: see `code`.", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn complete(
    State(app): State<App>,
    from: From,
    Path(provider): Path<String>,
    Body(back): Body<CompleteFlow>,
) -> Result<(StatusCode, Json<Tokens>), Problem> {
    session::give(&app, open(&app, &from, &provider, back, Grant::Refresh).await?)
}

/// Opens a session for who came back from a provider, and shows a code where the account asks for one.
pub(super) async fn open(
    app: &Service,
    from: &From,
    provider: &str,
    CompleteFlow { flow, code, state, iss, second_factor }: CompleteFlow,
    grant: Grant,
) -> Result<Opened, Problem> {
    let provider = app.providers.named(provider)?;
    let now_ms = app.now_ms();
    let counted = app.throttle.count(now_ms, &[(TOKEN_ADDRESS, &from.site)]).map_err(Problem::too_many)?;
    let judged = async {
        let begun = take(app, provider, &flow).await?;
        match (begun.proven, code, state) {
            (Some(account), None, None) => Ok(account),
            (None, Some(code), Some(state)) if begun.account.is_none() => {
                let came_back = CameBack { flow: &flow, code, state: &state, iss: iss.as_deref() };
                let identity = prove(app, provider, &begun, came_back).await?;
                find_or_make(app, provider, &flow, begun, identity).await
            }
            _ => Err(Code::TokenInvalid.into()),
        }
    };
    let account = counted.judge(judged.await)?;
    let account = app.sql.transaction(move |tx| login::load(tx, account)).await?.ok_or(Code::TokenInvalid)?;
    account.needs_no_suspension(app.now_ms())?;
    if account.second_factor {
        login::prove_code(app, account.id, second_factor).await?;
    }
    let (agent, address, now_ms) = (from.agent.clone(), from.address.to_string(), app.now_ms());
    let opened = app
        .sql
        .transaction(move |tx| {
            // The account may have been changed while the code was judged.
            if !login::is_unchanged(tx, &account)? || !identities::finish(tx, &flow, account.id, now_ms)? {
                return Err(Problem::from(Code::TokenInvalid));
            }
            sessions::open(tx, account.id, grant, &agent, &address, now_ms)
        })
        .await?;
    app.revoke(&opened.ended);
    app.notify_sign_in(&opened, &from.address.to_string());
    Ok(opened)
}

/// List the identities
///
/// Those that sign in to the account.
#[utoipa::path(get, path = "/api/v1/me/identities", tag = "identities", operation_id = "list_identities",
    security(("access_token" = [])),
    responses((status = 200, description = "The identities.", body = LinkedIdentities)))]
pub(crate) async fn list(State(app): State<App>, caller: Caller) -> Result<Json<LinkedIdentities>, Problem> {
    let found = app.sql.transaction(move |tx| identities::list(tx, caller.account)).await?;
    let linked = |one: identities::Linked| LinkedIdentity {
        provider: app.providers.iter().find(|p| p.config.issuer == one.issuer).map(|p| p.config.name.clone()),
        issuer: one.issuer,
        linked_ms: one.linked_ms,
    };
    Ok(Json(LinkedIdentities { identities: found.into_iter().map(linked).collect() }))
}

/// Begin to link an identity
///
/// The same way to the provider as for signing in; it comes back to the account that asks, and to no other. An account without a
/// password is asked for a session of the last 5 minutes.
#[utoipa::path(post, path = "/api/v1/me/identities/{provider}/flows", tag = "identities", operation_id = "begin_identity_link",
    params(("provider" = String, Path, description = "Its name.")), request_body = BeginLink, security(("access_token" = [])),
    responses(
        (status = 201, description = "The way to the provider.", body = FlowBegun),
        (status = 401, description = "The access token, the password or the code is not good, or the session is too old: see `code`.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "There is no such provider.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "That is no place to come back to.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 429, description = "Too many attempts.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "The provider, or the database, does not answer: see `code`.", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn begin_link(
    State(app): State<App>,
    caller: Caller,
    from: From,
    Path(provider): Path<String>,
    Body(BeginLink { password, second_factor, redirect_uri }): Body<BeginLink>,
) -> Result<(StatusCode, Json<FlowBegun>), Problem> {
    login::prove_owner(&app, &caller, &from.site, password, second_factor).await?;
    begin_flow(&app, &from, &provider, redirect_uri, Some(caller.account)).await
}

/// Link an identity
///
/// With what the provider answered. The identity signs in to the account from now on, and the account's address is told.
#[utoipa::path(put, path = "/api/v1/me/identities/{provider}", tag = "identities", operation_id = "link_identity",
    params(("provider" = String, Path, description = "Its name.")), request_body = CompleteLink, security(("access_token" = [])),
    responses(
        (status = 204, description = "It is linked."),
        (status = 401, description = "The access token is not good, or the answer proves nothing: see `code`.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "There is no such provider.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "The identity has an account, or the account an identity of this provider.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "`flow` is unknown, was used or is too old, or `state` is another's.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 429, description = "Too many failures.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "The provider, or the database, does not answer: see `code`.", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn link(
    State(app): State<App>,
    caller: Caller,
    from: From,
    Path(provider): Path<String>,
    Body(CompleteLink { flow, code, state, iss }): Body<CompleteLink>,
) -> Result<StatusCode, Problem> {
    let provider = app.providers.named(&provider)?;
    let now_ms = app.now_ms();
    let counted = app.throttle.count(now_ms, &[(TOKEN_ADDRESS, &from.site)]).map_err(Problem::too_many)?;
    let judged = async {
        let begun = take(&app, provider, &flow).await?;
        if begun.account != Some(caller.account) {
            return Err(Code::TokenInvalid.into());
        }
        let came_back = CameBack { flow: &flow, code, state: &state, iss: iss.as_deref() };
        prove(&app, provider, &begun, came_back).await
    };
    let identity = counted.judge(judged.await)?;
    let (account, provider) = (caller.account, &provider.config.name);
    change(&app, caller, Topic::IdentityLinked, move |tx, account, now_ms| {
        identities::link(tx, &identity, account, now_ms)
    })
    .await?;
    app.notify(account, &Notice::IdentityLinked { provider });
    Ok(StatusCode::NO_CONTENT)
}

/// Unlink an identity
///
/// Unless it is the last way in: without a password another identity must be there. The account's address is told. An account
/// without a password is asked for a session of the last 5 minutes.
#[utoipa::path(post, path = "/api/v1/me/identities/{provider}/remove", tag = "identities", operation_id = "unlink_identity",
    params(("provider" = String, Path, description = "Its name.")), request_body = Unlink, security(("access_token" = [])),
    responses(
        (status = 204, description = "It signs in no longer."),
        (status = 401, description = "The access token, the password or the code is not good, or the session is too old: see `code`.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "There is no such provider, or the account has no identity of it: see `code`.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "It is the last way in.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 429, description = "Too many failures.", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn unlink(
    State(app): State<App>,
    caller: Caller,
    from: From,
    Path(provider): Path<String>,
    Body(Unlink { password, second_factor }): Body<Unlink>,
) -> Result<StatusCode, Problem> {
    let issuer = app.providers.named(&provider)?.config.issuer.clone();
    login::prove_owner(&app, &caller, &from.site, password, second_factor).await?;
    let account = caller.account;
    change(&app, caller, Topic::IdentityUnlinked, move |tx, account, _| {
        identities::unlink(tx, account, &issuer)
    })
    .await?;
    app.notify(account, &Notice::IdentityUnlinked { provider: &provider });
    Ok(StatusCode::NO_CONTENT)
}

/// Changes which identities the caller's account has, while its session lasts; the account's address is told.
async fn change(
    app: &Service,
    caller: Caller,
    topic: Topic,
    change: impl Fn(&mut dyn SqlTransaction, i64, i64) -> Result<(), Problem> + Send + 'static,
) -> Result<(), Problem> {
    let (account, now_ms) = (caller.account, app.now_ms());
    let email = app
        .sql
        .transaction(move |tx| {
            // The access token may be good for longer than the session.
            if !sessions::lasts(tx, account, &caller.session, now_ms)? {
                return Err(Problem::from(Code::Unauthorized));
            }
            change(tx, account, now_ms)?;
            login::email_of(tx, account)
        })
        .await?;
    if let Some(email) = email {
        app.mailer.send(topic, &email, None);
    }
    Ok(())
}

async fn begin_flow(
    app: &Service,
    from: &From,
    provider: &str,
    redirect_uri: Option<String>,
    account: Option<i64>,
) -> Result<(StatusCode, Json<FlowBegun>), Problem> {
    let provider = app.providers.named(provider)?;
    let known = &provider.config.redirect_uris;
    let redirect_uri = redirect_uri.unwrap_or_else(|| known[0].clone());
    if !known.contains(&redirect_uri) {
        return Err(Problem::from(Code::BodyInvalid).detail("redirect_uri is none of the provider's"));
    }
    let now_ms = app.now_ms();
    app.throttle.count(now_ms, &[(FLOW_ADDRESS, &from.site)]).map_err(Problem::too_many)?.stands();
    let flow = Token::new(Kind::Flow)?;
    let secrets = FlowSecrets::of(&flow.text);
    let (name, back) = (provider.config.name.clone(), redirect_uri.clone());
    let text = flow.text.clone();
    app.sql.transaction(move |tx| identities::begin(tx, &flow, &name, &back, account, now_ms)).await?;
    let asks_email = asks_email(provider, account);
    let authorization_url = provider.authorization_url(&secrets, &redirect_uri, asks_email, now_ms).await?;
    Ok((StatusCode::CREATED, Json(FlowBegun { flow: text, authorization_url, expires_in: FLOW_MS / 1000 })))
}

/// Takes a sign-in up again.
async fn take(app: &Service, provider: &Provider, flow: &str) -> Result<Flow, Problem> {
    let (flow, name, now_ms) = (flow.to_owned(), provider.config.name.clone(), app.now_ms());
    let taken = app.sql.transaction(move |tx| identities::take(tx, &flow, &name, now_ms)).await?;
    taken.ok_or_else(|| Code::TokenInvalid.into())
}

/// Who came back.
async fn prove(
    app: &Service,
    provider: &Provider,
    begun: &Flow,
    came_back: CameBack<'_>,
) -> Result<Identity, Problem> {
    let CameBack { flow, code, state, iss } = came_back;
    let secrets = FlowSecrets::of(flow);
    if !secrets.is_state(state) {
        return Err(Code::TokenInvalid.into());
    }
    // Another provider sent them here (RFC 9207).
    if iss.is_some_and(|iss| iss != provider.config.issuer) || code.len() > CODE_BYTES_MAX {
        return Err(Code::IdentityRefused.into());
    }
    let asks_email = asks_email(provider, begun.account);
    provider.prove(&secrets, &begun.redirect_uri, code, asks_email, &app.throttle, app.now_ms()).await
}

/// Whether an address would count: not where it is not trusted, nor where it is known to which account an identity is linked.
fn asks_email(provider: &Provider, linked_to: Option<i64>) -> bool {
    provider.config.trust_email && linked_to.is_none()
}

/// The account of an identity; the sign-in waits for its end now.
async fn find_or_make(
    app: &Service,
    provider: &Provider,
    flow: &str,
    begun: Flow,
    identity: Identity,
) -> Result<i64, Problem> {
    let (flow, name, trust_email) =
        (flow.to_owned(), provider.config.name.clone(), provider.config.trust_email);
    let (open_registration, now_ms) = (app.config.open_registration, app.now_ms());
    let Found { account, linked_by } = app
        .sql
        .transaction(move |tx| {
            let found = identities::find_or_make(tx, &identity, trust_email, open_registration, now_ms)?;
            identities::prove(tx, &flow, &name, &begun, found.account, now_ms)?;
            Ok::<_, Problem>(found)
        })
        .await?;
    if let Some(email) = linked_by {
        app.mailer.send(Topic::IdentityLinked, email.as_str(), None);
    }
    Ok(account)
}
