//! A connection with TLS or without. The handshake is part of the first read or write, so that accepting never waits for
//! one, and whatever bounds a connection's time bounds its handshake.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{Accept, TlsAcceptor};

/// A stream that speaks TLS, or does not.
pub struct Secured<S> {
    state: State<S>,
    stays: Arc<AtomicBool>,
}

enum State<S> {
    Plain(S),
    Handshaking(Box<Accept<S>>),
    Open(Box<TlsStream<S>>),
    /// The handshake failed.
    Failed,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Secured<S> {
    pub(crate) fn new(stream: S, stays: Arc<AtomicBool>, tls: Option<&TlsAcceptor>) -> Secured<S> {
        let state = match tls {
            Some(tls) => State::Handshaking(Box::new(tls.accept(stream))),
            None => State::Plain(stream),
        };
        Secured { state, stays }
    }

    /// Whether the connection may last.
    pub(crate) fn stays(&self) -> Arc<AtomicBool> {
        self.stays.clone()
    }

    /// Finishes the handshake, then goes on.
    fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        plain: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<T>>,
        sealed: impl FnOnce(Pin<&mut TlsStream<S>>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if let State::Handshaking(accept) = &mut self.state {
            let shaken = ready!(Pin::new(&mut **accept).poll(cx));
            match shaken {
                Ok(stream) => self.state = State::Open(Box::new(stream)),
                Err(error) => {
                    self.state = State::Failed;
                    return Poll::Ready(Err(error));
                }
            }
        }
        match &mut self.state {
            State::Plain(stream) => plain(Pin::new(stream), cx),
            State::Open(stream) => sealed(Pin::new(&mut **stream), cx),
            State::Handshaking(_) | State::Failed => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Secured<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let buf = std::cell::RefCell::new(buf);
        self.poll(
            cx,
            |stream, cx| stream.poll_read(cx, &mut buf.borrow_mut()),
            |stream, cx| stream.poll_read(cx, &mut buf.borrow_mut()),
        )
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Secured<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll(cx, |stream, cx| stream.poll_write(cx, buf), |stream, cx| stream.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll(
            cx,
            |stream, cx| stream.poll_write_vectored(cx, bufs),
            |stream, cx| stream.poll_write_vectored(cx, bufs),
        )
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(cx, AsyncWrite::poll_flush, AsyncWrite::poll_flush)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(cx, AsyncWrite::poll_shutdown, AsyncWrite::poll_shutdown)
    }
}
