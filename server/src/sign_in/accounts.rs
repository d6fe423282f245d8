//! Accounts at sign-in: made, and proved by password or by ticket.

use vyuha_accounts::erasure;
use vyuha_accounts::one_time::Admitted;
use vyuha_gateway::accounts::{AccountName, AccountsError, check_password};
use vyuha_protocol::ErrorCode;
use vyuha_protocol::message::{AccountRegistered, LoggedIn};
use vyuha_store::{AccountRow, Handle, StoreError, TypedStore};

use super::{Connection, End, Refusal, SignedIn, Stage, next_id};

/// How often the number of a new account may be taken by another that is made at the same time.
const TRIES_MAX: u32 = 5;

impl Connection<'_> {
    pub(super) async fn register(
        &mut self,
        request: u32,
        account: &str,
        password: &str,
    ) -> Result<(), Refusal> {
        self.attempt()?;
        if !self.node.open_registration {
            return Err(ErrorCode::RegistrationClosed.into());
        }
        let name = AccountName::parse(account).map_err(|_| ErrorCode::AccountNameInvalid)?;
        check_password(password).map_err(|_| ErrorCode::PasswordInvalid)?;
        if !self.place.may_register() {
            return Err(Refusal::End(End::Close(ErrorCode::SignInLimit)));
        }
        let taken = account_named(&self.node.store, name.as_str()).await?.is_some();
        if taken {
            return Err(ErrorCode::AccountNameTaken.into());
        }
        let password_hash = self.node.accounts.hash(password).await.map_err(hashing_refused)?;
        let name = name.as_str().to_owned();
        let created_ms = crate::clock::unix_ms();
        let inserted = self
            .node
            .store
            .call(move |store| {
                let mut tries = 0;
                loop {
                    let id = next_id::<AccountRow>(store)?;
                    let inserted = store.insert_row(&AccountRow::new(
                        id,
                        name.clone(),
                        password_hash.clone(),
                        created_ms,
                    ));
                    tries += 1;
                    match inserted {
                        // Accounts are also made over HTTP, by another connection.
                        Err(StoreError::Conflict { column, .. }) if column == "id" && tries < TRIES_MAX => {}
                        inserted => return inserted,
                    }
                }
            })
            .await;
        match inserted {
            Ok(()) => self.send(&AccountRegistered { request }).await,
            Err(StoreError::Conflict { column, .. }) if column == "name" => {
                Err(ErrorCode::AccountNameTaken.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn log_in(
        &mut self,
        request: u32,
        account: &str,
        password: &str,
    ) -> Result<(), Refusal> {
        self.attempt()?;
        let known = match AccountName::parse(account) {
            Ok(name) => account_named(&self.node.store, name.as_str()).await?,
            Err(_) => None,
        };
        let stored = known.as_ref().map(|row| row.password_hash.as_str());
        let right = self.node.accounts.verify(password, stored).await.map_err(hashing_refused)?;
        let Some(row) = known.filter(|_| right) else {
            self.place.count_failure();
            self.node.metrics.login("refused").inc();
            return Err(ErrorCode::CredentialsWrong.into());
        };
        if is_suspended(&row) {
            self.node.metrics.login("refused").inc();
            return Err(ErrorCode::AccountSuspended.into());
        }
        if row.second_factor_ms.is_some() {
            self.node.metrics.login("refused").inc();
            return Err(ErrorCode::TicketRequired.into());
        }
        // An account that was to be erased is not, now that somebody signs in with it.
        self.node.sql.transaction(move |tx| erasure::restore(tx, row.id)).await?;
        self.sign_in(request, SignedIn { account: row.id, profile: None, character: None }).await
    }

    /// Signs in with a ticket of the HTTP API, where this node has one.
    pub(super) async fn redeem(&mut self, request: u32, ticket: String) -> Result<(), Refusal> {
        self.attempt()?;
        let Some(api) = &self.node.api else { return Err(ErrorCode::TicketRequired.into()) };
        // What failed is in the log.
        let redeemed = api.redeem_ticket(ticket).await.map_err(|_| ErrorCode::Unavailable)?;
        let Some(Admitted { account, profile, character }) = redeemed else {
            self.node.metrics.login("refused").inc();
            return Err(ErrorCode::TicketRequired.into());
        };
        self.sign_in(request, SignedIn { account, profile: Some(profile), character }).await
    }

    async fn sign_in(&mut self, request: u32, who: SignedIn) -> Result<(), Refusal> {
        self.node.metrics.login("ok").inc();
        self.stage = Stage::SignedIn(who);
        self.send(&LoggedIn { request, account: who.account }).await
    }
}

async fn account_named(store: &Handle, name: &str) -> Result<Option<AccountRow>, StoreError> {
    let name = name.to_owned();
    let rows = store.call(move |store| store.load::<AccountRow>(&[("name", name.into())])).await?;
    Ok(rows.into_iter().next())
}

pub(super) fn is_suspended(account: &AccountRow) -> bool {
    account.suspended_until_ms.is_some_and(|until_ms| until_ms > crate::clock::unix_ms())
}

fn hashing_refused(error: AccountsError) -> Refusal {
    match error {
        AccountsError::Busy => ErrorCode::SignInBusy.into(),
        AccountsError::Password(_) => ErrorCode::CredentialsWrong.into(),
        error => {
            tracing::error!(%error, "a password could not be hashed or verified");
            ErrorCode::Unavailable.into()
        }
    }
}
