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

/// The first 48 bits of every item's UUID.
const UUID_PREFIX: u64 = u64::from_be_bytes(*b"\0\0vyuha\0") >> 8;

impl ItemId {
    /// The id as a UUID of version 8 (RFC 9562): the same number in the outside's form. The name of the project, the version, the
    /// id's top 12 bits, the variant, 10 zero bits, the rest of the id.
    pub fn uuid(self) -> u128 {
        let id = self.0 as u64;
        let head = UUID_PREFIX << 16 | 8 << 12 | id >> 52;
        let tail = 1 << 63 | id & ((1 << 52) - 1);
        u128::from(head) << 64 | u128::from(tail)
    }

    /// The id of a UUID, if it is one of an item.
    pub fn from_uuid(uuid: u128) -> Option<ItemId> {
        let top = (uuid >> 64) as u64 & 0xfff;
        let id = ItemId((top << 52 | uuid as u64 & ((1 << 52) - 1)) as i64);
        (id.uuid() == uuid).then_some(id)
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_items_uuid_is_of_version_8_and_names_it() {
        let uuid = |id: i64| {
            let hex = format!("{:032x}", ItemId(id).uuid());
            [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
        };
        assert_eq!(uuid(0), "00767975-6861-8000-8000-000000000000");
        assert_eq!(uuid(0x0123_4567_89ab_cdef), "00767975-6861-8012-8003-456789abcdef");
        assert_eq!(uuid(i64::MAX), "00767975-6861-87ff-800f-ffffffffffff");
    }

    proptest! {
        #[test]
        fn a_uuid_gives_its_item_back_and_another_gives_none(id: i64, other: u128) {
            prop_assert_eq!(ItemId::from_uuid(ItemId(id).uuid()), Some(ItemId(id)));
            if let Some(item) = ItemId::from_uuid(other) {
                prop_assert_eq!(item.uuid(), other);
            }
        }
    }
}
