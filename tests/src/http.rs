//! A small HTTP client for tests that need more of an answer than its body.

use std::collections::HashMap;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use crate::PATIENCE;

/// An answer.
#[derive(Debug, Clone)]
pub struct HttpAnswer {
    /// The status.
    pub status: u16,
    /// Name, in small letters, and value of each header.
    pub headers: Vec<(String, String)>,
    /// The body, if it is JSON; null otherwise.
    pub body: Value,
}

impl HttpAnswer {
    /// The first header of a name in small letters.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The code of a problem; empty where there is none.
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    /// A text of the body.
    ///
    /// # Panics
    /// If there is no such text.
    #[track_caller]
    pub fn text(&self, field: &str) -> &str {
        self.body[field].as_str().unwrap_or_else(|| panic!("no {field} in {self:?}"))
    }
}

/// Sends a request over a connection of its own and reads the whole answer. A body is sent as JSON.
///
/// # Errors
/// If nobody answers, or not to the end.
///
/// # Panics
/// If what comes is not HTTP.
pub fn http(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: Option<&Value>,
) -> io::Result<HttpAnswer> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut request = format!("{method} {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    for (name, value) in headers {
        request.extend([name, ": ", value, "\r\n"]);
    }
    let body = body.map(Value::to_string).unwrap_or_default();
    if !body.is_empty() {
        request += "Content-Type: application/json\r\n";
    }
    request.extend(["Content-Length: ", &body.len().to_string(), "\r\n\r\n", &body]);
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let (status, lines) = head.split_once("\r\n").expect("an answer has headers");
    let status = status.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    let header = |line: &str| {
        let (name, value) = line.split_once(':').expect("a header has a name");
        (name.to_ascii_lowercase(), value.trim().to_owned())
    };
    let headers = lines.split("\r\n").map(header).collect();
    Ok(HttpAnswer { status, headers, body: serde_json::from_str(body).unwrap_or(Value::Null) })
}

/// What a browser keeps of `Set-Cookie`: values by name.
#[derive(Debug, Clone, Default)]
pub struct Cookies(HashMap<String, String>);

impl Cookies {
    /// Takes those of an answer.
    pub fn take(&mut self, answer: &HttpAnswer) {
        for (_, value) in answer.headers.iter().filter(|(name, _)| name == "set-cookie") {
            let pair = value.split(';').next().unwrap_or_default();
            if let Some((name, value)) = pair.split_once('=') {
                self.0.insert(name.to_owned(), value.to_owned());
            }
        }
    }

    /// What is sent of them.
    pub fn header(&self) -> String {
        self.0.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
    }
}
