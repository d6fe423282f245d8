//! Traces as a collector gets them: a socket of the test's own that speaks OTLP over HTTP.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as AnyValue;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message as _;
use serde_json::json;
use vyuha_tests::{Node, Options, PASSWORD, PATIENCE, Player, YARD, http};

/// A trace that a caller began and keeps, and one that it does not.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const OTHER_TRACE: &str = "5bf92f3577b34da6a3ce929d0e0e4737";
const PARENT: &str = "00f067aa0ba902b7";

/// Numbers those who sign in: one of them may fail only so often.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// What came to a collector.
struct Collector {
    spans: Receiver<Span>,
    seen: Vec<Span>,
}

impl Collector {
    fn start() -> (SocketAddr, Collector) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a port");
        let address = listener.local_addr().expect("it has an address");
        (address, Collector::on(listener))
    }

    fn on(listener: TcpListener) -> Collector {
        let (told, spans) = mpsc::channel();
        thread::spawn(move || {
            for stream in listener.incoming().filter_map(Result::ok) {
                let told = told.clone();
                thread::spawn(move || while take(&stream, &told).is_some() {});
            }
        });
        Collector { spans, seen: Vec::new() }
    }

    /// The first span that is like that, waited for.
    fn span(&mut self, what: &str, is_it: impl Fn(&Span) -> bool) -> Span {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(span) = self.seen.iter().find(|span| is_it(span)) {
                return span.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.spans.recv_timeout(left) {
                Ok(span) => self.seen.push(span),
                Err(error) => panic!("no {what} came: {error}; {:#?}", self.names()),
            }
        }
    }

    fn names(&self) -> Vec<&str> {
        self.seen.iter().map(|span| span.name.as_str()).collect()
    }
}

/// Takes one request of a connection; none where it is over.
fn take(mut stream: &TcpStream, told: &mpsc::Sender<Span>) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).expect("a head is text").to_ascii_lowercase();
    assert!(head.starts_with("post /v1/traces http/1.1\r\n"), "{head}");
    assert!(head.contains("content-type: application/x-protobuf\r\n"), "{head}");
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
    let length = length.and_then(|length| length.parse().ok()).expect("a length");
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    let request = ExportTraceServiceRequest::decode(body.as_slice()).expect("it is OTLP");
    for of_resource in request.resource_spans {
        let resource = of_resource.resource.expect("spans are a resource's");
        assert_eq!(text(&resource.attributes, "service.name"), "vyuha");
        for span in of_resource.scope_spans.into_iter().flat_map(|of_scope| of_scope.spans) {
            // The test may have ended.
            told.send(span).ok()?;
        }
    }
    stream
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n")
        .ok()
}

/// An attribute as text.
fn text(attributes: &[KeyValue], key: &str) -> String {
    let found = attributes.iter().find(|attribute| attribute.key == key);
    match found.and_then(|attribute| attribute.value.clone()).and_then(|value| value.value) {
        Some(AnyValue::StringValue(text)) => text,
        Some(AnyValue::IntValue(number)) => number.to_string(),
        other => panic!("{key} is {other:?} in {attributes:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn options(collector: SocketAddr) -> Options {
    let options = Options::test_world().with("shard-count", "1").with("api-enabled", "true");
    let options = options.with("api-address", "127.0.0.1:0");
    options.with("telemetry-otlp-endpoint", &format!("http://{collector}"))
}

/// Asks for something that is refused once the database was asked, as a part of a trace.
fn sign_in(node: &Node, trace: &str, flags: &str) {
    let parent = format!("00-{trace}-{PARENT}-{flags}");
    let headers = [("traceparent", parent.as_str()), ("x-request-id", "a-request")];
    let login = format!("nobody-{}@example.com", NEXT.fetch_add(1, Ordering::Relaxed));
    let body = json!({ "login": login, "password": PASSWORD });
    let api = node.api.expect("the API is on");
    let refused = http(api, "POST", "/api/v1/sessions", &headers, Some(&body)).expect("the API answers");
    assert_eq!(refused.code(), "credentials_wrong");
}

#[test]
fn a_trace_goes_on_from_its_caller_to_the_database_and_the_game() {
    let (address, mut collector) = Collector::start();
    let mut node = Node::start(&options(address));
    sign_in(&node, OTHER_TRACE, "00");
    sign_in(&node, TRACE, "01");
    let request = collector.span("request", |span| span.name == "POST /api/v1/sessions");
    assert_eq!((hex(&request.trace_id), hex(&request.parent_span_id)), (TRACE.into(), PARENT.into()));
    assert_eq!(request.kind, SpanKind::Server as i32);
    let of_request = |key: &str| text(&request.attributes, key);
    assert_eq!(of_request("http.response.status_code"), "401");
    assert_eq!(of_request("http.route"), "/api/v1/sessions");
    assert_eq!(of_request("vyuha.request_id"), "a-request");
    for name in ["sql.transaction", "password.verify"] {
        let part = collector.span(name, |span| span.name == name && span.trace_id == request.trace_id);
        assert_eq!(part.parent_span_id, request.span_id, "{name}");
        assert!(part.start_time_unix_nano >= request.start_time_unix_nano, "{name}");
        assert!(part.end_time_unix_nano <= request.end_time_unix_nano, "{name}");
    }

    // One who names no trace, or none that is well formed, begins one.
    sign_in(&node, "not hex", "01");
    let begun = collector.span("another request", |span| {
        span.name == "POST /api/v1/sessions" && span.trace_id != request.trace_id
    });
    assert!(begun.parent_span_id.is_empty(), "{begun:?}");

    Player::sign_up(&node, "Asha", YARD).log_out();
    let came = |span: &Span| span.name == "sign_in" && text(&span.attributes, "vyuha.end") == "entered";
    let came = collector.span("sign-in to the game", came);
    assert_eq!(text(&came.attributes, "vyuha.account"), "1");
    let select = |span: &Span| span.name == "select_character" && span.trace_id == came.trace_id;
    assert_eq!(collector.span("what was asked for", select).parent_span_id, came.span_id);
    let batch = collector.span("batch", |span| span.name == "persistence.batch");
    assert!(text(&batch.attributes, "rows").parse::<u64>().is_ok_and(|rows| rows > 0), "{batch:?}");
    // What waits at the end is sent.
    sign_in(&node, &TRACE.replace('4', "6"), "01");
    assert!(node.terminate().status.success());
    collector.span("the last one", |span| hex(&span.trace_id) == TRACE.replace('4', "6"));
    assert!(collector.seen.iter().all(|span| hex(&span.trace_id) != OTHER_TRACE), "its caller keeps it not");
}

#[test]
fn a_collector_that_is_away_is_told_once_and_nobody_waits_for_it() {
    let nobody = TcpListener::bind("127.0.0.1:0").expect("there is a port");
    let address = nobody.local_addr().expect("it has an address");
    drop(nobody);
    let mut node = Node::start(&options(address));
    let told = |node: &Node, what: &str| node.log().matches(what).count();
    let (away, back) = ("takes no spans", "takes spans again");
    let begun = Instant::now();
    let deadline = begun + PATIENCE;
    while told(&node, away) == 0 || begun.elapsed() < Duration::from_secs(5) {
        assert!(Instant::now() < deadline, "it is not told");
        let asked = Instant::now();
        sign_in(&node, TRACE, "01");
        assert!(asked.elapsed() < Duration::from_secs(2), "a request waits for the collector");
        thread::sleep(Duration::from_millis(500));
    }
    assert_eq!((told(&node, away), told(&node, back)), (1, 0));
    let mut collector = Collector::on(TcpListener::bind(address).expect("the port is still free"));
    while told(&node, back) == 0 {
        assert!(Instant::now() < deadline, "it is not told");
        sign_in(&node, TRACE, "01");
        thread::sleep(Duration::from_millis(500));
    }
    collector.span("request", |span| span.name == "POST /api/v1/sessions");
    assert_eq!((told(&node, away), told(&node, back)), (1, 1));
    assert!(node.terminate().status.success());
}
