//! Identities. Each is its own type, so that one can never stand in for another.

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub $inner);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id! {
    /// An account: a person who signs in.
    AccountId(i64)
}
id! {
    /// A character of an account.
    CharacterId(i64)
}
id! {
    /// A stack of items or a single item, wherever it lies.
    ItemId(i64)
}
id! {
    /// What an item is: its number in `items.toml`.
    ItemKind(u16)
}
id! {
    /// A zone of the world: its number in `world.toml`.
    ZoneId(u16)
}
id! {
    /// A client's number for a request; rises strictly within a connection and is echoed by the reply.
    RequestId(u32)
}
id! {
    /// Whatever stands in a zone. Slot in the low 24 bits, generation in the high 8, so that a number that was
    /// freed is not soon mistaken for its successor.
    EntityId(u32)
}

/// Bits of an [`EntityId`] that number its slot.
pub const ENTITY_SLOT_BITS: u32 = 24;

impl EntityId {
    /// The id of a slot in one of its generations.
    pub fn new(slot: u32, generation: u8) -> EntityId {
        debug_assert!(slot < 1 << ENTITY_SLOT_BITS);
        EntityId(slot | (generation as u32) << ENTITY_SLOT_BITS)
    }

    /// The slot, below 2^24.
    pub fn slot(self) -> u32 {
        self.0 & ((1 << ENTITY_SLOT_BITS) - 1)
    }

    /// How often the slot was reused, modulo 256.
    pub fn generation(self) -> u8 {
        (self.0 >> ENTITY_SLOT_BITS) as u8
    }
}

/// What an entity is, as clients see it: a player, a kind of NPC or an item on the ground.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EntityKind(pub u16);

impl EntityKind {
    /// A player's character.
    pub const PLAYER: EntityKind = EntityKind(0);
    const ITEM_BIT: u16 = 1 << 15;

    /// An NPC by its kind's number, 1 to 32,767.
    pub fn npc(kind: u16) -> EntityKind {
        debug_assert!(kind > 0 && kind < Self::ITEM_BIT);
        EntityKind(kind)
    }

    /// An item on the ground; item kinds are below 32,768.
    pub fn item(kind: ItemKind) -> EntityKind {
        debug_assert!(kind.0 < Self::ITEM_BIT);
        EntityKind(kind.0 | Self::ITEM_BIT)
    }

    /// Whether this is a player's character.
    pub fn is_player(self) -> bool {
        self == Self::PLAYER
    }

    /// The kind of item, if this is one on the ground.
    pub fn as_item(self) -> Option<ItemKind> {
        (self.0 & Self::ITEM_BIT != 0).then_some(ItemKind(self.0 & !Self::ITEM_BIT))
    }
}
