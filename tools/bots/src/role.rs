//! What a bot does in the world, and how many do which.

use std::str::FromStr;

use serde::Serialize;
use thiserror::Error;

/// What a bot does besides walking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Walks about.
    Wanderer,
    /// Goes where all of its role and zone gather, and stays there.
    Crowd,
    /// Walks about and talks all the time.
    Chatter,
    /// Walks about, picks items up and drops them, and says something now and then.
    Trader,
    /// Walks about, drops its connection now and then without a word, and signs in again.
    Reconnecter,
    /// Walks about, but reads little, and late.
    Lagger,
    /// Walks about, breaks off when the load says so, and takes its session up by its ticket.
    Resumer,
    /// Stands still, and gives a sign of life now and then.
    Idle,
}

impl Role {
    /// Every role.
    pub const ALL: [Role; 8] = [
        Role::Wanderer,
        Role::Crowd,
        Role::Chatter,
        Role::Trader,
        Role::Reconnecter,
        Role::Lagger,
        Role::Resumer,
        Role::Idle,
    ];

    /// Its name, as it is written and reported.
    pub fn name(self) -> &'static str {
        match self {
            Role::Wanderer => "wanderer",
            Role::Crowd => "crowd",
            Role::Chatter => "chatter",
            Role::Trader => "trader",
            Role::Reconnecter => "reconnecter",
            Role::Lagger => "lagger",
            Role::Resumer => "resumer",
            Role::Idle => "idle",
        }
    }
}

/// Greatest weight of a role.
pub const WEIGHT_MAX: u32 = 1000;

/// How many bots of each role there are to each other. At least one role has a weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roles([u32; Role::ALL.len()]);

/// Why a text gives no roles.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RolesError {
    /// A part is no role with its weight.
    #[error("{0:?} is no role with its weight; write them as wanderer=8,chatter=1")]
    Form(String),
    /// There is no such role.
    #[error(
        "there is no role {0:?}; there are wanderer, crowd, chatter, trader, reconnecter, lagger, resumer and idle"
    )]
    Unknown(String),
    /// A role is named twice.
    #[error("{0} is named twice")]
    Twice(&'static str),
    /// A weight is too great, or none.
    #[error("the weight {0:?} is no number from 0 to {WEIGHT_MAX}")]
    Weight(String),
    /// No role has a weight.
    #[error("no role has a weight above 0")]
    Nobody,
}

impl Roles {
    /// All of one role.
    pub fn all(role: Role) -> Roles {
        let mut weights = [0; Role::ALL.len()];
        weights[role as usize] = 1;
        Roles(weights)
    }

    /// The role of a bot: the weights in turn, so that any run of bots has its share of each.
    pub fn of(&self, index: u32) -> Role {
        let mut place = index % self.0.iter().sum::<u32>();
        for (role, weight) in Role::ALL.into_iter().zip(self.0) {
            if place < weight {
                return role;
            }
            place -= weight;
        }
        unreachable!("the place is below the sum of the weights")
    }
}

impl FromStr for Roles {
    type Err = RolesError;

    fn from_str(text: &str) -> Result<Roles, RolesError> {
        let (mut weights, mut named) = ([0; Role::ALL.len()], [false; Role::ALL.len()]);
        for part in text.split(',') {
            let (name, weight) =
                part.trim().split_once('=').ok_or_else(|| RolesError::Form(part.to_owned()))?;
            let role = Role::ALL.into_iter().find(|role| role.name() == name);
            let role = role.ok_or_else(|| RolesError::Unknown(name.to_owned()))?;
            if std::mem::replace(&mut named[role as usize], true) {
                return Err(RolesError::Twice(role.name()));
            }
            weights[role as usize] = weight
                .parse()
                .ok()
                .filter(|&weight| weight <= WEIGHT_MAX)
                .ok_or_else(|| RolesError::Weight(weight.to_owned()))?;
        }
        if weights.iter().all(|&weight| weight == 0) { Err(RolesError::Nobody) } else { Ok(Roles(weights)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_dealt_out_by_weight() {
        let roles: Roles = "wanderer=2, lagger=1,chatter=0".parse().unwrap();
        let dealt: Vec<&str> = (0..6).map(|index| roles.of(index).name()).collect();
        assert_eq!(dealt, ["wanderer", "wanderer", "lagger", "wanderer", "wanderer", "lagger"]);
        for role in Role::ALL {
            assert_eq!(Roles::all(role).of(99), role);
            assert_eq!(format!("{}=3", role.name()).parse::<Roles>().unwrap().of(7), role);
        }
    }

    #[test]
    fn what_gives_no_roles_is_refused_in_words() {
        for (text, error) in [
            ("", RolesError::Form(String::new())),
            ("crowd", RolesError::Form("crowd".into())),
            ("king=1", RolesError::Unknown("king".into())),
            ("crowd=1,crowd=2", RolesError::Twice("crowd")),
            ("crowd=-1", RolesError::Weight("-1".into())),
            ("crowd=1001", RolesError::Weight("1001".into())),
            ("crowd=0,lagger=0", RolesError::Nobody),
        ] {
            assert_eq!(text.parse::<Roles>(), Err(error), "{text}");
        }
    }
}
