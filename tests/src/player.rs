//! A player: an account, a character in a zone, and a client that waits for what it asks.

use std::collections::BTreeMap;
use std::time::Instant;

use vyuha_net::client::{
    BlockingClient, ClientCore, ClientError, EnteredZone, Entity, Event, SnapshotSummary,
};
use vyuha_protocol::message::{CharacterSummary, InventorySlot};
use vyuha_protocol::motion::Heading;
use vyuha_protocol::{CharacterId, EntityId, ErrorCode, ItemKind, Pos, RequestId, ZoneId};

use crate::{Node, PASSWORD, PATIENCE};

/// Inputs in flight beyond which a walk waits, well below what the server queues, so that none is ever dropped.
const INPUTS_IN_FLIGHT_MAX: usize = 4;
/// Characters that an account is tried with until one begins in the wanted zone.
const CHARACTERS_TRIED_MAX: usize = 8;

/// A character and its account, whether or not it plays just now.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The account's name.
    pub account: String,
    /// The character's id.
    pub character: CharacterId,
    /// The character's name.
    pub name: String,
}

/// A character that plays. Every method waits for the answer and fails the test if none comes.
#[derive(Debug)]
pub struct Player {
    /// The connection.
    pub client: BlockingClient,
    /// Who plays.
    pub who: Identity,
    /// How it entered.
    pub entered: EnteredZone,
    /// What it carries by slot, as acknowledged.
    pub inventory: BTreeMap<u8, InventorySlot>,
}

/// What a walk was like.
#[derive(Debug, Default)]
pub struct Walk {
    /// The server's word at each snapshot: its tick, and where the character stood.
    pub trail: Vec<(u32, Pos)>,
    /// The sum of all corrections of the prediction, in position units.
    pub corrections: u64,
    /// Steps whose way was cut short by a wall.
    pub blocked: u32,
}

impl Identity {
    /// Signs in with a new connection and enters with the character.
    pub fn sign_in(&self, node: &Node) -> Player {
        self.try_sign_in(node).unwrap_or_else(|error| panic!("{} cannot sign in: {error}", self.name))
    }

    /// The same on a node that may end meanwhile.
    pub fn try_sign_in(&self, node: &Node) -> Result<Player, ClientError> {
        let mut client = BlockingClient::connect(node.listen, node.content(), PATIENCE)?;
        client.log_in(&self.account, PASSWORD)?;
        let characters = list_characters(&mut client)?;
        let known =
            |listed: &CharacterSummary| listed.character == self.character.0 && listed.name == self.name;
        assert!(characters.iter().any(known), "{} is not among {characters:?}", self.name);
        self.clone().select(client)
    }

    fn select(self, mut client: BlockingClient) -> Result<Player, ClientError> {
        let entered = client.select_character(self.character)?;
        let inventory = entered.inventory.iter().map(|slot| (slot.slot, *slot)).collect();
        Ok(Player { client, who: self, entered, inventory })
    }
}

impl Player {
    /// Registers an account and enters `zone` with a new character of that name, up to 15 letters.
    pub fn sign_up(node: &Node, name: &str, zone: ZoneId) -> Player {
        let account = name.to_lowercase();
        let mut client = node.client();
        client.register(&account, PASSWORD).expect("the account is registered");
        client.log_in(&account, PASSWORD).expect("the account is signed in");
        // Characters begin in the starting zones by turns, whoever makes them.
        for nth in 0..CHARACTERS_TRIED_MAX {
            let turn = if nth == 0 { String::new() } else { nth.to_string() };
            let name = format!("{name}{turn}");
            let character = client.create_character(&name).expect("the character is created");
            let characters = list_characters(&mut client).expect("the characters are listed");
            let created = characters.iter().find(|listed| listed.character == character.0);
            let created = created.expect("the character is in the list");
            assert_eq!(created.name, name);
            if created.zone == zone.0 {
                return Identity { account, character, name }.select(client).expect("the character enters");
            }
        }
        panic!("none of {CHARACTERS_TRIED_MAX} characters began in zone {zone}");
    }

    /// The character's entity.
    pub fn entity(&self) -> EntityId {
        self.entered.entity
    }

    /// The next snapshot.
    pub fn snapshot(&mut self) -> SnapshotSummary {
        let next = self.client.wait_for(PATIENCE, |event| match event {
            Event::Snapshot(snapshot) => Some(*snapshot),
            _ => None,
        });
        next.unwrap_or_else(|error| panic!("{} waits for a snapshot: {error}", self.who.name))
    }

    /// Takes what came while nobody looked, up to a snapshot of this moment.
    pub fn catch_up(&mut self) -> SnapshotSummary {
        self.client.core().ping(0).expect("it can be sent");
        let pong = self.client.wait_for(PATIENCE, |event| matches!(event, Event::Pong { .. }).then_some(()));
        pong.unwrap_or_else(|error| panic!("{} waits for a pong: {error}", self.who.name));
        self.snapshot()
    }

    /// Takes snapshots until `pick` makes something of what the client knows.
    pub fn until<T>(&mut self, what: &str, mut pick: impl FnMut(&ClientCore) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(picked) = pick(self.client.core()) {
                return picked;
            }
            assert!(Instant::now() < deadline, "{} never saw {what}", self.who.name);
            self.snapshot();
        }
    }

    /// Sees that another's character is in view, and where.
    pub fn sees(&mut self, other: EntityId) -> Option<Pos> {
        self.client.core().world().get(other).map(|entity| entity.pos)
    }

    /// The items on the ground in view, nearest first.
    pub fn items_in_view(&mut self, kind: ItemKind) -> Vec<Entity> {
        let core = self.client.core();
        let here = core.predictor().expect("a player is in a zone").pos();
        let of_kind = core.world().iter().filter(|entity| entity.kind.as_item() == Some(kind));
        let mut items: Vec<Entity> = of_kind.copied().collect();
        items.sort_by_key(|item| (item.pos.distance_squared(here), item.id));
        items
    }

    /// Takes a step in each heading, one a snapshot, and waits until all are acknowledged.
    pub fn walk(&mut self, headings: impl IntoIterator<Item = Heading>) -> Walk {
        let (mut walk, mut headings) = (Walk::default(), headings.into_iter().peekable());
        loop {
            let snapshot = self.snapshot();
            walk.trail.push((snapshot.tick, snapshot.pos));
            walk.corrections += u64::from(snapshot.correction);
            let core = self.client.core();
            let predictor = core.predictor().expect("a player is in a zone");
            let in_flight = predictor.pending();
            if headings.peek().is_none() && in_flight == 0 {
                return walk;
            }
            if in_flight < INPUTS_IN_FLIGHT_MAX
                && let Some(heading) = headings.next()
            {
                let from = predictor.pos();
                let free = vyuha_protocol::motion::displacement(heading, self.entered.speed);
                let free = Pos {
                    x: from.x.wrapping_add_signed(free.dx.into()),
                    y: from.y.wrapping_add_signed(free.dy.into()),
                };
                let (_, to) = core.input(heading).expect("the step can be sent");
                walk.blocked += u32::from(to != free);
                self.client.flush().expect("the step can be sent");
            }
        }
    }

    /// Walks straight until `there`, which is given the predicted place.
    pub fn walk_until(&mut self, heading: Heading, there: impl Fn(Pos) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !there(self.pos()) {
            let late = Instant::now() > deadline;
            assert!(!late, "{} does not get where it goes", self.who.name);
            self.walk([heading; 4]);
        }
    }

    /// Where the character is predicted to stand.
    pub fn pos(&mut self) -> Pos {
        self.client.core().predictor().expect("a player is in a zone").pos()
    }

    /// Says something, and waits until that was done.
    pub fn say(&mut self, text: &str) -> Result<(), ErrorCode> {
        let request = self.client.core().say(text).expect("it can be sent");
        self.answer(request, |event| matches!(event, Event::Done { .. }).then_some(()))
    }

    /// Picks up an item: the slot that it went to.
    pub fn pick_up(&mut self, item: EntityId) -> Result<InventorySlot, ErrorCode> {
        let request = self.client.core().pick_up(item).expect("it can be sent");
        let slot = self.answer(request, |event| match event {
            Event::PickedUp { entity, slot, .. } if *entity == item => Some(*slot),
            _ => None,
        })?;
        self.inventory.insert(slot.slot, slot);
        Ok(slot)
    }

    /// Picks up any item of a kind that is in view; other players may be quicker at some.
    pub fn pick_up_any(&mut self, kind: ItemKind) -> InventorySlot {
        let deadline = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < deadline, "{} gets none of kind {kind}", self.who.name);
            self.until("an item", |core| {
                core.world().iter().any(|entity| entity.kind.as_item() == Some(kind)).then_some(())
            });
            let items = self.items_in_view(kind);
            let item = items.first().expect("one is in view");
            match self.pick_up(item.id) {
                Ok(slot) => return slot,
                Err(ErrorCode::ItemGone) => {
                    self.snapshot();
                }
                Err(code) => panic!("{} cannot pick up {item:?}: {code}", self.who.name),
            }
        }
    }

    /// Drops items: the entity that they are now, and the slot as it is now.
    pub fn drop_items(&mut self, slot: u8, count: u32) -> Result<(EntityId, InventorySlot), ErrorCode> {
        let request = self.client.core().drop_items(slot, count).expect("it can be sent");
        let dropped = self.answer(request, |event| match event {
            Event::Dropped { entity, slot, .. } => Some((*entity, *slot)),
            _ => None,
        })?;
        if dropped.1.count == 0 {
            self.inventory.remove(&slot);
        } else {
            self.inventory.insert(slot, dropped.1);
        }
        Ok(dropped)
    }

    /// Leaves in good order.
    pub fn log_out(self) -> Identity {
        self.client.log_out().expect("the character is saved");
        self.who
    }

    /// Waits for the server to close, and for the reason that it gives.
    pub fn closed(&mut self) -> ErrorCode {
        let closed = self.client.wait_for(PATIENCE, |event| match event {
            Event::Closed { code, .. } => Some(*code),
            _ => None,
        });
        match closed {
            Ok(Some(code)) => code,
            other => panic!("{} waits to be told why it is closed: {other:?}", self.who.name),
        }
    }

    fn answer<T>(
        &mut self,
        request: RequestId,
        pick: impl FnMut(&Event) -> Option<T>,
    ) -> Result<T, ErrorCode> {
        match self.client.answer(request, pick) {
            Ok(answer) => Ok(answer),
            Err(ClientError::Refused { code: Some(code), .. }) => Err(code),
            Err(error) => panic!("{} waits for an answer: {error}", self.who.name),
        }
    }
}

fn list_characters(client: &mut BlockingClient) -> Result<Vec<CharacterSummary>, ClientError> {
    let request = client.core().list_characters()?;
    client.answer(request, |event| match event {
        Event::Characters { characters, .. } => Some(characters.clone()),
        _ => None,
    })
}
