//! Sign-in at identity providers by OpenID Connect: authorization code with PKCE, by discovery.
//!
//! A provider is asked only when somebody signs in through it, by one request at a time for its document and keys, which are
//! kept for an hour; a key that is not among them has them fetched anew, so often and no more. After a failure nobody asks
//! for a while. Nothing that a provider says is believed but an ID token of its own, signed with one of its keys, for us, for
//! the very sign-in that was begun.

mod outbound;
mod settings;
#[cfg(test)]
mod tests;

use std::error::Error;
use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openidconnect::core::{
    CoreAuthenticationFlow, CoreClient, CoreClientAuthMethod, CoreIdToken, CoreIdTokenClaims,
    CoreJwsSigningAlgorithm, CoreProviderMetadata, CoreTokenResponse, CoreUserInfoClaims,
};
use openidconnect::{
    AuthType, AuthorizationCode, ClaimsVerificationError, ClientId, ClientSecret, CsrfToken,
    EndpointMaybeSet, EndpointNotSet, EndpointSet, IssuerUrl, Nonce, OAuth2TokenResponse as _,
    PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, RequestTokenError, Scope, SignatureVerificationError,
    TokenResponse as _, UserInfoError,
};
use ring::hmac;
use tokio::time::timeout;
use vyuha_breaker::Breaker;

use crate::email::Email;
use crate::problem::{Code, Problem};
use crate::secret::random;
use crate::throttle::{PROVIDER_KEYS, Throttle};
use outbound::Outbound;
pub use settings::{ProviderConfig, ProviderError};

/// How long a provider's document and keys are used before they are fetched anew.
const KEPT_MS: i64 = 60 * 60_000;
/// How long a provider that failed is left alone, at least and at most.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// How long all that one request asks of a provider may take.
const PROVIDER_TIMEOUT: Duration = Duration::from_secs(8);
/// The longest subject, in bytes (OpenID Connect Core).
const SUBJECT_BYTES_MAX: usize = 255;

type Client = CoreClient<
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
>;

/// What of a sign-in goes to the provider and comes back. All of it is made from the token that only who began the sign-in
/// has: who does not know that token can neither use an answer that was meant for another nor have another use theirs.
pub struct FlowSecrets {
    state: String,
    nonce: String,
    verifier: String,
}

impl FlowSecrets {
    /// Those of this token.
    pub fn of(flow: &str) -> FlowSecrets {
        let key = hmac::Key::new(hmac::HMAC_SHA256, flow.as_bytes());
        let derive = |what: &str| URL_SAFE_NO_PAD.encode(hmac::sign(&key, what.as_bytes()));
        FlowSecrets { state: derive("state"), nonce: derive("nonce"), verifier: derive("verifier") }
    }

    /// Whether this state is the one that the provider was given.
    pub fn is_state(&self, state: &str) -> bool {
        // Who could learn from the time how much of it is right has the token already.
        self.state == state
    }
}

/// Somebody, as a provider vouches for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The provider.
    pub issuer: String,
    /// Who it is there: never given to another.
    pub subject: String,
    /// An address that the provider says it has verified, where it was asked for one.
    pub email: Option<Email>,
}

/// The providers.
pub struct Providers {
    all: Vec<Provider>,
}

impl Providers {
    /// Those of a configuration.
    pub fn new(configs: Vec<ProviderConfig>) -> Result<Providers, ProviderError> {
        settings::check(&configs)?;
        if configs.is_empty() {
            return Ok(Providers { all: Vec::new() });
        }
        let outbound = Outbound::new();
        let provider = |config: ProviderConfig| {
            let issuer = IssuerUrl::new(config.issuer.clone()).expect("it was checked");
            Provider {
                outbound: outbound.of(issuer.url()),
                issuer,
                metadata: Mutex::new(None),
                fetching: tokio::sync::Mutex::new(Breaker::new(PAUSE_MIN, PAUSE_MAX)),
                config,
            }
        };
        Ok(Providers { all: configs.into_iter().map(provider).collect() })
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Provider> {
        self.all.iter()
    }

    /// The one of a name.
    ///
    /// # Errors
    /// [`Code::ProviderUnknown`].
    pub fn named(&self, name: &str) -> Result<&Provider, Problem> {
        self.all
            .iter()
            .find(|provider| provider.config.name == name)
            .ok_or_else(|| Code::ProviderUnknown.into())
    }
}

/// A provider.
pub struct Provider {
    /// How it is set up.
    pub config: ProviderConfig,
    issuer: IssuerUrl,
    outbound: Outbound,
    metadata: Mutex<Option<Kept>>,
    /// Held by whoever fetches.
    fetching: tokio::sync::Mutex<Breaker>,
}

/// A provider's document and keys.
#[derive(Clone)]
struct Kept {
    metadata: Arc<CoreProviderMetadata>,
    fetched_ms: i64,
}

impl Provider {
    /// The page of the provider at which somebody signs in; it is asked for an address where `asks_email`.
    ///
    /// # Errors
    /// [`Code::ProviderUnavailable`].
    pub async fn authorization_url(
        &self,
        secrets: &FlowSecrets,
        redirect_uri: &str,
        asks_email: bool,
        now_ms: i64,
    ) -> Result<String, Problem> {
        let kept = self.in_time(self.metadata(now_ms)).await?;
        let client = self.client(&kept, redirect_uri)?;
        let (state, nonce) = (secrets.state.clone(), secrets.nonce.clone());
        let verifier = PkceCodeVerifier::new(secrets.verifier.clone());
        let asked = client
            .authorize_url(
                CoreAuthenticationFlow::AuthorizationCode,
                || CsrfToken::new(state),
                || Nonce::new(nonce),
            )
            .add_scopes(asks_email.then(|| Scope::new("email".to_owned())))
            .set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&verifier));
        let (url, _, _) = asked.url();
        Ok(url.into())
    }

    /// Who came back from the provider with this code; with their address where `asks_email`.
    ///
    /// # Errors
    /// [`Code::IdentityRefused`], or [`Code::ProviderUnavailable`].
    pub async fn prove(
        &self,
        secrets: &FlowSecrets,
        redirect_uri: &str,
        code: String,
        asks_email: bool,
        throttle: &Throttle,
        now_ms: i64,
    ) -> Result<Identity, Problem> {
        let work = async {
            let kept = self.metadata(now_ms).await?;
            let client = self.client(&kept, redirect_uri)?;
            let exchange = client
                .exchange_code(AuthorizationCode::new(code))
                .map_err(|error| self.away(chain(&error)))?;
            let exchanged = exchange
                .set_pkce_verifier(PkceCodeVerifier::new(secrets.verifier.clone()))
                .request_async(&self.outbound)
                .await;
            let tokens = exchanged.map_err(|error| match error {
                RequestTokenError::ServerResponse(answer) => self.refused(answer),
                error => self.away(chain(&error)),
            })?;
            let token = tokens.id_token().ok_or_else(|| self.refused("there is no ID token"))?;
            let nonce = Nonce::new(secrets.nonce.clone());
            let claims = match verify(&client, token, &nonce, now_ms) {
                Err(ClaimsVerificationError::SignatureVerification(
                    SignatureVerificationError::NoMatchingKey,
                )) => {
                    // The provider has turned its keys, or somebody makes key names up.
                    let counted = throttle.count(now_ms, &[(PROVIDER_KEYS, &self.config.name)]);
                    counted.map_err(|_| self.refused("its keys were fetched anew too often"))?.stands();
                    let kept = self.fetch(Some(kept.fetched_ms), now_ms).await?;
                    verify(&self.client(&kept, redirect_uri)?, token, &nonce, now_ms)
                }
                verified => verified,
            };
            let claims = claims.map_err(|error| self.refused(chain(&error)))?;
            if !is_subject(claims.subject()) {
                return Err(self.refused("the subject is empty, too long, or not printable ASCII"));
            }
            let email = if asks_email { self.email(&client, &tokens, &claims).await? } else { None };
            Ok(Identity { issuer: self.config.issuer.clone(), subject: claims.subject().to_string(), email })
        };
        self.in_time(work).await
    }

    /// The address of whom a token vouches for, if the provider says that it has verified it.
    async fn email(
        &self,
        client: &Client,
        tokens: &CoreTokenResponse,
        claims: &CoreIdTokenClaims,
    ) -> Result<Option<Email>, Problem> {
        let email = claims.email().map(|email| email.as_str());
        if email.is_some() || client.user_info_url().is_none() {
            return Ok(verified(email, claims.email_verified()));
        }
        let request = client
            .user_info(tokens.access_token().clone(), Some(claims.subject().clone()))
            .map_err(|error| self.away(chain(&error)))?;
        let told: CoreUserInfoClaims =
            request.request_async(&self.outbound).await.map_err(|error| match error {
                UserInfoError::ClaimsVerification(error) => self.refused(chain(&error)),
                error => self.away(chain(&error)),
            })?;
        Ok(verified(told.email().map(|email| email.as_str()), told.email_verified()))
    }

    fn client(&self, kept: &Kept, redirect_uri: &str) -> Result<Client, Problem> {
        let secret = self.config.client_secret.clone().map(ClientSecret::new);
        let redirect_uri = RedirectUrl::new(redirect_uri.to_owned()).map_err(|error| {
            tracing::error!(%error, "a sign-in has an address to go back to that is none");
            Problem::from(Code::Internal)
        })?;
        let client = Client::from_provider_metadata(
            (*kept.metadata).clone(),
            ClientId::new(self.config.client_id.clone()),
            secret,
        );
        let methods = kept.metadata.token_endpoint_auth_methods_supported();
        let takes = |method| methods.is_some_and(|methods| methods.contains(&method));
        let in_body =
            takes(CoreClientAuthMethod::ClientSecretPost) && !takes(CoreClientAuthMethod::ClientSecretBasic);
        let how = if in_body { AuthType::RequestBody } else { AuthType::BasicAuth };
        Ok(client.set_redirect_uri(redirect_uri).set_auth_type(how))
    }

    /// The provider's document and keys, not older than an hour.
    async fn metadata(&self, now_ms: i64) -> Result<Kept, Problem> {
        match self.kept() {
            Some(kept) if now_ms - kept.fetched_ms < KEPT_MS => Ok(kept),
            kept => self.fetch(kept.map(|kept| kept.fetched_ms), now_ms).await,
        }
    }

    /// The document and keys anew, unless another has fetched others than those of `known_ms` meanwhile.
    async fn fetch(&self, known_ms: Option<i64>, now_ms: i64) -> Result<Kept, Problem> {
        let mut breaker = self.fetching.lock().await;
        if let Some(kept) = self.kept().filter(|kept| Some(kept.fetched_ms) > known_ms) {
            return Ok(kept);
        }
        breaker.ask(Instant::now()).map_err(|refused| Problem {
            retry_after_s: Some(refused.retry_after.as_secs() + 1),
            ..Code::ProviderUnavailable.into()
        })?;
        match CoreProviderMetadata::discover_async(self.issuer.clone(), &self.outbound).await {
            Ok(metadata) => {
                breaker.succeeded();
                let kept = Kept { metadata: Arc::new(metadata), fetched_ms: now_ms };
                *self.lock() = Some(kept.clone());
                Ok(kept)
            }
            Err(error) => {
                let [dice] = random::<1>()?;
                let reason = chain(&error);
                breaker.failed(Instant::now(), reason.clone(), f64::from(dice) / 255.0);
                Err(self.away(reason))
            }
        }
    }

    async fn in_time<T>(&self, work: impl Future<Output = Result<T, Problem>>) -> Result<T, Problem> {
        timeout(PROVIDER_TIMEOUT, work).await.unwrap_or_else(|_| Err(self.away("it takes too long")))
    }

    fn kept(&self) -> Option<Kept> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Kept>> {
        // A panic between two of its statements leaves it usable.
        self.metadata.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn away(&self, reason: impl Display) -> Problem {
        tracing::warn!(provider = self.config.name, %reason, "an identity provider is away");
        Problem { retry_after_s: Some(PAUSE_MIN.as_secs()), ..Code::ProviderUnavailable.into() }
    }

    fn refused(&self, reason: impl Display) -> Problem {
        tracing::info!(provider = self.config.name, %reason, "an identity was refused");
        Code::IdentityRefused.into()
    }
}

/// Whether that can be a subject (OpenID Connect Core).
fn is_subject(subject: &str) -> bool {
    (1..=SUBJECT_BYTES_MAX).contains(&subject.len())
        && subject.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

/// An address that counts: well formed, and verified by who tells of it.
fn verified(email: Option<&str>, is_verified: Option<bool>) -> Option<Email> {
    email.filter(|_| is_verified == Some(true)).and_then(|email| Email::parse(email).ok())
}

/// How ID tokens may be signed: with a private key that the provider alone has.
fn signatures() -> [CoreJwsSigningAlgorithm; 9] {
    use CoreJwsSigningAlgorithm as Alg;
    [
        Alg::RsaSsaPkcs1V15Sha256,
        Alg::RsaSsaPkcs1V15Sha384,
        Alg::RsaSsaPkcs1V15Sha512,
        Alg::RsaSsaPssSha256,
        Alg::RsaSsaPssSha384,
        Alg::RsaSsaPssSha512,
        Alg::EcdsaP256Sha256,
        Alg::EcdsaP384Sha384,
        Alg::EdDsa,
    ]
}

/// An error with all that caused it.
fn chain(error: &dyn Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words.extend([": ", &error.to_string()]);
        cause = error.source();
    }
    words
}

/// What an ID token says, if it is the provider's word to us, now, and about this sign-in.
fn verify(
    client: &Client,
    token: &CoreIdToken,
    nonce: &Nonce,
    now_ms: i64,
) -> Result<CoreIdTokenClaims, ClaimsVerificationError> {
    let now = || std::time::UNIX_EPOCH + Duration::from_millis(now_ms.max(0).unsigned_abs());
    let verifier =
        client.id_token_verifier().set_allowed_algs(signatures()).set_time_fn(move || now().into());
    token.claims(&verifier, nonce).cloned()
}
