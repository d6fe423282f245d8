//! What a client that has not entered yet may ask for.

use vyuha_protocol::message::ClientMessage;

/// A request, taken out of its frame so that the buffer is free while it is carried out.
pub(super) enum Request {
    Hello {
        version: u32,
        content_hash: [u8; 32],
    },
    Register {
        request: u32,
        account: String,
        password: String,
    },
    Login {
        request: u32,
        account: String,
        password: String,
    },
    Ticket {
        request: u32,
        ticket: String,
    },
    List {
        request: u32,
    },
    Create {
        request: u32,
        name: String,
    },
    Select {
        request: u32,
        character: i64,
    },
    Resume {
        ticket: [u8; 16],
        received: u32,
    },
    Ping {
        stamp: u64,
    },
    /// A message of the game.
    Game {
        request: Option<u32>,
    },
}

impl Request {
    pub(super) fn take(message: ClientMessage<'_>) -> Request {
        match message {
            ClientMessage::Hello(m) => {
                Request::Hello { version: m.version.into(), content_hash: m.content_hash }
            }
            ClientMessage::RegisterAccount(m) => Request::Register {
                request: m.request.into(),
                account: m.account.to_string(),
                password: m.password.to_string(),
            },
            ClientMessage::Login(m) => Request::Login {
                request: m.request.into(),
                account: m.account.to_string(),
                password: m.password.to_string(),
            },
            ClientMessage::RedeemTicket(m) => {
                Request::Ticket { request: m.request.into(), ticket: m.ticket.to_string() }
            }
            ClientMessage::ListCharacters(m) => Request::List { request: m.request.into() },
            ClientMessage::CreateCharacter(m) => {
                Request::Create { request: m.request.into(), name: m.name.to_string() }
            }
            ClientMessage::SelectCharacter(m) => {
                Request::Select { request: m.request.into(), character: m.character.into() }
            }
            ClientMessage::Resume(m) => Request::Resume { ticket: m.ticket, received: m.received.into() },
            ClientMessage::Ping(m) => Request::Ping { stamp: m.stamp.into() },
            ClientMessage::Input(_) | ClientMessage::Acknowledge(_) => Request::Game { request: None },
            ClientMessage::Say(m) => Request::Game { request: Some(m.request.into()) },
            ClientMessage::PickUp(m) => Request::Game { request: Some(m.request.into()) },
            ClientMessage::Drop(m) => Request::Game { request: Some(m.request.into()) },
            ClientMessage::Logout(m) => Request::Game { request: Some(m.request.into()) },
            ClientMessage::Move(m) => Request::Game { request: Some(m.request.into()) },
            ClientMessage::Equip(m) => Request::Game { request: Some(m.request.into()) },
            ClientMessage::Unequip(m) => Request::Game { request: Some(m.request.into()) },
            ClientMessage::OpenBank(m) => Request::Game { request: Some(m.request.into()) },
            ClientMessage::Deposit(m) => Request::Game { request: Some(m.request.into()) },
            ClientMessage::Withdraw(m) => Request::Game { request: Some(m.request.into()) },
            ClientMessage::AskTrade(m) => Request::Game { request: Some(m.request.into()) },
            ClientMessage::AcceptTrade(m) => Request::Game { request: Some(m.request.into()) },
            ClientMessage::Offer(m) => Request::Game { request: Some(m.request.into()) },
            ClientMessage::ConfirmTrade(m) => Request::Game { request: Some(m.request.into()) },
            ClientMessage::CancelTrade(m) => Request::Game { request: Some(m.request.into()) },
        }
    }

    /// What is asked for, in traces.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Request::Hello { .. } => "hello",
            Request::Register { .. } => "register",
            Request::Login { .. } => "log_in",
            Request::Ticket { .. } => "redeem_ticket",
            Request::List { .. } => "list_characters",
            Request::Create { .. } => "create_character",
            Request::Select { .. } => "select_character",
            Request::Resume { .. } => "resume",
            Request::Ping { .. } => "ping",
            Request::Game { .. } => "game",
        }
    }

    /// The request id, of those that have one.
    pub(super) fn number(&self) -> Option<u32> {
        match self {
            Request::Register { request, .. }
            | Request::Login { request, .. }
            | Request::Ticket { request, .. }
            | Request::List { request }
            | Request::Create { request, .. }
            | Request::Select { request, .. } => Some(*request),
            Request::Game { request } => *request,
            Request::Hello { .. } | Request::Resume { .. } | Request::Ping { .. } => None,
        }
    }
}
