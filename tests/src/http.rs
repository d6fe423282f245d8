//! The HTTP client of the tests.

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
    /// The body.
    pub content: String,
    /// The same, if it is JSON; null otherwise.
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
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, content) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let (status, lines) = head.split_once("\r\n").expect("an answer has headers");
    let status = status.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    let header = |line: &str| {
        let (name, value) = line.split_once(':').expect("a header has a name");
        (name.to_ascii_lowercase(), value.trim().to_owned())
    };
    let headers: Vec<_> = lines.split("\r\n").map(header).collect();
    let is_chunked = headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked");
    let content = if is_chunked { joined_chunks(content) } else { content.to_owned() };
    let body = serde_json::from_str(&content).unwrap_or(Value::Null);
    Ok(HttpAnswer { status, headers, content, body })
}

/// The status and the body of a page.
///
/// # Panics
/// If there is no answer.
pub fn http_get(address: SocketAddr, path: &str) -> (u16, String) {
    let answer = http(address, "GET", path, &[], None).unwrap_or_else(|error| panic!("{path}: {error}"));
    (answer.status, answer.content)
}

/// The status and the body of the answer to an order.
///
/// # Errors
/// If nobody answers, or not to the end.
pub fn http_post(address: SocketAddr, path: &str, body: &Value) -> io::Result<(u16, String)> {
    http(address, "POST", path, &[], Some(body)).map(|answer| (answer.status, answer.content))
}

fn joined_chunks(mut body: &str) -> String {
    let mut joined = String::new();
    while let Some((length, rest)) = body.split_once("\r\n") {
        let length = usize::from_str_radix(length.trim(), 16).expect("a chunk begins with its length");
        if length == 0 {
            break;
        }
        joined.push_str(&rest[..length]);
        body = rest[length..].trim_start_matches("\r\n");
    }
    joined
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
