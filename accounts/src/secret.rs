//! Tokens that only their holder knows: made here, given out once, and kept as hashes alone.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom as _, SystemRandom};
use sha2::{Digest as _, Sha256};

use crate::problem::{Code, Problem};

/// Random bytes of a token.
const TOKEN_BYTES: usize = 32;
/// The longest text that is looked up as a token, in bytes; longer ones are not hashed at all.
pub const TOKEN_TEXT_BYTES_MAX: usize = 128;

/// What a token is for. Its text begins with the prefix, so that one that leaks is recognised by scanners.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Proves that a registration's address can be read.
    Verification,
    /// Names a registration to whoever made it.
    Registration,
    /// Sets a new password.
    Reset,
    /// Gives the next access token of a session.
    Refresh,
    /// Enters the game.
    Ticket,
    /// Comes back to a sign-in at an identity provider.
    Flow,
    /// Vouches for a page in a browser, as a cookie.
    Browser,
}

impl Kind {
    /// What its text begins with.
    pub const fn prefix(self) -> &'static str {
        match self {
            Kind::Verification => "vyv_",
            Kind::Registration => "vyg_",
            Kind::Reset => "vyp_",
            Kind::Refresh => "vyr_",
            Kind::Ticket => "vyt_",
            Kind::Flow => "vyo_",
            Kind::Browser => "vyc_",
        }
    }
}

/// A token that was just made.
pub struct Token {
    /// What its holder is given.
    pub text: String,
    /// What is kept.
    pub hash: String,
}

/// A token is not to be logged.
impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

impl Token {
    /// A new token.
    pub fn new(kind: Kind) -> Result<Token, Problem> {
        let text = format!("{}{}", kind.prefix(), URL_SAFE_NO_PAD.encode(random::<TOKEN_BYTES>()?));
        Ok(Token { hash: hash(&text), text })
    }
}

/// Under which hash a shown token would be kept; `None` for what was never a token of this kind.
///
/// Looking a hash up in an index tells by its time nothing of the token: who does not know the token cannot choose its hash.
pub fn shown(kind: Kind, text: &str) -> Option<String> {
    (text.len() <= TOKEN_TEXT_BYTES_MAX && text.starts_with(kind.prefix())).then(|| hash(text))
}

/// Random bytes from the kernel.
pub fn random<const BYTES: usize>() -> Result<[u8; BYTES], Problem> {
    let mut bytes = [0; BYTES];
    SystemRandom::new().fill(&mut bytes).map_err(|_| {
        tracing::error!("the kernel gives no random numbers");
        Problem::from(Code::Internal)
    })?;
    Ok(bytes)
}

/// A random name for something that is no secret: 128 bits in hexadecimal.
pub fn random_id() -> Result<String, Problem> {
    Ok(hex(&random::<16>()?))
}

/// SHA-256 in hexadecimal. The tokens have 256 random bits, so that no slower hash is needed.
pub fn hash(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes()))
}

/// Bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| DIGITS[digit as usize] as char).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_found_by_its_text_of_its_kind_only() {
        let token = Token::new(Kind::Ticket).unwrap();
        assert_eq!(shown(Kind::Ticket, &token.text).as_ref(), Some(&token.hash));
        assert_eq!(shown(Kind::Refresh, &token.text), None);
        assert_ne!(shown(Kind::Ticket, &format!("{}x", token.text)), Some(token.hash.clone()));
        assert_eq!(shown(Kind::Ticket, &format!("vyt_{}", "x".repeat(TOKEN_TEXT_BYTES_MAX))), None);
        assert_eq!(shown(Kind::Ticket, ""), None);
        assert_ne!(Token::new(Kind::Ticket).unwrap().text, token.text);
        assert_eq!(format!("{token:?}"), "Token");
        assert_eq!(token.text.len(), 4 + 43);
    }

    #[test]
    fn hexadecimal() {
        assert_eq!(hex(&[0x00, 0x0f, 0xa5, 0xff]), "000fa5ff");
        assert_eq!(hash("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
