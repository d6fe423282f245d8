//! What an e-mail address may look like, and the one form in which it is kept.

use std::fmt;

/// The longest address, in bytes (RFC 5321).
const ADDRESS_BYTES_MAX: usize = 254;
/// The longest part before the `@`, in bytes (RFC 5321).
const LOCAL_BYTES_MAX: usize = 64;
/// The longest label of a domain, in bytes (RFC 1035).
const LABEL_BYTES_MAX: usize = 63;

/// An e-mail address in small letters, so that two that differ in case are one. Only the unquoted ASCII form is taken, which
/// holds nothing that could end a header or a command.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Email(String);

/// A text is no e-mail address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("that is no e-mail address of the form name@domain.tld")]
pub struct EmailError;

impl Email {
    /// The address that was typed.
    pub fn parse(typed: &str) -> Result<Email, EmailError> {
        let address = typed.to_ascii_lowercase();
        let (local, domain) = address.rsplit_once('@').ok_or(EmailError)?;
        let right = address.len() <= ADDRESS_BYTES_MAX
            && local.len() <= LOCAL_BYTES_MAX
            && local.split('.').all(|atom| !atom.is_empty() && atom.bytes().all(is_atom_byte))
            && domain.contains('.')
            && domain.split('.').all(is_label)
            && domain.rsplit('.').next().is_some_and(|top| top.bytes().any(|byte| byte.is_ascii_lowercase()));
        if right { Ok(Email(address)) } else { Err(EmailError) }
    }

    /// The address as kept.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `atext` of RFC 5322.
fn is_atom_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte)
}

fn is_label(label: &str) -> bool {
    (1..=LABEL_BYTES_MAX).contains(&label.len())
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses() {
        #[track_caller]
        fn check(typed: &str, expected: Option<&str>) {
            assert_eq!(Email::parse(typed).ok().as_ref().map(Email::as_str), expected, "{typed:?}");
        }
        check("asha@example.com", Some("asha@example.com"));
        check("Asha.R+tag@Example.COM", Some("asha.r+tag@example.com"));
        check("a@b.co", Some("a@b.co"));
        check("o'hara@x-y.example", Some("o'hara@x-y.example"));
        check("", None);
        check("@", None);
        check("asha", None);
        check("asha@", None);
        check("@example.com", None);
        check("asha@example", None);
        check("asha@example.com.", None);
        check("asha@.example.com", None);
        check("asha@exa mple.com", None);
        check("asha@-example.com", None);
        check("asha@example-.com", None);
        check("asha@127.0.0.1", None);
        check("asha@[127.0.0.1]", None);
        check(".asha@example.com", None);
        check("asha.@example.com", None);
        check("as..ha@example.com", None);
        check("asha@evil@example.com", None);
        check("\"asha\"@example.com", None);
        check("asha@example.com\r\nBcc: all@example.com", None);
        check("asha\n@example.com", None);
        check("asha@example.com\0", None);
        check("ashä@example.com", None);
        check("Asha <asha@example.com>", None);
        check(&format!("{}@example.com", "a".repeat(64)), Some(&format!("{}@example.com", "a".repeat(64))));
        check(&format!("{}@example.com", "a".repeat(65)), None);
        check(&format!("a@{}.com", "b".repeat(64)), None);
        check(&format!("a@{}com", "b.".repeat(130)), None);
    }

    proptest! {
        #[test]
        fn what_is_taken_is_its_own_form_and_lettre_takes_it(typed in "[a-zA-Z0-9.+@_-]{1,12}@[a-zA-Z0-9.-]{1,12}\\.[a-z]{1,3}") {
            if let Ok(email) = Email::parse(&typed) {
                prop_assert_eq!(Email::parse(email.as_str()), Ok(email.clone()));
                prop_assert!(email.as_str().parse::<lettre::Address>().is_ok(), "{}", email);
            }
        }

        #[test]
        fn any_text_is_judged_without_panic(typed: String) {
            let _ = Email::parse(&typed);
        }
    }
}
