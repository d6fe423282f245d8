//! The OpenAPI document: its head, and what holds for every operation.

use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{ContentBuilder, OpenApi, Ref, RefOr, Required, ResponseBuilder};
use utoipa::{OpenApi as _, ToSchema as _};

use crate::browser::SECURE_NAME;
use crate::problem::{Code, PROBLEM_JSON, ProblemBody};

/// The name of the security scheme.
pub(crate) const BEARER: &str = "access_token";
/// The name of the scheme of calls between servers.
const SIGNED: &str = "signature";
/// What staff does; other servers may do it too.
const STAFF: &str = "staff";
/// What is done for those as well whose address is banned.
const OPEN_TO_BANNED: [&str; 2] = ["file_appeal", "public_keys"];
/// The name of the scheme of pages in a browser.
const COOKIE: &str = "browser_session";

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Vyuha accounts",
        description = "Sign-up, sign-in and sessions, and tickets into the game.\n\n\
            **Authentication**: `POST /api/v1/sessions` gives an access token, good for 15 minutes, which is sent as \
            `Authorization: Bearer ...`, and a refresh token, good once, for the next pair. A refresh token that is used \
            twice ends its session. Pages in a browser do better with `POST /api/v1/browser-session`, whose cookie no script can read.\n\n\
            **Errors** are problem details (RFC 9457) with a stable `code`.\n\n\
            **Writes** may carry an `Idempotency-Key`: sent again within 15 minutes, the request is answered again and not \
            done again.\n\n\
            **Limits** on how often it may be called are told in `RateLimit-Policy` and `RateLimit`; a call that is too many is \
            answered with 429 and `Retry-After`.\n\n\
            Every answer carries `X-Request-Id`, which a caller may choose.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    components(schemas(ProblemBody, Code)),
    tags(
        (name = "registration", description = "From an e-mail address to an account."),
        (name = "sessions", description = "Signing in, staying in, and signing out."),
        (name = "password", description = "New passwords."),
        (name = "account", description = "The account itself."),
        (name = "second factor", description = "Codes beside the password."),
        (name = "identities", description = "Signing in at an identity provider (OpenID Connect with PKCE)."),
        (name = "profiles", description = "What an account plays as: profiles with their settings and characters."),
        (name = "devices", description = "Devices that sign in by a key of their own, and the link over which they tell each other what happened: see docs/devices.md."),
        (name = "game", description = "The way into the game."),
        (name = "topics", description = "What pages are told as it happens, over WebSocket."),
        (name = "staff", description = "Looking accounts up, bans and appeals, announcements, and the log of all that. Needs a role and a second factor."),
        (name = "keys", description = "For services that verify access tokens.")
    )
)]
struct Head;

/// The document without its operations.
pub(super) fn head() -> OpenApi {
    let mut document = Head::openapi();
    let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
    let components = document.components.get_or_insert_default();
    components.add_security_scheme(BEARER, SecurityScheme::Http(scheme));
    let about = "Of `POST /api/v1/browser-session`. Every write needs an `Origin` of the site as well. Without TLS it is called `vyuha`.";
    let cookie = ApiKey::Cookie(ApiKeyValue::with_description(SECURE_NAME, about));
    let about = "HTTP Message Signatures (RFC 9421) with `hmac-sha256` over `@method`, `@path`, `@query` and `content-digest` (RFC 9530), \
                 in the headers `Signature-Input`, `Signature` and `Content-Digest`; with `created`, `nonce`, `keyid` and `alg`.";
    let signature = ApiKey::Header(ApiKeyValue::with_description("Signature", about));
    components.add_security_scheme(SIGNED, SecurityScheme::ApiKey(signature));
    components.add_security_scheme(COOKIE, SecurityScheme::ApiKey(cookie));
    document
}

/// Adds to each operation what holds for all of its kind.
pub(super) fn complete(mut document: OpenApi) -> OpenApi {
    for item in document.paths.paths.values_mut() {
        if let Some(operation) = &mut item.get {
            complete_operation(operation, false);
        }
        for operation in [&mut item.post, &mut item.put, &mut item.delete].into_iter().flatten() {
            complete_operation(operation, true);
        }
    }
    document
}

fn complete_operation(operation: &mut Operation, writes: bool) {
    let mut codes = vec![
        Code::VersionUnknown,
        Code::RequestTimeout,
        Code::Internal,
        Code::Unavailable,
        Code::NotFound,
        Code::RateLimited,
    ];
    if operation.request_body.is_some() {
        codes.extend([
            Code::BodyMalformed,
            Code::BodyInvalid,
            Code::BodyTooLarge,
            Code::ContentTypeUnsupported,
        ]);
    }
    if !OPEN_TO_BANNED.iter().any(|open| operation.operation_id.as_deref() == Some(open)) {
        codes.push(Code::AddressBanned);
    }
    if let Some(ways) = &mut operation.security {
        codes.push(Code::Unauthorized);
        ways.push(SecurityRequirement::new(COOKIE, Vec::<String>::new()));
        if operation.tags.iter().flatten().any(|tag| tag == STAFF) {
            ways.push(SecurityRequirement::new(SIGNED, Vec::<String>::new()));
            codes.push(Code::TooManyAttempts);
        }
        if writes {
            codes.push(Code::OriginRefused);
        }
    }
    if writes {
        codes.extend([Code::IdempotencyKeyInvalid, Code::IdempotencyInProgress, Code::IdempotencyKeyReused]);
        codes.push(Code::BodyTooLarge);
        operation.parameters.get_or_insert_default().push(RefOr::T(idempotency_key()));
    }
    for code in codes {
        let status = code.status().as_u16().to_string();
        operation.responses.responses.entry(status).or_insert_with(|| RefOr::T(problem(code.title())));
    }
}

fn problem(description: &str) -> utoipa::openapi::Response {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(ProblemBody::name()))).build();
    ResponseBuilder::new().description(description).content(PROBLEM_JSON, content).build()
}

fn idempotency_key() -> Parameter {
    let schema =
        ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[A-Za-z0-9_-]{1,64}$")).build();
    ParameterBuilder::new()
        .name("Idempotency-Key")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some("Names this write, so that it can be sent again and is done once."))
        .schema(Some(schema))
        .build()
}
