//! What the routes share: the database, the keys, the limits and the way out for mail.

use std::net::IpAddr;
use std::sync::Arc;

use ring::hmac;
use tokio::sync::mpsc;
use vyuha_gateway::accounts::Accounts;
use vyuha_gateway::{Announcement, Metrics};
use vyuha_hot::HotStore;
use vyuha_store::sql::Sql;
use vyuha_topics::{CloseReason, Hub};

use crate::bans::{self, AddressBans};
use crate::browser::Site;
use crate::characters::{self, Newcomer};
use crate::devices::links::Links;
use crate::devices::{self, Devices};
use crate::erasure;
use crate::game::Game;
use crate::jwt::{ACCESS_MS, AUDIENCE, Algorithm, Claims};
use crate::keyring::Keyring;
use crate::limits::Limits;
use crate::mail::Mailer;
use crate::names::Names;
use crate::oidc::Providers;
use crate::one_time::{self, Admitted};
use crate::overview::Overviews;
use crate::problem::{Code, Problem};
use crate::revoked::Revoked;
use crate::secret::random;
use crate::sessions;
use crate::sharing::Meeting;
use crate::signed::ServiceKeys;
use crate::throttle::Throttle;
use crate::vault::Vault;

/// The time: milliseconds since 1970 UTC.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// How the service is set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiConfig {
    /// What the place is called, in tokens, mails and authenticators: its address, as people know it.
    pub site: String,
    /// How access tokens are signed; where that is changed, from a day later.
    pub algorithm: Algorithm,
    /// Whether accounts may be registered.
    pub open_registration: bool,
    /// Pages of other origins that may use the interface, such as `https://play.example.com`.
    pub origins: Vec<String>,
    /// Whether a proxy of our own stands in front, whose `X-Forwarded-For` says who calls.
    pub behind_proxy: bool,
    /// Where players connect, as they are told.
    pub game_address: String,
    /// Profiles that an account may have, at least 1.
    pub profiles_max: usize,
    /// How long a deleted character can be restored, in milliseconds.
    pub character_grace_ms: i64,
    /// How long an account stays whose owner wants it deleted, in milliseconds.
    pub erasure_grace_ms: i64,
}

/// What the service is made of.
pub struct Parts {
    /// How it is set up.
    pub config: ApiConfig,
    /// The database.
    pub sql: Sql,
    /// Password hashing.
    pub hasher: Accounts,
    /// Seals keys and secrets.
    pub vault: Vault,
    /// Failed attempts, the same for every way in.
    pub throttle: Arc<Throttle>,
    /// How often the interface may be called.
    pub limits: Limits,
    /// Where this node meets others, if there are any; limits and throttle are made to be settled then.
    pub hot: Option<Arc<dyn HotStore>>,
    /// Mail.
    pub mailer: Mailer,
    /// Identity providers.
    pub providers: Providers,
    /// The keys of other servers.
    pub peers: ServiceKeys,
    /// The key that makes the first administrator; without one nobody becomes it.
    pub admin_key: Option<String>,
    /// The way to the game.
    pub game: Game,
    /// What characters may be called.
    pub names: Names,
    /// Where characters begin.
    pub newcomer: Newcomer,
    /// What pages listen to.
    pub topics: Hub,
    /// Takes the accounts that are to be thrown out of the game.
    pub thrown_out: mpsc::Sender<ThrownOut>,
    /// Takes what is announced to those who play.
    pub announcements: mpsc::Sender<Announcement>,
    /// Where requests are counted.
    pub metrics: Arc<Metrics>,
    /// The time.
    pub clock: Clock,
}

/// An account that is to be thrown out of the game.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThrownOut {
    /// It may not come back.
    Suspended(i64),
    /// It may.
    Kicked(i64),
}

/// The service.
pub struct Service {
    pub(crate) config: ApiConfig,
    pub(crate) site: Site,
    pub(crate) sql: Sql,
    pub(crate) hasher: Accounts,
    pub(crate) vault: Arc<Vault>,
    pub(crate) keys: Keyring,
    pub(crate) revoked: Revoked,
    pub(crate) devices: Devices,
    pub(crate) overviews: Overviews,
    pub(crate) throttle: Arc<Throttle>,
    pub(crate) limits: Limits,
    pub(crate) meeting: Option<Meeting>,
    pub(crate) mailer: Mailer,
    pub(crate) providers: Providers,
    pub(crate) peers: ServiceKeys,
    admin_key: Option<AdminKey>,
    pub(crate) game: Game,
    pub(crate) names: Names,
    pub(crate) newcomer: Newcomer,
    pub(crate) topics: Hub,
    thrown_out: mpsc::Sender<ThrownOut>,
    pub(crate) announcements: mpsc::Sender<Announcement>,
    pub(crate) bans: AddressBans,
    pub(crate) metrics: Arc<Metrics>,
    clock: Clock,
}

/// Compares in constant time.
struct AdminKey {
    key: hmac::Key,
    tag: hmac::Tag,
}

impl Service {
    /// Opens the service: loads the keys, or makes the first one, and the sessions that ended a moment ago.
    ///
    /// # Errors
    /// What failed is in the log.
    pub async fn open(parts: Parts) -> Result<Service, Problem> {
        let Parts {
            config,
            sql,
            hasher,
            vault,
            throttle,
            limits,
            hot,
            mailer,
            providers,
            peers,
            admin_key,
            thrown_out,
            game,
            names,
            newcomer,
            topics,
            announcements,
            metrics,
            clock,
        } = parts;
        let admin_key = admin_key.filter(|key| !key.is_empty()).map(|admin_key| {
            let key = hmac::Key::new(hmac::HMAC_SHA256, &random::<32>()?);
            Ok::<_, Problem>(AdminKey { tag: hmac::sign(&key, admin_key.as_bytes()), key })
        });
        let (vault, now_ms) = (Arc::new(vault), clock());
        let sealed = vault.clone();
        let devices = sql.transaction(move |tx| Devices::open(tx, &sealed, now_ms)).await?;
        let service = Service {
            site: Site::new(&config.site, &config.origins),
            config,
            sql,
            hasher,
            vault,
            keys: Keyring::default(),
            revoked: Revoked::new(hot.is_some()),
            devices,
            overviews: Overviews::default(),
            throttle,
            limits,
            meeting: hot.map(Meeting::new),
            mailer,
            providers,
            peers,
            admin_key: admin_key.transpose()?,
            thrown_out,
            game,
            names,
            newcomer,
            topics,
            announcements,
            bans: AddressBans::default(),
            metrics,
            clock,
        };
        service.tidy().await?;
        service.refresh_bans().await?;
        let now_ms = service.now_ms();
        let ended = service.sql.transaction(move |tx| sessions::ended_since(tx, now_ms - ACCESS_MS)).await?;
        for (session, ended_ms) in ended {
            service.revoked.hear(&session, ended_ms);
        }
        Ok(service)
    }

    /// Turns the keys and deletes what is over; to be called about once an hour. Sessions that are over stay, for as long as the
    /// node's retention says.
    pub async fn tidy(&self) -> Result<(), Problem> {
        let (vault, algorithm, now_ms) = (self.vault.clone(), self.config.algorithm, self.now_ms());
        let is_due = self.sql.transaction(move |tx| Keyring::is_due(tx, algorithm, now_ms)).await?;
        let fresh = if is_due {
            let made = tokio::task::spawn_blocking(move || algorithm.generate()).await;
            Some(made.map_err(|error| {
                tracing::error!(%error, "a signing key was not made");
                Problem::from(Code::Internal)
            })??)
        } else {
            None
        };
        let keys = self
            .sql
            .transaction(move |tx| {
                for sql in [
                    "DELETE FROM registration WHERE expires_ms <= ?1",
                    "DELETE FROM identity_flow WHERE expires_ms <= ?1",
                    "DELETE FROM service_nonce WHERE expires_ms <= ?1",
                    "DELETE FROM one_time_token WHERE expires_ms <= ?1",
                    "DELETE FROM refresh_token WHERE session IN (SELECT id FROM session WHERE expires_ms <= ?1)",
                    "DELETE FROM browser_session WHERE session IN (SELECT id FROM session WHERE expires_ms <= ?1)",
                ] {
                    tx.execute(sql, &[now_ms.into()])?;
                }
                devices::tidy(tx, now_ms)?;
                Keyring::turn(tx, &vault, algorithm, fresh.as_deref(), now_ms)
            })
            .await?;
        self.keys.replace(keys);
        Ok(())
    }

    /// Does what is due and needs the game, which must run: accounts are erased, and characters that were deleted go for good.
    /// To be called about once an hour.
    ///
    /// # Errors
    /// Where the database or the game is away; the rest is done the next time.
    pub async fn upkeep(&self) -> Result<(), Problem> {
        erasure::erase_due(self).await?;
        characters::purge_due(self).await
    }

    /// Whom a ticket lets into the game; the ticket is used up. `None` if it is unknown, was used or is too old.
    ///
    /// # Errors
    /// Where the database is away.
    pub async fn redeem_ticket(&self, ticket: String) -> Result<Option<Admitted>, Problem> {
        let now_ms = self.now_ms();
        self.sql.transaction(move |tx| one_time::redeem_ticket(tx, &ticket, now_ms)).await
    }

    /// The links of devices that are open.
    pub fn links(&self) -> &Links {
        &self.devices.links
    }

    /// Whether this is the key that makes the first administrator.
    pub(crate) fn is_admin_key(&self, shown: &str) -> bool {
        let Some(AdminKey { key, tag }) = &self.admin_key else { return false };
        hmac::verify(key, shown.as_bytes(), tag.as_ref()).is_ok()
    }

    /// Reads again which addresses are banned; to be called every [`bans::REFRESH_INTERVAL`].
    ///
    /// # Errors
    /// Where the database is away; what was known holds.
    pub async fn refresh_bans(&self) -> Result<(), Problem> {
        let now_ms = self.now_ms();
        let ranges = self.sql.transaction(move |tx| bans::ranges(tx, now_ms)).await?;
        self.bans.replace(ranges);
        Ok(())
    }

    /// Whether nobody comes in from this address.
    pub fn is_banned(&self, address: IpAddr) -> bool {
        self.bans.covering(address, self.now_ms()).is_some()
    }

    /// Whoever plays with this account is thrown out, for it is suspended.
    pub(crate) fn throw_out(&self, account: i64) {
        self.send_out(ThrownOut::Suspended(account));
    }

    /// Whoever plays with this account is thrown out, and may come back.
    pub(crate) fn kick(&self, account: i64) {
        self.send_out(ThrownOut::Kicked(account));
    }

    fn send_out(&self, account: ThrownOut) {
        if self.thrown_out.try_send(account).is_err() {
            tracing::error!(
                ?account,
                "an account could not be thrown out of the game: it plays on until it leaves"
            );
        }
    }

    pub(crate) fn now_ms(&self) -> i64 {
        (self.clock)()
    }

    /// An access token for a session.
    pub(crate) fn access_token(&self, account: i64, session: &str) -> Result<String, Problem> {
        let now_ms = self.now_ms();
        let claims = Claims {
            iss: self.config.site.clone(),
            aud: AUDIENCE.to_owned(),
            sub: account.to_string(),
            sid: session.to_owned(),
            iat: now_ms / 1000,
            exp: (now_ms + ACCESS_MS) / 1000,
        };
        self.keys.sign(&claims, now_ms).ok_or_else(|| Code::Internal.into())
    }

    /// Access tokens of these sessions are good no longer; their links are closed, and whoever listens by one is let go.
    pub(crate) fn revoke(&self, sessions: &[String]) {
        for session in sessions {
            self.revoked.add(session, self.now_ms());
        }
        self.let_go(sessions);
    }

    /// Closes what these sessions, which are over, have open.
    pub(crate) fn let_go(&self, sessions: &[String]) {
        if sessions.is_empty() {
            return;
        }
        self.devices.links.close_sessions(sessions);
        self.topics.lock().close_all(CloseReason::SessionEnded, |identity| {
            identity.is_some_and(|identity| sessions.contains(&identity.session))
        });
    }
}
