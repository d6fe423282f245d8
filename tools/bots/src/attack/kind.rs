//! The kinds of attackers.

use std::str::FromStr;

use serde::Serialize;
use thiserror::Error;

/// What an attacker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Connects and says nothing.
    HalfOpen,
    /// Says what a client says, a byte a second.
    Loris,
    /// Sends random bytes.
    Garbage,
    /// Is welcomed, and sends pings without end, a hundred at once.
    Flood,
    /// Connects and breaks off at once, again and again.
    Storm,
    /// Guesses a password, again and again.
    Guess,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 6] =
        [Kind::HalfOpen, Kind::Loris, Kind::Garbage, Kind::Flood, Kind::Storm, Kind::Guess];

    /// Its name, as it is written and reported.
    pub fn name(self) -> &'static str {
        match self {
            Kind::HalfOpen => "half-open",
            Kind::Loris => "loris",
            Kind::Garbage => "garbage",
            Kind::Flood => "flood",
            Kind::Storm => "storm",
            Kind::Guess => "guess",
        }
    }
}

/// The kinds that attackers are of, in turn. There is at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kinds(Vec<Kind>);

/// Why a text gives no kinds.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("there is no attack {0:?}; there are half-open, loris, garbage, flood, storm and guess")]
pub struct KindsError(String);

impl Default for Kinds {
    fn default() -> Kinds {
        Kinds(Kind::ALL.to_vec())
    }
}

impl Kinds {
    /// The kind of an attacker.
    pub fn of(&self, index: u32) -> Kind {
        self.0[index as usize % self.0.len()]
    }
}

impl FromStr for Kinds {
    type Err = KindsError;

    fn from_str(text: &str) -> Result<Kinds, KindsError> {
        let kinds = text.split(',').map(|name| {
            let kind = Kind::ALL.into_iter().find(|kind| kind.name() == name.trim());
            kind.ok_or_else(|| KindsError(name.trim().to_owned()))
        });
        kinds.collect::<Result<_, _>>().map(Kinds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_dealt_out_in_turn_and_others_refused() {
        let kinds: Kinds = "storm, loris".parse().unwrap();
        assert_eq!(
            (0..3).map(|index| kinds.of(index)).collect::<Vec<_>>(),
            [Kind::Storm, Kind::Loris, Kind::Storm]
        );
        for kind in Kind::ALL {
            assert_eq!(kind.name().parse(), Ok(Kinds(vec![kind])));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
        for (text, wrong) in [("", ""), ("storm,", ""), ("storm,king", "king")] {
            assert_eq!(text.parse::<Kinds>(), Err(KindsError(wrong.to_owned())), "{text:?}");
        }
    }
}
