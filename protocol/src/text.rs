//! What people type: the rules for chat text and character names.

use crate::ErrorCode;

/// Longest chat text, in bytes of UTF-8.
pub const CHAT_BYTES_MAX: usize = 200;
/// Shortest character name, in bytes.
pub const CHARACTER_NAME_BYTES_MIN: usize = 3;
/// Longest character name, in bytes; snapshots carry names in a field of this size.
pub const CHARACTER_NAME_BYTES_MAX: usize = 16;

/// Checks chat text: 1 to [`CHAT_BYTES_MAX`] bytes, not only white space, no control characters.
pub fn check_chat(text: &str) -> Result<(), ErrorCode> {
    let sound =
        !text.trim().is_empty() && text.len() <= CHAT_BYTES_MAX && !text.chars().any(char::is_control);
    if sound { Ok(()) } else { Err(ErrorCode::TextInvalid) }
}

/// Checks a character name: 3 to 16 ASCII letters, digits or single inner spaces, beginning with a letter.
pub fn check_character_name(name: &str) -> Result<(), ErrorCode> {
    let bytes = name.as_bytes();
    let sound = (CHARACTER_NAME_BYTES_MIN..=CHARACTER_NAME_BYTES_MAX).contains(&bytes.len())
        && bytes[0].is_ascii_alphabetic()
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b' ')
        && !bytes.ends_with(b" ")
        && !name.contains("  ");
    if sound { Ok(()) } else { Err(ErrorCode::CharacterNameInvalid) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn character_names() {
        for name in ["Abe", "Sir Galahad", "x12", "Abcdefghijklmnop"] {
            assert_eq!(check_character_name(name), Ok(()), "{name:?}");
        }
        for name in ["", "Ab", " Abe", "Abe ", "A  be", "1abc", "Abcdefghijklmnopq", "Abé", "A\nbe", "A_be"]
        {
            assert_eq!(check_character_name(name), Err(ErrorCode::CharacterNameInvalid), "{name:?}");
        }
    }

    #[test]
    fn chat_text() {
        let longest = "x".repeat(CHAT_BYTES_MAX);
        for text in ["hi", "नमस्ते", longest.as_str()] {
            assert_eq!(check_chat(text), Ok(()), "{text:?}");
        }
        let too_long = "x".repeat(CHAT_BYTES_MAX + 1);
        for text in ["", "   ", "a\u{7}b", "line\nbreak", too_long.as_str()] {
            assert_eq!(check_chat(text), Err(ErrorCode::TextInvalid), "{text:?}");
        }
    }
}
