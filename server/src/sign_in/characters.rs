//! The characters of an account: listed, made, and chosen to play with.

use vyuha_game::character::newcomer_place;
use vyuha_game::inventory::PLACES_OF_CHARACTERS;
use vyuha_game::{CharacterRow, ItemRow};
use vyuha_protocol::message::{CharacterCreated, CharacterSummary, Characters};
use vyuha_protocol::{CharacterId, ErrorCode, text};
use vyuha_store::{AccountRow, StoreError, TypedStore};

use super::{CHARACTERS_MAX, Connection, End, Entry, Refusal, characters_of, is_suspended, next_id, secret};

impl Connection<'_> {
    pub(super) async fn list(&mut self, request: u32, account: i64) -> Result<(), Refusal> {
        let mut rows = characters_of(&self.node.store, account).await?;
        rows.sort_by_key(|row| row.id);
        let characters = rows
            .into_iter()
            .map(|row| CharacterSummary { character: row.id, name: row.name, zone: row.zone as u16 })
            .collect();
        self.send(&Characters { request, characters }).await
    }

    pub(super) async fn create(&mut self, request: u32, account: i64, name: String) -> Result<(), Refusal> {
        text::check_character_name(&name)?;
        let content = self.node.content.clone();
        let created_ms = crate::clock::unix_ms();
        let created = self
            .node
            .store
            .call(move |store| {
                let held = store.load::<CharacterRow>(&[("account", account.into())])?;
                if held.len() >= CHARACTERS_MAX {
                    return Ok(None);
                }
                let id = next_id::<CharacterRow>(store)?;
                // Newcomers are spread over the zones where one may begin.
                let zones: Vec<_> = content.start_zones().collect();
                let start = zones[id as usize % zones.len()];
                let name_key = name.to_ascii_lowercase();
                let begin = start.begin(id as usize / zones.len());
                let at = newcomer_place(&start.map, begin, start.spawn_stroll_m, CharacterId(id));
                let (zone, x, y) = (start.id.0.into(), at.x.into(), at.y.into());
                let row = CharacterRow { id, account, name, name_key, zone, x, y, created_ms };
                store.insert_row(&row)?;
                Ok(Some(id))
            })
            .await;
        match created {
            Ok(Some(character)) => self.send(&CharacterCreated { request, character }).await,
            Ok(None) => Err(ErrorCode::CharacterLimit.into()),
            Err(StoreError::Conflict { .. }) => Err(ErrorCode::CharacterNameTaken.into()),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn select(&mut self, request: u32, account: i64, character: i64) -> Result<(), Refusal> {
        let owned = characters_of(&self.node.store, account).await?;
        if !owned.iter().any(|row| row.id == character) {
            return Err(ErrorCode::CharacterUnknown.into());
        }
        if self.node.is_full() && !self.node.seats.is_taken(account) {
            return Err(Refusal::End(End::Close(ErrorCode::ServerFull)));
        }
        let doors = &self.node.doors;
        let claim = self
            .node
            .seats
            .claim(account, |shard| doors.kick(shard, account, ErrorCode::SignedInElsewhere))
            .await;
        // Only now are the rows read: whatever an older session did is in the database.
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
        Err(Refusal::End(End::Enter(Box::new(Entry { claim, ticket, request, character, items }))))
    }
}
