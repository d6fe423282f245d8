//! Stable error codes. A code never changes its meaning or its number; new ones are added at the end of their
//! group. `docs/protocol.md` lists them.

macro_rules! error_codes {
    ($($(#[doc = $doc:literal])* $name:ident = $code:literal, $text:literal;)*) => {
        /// Why a request was refused or a connection closed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u16)]
        pub enum ErrorCode { $($(#[doc = $doc])* $name = $code,)* }

        impl ErrorCode {
            /// Every code, in order.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$name),*];

            /// The code of a number, if there is one.
            pub fn from_number(number: u16) -> Option<ErrorCode> {
                match number { $($code => Some(ErrorCode::$name),)* _ => None }
            }

            /// The code's stable name, as logs and metrics show it.
            pub fn name(self) -> &'static str {
                match self { $(ErrorCode::$name => stringify!($name),)* }
            }

            /// A sentence for people: what is wrong and what to do.
            pub fn text(self) -> &'static str {
                match self { $(ErrorCode::$name => $text,)* }
            }
        }
    };
}

error_codes! {
    /// The bytes are no valid message of their kind.
    Malformed = 1, "the message is malformed; it was not acted on";
    /// The frame's length is over the bound of its direction.
    FrameTooLarge = 2, "the frame is longer than this server accepts";
    /// No message has this kind.
    UnknownKind = 3, "this server knows no message of that kind";
    /// The message does not belong to this stage of the connection.
    OutOfOrder = 4, "that message is not expected at this stage of the connection";
    /// Client and server speak different protocol versions.
    VersionMismatch = 5, "client and server speak different protocol versions; update the older one";
    /// Client and server hold different content.
    ContentMismatch = 6, "client and server hold different game content; update the client";
    /// The request id did not rise: a repeated request.
    Replayed = 7, "the request id is not above the last one; the request was not acted on";
    /// More frames a second than the server accepts.
    Flood = 8, "too many messages a second";
    /// The client does not read what it is sent.
    SlowClient = 9, "the client did not read what it was sent";
    /// Nothing was heard of the client for too long.
    IdleTimeout = 10, "nothing was heard from the client for too long";
    /// Sign-in was not completed in time.
    HandshakeTimeout = 11, "sign-in was not completed in time";
    /// No place for another connection.
    ServerFull = 12, "the server is full; try again later";
    /// The server is going down in good order.
    ShuttingDown = 13, "the server is shutting down";
    /// A service behind the server cannot answer just now.
    Unavailable = 14, "a service behind the server cannot answer just now; try again";
    /// Nobody was at the client for too long; the character is saved.
    AwayTooLong = 15, "nobody was there for too long; the character is saved";
    /// Too many connections from the client's address, at once or in too short a time.
    AddressLimit = 16, "too many connections from your address; wait a moment";
    /// The account is suspended.
    AccountSuspended = 17, "the account is suspended; sign in over the HTTP API to see why";
    /// Connections from the client's address are banned.
    AddressBanned = 18, "your address is banned; appeal over the HTTP API";
    /// Somebody of the staff ended the session.
    Kicked = 19, "you were asked to leave by the staff; you may come back";

    /// The account's name is not well formed.
    AccountNameInvalid = 20, "an account name has 3 to 32 characters of a-z, 0-9, '_', '.', '-'";
    /// The account's name is taken.
    AccountNameTaken = 21, "that account name is taken";
    /// The password is not well formed.
    PasswordInvalid = 22, "a password has 8 to 128 bytes";
    /// No such account, or the wrong password.
    CredentialsWrong = 23, "account or password is wrong";
    /// This server does not let clients register accounts.
    RegistrationClosed = 24, "accounts cannot be registered here";
    /// The account signed in from elsewhere; the newest connection wins.
    SignedInElsewhere = 25, "the account signed in from elsewhere";
    /// Too many sign-ins are waiting.
    SignInBusy = 26, "too many people are signing in; try again in a moment";
    /// The session is over, or the ticket was used or never given out.
    ResumeRefused = 27, "that session cannot be taken up again; sign in";
    /// Too many sign-ins from the client's address failed, or too many accounts were registered from it.
    SignInLimit = 28, "too many failed sign-ins or registrations from your address; wait a minute";
    /// A fresh ticket is needed: the one shown is unknown, was used or is too old, or the account signs in with a second factor.
    TicketRequired = 29, "a fresh ticket is needed; get one over the HTTP API and come with it";

    /// The character's name is not well formed.
    CharacterNameInvalid = 30, "a character name has 3 to 16 letters, digits or single inner spaces, and begins with a letter";
    /// The character's name is taken.
    CharacterNameTaken = 31, "that character name is taken";
    /// The account has as many characters as it may have.
    CharacterLimit = 32, "the account has as many characters as it may have";
    /// The account has no such character.
    CharacterUnknown = 33, "the account has no such character";
    /// The character is deleted; until it goes for good its owner can restore it.
    CharacterDeleted = 34, "the character is deleted; restore it over the HTTP API";
    /// The character's profile is frozen.
    ProfileFrozen = 35, "the character's profile is frozen; see the HTTP API for why";
    /// The character's name holds a word that none may have.
    CharacterNameRefused = 36, "no character may be called that";

    /// The thing is out of reach.
    TooFar = 40, "that is out of reach";
    /// There is no such item (any more).
    ItemGone = 41, "that item is no longer there";
    /// No free slot for the item.
    InventoryFull = 42, "the inventory is full";
    /// The inventory slot is empty or does not exist.
    SlotEmpty = 43, "that inventory slot is empty";
    /// The count is zero or more than there is.
    CountInvalid = 44, "that is not a possible count";
    /// The chat text is empty, too long or holds control characters.
    TextInvalid = 45, "chat text has 1 to 200 bytes and no control characters";
    /// Too much chat in too short a time.
    ChatTooFast = 46, "too much chat in too short a time";
    /// The journal is at its bound: nothing durable can be accepted now.
    JournalBusy = 47, "the server cannot make that durable just now; try again";
    /// The zone holds as many items on the ground as it may.
    GroundFull = 48, "there is no room for more items on the ground here";
    /// The character would carry more than it can.
    TooHeavy = 49, "that is more than you can carry";
    /// The item has no equipment slot.
    NotWearable = 50, "that cannot be worn";
    /// What else is worn does not go with it.
    RequirementUnmet = 51, "that does not go with what else is worn";
    /// No bank is near.
    NotAtBank = 52, "there is no bank here";
    /// No free slot in the tab.
    BankFull = 53, "that tab of the bank is full";
    /// There is no such slot or place.
    SlotInvalid = 54, "there is no such slot";
    /// The command was meant for another session.
    NonceStale = 55, "the command belongs to another session; it was not acted on";
    /// The item cannot be given away by trade.
    NotTradeable = 56, "that cannot be traded";
    /// The item is offered in a trade.
    ItemOffered = 57, "that is offered in a trade";
    /// One of the two trades already.
    AlreadyTrading = 58, "one of you is trading already";
    /// There is no such trade, or nobody asked for it.
    NoTrade = 59, "there is no such trade";
    /// The trade is not what was confirmed any more, or the step's turn has not come.
    TradeMoved = 60, "the trade has changed; look at it again";
    /// One of the two ended the trade.
    TradeCancelled = 61, "the trade was cancelled";
    /// The other is not there (any more).
    PartnerGone = 62, "the other is no longer there";
    /// More requests a second than the server carries out for one client.
    RequestsTooFast = 63, "too many requests in too short a time; the request was not acted on";
    /// The profile of one of the two owes.
    TradeBarred = 64, "one of you owes a debt: who owes does not trade until it is settled";
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}): {}", self.name(), *self as u16, self.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_unique_rising_and_found_again() {
        for pair in ErrorCode::ALL.windows(2) {
            assert!((pair[0] as u16) < pair[1] as u16, "{pair:?}");
        }
        for &code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_number(code as u16), Some(code));
        }
        assert_eq!(ErrorCode::from_number(0), None);
    }
}
