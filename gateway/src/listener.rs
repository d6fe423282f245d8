//! A port's connections, bounded in number, in what they make the kernel hold, in how long they may stand still and,
//! where strangers come, in how long they may go on without becoming a WebSocket.

use std::any::Any;
use std::future::{Future, IntoFuture as _};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use crate::secured::Secured;

/// A connection on which no byte has moved for this long is closed. A watching page is sent figures all the
/// time, a playing one snapshots.
const IDLE_MAX: Duration = Duration::from_mins(1);

/// What a port's connections may take.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Connections served at once; those after them wait in the kernel's backlog.
    pub connections_max: usize,
    /// What the kernel may hold of what a page has not read.
    pub send_buffer_bytes: usize,
    /// Of these, what it may hold that was not yet sent: what waits there grows old.
    pub unsent_bytes_max: u32,
    /// How long a connection may last unless [`Visitor::stay`] was called.
    pub visit_max: Option<Duration>,
    /// Bytes read from one connection in [`READ_WINDOW`]; the rest waits for the next.
    pub read_window_bytes: usize,
}

/// How long what was read counts.
const READ_WINDOW: Duration = Duration::from_millis(100);

/// Says which addresses may connect. What it gives is dropped when the visit ends: with the connection, or when
/// [`Visitor::stay`] was called.
pub type Doorkeeper = Box<dyn Fn(IpAddr) -> Option<Box<dyn Any + Send + Sync>> + Send + Sync>;

/// Accepts at most so many connections at once.
pub struct BoundedListener {
    inner: TcpListener,
    doorkeeper: Option<Doorkeeper>,
    room: Arc<Semaphore>,
    bounds: Bounds,
    tls: Option<TlsAcceptor>,
}

impl BoundedListener {
    /// Bounds what `inner` accepts.
    pub fn new(inner: TcpListener, bounds: Bounds) -> BoundedListener {
        let room = Arc::new(Semaphore::new(bounds.connections_max));
        BoundedListener { inner, doorkeeper: None, room, bounds, tls: None }
    }

    /// Closes connections without a word whose address may not connect.
    pub(crate) fn with_doorkeeper(mut self, doorkeeper: Doorkeeper) -> BoundedListener {
        self.doorkeeper = Some(doorkeeper);
        self
    }

    /// Speaks TLS on every connection, where there is a configuration for it.
    pub(crate) fn with_tls(mut self, tls: Option<Arc<ServerConfig>>) -> BoundedListener {
        self.tls = tls.map(TlsAcceptor::from);
        self
    }
}

/// How long answers under way may take once a node stops.
pub(crate) const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);

/// Serves `router` until `shutdown` completes, then lets answers under way finish for at most two seconds. Handlers may ask who
/// calls ([`Visitor`]).
///
/// # Errors
/// Where the port fails.
pub async fn serve(
    listener: BoundedListener,
    router: Router,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let (stop, stopped) = oneshot::channel::<()>();
    let service = router.into_make_service_with_connect_info::<Visitor>();
    let server = axum::serve(listener, service).with_graceful_shutdown(async {
        // An error means that the sender is gone, which is a stop as well.
        let _ = stopped.await;
    });
    let mut server = std::pin::pin!(server.into_future());
    tokio::select! {
        ended = &mut server => return ended,
        () = shutdown => {}
    }
    // A server that has ended needs no telling.
    let _ = stop.send(());
    // What is still open after the grace ends with the process.
    timeout(SHUTDOWN_GRACE, server).await.unwrap_or(Ok(()))
}

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub struct Visitor {
    /// The address it comes from.
    pub address: IpAddr,
    stays: Arc<AtomicBool>,
}

impl Visitor {
    /// Lets the connection last.
    pub fn stay(&self) {
        self.stays.store(true, Ordering::Relaxed);
    }
}

impl Connected<IncomingStream<'_, BoundedListener>> for Visitor {
    fn connect_info(stream: IncomingStream<'_, BoundedListener>) -> Visitor {
        Visitor { address: stream.remote_addr().ip(), stays: stream.io().stays() }
    }
}

impl Listener for BoundedListener {
    type Io = Secured<BoundedStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Secured<BoundedStream>, SocketAddr) {
        loop {
            let Ok(permit) = self.room.clone().acquire_owned().await else {
                // The semaphore is never closed.
                return std::future::pending().await;
            };
            let (stream, peer) = Listener::accept(&mut self.inner).await;
            let visit = match &self.doorkeeper {
                Some(doorkeeper) => match doorkeeper(peer.ip()) {
                    Some(visit) => Some(visit),
                    None => continue,
                },
                None => None,
            };
            if let Err(error) = configure(&stream, &self.bounds) {
                tracing::debug!(%peer, %error, "a connection ended before it began");
                continue;
            }
            let stream = BoundedStream::new(stream, permit, visit, &self.bounds);
            let stays = stream.stays.clone();
            return (Secured::new(stream, stays, self.tls.as_ref()), peer);
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }
}

fn configure(stream: &TcpStream, bounds: &Bounds) -> io::Result<()> {
    let options = SockRef::from(stream);
    options.set_tcp_nodelay(true)?;
    options.set_send_buffer_size(bounds.send_buffer_bytes)?;
    options.set_tcp_notsent_lowat(bounds.unsent_bytes_max)?;
    Ok(())
}

/// A connection that counts against the bound and ends when it stands still.
pub struct BoundedStream {
    stream: TcpStream,
    idle: Pin<Box<Sleep>>,
    /// When it ends unless it stays.
    visit_until: Option<Instant>,
    stays: Arc<AtomicBool>,
    /// What the doorkeeper gave.
    visit: Option<Box<dyn Any + Send + Sync>>,
    read_window_bytes: usize,
    read_bytes: usize,
    /// When `read_bytes` begins anew.
    read_again: Pin<Box<Sleep>>,
    _permit: OwnedSemaphorePermit,
}

impl BoundedStream {
    fn new(
        stream: TcpStream,
        permit: OwnedSemaphorePermit,
        visit: Option<Box<dyn Any + Send + Sync>>,
        bounds: &Bounds,
    ) -> BoundedStream {
        BoundedStream {
            stream,
            idle: Box::pin(sleep(IDLE_MAX)),
            visit_until: bounds.visit_max.map(|longest| Instant::now() + longest),
            stays: Arc::default(),
            visit,
            read_window_bytes: bounds.read_window_bytes,
            read_bytes: 0,
            read_again: Box::pin(sleep(READ_WINDOW)),
            _permit: permit,
        }
    }

    /// Starts the idle time anew where bytes moved; ends the connection where none have for too long, or its visit is over.
    fn watch<T>(&mut self, cx: &mut Context<'_>, moved: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if moved.is_pending() {
            ready!(self.idle.as_mut().poll(cx));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let now = Instant::now();
        let mut until = now + IDLE_MAX;
        if self.stays.load(Ordering::Relaxed) {
            self.visit = None;
        } else if let Some(visit_until) = self.visit_until {
            if now >= visit_until {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            until = until.min(visit_until);
        }
        self.idle.as_mut().reset(until);
        moved
    }
}

impl AsyncRead for BoundedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read_again.is_elapsed() || self.read_bytes >= self.read_window_bytes {
            ready!(self.read_again.as_mut().poll(cx));
            self.read_again.as_mut().reset(Instant::now() + READ_WINDOW);
            self.read_bytes = 0;
        }
        let before = buf.filled().len();
        let moved = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.read_bytes += buf.filled().len() - before;
        self.watch(cx, moved)
    }
}

impl AsyncWrite for BoundedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let moved = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.watch(cx, moved)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let moved = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.watch(cx, moved)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        connections_max: 8,
        send_buffer_bytes: 64 << 10,
        unsent_bytes_max: 64 << 10,
        visit_max: None,
        read_window_bytes: 1 << 20,
    };
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn a_connection_past_the_bound_waits_until_one_ends() {
        let inner = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = inner.local_addr().unwrap();
        let mut listener = BoundedListener::new(inner, Bounds { connections_max: 1, ..BOUNDS });
        let _first = TcpStream::connect(address).await.unwrap();
        let _second = TcpStream::connect(address).await.unwrap();
        let (served, _) = listener.accept().await;
        let waited = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
        assert!(waited.is_err(), "two are served at once");
        drop(served);
        listener.accept().await;
    }

    #[tokio::test]
    async fn the_doorkeeper_knows_who_visits_and_not_who_stays() {
        let inner = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = inner.local_addr().unwrap();
        let room = Arc::new(Semaphore::new(1));
        let rooms = room.clone();
        let doorkeeper: Doorkeeper = Box::new(move |_| {
            let place = rooms.clone().try_acquire_owned().ok()?;
            Some(Box::new(place))
        });
        let mut listener = BoundedListener::new(inner, BOUNDS).with_doorkeeper(doorkeeper);
        let mut first = TcpStream::connect(address).await.unwrap();
        let (mut served, _) = listener.accept().await;
        let mut second = TcpStream::connect(address).await.unwrap();
        let waited = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
        assert!(waited.is_err(), "there is no place for two");
        assert!(second.read_u8().await.is_err(), "it is closed");
        first.write_all(b"xy").await.unwrap();
        served.read_u8().await.unwrap();
        assert_eq!(room.available_permits(), 0, "it still visits");
        served.stays().store(true, Ordering::Relaxed);
        served.read_u8().await.unwrap();
        assert_eq!(room.available_permits(), 1, "who stays is no visitor");
    }

    #[tokio::test]
    async fn a_connection_that_stands_still_ends_and_one_that_moves_does_not() {
        let inner = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(inner.local_addr().unwrap()).await.unwrap();
        let (mut served, _) = BoundedListener::new(inner, BOUNDS).accept().await;
        tokio::time::pause();
        for _ in 0..3 {
            tokio::time::advance(IDLE_MAX / 2).await;
            client.write_all(b"x").await.unwrap();
            assert_eq!(served.read_u8().await.unwrap(), b'x');
        }
        let error = served.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn no_more_is_read_at_once_than_is_allowed() {
        let inner = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(inner.local_addr().unwrap()).await.unwrap();
        let bounds = Bounds { read_window_bytes: 100, ..BOUNDS };
        let (mut served, _) = BoundedListener::new(inner, bounds).accept().await;
        client.write_all(&[7; 1000]).await.unwrap();
        let begun = Instant::now();
        for _ in 0..10 {
            served.read_exact(&mut [0; 100]).await.unwrap();
        }
        let least = READ_WINDOW * 8;
        assert!(begun.elapsed() >= least, "1,000 bytes in {:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn a_visit_ends_however_lively_it_is_unless_it_may_stay() {
        tokio::time::pause();
        for stays in [false, true] {
            let inner = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut client = TcpStream::connect(inner.local_addr().unwrap()).await.unwrap();
            let bounds = Bounds { visit_max: Some(IDLE_MAX), ..BOUNDS };
            let (mut served, _) = BoundedListener::new(inner, bounds).accept().await;
            served.stays().store(stays, Ordering::Relaxed);
            let mut seconds = 0;
            while seconds < 2 * IDLE_MAX.as_secs() {
                client.write_all(b"x").await.unwrap();
                if let Err(error) = served.read_u8().await {
                    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
                    break;
                }
                tokio::time::advance(Duration::from_secs(10)).await;
                seconds += 10;
            }
            assert_eq!(seconds >= 2 * IDLE_MAX.as_secs(), stays, "it ended after {seconds} s");
        }
    }
}
