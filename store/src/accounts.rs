//! Who may log in.

use vyuha_record::record;

record! {
    /// An account. Written only by account services, never by the journal.
    pub struct AccountRow in "account", table 1 {
        /// Its number.
        key id: i64,
        /// The name to log in with; as stored it decides whether two are the same.
        unique name: String,
        /// The password's hash in PHC form; never the password.
        password_hash: String,
        /// When it was created, milliseconds since 1970 UTC.
        created_ms: i64,
        /// The address at which its owner has shown to read mail; in small letters.
        unique email: Option<String>,
        /// Since when signing in takes a code beside the password, milliseconds since 1970 UTC.
        second_factor_ms: Option<i64>,
        /// Until when nobody signs in with it, milliseconds since 1970 UTC.
        suspended_until_ms: Option<i64>,
        /// Why not.
        suspension_reason: Option<String>,
    }
}

impl AccountRow {
    /// An account with a name and a password, and neither address nor second factor.
    pub fn new(id: i64, name: impl Into<String>, password_hash: impl Into<String>, created_ms: i64) -> Self {
        let (name, password_hash) = (name.into(), password_hash.into());
        Self {
            id,
            name,
            password_hash,
            created_ms,
            email: None,
            second_factor_ms: None,
            suspended_until_ms: None,
            suspension_reason: None,
        }
    }
}
