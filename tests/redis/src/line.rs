//! A way to a server that can go dead in silence, as where a firewall forgets a connection: neither end is told.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// What stands for the number of cuts once the line is gone.
const GONE: u64 = u64::MAX;

/// A port whose connections go on to a server's socket. Gone when it is dropped, with all connections.
#[derive(Debug)]
pub struct Line {
    address: SocketAddr,
    cuts: Arc<AtomicU64>,
}

impl Line {
    pub(crate) fn to(socket: PathBuf) -> Line {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let address = listener.local_addr().expect("it has an address");
        let cuts = Arc::new(AtomicU64::new(0));
        let counted = cuts.clone();
        thread::spawn(move || {
            for client in listener.incoming() {
                let began = counted.load(Ordering::SeqCst);
                if began == GONE {
                    return;
                }
                // A server that is away hangs up on whoever calls.
                let (Ok(client), Ok(server)) = (client, UnixStream::connect(&socket)) else { continue };
                let (Ok(from_client), Ok(to_server)) = (client.try_clone(), server.try_clone()) else {
                    continue;
                };
                let (there, back) = (counted.clone(), counted.clone());
                thread::spawn(move || {
                    carry(from_client, &to_server, &there, began);
                    let _ = to_server.shutdown(Shutdown::Both);
                });
                thread::spawn(move || {
                    carry(server, &client, &back, began);
                    let _ = client.shutdown(Shutdown::Both);
                });
            }
        });
        Line { address, cuts }
    }

    /// Where it begins, as `redis.url` says it.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Loses whatever is sent over the connections that there are, in both directions; new ones are whole.
    pub fn cut(&self) {
        self.cuts.fetch_add(1, Ordering::SeqCst);
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.cuts.store(GONE, Ordering::SeqCst);
        // The thread looks when somebody calls.
        drop(TcpStream::connect(self.address));
    }
}

/// Carries bytes until one of the ends hangs up; after a cut it only takes them.
fn carry(mut from: impl Read, mut to: impl Write, cuts: &AtomicU64, began: u64) {
    let mut bytes = [0; 4096];
    while let Ok(length @ 1..) = from.read(&mut bytes) {
        if cuts.load(Ordering::SeqCst) == began && to.write_all(&bytes[..length]).is_err() {
            return;
        }
    }
}
