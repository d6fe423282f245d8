//! A caller of the interface. Every answer that it gets is held against the document.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::LazyLock;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The document.
pub static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_json::to_value(vyuha_accounts::document()).unwrap());

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
}

impl Answer {
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The text of a field of the body.
    #[track_caller]
    pub fn text(&self, field: &str) -> String {
        self.json()[field].as_str().unwrap_or_else(|| panic!("no {field} in {self:?}")).to_owned()
    }

    /// Status and code of a problem; a status alone of anything else.
    pub fn verdict(&self) -> (u16, String) {
        let code = serde_json::from_slice::<Value>(&self.body).ok();
        let code = code.and_then(|body| Some(body.get("code")?.as_str()?.to_owned()));
        (self.status, code.unwrap_or_default())
    }

    #[track_caller]
    pub fn expect(self, status: u16, code: &str) -> Answer {
        assert_eq!(self.verdict(), (status, code.to_owned()), "{self:?}");
        self
    }
}

/// A request that is put together.
#[derive(Clone)]
pub struct Request {
    method: &'static str,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    pub fn new(method: &'static str, path: &str) -> Request {
        Request { method, path: path.to_owned(), headers: Vec::new(), body: Vec::new() }
    }

    pub fn header(mut self, name: &str, value: &str) -> Request {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn bearer(self, token: &str) -> Request {
        self.header("Authorization", &format!("Bearer {token}"))
    }

    pub fn json(self, body: &Value) -> Request {
        self.header("Content-Type", "application/json").body(body.to_string().as_bytes())
    }

    pub fn body(mut self, body: &[u8]) -> Request {
        self.body = body.to_vec();
        self
    }

    /// Sends it over a connection of its own, and holds the answer against the document.
    pub async fn send(self, to: SocketAddr) -> Answer {
        let (method, path) = (self.method, self.path.clone());
        let answer = self.send_raw(to).await;
        check(method, &path, &answer);
        answer
    }

    /// Sends it, and takes any answer.
    pub async fn send_raw(self, to: SocketAddr) -> Answer {
        let mut stream = TcpStream::connect(to).await.unwrap();
        let mut head =
            format!("{} {} HTTP/1.1\r\nHost: api\r\nConnection: close\r\n", self.method, self.path);
        let length = ("Content-Length".to_owned(), self.body.len().to_string());
        for (name, value) in self.headers.iter().chain([&length]) {
            head.extend([name.as_str(), ": ", value, "\r\n"]);
        }
        head += "\r\n";
        let sent = [head.as_bytes(), &self.body].concat();
        // A server that refuses may close before it has read all.
        let _ = stream.write_all(&sent).await;
        let mut received = Vec::new();
        let _ = stream.read_to_end(&mut received).await;
        parse(&received)
    }
}

/// Reads an answer.
pub fn parse(received: &[u8]) -> Answer {
    let end = received.windows(4).position(|window| window == b"\r\n\r\n").expect("a whole head");
    let head = std::str::from_utf8(&received[..end]).unwrap();
    let (status, lines) = head.split_once("\r\n").unwrap();
    let status = status.split(' ').nth(1).unwrap().parse().unwrap();
    let header = |line: &str| {
        let (name, value) = line.split_once(": ").unwrap();
        (name.to_ascii_lowercase(), value.to_owned())
    };
    let headers: HashMap<_, _> = lines.split("\r\n").map(header).collect();
    let mut body = received[end + 4..].to_vec();
    if headers.get("transfer-encoding").is_some_and(|value| value == "chunked") {
        body = unchunk(&body);
    }
    Answer { status, headers, body }
}

fn unchunk(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let line = rest.windows(2).position(|window| window == b"\r\n").expect("a chunk's length");
        let length = usize::from_str_radix(std::str::from_utf8(&rest[..line]).unwrap(), 16).unwrap();
        if length == 0 {
            return body;
        }
        body.extend(&rest[line + 2..line + 2 + length]);
        rest = &rest[line + 4 + length..];
    }
}

/// Holds an answer against the document: its status is there, its body has the fields, every error is a problem.
#[track_caller]
fn check(method: &str, path: &str, answer: &Answer) {
    for name in ["x-request-id", "api-version", "x-content-type-options", "cache-control"] {
        assert!(answer.headers.contains_key(name), "{method} {path}: no {name} in {answer:?}");
    }
    if answer.status >= 400 {
        assert_eq!(answer.headers["content-type"], "application/problem+json", "{method} {path}: {answer:?}");
        let problem = answer.json();
        assert_eq!(problem["status"], answer.status);
        assert_eq!(problem["type"], format!("urn:vyuha:problem:{}", problem["code"].as_str().unwrap()));
    }
    let Some(operation) = operation(method, path) else { return };
    let documented = &operation["responses"][answer.status.to_string()];
    assert!(documented.is_object(), "{method} {path}: {} is not documented", answer.status);
    if answer.status < 400 {
        match &documented["content"]["application/json"]["schema"]["$ref"] {
            Value::String(name) => fits(name, &answer.json()),
            _ => assert!(answer.body.is_empty(), "{method} {path}: an undocumented body"),
        }
    }
}

/// The document's operation for a request.
fn operation(method: &str, path: &str) -> Option<&'static Value> {
    let path = path.split('?').next().unwrap();
    let same = |template: &str| {
        let (template, path): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
        template.len() == path.len()
            && template.iter().zip(path).all(|(one, other)| *one == other || one.starts_with('{'))
    };
    let (_, item) = DOCUMENT["paths"].as_object().unwrap().iter().find(|(template, _)| same(template))?;
    item.get(method.to_ascii_lowercase())
}

/// Whether a body has the fields of a schema, and no other.
#[track_caller]
fn fits(name: &str, body: &Value) {
    let name = name.rsplit('/').next().unwrap();
    let schema = &DOCUMENT["components"]["schemas"][name];
    let properties = schema["properties"].as_object().unwrap_or_else(|| panic!("no schema {name}"));
    for required in schema["required"].as_array().into_iter().flatten() {
        assert!(body.get(required.as_str().unwrap()).is_some(), "{name} lacks {required}: {body}");
    }
    for field in body.as_object().unwrap().keys() {
        assert!(properties.contains_key(field), "{name} does not document {field}");
    }
}
