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
    }
}
