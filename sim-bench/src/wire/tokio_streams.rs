//! Tokio: a task a client reads, the tick writes.

use std::cell::Cell;
use std::io::ErrorKind;
use std::net::TcpStream as StdStream;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use tokio::net::TcpStream;
use tokio::task::{LocalSet, spawn_local, yield_now};
use tokio::time::sleep_until;

use super::clients::{Clients, Next, SNAPSHOT_BYTES};
use super::{Snapshots, count_frames};

/// How often the runtime is let go on before what has not arrived is given up.
const YIELDS_MAX: usize = 100_000;

pub fn serve(clients: &mut Clients, sockets: Vec<OwnedFd>) -> Result<u64, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("tokio does not start: {error}"))?;
    LocalSet::new().block_on(&runtime, serve_streams(clients, sockets))
}

async fn serve_streams(clients: &mut Clients, sockets: Vec<OwnedFd>) -> Result<u64, String> {
    let inputs = Rc::new(Cell::new(0));
    let (mut streams, mut readers) = (Vec::new(), Vec::new());
    for socket in sockets {
        let stream = StdStream::from(socket);
        let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
        let stream = Rc::new(stream.map_err(|error| error.to_string())?);
        readers.push(spawn_local(read(stream.clone(), inputs.clone())));
        streams.push(stream);
    }
    let (mut snapshots, mut tick) = (Snapshots::new(), 0);
    loop {
        match clients.turn()? {
            Next::End => break,
            Next::TickAt(due) => sleep_until(due.into()).await,
            Next::Tick => {
                let expected = inputs.get() + streams.len() as u64;
                for _ in 0..YIELDS_MAX {
                    if inputs.get() >= expected {
                        break;
                    }
                    yield_now().await;
                }
            }
        }
        for (index, stream) in streams.iter().enumerate() {
            match stream.try_write(snapshots.make(index, tick)) {
                Ok(SNAPSHOT_BYTES) => {}
                written => return Err(format!("the server cannot send: {written:?}")),
            }
        }
        tick += 1;
    }
    clients.leave();
    for reader in readers {
        reader.await.map_err(|error| error.to_string())?;
    }
    Ok(inputs.get())
}

async fn read(stream: Rc<TcpStream>, inputs: Rc<Cell<u64>>) {
    let mut buffer = [0; 2048];
    while stream.readable().await.is_ok() {
        match stream.try_read(&mut buffer) {
            Ok(0) => return,
            Ok(length) => inputs.set(inputs.get() + count_frames(&buffer[..length])),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}
