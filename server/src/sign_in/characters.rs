//! The characters of an account: listed, made, and chosen to play with. What is said of them is kept by [`vyuha_accounts`], for
//! this way in and for the HTTP API alike.

use vyuha_accounts::characters::{self, Character};
use vyuha_accounts::problem::{Code, Problem};
use vyuha_accounts::profiles::{self, Profile};
use vyuha_game::inventory::PLACES_OF_CHARACTERS;
use vyuha_game::{CharacterRow, ItemRow};
use vyuha_protocol::ErrorCode;
use vyuha_protocol::message::{CharacterCreated, CharacterSummary, Characters};
use vyuha_store::{AccountRow, TypedStore};

use super::accounts::is_suspended;
use super::{Connection, End, Entry, Refusal, SignedIn, secret};

impl SignedIn {
    /// Whether the character is one of those that may be chosen.
    fn may_choose(&self, character: &Character) -> bool {
        self.profile.is_none_or(|profile| profile == character.profile)
            && self.character.is_none_or(|named| named == character.id)
    }
}

impl Connection<'_> {
    pub(super) async fn list(&mut self, request: u32, who: SignedIn) -> Result<(), Refusal> {
        let now_ms = crate::clock::unix_ms();
        let all: Vec<Character> =
            self.node.sql.transaction(move |tx| characters::list(tx, who.account, now_ms)).await?;
        let there = all.into_iter().filter(|row| row.deleted.is_none() && who.may_choose(row));
        let characters = there
            .map(|row| CharacterSummary { character: row.id, name: row.name, zone: row.zone as u16 })
            .collect();
        self.send(&Characters { request, characters }).await
    }

    pub(super) async fn create(&mut self, request: u32, who: SignedIn, name: String) -> Result<(), Refusal> {
        self.node.names.check(&name)?;
        let (newcomer, created_ms) = (self.node.newcomer.clone(), crate::clock::unix_ms());
        let created = self.node.sql.transaction(move |tx| {
            let profile = match who.profile {
                Some(profile) => profile,
                None => profiles::first(tx, who.account, created_ms)?,
            };
            characters::create(tx, who.account, profile, &name, &newcomer, created_ms)
        });
        let character = created.await?;
        self.send(&CharacterCreated { request, character }).await
    }

    pub(super) async fn select(
        &mut self,
        request: u32,
        who: SignedIn,
        character: i64,
    ) -> Result<(), Refusal> {
        let account = who.account;
        self.needs_entry(who, character).await?;
        if self.node.is_full() && !self.node.seats.is_taken(account) {
            return Err(Refusal::End(End::Close(ErrorCode::ServerFull)));
        }
        let doors = &self.node.doors;
        let claim = self
            .node
            .seats
            .claim(account, |shard| doors.kick(shard, account, ErrorCode::SignedInElsewhere))
            .await;
        claim.enters(character);
        // Only now are the rows read: whatever an older session did is in the database. And whoever deletes or freezes from now
        // on learns that the character plays.
        let owes = self.needs_entry(who, character).await?.debt > 0;
        let rows = self
            .node
            .store
            .call(move |store| {
                // It may have been suspended since it signed in.
                let owner = store.load::<AccountRow>(&[("id", account.into())])?;
                if owner.first().is_none_or(is_suspended) {
                    return Ok(Err(ErrorCode::AccountSuspended));
                }
                let row = store.load::<CharacterRow>(&[("id", character.into())])?;
                let mut items = Vec::new();
                for place in PLACES_OF_CHARACTERS {
                    let there = [("place", place.into()), ("owner", character.into())];
                    items.extend(store.load::<ItemRow>(&there)?);
                }
                Ok(Ok((row.into_iter().next(), items)))
            })
            .await??;
        let (Some(character), items) = rows else { return Err(ErrorCode::CharacterUnknown.into()) };
        let ticket = claim.ticket(secret()?).expect("a claim holds its seat");
        Err(Refusal::End(End::Enter(Box::new(Entry { claim, ticket, request, character, items, owes }))))
    }

    /// The profile of a character that may enter the world with this sign-in.
    async fn needs_entry(&self, who: SignedIn, character: i64) -> Result<Profile, Refusal> {
        let now_ms = crate::clock::unix_ms();
        let checked = self.node.sql.transaction(move |tx| {
            let found = characters::find(tx, who.account, character, now_ms)?;
            if !who.may_choose(&found) {
                return Err(Problem::from(Code::CharacterUnknown));
            }
            characters::needs_entry(tx, who.account, character, now_ms)
        });
        Ok(checked.await?)
    }
}
