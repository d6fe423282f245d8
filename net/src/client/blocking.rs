//! A client that waits: for tests and tools that drive one or a few characters.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use vyuha_protocol::{CharacterId, ErrorCode, RequestId};

use super::{ClientContent, ClientCore, ClientError, Connection, EnteredZone, Event, Received, ServerTrust};

const SCRATCH_BYTES: usize = 1 << 16;

/// A connection whose methods wait for the answer, each at most the timeout given to [`BlockingClient::connect`]. Events
/// that come in between are passed over.
#[derive(Debug)]
pub struct BlockingClient {
    connection: Connection,
    timeout: Duration,
    scratch: Vec<u8>,
}

impl BlockingClient {
    /// Connects and waits for the server's welcome.
    pub fn connect(
        server: SocketAddr,
        content: Arc<ClientContent>,
        timeout: Duration,
    ) -> Result<BlockingClient, ClientError> {
        BlockingClient::welcomed(Connection::open(server, content)?, timeout)
    }

    /// The same over TLS.
    pub fn connect_tls(
        server: SocketAddr,
        content: Arc<ClientContent>,
        trust: &ServerTrust,
        timeout: Duration,
    ) -> Result<BlockingClient, ClientError> {
        BlockingClient::welcomed(Connection::open_tls(server, content, trust)?, timeout)
    }

    fn welcomed(connection: Connection, timeout: Duration) -> Result<BlockingClient, ClientError> {
        let mut client = BlockingClient { connection, timeout, scratch: vec![0; SCRATCH_BYTES] };
        client.wait_for(timeout, |event| matches!(event, Event::Welcome { .. }).then_some(()))?;
        Ok(client)
    }

    /// Registers an account.
    pub fn register(&mut self, account: &str, password: &str) -> Result<(), ClientError> {
        let request = self.core().register(account, password)?;
        self.answer(request, |event| matches!(event, Event::Registered { .. }).then_some(()))
    }

    /// Signs in.
    pub fn log_in(&mut self, account: &str, password: &str) -> Result<(), ClientError> {
        let request = self.core().log_in(account, password)?;
        self.answer(request, |event| matches!(event, Event::LoggedIn { .. }).then_some(()))
    }

    /// Signs in with a ticket of the HTTP API.
    pub fn redeem_ticket(&mut self, ticket: &str) -> Result<(), ClientError> {
        let request = self.core().redeem_ticket(ticket)?;
        self.answer(request, |event| matches!(event, Event::LoggedIn { .. }).then_some(()))
    }

    /// Creates a character.
    pub fn create_character(&mut self, name: &str) -> Result<CharacterId, ClientError> {
        let request = self.core().create_character(name)?;
        self.answer(request, |event| match event {
            Event::CharacterCreated { character, .. } => Some(*character),
            _ => None,
        })
    }

    /// Enters the world with a character.
    pub fn select_character(&mut self, character: CharacterId) -> Result<EnteredZone, ClientError> {
        let request = self.core().select_character(character)?;
        self.answer(request, |event| match event {
            Event::EnteredZone(entered) => Some(entered.clone()),
            _ => None,
        })
    }

    /// Enters the world with the account's first character, which is created under this name if there is none.
    pub fn enter(&mut self, name: &str) -> Result<EnteredZone, ClientError> {
        let request = self.core().list_characters()?;
        let first = self.answer(request, |event| match event {
            Event::Characters { characters, .. } => {
                Some(characters.first().map(|c| CharacterId(c.character)))
            }
            _ => None,
        })?;
        let character = match first {
            Some(character) => character,
            None => self.create_character(name)?,
        };
        self.select_character(character)
    }

    /// Connects anew, whatever became of the connection so far, and takes up the session.
    pub fn resume(&mut self, server: SocketAddr) -> Result<(), ClientError> {
        self.connection.reopen(server)?;
        self.wait_for(self.timeout, |event| match event {
            Event::Resumed => Some(Ok(())),
            Event::Refused { code: code @ Some(ErrorCode::ResumeRefused), text, .. } => {
                Some(Err(ClientError::Refused { code: *code, text: text.clone() }))
            }
            _ => None,
        })?
    }

    /// Ends the connection without a word, as where a network goes away; the session may be taken up again.
    pub fn shut_down(&mut self) {
        self.connection.shut_down();
    }

    /// Leaves in good order.
    pub fn log_out(mut self) -> Result<(), ClientError> {
        let request = self.core().log_out()?;
        self.answer(request, |event| matches!(event, Event::LoggedOut { .. }).then_some(()))
    }

    /// Sends what was appended and waits for the answer to a request: what `pick` makes of it, or its refusal.
    pub fn answer<T>(
        &mut self,
        request: RequestId,
        mut pick: impl FnMut(&Event) -> Option<T>,
    ) -> Result<T, ClientError> {
        self.wait_for(self.timeout, |event| match event {
            Event::Refused { request: refused, code, text } if *refused == request => {
                Some(Err(ClientError::Refused { code: *code, text: text.clone() }))
            }
            event => pick(event).map(Ok),
        })?
    }

    /// Sends what was appended and takes events until `pick` makes something of one. Fails with
    /// [`ClientError::Closed`] if the server closes first.
    pub fn wait_for<T>(
        &mut self,
        timeout: Duration,
        mut pick: impl FnMut(&Event) -> Option<T>,
    ) -> Result<T, ClientError> {
        let deadline = Instant::now() + timeout;
        loop {
            while let Some(event) = self.connection.core_mut().next_event()? {
                if let Some(picked) = pick(&event) {
                    return Ok(picked);
                }
                if let Event::Closed { code, text } = event {
                    return Err(ClientError::Closed { code, text });
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ClientError::TimedOut(timeout));
            }
            self.connection.flush()?;
            self.wait_ready(left)?;
            if self.connection.poll_read(&mut self.scratch)? == Received::Ended {
                return Err(ClientError::Ended);
            }
        }
    }

    /// The protocol's state, to append messages and look at the world.
    pub fn core(&mut self) -> &mut ClientCore {
        self.connection.core_mut()
    }

    /// Sends what was appended, as far as the socket takes it.
    pub fn flush(&mut self) -> Result<(), ClientError> {
        self.connection.flush().map(drop)
    }

    fn wait_ready(&self, timeout: Duration) -> Result<(), ClientError> {
        let mut wanted = PollFlags::IN;
        wanted.set(PollFlags::OUT, self.connection.wants_write());
        let timeout = Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: timeout.subsec_nanos().into() };
        match poll(&mut [PollFd::new(&self.connection, wanted)], Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(io::Error::from(error).into()),
        }
    }
}
