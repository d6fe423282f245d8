//! What characters may be called: one rule for the game's own protocol and for HTTP, with the words of the content.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use vyuha_protocol::text::check_character_name;

use crate::problem::{Code, Problem};

/// The file in the folder of the content.
const FILE: &str = "names.toml";
const BUILT_IN: &str = include_str!("../../content/names.toml");

/// Words that names are held against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// No name is one of these, or has one of these as a word.
    reserved: Vec<String>,
    /// No name holds one of these.
    filtered: Vec<String>,
}

/// The file of names is of no use.
#[derive(Debug, thiserror::Error)]
pub enum NamesError {
    /// The file cannot be read.
    #[error("{} cannot be read: {why}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        why: std::io::Error,
    },
    /// It holds something else.
    #[error("{FILE} is a table of two lists of words, `reserved` and `filtered`: {0}")]
    Malformed(#[from] toml::de::Error),
    /// A word that no name could hold, or every name would.
    #[error("{FILE}: \"{0}\" has nothing but letters and digits, and at least one")]
    Word(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NamesFile {
    reserved: Vec<String>,
    filtered: Vec<String>,
}

impl Names {
    /// The words of a folder of content, or the built-in ones where it has none.
    pub fn load(content: Option<&Path>) -> Result<Names, NamesError> {
        let path = content.map(|content| content.join(FILE)).filter(|path| path.exists());
        match path {
            Some(path) => {
                let text = std::fs::read_to_string(&path);
                Names::parse(&text.map_err(|why| NamesError::Unreadable { path, why })?)
            }
            None => Names::parse(BUILT_IN),
        }
    }

    /// The words of a file's text.
    pub fn parse(text: &str) -> Result<Names, NamesError> {
        let NamesFile { reserved, filtered } = toml::from_str(text)?;
        let words = |words: Vec<String>| words.into_iter().map(word).collect::<Result<Vec<_>, _>>();
        Ok(Names { reserved: words(reserved)?, filtered: words(filtered)? })
    }

    /// Whether a character may be called that.
    ///
    /// # Errors
    /// [`Code::CharacterNameInvalid`], [`Code::CharacterNameRefused`].
    pub fn check(&self, name: &str) -> Result<(), Problem> {
        check_character_name(name).map_err(|_| Code::CharacterNameInvalid)?;
        let whole = fold(name);
        let mut words = name.split(' ').map(fold).chain([whole.clone()]);
        let reserved = words.any(|word| self.reserved.contains(&word));
        if reserved || self.filtered.iter().any(|word| whole.contains(word)) {
            return Err(Code::CharacterNameRefused.into());
        }
        Ok(())
    }
}

fn word(word: String) -> Result<String, NamesError> {
    let is_word = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if is_word { Ok(fold(&word)) } else { Err(NamesError::Word(word)) }
}

/// A name as it is compared: without spaces, in small letters, and with letters for the digits that look like them.
fn fold(name: &str) -> String {
    let letter = |character: char| match character.to_ascii_lowercase() {
        '0' => 'o',
        '1' => 'i',
        '3' => 'e',
        '4' => 'a',
        '5' => 's',
        '7' => 't',
        other => other,
    };
    name.chars().filter(|character| *character != ' ').map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names() -> Names {
        Names::parse(
            r#"reserved = ["gm", "Admin"]
                        filtered = ["shit"]"#,
        )
        .unwrap()
    }

    #[test]
    fn reserved_words_are_words_and_filtered_ones_are_anywhere() {
        let names = names();
        let check = |name: &str, expected: Option<Code>| {
            assert_eq!(names.check(name).err().map(|problem| problem.code), expected, "{name:?}");
        };
        for good in ["Abe", "Sir Galahad", "Admiral", "Administer", "Gmork", "Sh it No"] {
            let expected = (good == "Sh it No").then_some(Code::CharacterNameRefused);
            check(good, expected);
        }
        for refused in ["Admin", "aDMIN", "Adm1n", "Ad min", "GM Bob", "Bob gm", "Shit", "Bull5h1t", "Xshitx"]
        {
            check(refused, Some(Code::CharacterNameRefused));
        }
        for invalid in ["", "Ab", " Abe", "A  be", "1abc", "Abcdefghijklmnopq", "Abé", "Admin\n"] {
            check(invalid, Some(Code::CharacterNameInvalid));
        }
    }

    #[test]
    fn a_file_holds_two_lists_of_words_and_a_folder_may_have_its_own() {
        for bad in
            ["", "reserved = []", "reserved = [\"\"]\nfiltered = []", "reserved = []\nfiltered = [\"a b\"]"]
        {
            assert!(Names::parse(bad).is_err(), "{bad:?}");
        }
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Names::load(Some(dir.path())).unwrap(), Names::load(None).unwrap());
        std::fs::write(dir.path().join(FILE), "reserved = [\"abe\"]\nfiltered = []").unwrap();
        let own = Names::load(Some(dir.path())).unwrap();
        assert!(own.check("Abe").is_err() && own.check("Admin").is_ok());
        std::fs::write(dir.path().join(FILE), "reserved = 1").unwrap();
        assert!(Names::load(Some(dir.path())).is_err());
    }

    proptest! {
        #[test]
        fn however_a_filtered_word_is_written_it_is_found(
            upper in proptest::collection::vec(any::<bool>(), 4),
            digits in proptest::collection::vec(any::<bool>(), 4),
            before in "[A-Za-z]{1,5}", after in "[a-z]{0,5}",
        ) {
            let write = |(at, letter): (usize, char)| match letter {
                's' if digits[at] => '5',
                'i' if digits[at] => '1',
                't' if digits[at] => '7',
                letter if upper[at] => letter.to_ascii_uppercase(),
                letter => letter,
            };
            let written: String = "shit".chars().enumerate().map(write).collect();
            let refused = names().check(&format!("{before}{written}{after}")).unwrap_err();
            prop_assert_eq!(refused.code, Code::CharacterNameRefused);
        }
    }
}
