//! Callers of the interface over connections that stay open, one request at a time on each.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};

use super::service::PASSWORD;

/// Longer than any answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection.
pub struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Connection {
    /// To this address.
    pub fn open(to: SocketAddr) -> anyhow::Result<Connection> {
        let stream = TcpStream::connect(to).context("the port cannot be reached")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Connection { stream, received: Vec::new() })
    }

    /// Sends a request.
    pub fn send(&mut self, request: &[u8]) -> anyhow::Result<()> {
        self.stream.write_all(request).context("a request cannot be sent")
    }

    /// Reads the answer, which must have this status: its body.
    pub fn answer(&mut self, status: u16) -> anyhow::Result<&[u8]> {
        self.received.clear();
        let mut chunk = [0; 4096];
        let (head, whole) = loop {
            let bytes = self.stream.read(&mut chunk).context("an answer cannot be read")?;
            ensure!(bytes > 0, "the connection was closed before its answer");
            self.received.extend_from_slice(&chunk[..bytes]);
            let Some(head) = self.received.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
            break (head, head + 4 + content_length(&self.received[..head])?);
        };
        while self.received.len() < whole {
            let bytes = self.stream.read(&mut chunk).context("an answer cannot be read")?;
            ensure!(bytes > 0, "the connection was closed within its answer");
            self.received.extend_from_slice(&chunk[..bytes]);
        }
        let told = std::str::from_utf8(&self.received[..head])?;
        ensure!(
            told.split(' ').nth(1) == Some(status.to_string().as_str()),
            "the answer is another than {status}: {}",
            String::from_utf8_lossy(&self.received)
        );
        Ok(&self.received[head + 4..whole])
    }
}

fn content_length(head: &[u8]) -> anyhow::Result<usize> {
    for line in std::str::from_utf8(head)?.lines() {
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            return Ok(value.trim().parse()?);
        }
    }
    bail!("an answer does not say how long it is")
}

/// A sign-in with the password: what the session's first access token is.
pub fn sign_in(connection: &mut Connection, login: &str) -> anyhow::Result<String> {
    let body = json!({ "login": login, "password": PASSWORD }).to_string();
    let head = format!(
        "POST /api/v1/sessions HTTP/1.1\r\nHost: api\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    connection.send(&[head.as_bytes(), body.as_bytes()].concat())?;
    let answer: Value = serde_json::from_slice(connection.answer(201)?)?;
    Ok(answer["access_token"].as_str().context("a sign-in gives an access token")?.to_owned())
}

/// Signs these accounts in, one after the other and again, until a time; how long each sign-in took.
pub fn sign_in_until(to: SocketAddr, logins: &[String], until: Instant) -> anyhow::Result<Vec<Duration>> {
    let (mut connection, mut took) = (Connection::open(to)?, Vec::new());
    for login in logins.iter().cycle() {
        let begun = Instant::now();
        if begun >= until {
            break;
        }
        sign_in(&mut connection, login)?;
        took.push(begun.elapsed());
    }
    Ok(took)
}
