//! The node's admin port, as anybody sees it: plain HTTP, and the text of `/metrics`.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use crate::PATIENCE;

/// The status and the body of a page.
///
/// # Panics
/// If there is no answer.
pub fn http_get(address: SocketAddr, path: &str) -> (u16, String) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    ask(address, path, &request).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The status and the body of the answer to an order.
///
/// # Errors
/// If nobody answers, or not to the end.
pub fn http_post(address: SocketAddr, path: &str, body: &Value) -> io::Result<(u16, String)> {
    let body = body.to_string();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json"
    );
    ask(address, path, &format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
}

fn ask(address: SocketAddr, path: &str, request: &str) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    if answer.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{path} answers {answer:?}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let body = if chunked { joined_chunks(body) } else { body.to_owned() };
    Ok((status.unwrap_or_else(|| panic!("{path} answers {head:?}")), body))
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

/// One reading of `/metrics`, as whole numbers: all that the tests compare are counts.
#[derive(Debug)]
pub struct Metrics {
    samples: BTreeMap<String, u64>,
}

impl Metrics {
    /// Reads the text form. Every line must be a comment or a sample.
    ///
    /// # Panics
    /// If one is neither.
    pub fn parse(text: &str) -> Metrics {
        let samples = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let samples = samples.map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line:?}"));
            let value: f64 = value.parse().unwrap_or_else(|_| panic!("no number: {line:?}"));
            (name.to_owned(), value as u64)
        });
        Metrics { samples: samples.collect() }
    }

    /// A sample by its name and labels, such as `vyuha_errors_total{code="Flood"}`; 0 where there is none, as with a
    /// counter that never counted.
    pub fn value(&self, sample: &str) -> u64 {
        self.samples.get(sample).copied().unwrap_or(0)
    }

    /// The sum of a figure's samples over all its labels.
    pub fn sum(&self, name: &str) -> u64 {
        let of_name = |sample: &&String| sample.split('{').next() == Some(name);
        self.samples.iter().filter(|(sample, _)| of_name(sample)).map(|(_, value)| value).sum()
    }

    /// Whether there is any sample of this name.
    pub fn has(&self, name: &str) -> bool {
        self.samples.keys().any(|sample| sample.split('{').next() == Some(name))
    }

    /// How often a request was refused, or a connection closed, with this code.
    pub fn errors(&self, code: &str) -> u64 {
        self.value(&format!("vyuha_errors_total{{code=\"{code}\"}}"))
    }
}
