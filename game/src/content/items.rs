//! What items are.

use vyuha_protocol::ItemKind;
use vyuha_protocol::units::metres;

use super::STACK_MAX;
use super::faults::ContentFault;
use super::load::{Files, Named, Unique, named};
use super::reader::{Faults, Reader};

pub const ITEMS: &str = "items.toml";

/// Where things are worn, by number: part of saved games, so that new ones come at the end.
pub const EQUIPMENT_SLOTS: [&str; 11] =
    ["weapon", "shield", "head", "body", "legs", "hands", "feet", "neck", "ring", "ammunition", "back"];
/// The number of the slot that what takes both hands keeps free.
pub(crate) const SHIELD_SLOT: usize = 1;

/// Heaviest item, in grams.
const WEIGHT_G: std::ops::RangeInclusive<i64> = 0..=1_000_000;
/// Grams that a character can carry where the content does not say.
const CARRY_G_MAX: u32 = u32::MAX;

/// A kind of item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemContent {
    /// Its number, from 1.
    pub id: ItemKind,
    /// How content names it.
    pub key: String,
    /// Its name, for people.
    pub name: String,
    /// How many fit into a slot, from 1; 1 if it does not stack.
    pub stack_max: u32,
    /// Grams of one.
    pub weight_g: u32,
    /// Whether it can be given away by trade.
    pub tradeable: bool,
    /// How it is worn, if it can be.
    pub wearable: Option<Wearable>,
}

/// How an item is worn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wearable {
    /// Where in [`EQUIPMENT_SLOTS`].
    pub slot: usize,
    /// What it does for who wears it.
    pub bonuses: Bonuses,
    /// How often it can be used before it is broken and of no use any more; `None` if it lasts for ever.
    pub durability: Option<u16>,
    /// What must be worn too.
    pub needs_worn: Option<ItemKind>,
    /// Whether nothing may be worn in the shield's slot.
    pub two_handed: bool,
}

/// What worn things do for who wears them, added up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bonuses {
    /// Strength of attacks.
    pub attack: u32,
    /// Strength of defence.
    pub defence: u32,
    /// Units by which items on the ground are reached from farther away; what helps wears by that.
    pub reach: u32,
    /// Grams that can be carried besides.
    pub carry_g: u32,
}

impl std::ops::Add for Bonuses {
    type Output = Bonuses;

    fn add(self, other: Bonuses) -> Bonuses {
        Bonuses {
            attack: self.attack + other.attack,
            defence: self.defence + other.defence,
            reach: self.reach + other.reach,
            carry_g: self.carry_g + other.carry_g,
        }
    }
}

/// What the file says.
pub struct Items {
    pub list: Vec<Named<ItemContent>>,
    pub carry_g_max: u32,
}

pub fn read_items(files: &mut Files<'_>, found: &mut Vec<ContentFault>) -> Items {
    let mut faults = Faults::new(ITEMS, found);
    let Some(table) = files.table(ITEMS, &mut faults) else {
        return Items { list: Vec::new(), carry_g_max: CARRY_G_MAX };
    };
    let mut root = Reader::new(String::new(), table, &mut faults);
    let carry_g_max = if root.has("carry_g_max") {
        root.integer("carry_g_max", 1..=i64::from(CARRY_G_MAX))
    } else {
        CARRY_G_MAX
    };
    let (mut ids, mut keys) = (Unique::new("id"), Unique::new("key"));
    let mut needs = Vec::new();
    let mut list = root.list("items", |entry| {
        let (mut key, mut needed) = (String::new(), None);
        let sound = entry.sound(|entry| {
            key = entry.text("key");
            keys.check(entry, key.clone());
            let item = read_item(entry, key.clone(), &mut needed);
            ids.check(entry, item.id);
            item
        });
        needs.extend(needed.map(|needed| (key.clone(), needed)));
        Named { key, sound }
    });
    for (key, needed) in &needs {
        let found = named(&list, needed).and_then(|(_, item)| item.sound.as_ref());
        let problem = match found.map(|item| (item.id, &item.wearable)) {
            None => format!("{ITEMS} has no {needed:?}"),
            Some((_, None)) => format!("{needed:?} cannot be worn"),
            Some(_) if needs.iter().any(|(key, _)| key == needed) => {
                format!("{needed:?} itself needs another")
            }
            Some((id, Some(_))) => {
                let item = list.iter_mut().find(|item| item.key == *key);
                let item = item.and_then(|item| item.sound.as_mut());
                if let Some(wearable) = item.and_then(|item| item.wearable.as_mut()) {
                    wearable.needs_worn = Some(id);
                }
                continue;
            }
        };
        root.fault(&format!("items: needs_worn of {key}"), problem);
    }
    list.sort_by_key(|item| item.sound.as_ref().map(|item| item.id));
    root.finish();
    Items { list, carry_g_max }
}

fn read_item(entry: &mut Reader<'_, '_>, key: String, needed: &mut Option<String>) -> ItemContent {
    let id = ItemKind(entry.integer("id", 1..=i64::from(i16::MAX)));
    let name = entry.text("name");
    let stack_max = entry.integer("stack_max", 1..=i64::from(STACK_MAX));
    let weight_g = if entry.has("weight_g") { entry.integer("weight_g", WEIGHT_G) } else { 0 };
    let tradeable = !entry.has("tradeable") || entry.flag("tradeable");
    let wearable = entry.has("slot").then(|| read_wearable(entry, stack_max, needed));
    ItemContent { id, key, name, stack_max, weight_g, tradeable, wearable }
}

fn read_wearable(entry: &mut Reader<'_, '_>, stack_max: u32, needed: &mut Option<String>) -> Wearable {
    let name = entry.text("slot");
    let slot = EQUIPMENT_SLOTS.iter().position(|slot| *slot == name).unwrap_or_else(|| {
        entry.fault("slot", format!("there is no {name:?}; there are {}", EQUIPMENT_SLOTS.join(", ")));
        0
    });
    let mut bonus = |name, most| if entry.has(name) { entry.integer(name, 0..=most) } else { 0 };
    let (attack, defence): (u32, u32) = (bonus("attack", 100_000), bonus("defence", 100_000));
    let (reach_cm, carry_g): (u32, u32) = (bonus("reach_cm", 5000), bonus("carry_g", 1_000_000));
    let bonuses = Bonuses { attack, defence, reach: metres(reach_cm) / 100, carry_g };
    let durability = entry.has("durability").then(|| entry.integer("durability", 1..=i64::from(u16::MAX)));
    if durability.is_some() && stack_max > 1 {
        entry.fault("durability", "only what does not stack wears out");
    }
    let two_handed = entry.has("two_handed") && entry.flag("two_handed");
    if two_handed && slot == SHIELD_SLOT {
        entry.fault("two_handed", "the shield's slot cannot keep itself free");
    }
    *needed = entry.has("needs_worn").then(|| entry.text("needs_worn"));
    Wearable { slot, bonuses, durability, needs_worn: None, two_handed }
}
