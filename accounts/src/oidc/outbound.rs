//! Requests to identity providers: one connection each, bounded in time and size, without redirects.
//!
//! Whoever runs a provider says where its endpoints are: they speak TLS, unless the configuration itself has the provider on
//! this machine without it, so that no provider elsewhere has us ask what listens here; and an answer never leads anywhere else.

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper::header::{HOST, HeaderValue};
use hyper_util::rt::TokioIo;
use openidconnect::url::Url;
use openidconnect::{AsyncHttpClient, HttpRequest, HttpResponse};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Requests under way at once; the next one fails.
const REQUESTS_MAX: usize = 64;
/// The longest answer, in bytes: a key set of some hundred keys.
const ANSWER_BYTES_MAX: usize = 256 << 10;
/// How long one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_millis(2500);

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum OutboundError {
    /// It is not to be asked at all.
    #[error("{0} is no https address, as those of a provider that is not on this machine must be")]
    Address(String),
    /// As many are under way as may.
    #[error("too many requests to identity providers are under way")]
    Busy,
    /// It took too long.
    #[error("no whole answer came within {} ms", REQUEST_TIMEOUT.as_millis())]
    Timeout,
    /// No connection.
    #[error("no connection: {0}")]
    Connection(#[from] io::Error),
    /// No HTTP.
    #[error("no HTTP: {0}")]
    Http(#[from] hyper::Error),
    /// The answer is too long.
    #[error("the answer is longer than {ANSWER_BYTES_MAX} bytes")]
    TooLong,
    /// The answer broke off.
    #[error("the answer broke off: {0}")]
    BrokeOff(Box<dyn std::error::Error + Send + Sync>),
}

/// Sends requests to one provider.
#[derive(Clone)]
pub(super) struct Outbound {
    tls: TlsConnector,
    /// Of all providers together.
    under_way: Arc<Semaphore>,
    /// Whether it may be asked without TLS, on this machine.
    may_be_plain: bool,
}

impl Outbound {
    /// Trusts the certificates that the system trusts, or those in the file that `SSL_CERT_FILE` names.
    pub(super) fn new() -> Outbound {
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::warn!(%error, "a certificate of the system cannot be read");
        }
        let mut roots = RootCertStore::empty();
        let (taken, _) = roots.add_parsable_certificates(found.certs);
        tracing::debug!(taken, "certificates that may vouch for identity providers");
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider knows the default versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let (tls, under_way) = (TlsConnector::from(Arc::new(config)), Arc::new(Semaphore::new(REQUESTS_MAX)));
        Outbound { tls, under_way, may_be_plain: false }
    }

    /// The same for a provider of this issuer.
    pub(super) fn of(&self, issuer: &Url) -> Outbound {
        Outbound { may_be_plain: issuer.scheme() == "http", ..self.clone() }
    }

    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, OutboundError> {
        let _permit = self.under_way.try_acquire().map_err(|_| OutboundError::Busy)?;
        timeout(REQUEST_TIMEOUT, self.exchange(request)).await.unwrap_or(Err(OutboundError::Timeout))
    }

    async fn exchange(&self, request: HttpRequest) -> Result<HttpResponse, OutboundError> {
        let uri = request.uri().clone();
        let refused = || OutboundError::Address(uri.to_string());
        let authority = uri.authority().ok_or_else(refused)?.clone();
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        match uri.scheme_str() {
            Some("https") => {
                let name = ServerName::try_from(host.to_owned()).map_err(|_| refused())?;
                let stream = TcpStream::connect((host, authority.port_u16().unwrap_or(443))).await?;
                over(self.tls.connect(name, stream).await?, request, authority.as_str()).await
            }
            Some("http") if self.may_be_plain && is_this_machine(host) => {
                let stream = TcpStream::connect((host, authority.port_u16().unwrap_or(80))).await?;
                over(stream, request, authority.as_str()).await
            }
            _ => Err(refused()),
        }
    }
}

impl<'c> AsyncHttpClient<'c> for Outbound {
    type Error = OutboundError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, OutboundError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.send(request))
    }
}

/// Whether a host needs no TLS: what is sent to it does not leave this machine.
pub(super) fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// One request over a connection of its own.
async fn over<S: AsyncRead + AsyncWrite + Unpin + Send>(
    stream: S,
    request: HttpRequest,
    authority: &str,
) -> Result<HttpResponse, OutboundError> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let mut connection = std::pin::pin!(connection);
    let (mut parts, body) = request.into_parts();
    let host = HeaderValue::from_str(authority).expect("an authority is a header's value");
    parts.headers.insert(HOST, host);
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    parts.uri = target.parse().expect("it was part of an address");
    let answer = async {
        let answer =
            sender.send_request(hyper::Request::from_parts(parts, Full::<Bytes>::from(body))).await?;
        let (parts, body) = answer.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() {
                OutboundError::TooLong
            } else {
                OutboundError::BrokeOff(error)
            }
        })?;
        Ok(HttpResponse::from_parts(parts, body.to_bytes().to_vec()))
    };
    let mut answer = std::pin::pin!(answer);
    tokio::select! {
        biased;
        answered = &mut answer => answered,
        // The connection may end before what it brought has been read.
        ended = &mut connection => match ended {
            Ok(()) => answer.await,
            Err(error) => Err(error.into()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    /// For a provider that the configuration has on this machine.
    fn local() -> Outbound {
        Outbound::new().of(&"http://127.0.0.1:8080".parse().unwrap())
    }

    /// What becomes of a request that is answered with these bytes.
    async fn answered(bytes: Vec<u8>) -> Result<HttpResponse, OutboundError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serve = async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 512];
            let read = stream.read(&mut head).await.unwrap();
            assert!(head[..read].starts_with(b"GET /a?b HTTP/1.1\r\n"));
            // Whoever refuses a long answer closes before it has it all.
            let _ = stream.write_all(&bytes).await;
        };
        let request = hyper::Request::get(format!("http://{address}/a?b")).body(Vec::new()).unwrap();
        let outbound = local();
        tokio::join!(serve, outbound.send(request)).1
    }

    #[tokio::test]
    async fn an_answer_comes_whole_or_not_at_all() {
        let whole =
            b"HTTP/1.1 302 Found\r\nLocation: http://192.0.2.1/\r\nContent-Length: 2\r\n\r\nok".to_vec();
        let answer = answered(whole.clone()).await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.body().as_slice()), (302, &b"ok"[..]));
        assert!(answered(whole[..whole.len() - 1].to_vec()).await.is_err());
        assert!(answered(b"no HTTP\r\n\r\n".to_vec()).await.is_err());
        assert!(answered(Vec::new()).await.is_err());
        let mut long = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
        long.resize(ANSWER_BYTES_MAX + 100, b'x');
        assert!(matches!(answered(long).await, Err(OutboundError::TooLong)));
    }

    #[tokio::test]
    async fn only_https_leaves_the_machine() {
        for address in ["http://192.0.2.1/", "http://example.com/", "ftp://127.0.0.1/", "/path"] {
            let request = hyper::Request::get(address).body(Vec::new()).unwrap();
            let refused = local().send(request).await;
            assert!(matches!(refused, Err(OutboundError::Address(_))), "{address}: {refused:?}");
        }
    }

    #[tokio::test]
    async fn a_provider_elsewhere_has_nothing_on_this_machine_asked() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let elsewhere = Outbound::new().of(&"https://id.example.com".parse().unwrap());
        for host in ["127.0.0.1", "localhost", "[::1]"] {
            let request = hyper::Request::get(format!("http://{host}:{port}/keys")).body(Vec::new()).unwrap();
            let refused = elsewhere.send(request).await;
            assert!(matches!(refused, Err(OutboundError::Address(_))), "{host}: {refused:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_provider_that_says_nothing_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let request = hyper::Request::get(format!("http://{address}/")).body(Vec::new()).unwrap();
        assert!(matches!(local().send(request).await, Err(OutboundError::Timeout)));
    }
}
