//! What topics are called, and whose they are.

use std::fmt;
use std::str::FromStr;

/// The longest name, in bytes.
pub const NAME_BYTES_MAX: usize = 48;

/// Something to subscribe to. Each has one name, and each name is one topic's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// `player/{account}/notifications`: what concerns the account's security.
    Notifications(i64),
    /// `player/{account}/mail`.
    Mail(i64),
    /// `player/{account}/friends`.
    Friends(i64),
    /// `character/{id}/position`: where a character is.
    Position(i64),
    /// `character/{id}/combat`.
    Combat(i64),
    /// `character/{id}/inventory`: what a character carries and wears.
    Inventory(i64),
    /// `party/{id}/chat`.
    PartyChat(i64),
    /// `party/{id}/loot`.
    PartyLoot(i64),
    /// `guild/{id}/chat`.
    GuildChat(i64),
    /// `server/announcements`: what staff tells everybody.
    Announcements,
    /// `world/events`: what happens to the world as a whole.
    WorldEvents,
}

/// Whose a topic is: who may hear it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// Everybody who is signed in.
    Everyone,
    /// An account.
    Account(i64),
    /// The account that a character is of.
    Character(i64),
    /// The members of a party.
    Party(i64),
    /// The members of a guild.
    Guild(i64),
}

/// There is no topic of that name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no topic has that name")]
pub struct NameError;

/// Knows what belongs to whom.
pub trait Claims {
    /// Why that cannot be said just now.
    type Error;

    /// Whether a character is an account's.
    fn has_character(&mut self, account: i64, character: i64) -> Result<bool, Self::Error>;

    /// Whether an account has a character in a party.
    fn is_in_party(&mut self, account: i64, party: i64) -> Result<bool, Self::Error>;

    /// Whether an account has a character in a guild.
    fn is_in_guild(&mut self, account: i64, guild: i64) -> Result<bool, Self::Error>;
}

/// Whether an account may hear a topic. What is another's and what does not exist are told apart by nothing.
///
/// # Errors
/// Where `claims` cannot say.
pub fn authorise<C: Claims>(topic: Topic, account: i64, claims: &mut C) -> Result<bool, C::Error> {
    match topic.owner() {
        Owner::Everyone => Ok(true),
        Owner::Account(owner) => Ok(owner == account),
        Owner::Character(character) => claims.has_character(account, character),
        Owner::Party(party) => claims.is_in_party(account, party),
        Owner::Guild(guild) => claims.is_in_guild(account, guild),
    }
}

impl Topic {
    /// Whose it is.
    pub fn owner(self) -> Owner {
        match self {
            Topic::Notifications(id) | Topic::Mail(id) | Topic::Friends(id) => Owner::Account(id),
            Topic::Position(id) | Topic::Combat(id) | Topic::Inventory(id) => Owner::Character(id),
            Topic::PartyChat(id) | Topic::PartyLoot(id) => Owner::Party(id),
            Topic::GuildChat(id) => Owner::Guild(id),
            Topic::Announcements | Topic::WorldEvents => Owner::Everyone,
        }
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Topic::Notifications(id) => write!(f, "player/{id}/notifications"),
            Topic::Mail(id) => write!(f, "player/{id}/mail"),
            Topic::Friends(id) => write!(f, "player/{id}/friends"),
            Topic::Position(id) => write!(f, "character/{id}/position"),
            Topic::Combat(id) => write!(f, "character/{id}/combat"),
            Topic::Inventory(id) => write!(f, "character/{id}/inventory"),
            Topic::PartyChat(id) => write!(f, "party/{id}/chat"),
            Topic::PartyLoot(id) => write!(f, "party/{id}/loot"),
            Topic::GuildChat(id) => write!(f, "guild/{id}/chat"),
            Topic::Announcements => f.write_str("server/announcements"),
            Topic::WorldEvents => f.write_str("world/events"),
        }
    }
}

impl FromStr for Topic {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Topic, NameError> {
        if name.len() > NAME_BYTES_MAX {
            return Err(NameError);
        }
        let mut parts = name.split('/');
        let (first, second, third) = (parts.next(), parts.next(), parts.next());
        if parts.next().is_some() {
            return Err(NameError);
        }
        match (first, second, third) {
            (Some("server"), Some("announcements"), None) => Ok(Topic::Announcements),
            (Some("world"), Some("events"), None) => Ok(Topic::WorldEvents),
            (Some(whose), Some(id), Some(what)) => {
                let topic = match (whose, what) {
                    ("player", "notifications") => Topic::Notifications,
                    ("player", "mail") => Topic::Mail,
                    ("player", "friends") => Topic::Friends,
                    ("character", "position") => Topic::Position,
                    ("character", "combat") => Topic::Combat,
                    ("character", "inventory") => Topic::Inventory,
                    ("party", "chat") => Topic::PartyChat,
                    ("party", "loot") => Topic::PartyLoot,
                    ("guild", "chat") => Topic::GuildChat,
                    _ => return Err(NameError),
                };
                number(id).map(topic)
            }
            _ => Err(NameError),
        }
    }
}

/// A positive number in the one form that it has.
fn number(text: &str) -> Result<i64, NameError> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    text.parse().ok().filter(|_| plain).ok_or(NameError)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(name: &str, expected: Option<Topic>) {
        assert_eq!(name.parse::<Topic>().ok(), expected, "{name:?}");
        if let Some(topic) = expected {
            assert_eq!(topic.to_string(), name);
        }
    }

    #[test]
    fn each_topic_has_its_name() {
        check("player/7/notifications", Some(Topic::Notifications(7)));
        check("player/7/mail", Some(Topic::Mail(7)));
        check("player/7/friends", Some(Topic::Friends(7)));
        check("character/12/position", Some(Topic::Position(12)));
        check("character/12/combat", Some(Topic::Combat(12)));
        check("character/9223372036854775807/inventory", Some(Topic::Inventory(i64::MAX)));
        check("party/3/chat", Some(Topic::PartyChat(3)));
        check("party/3/loot", Some(Topic::PartyLoot(3)));
        check("guild/3/chat", Some(Topic::GuildChat(3)));
        check("server/announcements", Some(Topic::Announcements));
        check("world/events", Some(Topic::WorldEvents));
    }

    #[test]
    fn other_names_are_nobodys() {
        for name in [
            "",
            "/",
            "//",
            "server",
            "server/",
            "server/announcements/",
            "/server/announcements",
            "Server/announcements",
            "server/events",
            "world/announcements",
            "player/notifications",
            "player//notifications",
            "player/7",
            "player/7/",
            "player/7/chat",
            "player/7/notifications/x",
            "player/ 7/notifications",
            "player/+7/notifications",
            "player/-7/notifications",
            "player/07/notifications",
            "player/0/notifications",
            "player/7.0/notifications",
            "player/\u{663}/notifications",
            "player/9223372036854775808/notifications",
            "player/*/notifications",
            "player/me/notifications",
            "character/1/mail",
            "guild/1/loot",
            "party/1/position",
            "world/events\0",
            &"x".repeat(5000),
        ] {
            check(name, None);
        }
    }

    struct Known;

    impl Claims for Known {
        type Error = Infallible;

        fn has_character(&mut self, account: i64, character: i64) -> Result<bool, Infallible> {
            Ok((account, character) == (7, 12))
        }

        fn is_in_party(&mut self, account: i64, party: i64) -> Result<bool, Infallible> {
            Ok((account, party) == (7, 3))
        }

        fn is_in_guild(&mut self, account: i64, guild: i64) -> Result<bool, Infallible> {
            Ok((account, guild) == (7, 4))
        }
    }

    #[test]
    fn who_may_hear_what() {
        let mut heard = HashSet::new();
        let mut check = |name: &str, seven: bool, eight: bool| {
            let topic: Topic = name.parse().unwrap();
            let verdicts = [7, 8].map(|account| authorise(topic, account, &mut Known).unwrap());
            assert_eq!(verdicts, [seven, eight], "{name}");
            heard.insert(std::mem::discriminant(&topic));
        };
        for what in ["notifications", "mail", "friends"] {
            check(&format!("player/7/{what}"), true, false);
            check(&format!("player/8/{what}"), false, true);
            check(&format!("player/9/{what}"), false, false);
        }
        for what in ["position", "combat", "inventory"] {
            check(&format!("character/12/{what}"), true, false);
            // One of another and one that nobody has.
            check(&format!("character/7/{what}"), false, false);
        }
        check("party/3/chat", true, false);
        check("party/3/loot", true, false);
        check("party/4/loot", false, false);
        check("guild/4/chat", true, false);
        check("guild/3/chat", false, false);
        check("server/announcements", true, true);
        check("world/events", true, true);
        assert_eq!(heard.len(), 11, "a kind of topic was left out");
    }

    proptest! {
        /// A name that is read is the name that is written; nothing panics.
        #[test]
        fn names_and_topics_are_one_to_one(name in "(player|character|party|guild|server|world|x)/([0-9+-]{0,21}|announcements|events)(/(chat|loot|mail|friends|position|combat|inventory|notifications|.{0,5}))?") {
            if let Ok(topic) = name.parse::<Topic>() {
                prop_assert_eq!(topic.to_string(), name);
            }
        }
    }
}
