//! What an account name and a password may look like. Pure rules: text in, verdict out.

use std::fmt;

/// The shortest account name, in characters.
pub const NAME_CHARS_MIN: usize = 3;
/// The longest account name, in characters.
pub const NAME_CHARS_MAX: usize = 32;
/// The shortest password, in bytes.
pub const PASSWORD_BYTES_MIN: usize = 8;
/// The longest password, in bytes.
pub const PASSWORD_BYTES_MAX: usize = 128;

/// An account's name, in the one form in which it is stored and compared: 3 to 32 of `a-z 0-9 _ . -`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AccountName(String);

/// Why a text is no account name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Too short or too long.
    #[error("an account name has {NAME_CHARS_MIN} to {NAME_CHARS_MAX} characters, not {0}")]
    Length(usize),
    /// A character that no name holds.
    #[error("an account name holds only letters a-z, digits, '_', '.' and '-', not {0:?}")]
    Character(char),
}

/// Why a text is no password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Too short or too long.
    #[error("a password has {PASSWORD_BYTES_MIN} to {PASSWORD_BYTES_MAX} bytes, not {0}")]
    Length(usize),
}

impl AccountName {
    /// The account name that was typed; capital letters A-Z are taken as small ones.
    pub fn parse(typed: &str) -> Result<AccountName, NameError> {
        let length = typed.chars().count();
        if !(NAME_CHARS_MIN..=NAME_CHARS_MAX).contains(&length) {
            return Err(NameError::Length(length));
        }
        let name = typed.to_ascii_lowercase();
        match name.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '_' | '.' | '-')) {
            Some(foreign) => Err(NameError::Character(foreign)),
            None => Ok(AccountName(name)),
        }
    }

    /// The name as stored.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a new password may be used. Any text will do that is long enough and can be hashed.
pub fn check_password(password: &str) -> Result<(), PasswordError> {
    match password.len() {
        PASSWORD_BYTES_MIN..=PASSWORD_BYTES_MAX => Ok(()),
        length => Err(PasswordError::Length(length)),
    }
}
