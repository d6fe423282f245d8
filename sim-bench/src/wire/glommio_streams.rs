//! Glommio: a task a client reads, the tick writes.

use std::cell::Cell;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_lite::io::{ReadHalf, split};
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use glommio::net::TcpStream;
use glommio::{LocalExecutorBuilder, Placement, spawn_local, timer};

use super::clients::{Clients, Next, SNAPSHOT_BYTES};
use super::{Snapshots, count_frames};

/// How long the executor is left to itself between looks at what has arrived, and how often.
const PAUSE: Duration = Duration::from_micros(200);
const PAUSES_MAX: usize = 5000;

pub fn serve(clients: &mut Clients, sockets: Vec<OwnedFd>, cpu: usize) -> Result<u64, String> {
    // It wants a thread of its own, which takes the clients with it and brings them back.
    let mut there = std::mem::take(clients);
    let run = move || async move {
        let inputs = serve_streams(&mut there, sockets).await;
        (there, inputs)
    };
    let executor = LocalExecutorBuilder::new(Placement::Fixed(cpu)).name("streams").spawn(run);
    let ended = executor.and_then(glommio::ExecutorJoinHandle::join);
    let (back, inputs) = ended.map_err(|error| format!("glommio does not run: {error}"))?;
    *clients = back;
    inputs
}

async fn serve_streams(clients: &mut Clients, sockets: Vec<OwnedFd>) -> Result<u64, String> {
    let inputs = Rc::new(Cell::new(0));
    let (mut writers, mut readers) = (Vec::new(), Vec::new());
    for socket in sockets {
        // SAFETY: the descriptor is open and its owner gives it up.
        let stream = unsafe { TcpStream::from_raw_fd(socket.into_raw_fd()) };
        let (reader, writer) = split(stream);
        readers.push(spawn_local(read(reader, inputs.clone())));
        writers.push(writer);
    }
    let (mut snapshots, mut tick) = (Snapshots::new(), 0);
    loop {
        match clients.turn()? {
            Next::End => break,
            Next::TickAt(due) => timer::sleep(due.saturating_duration_since(Instant::now())).await,
            Next::Tick => {
                let expected = inputs.get() + writers.len() as u64;
                for _ in 0..PAUSES_MAX {
                    if inputs.get() >= expected {
                        break;
                    }
                    timer::sleep(PAUSE).await;
                }
            }
        }
        for (index, writer) in writers.iter_mut().enumerate() {
            match writer.write(snapshots.make(index, tick)).await {
                Ok(SNAPSHOT_BYTES) => {}
                written => return Err(format!("the server cannot send: {written:?}")),
            }
        }
        tick += 1;
    }
    clients.leave();
    for reader in readers {
        reader.await;
    }
    Ok(inputs.get())
}

async fn read(mut stream: ReadHalf<TcpStream>, inputs: Rc<Cell<u64>>) {
    let mut buffer = [0; 2048];
    while let Ok(length) = stream.read(&mut buffer).await {
        if length == 0 {
            return;
        }
        inputs.set(inputs.get() + count_frames(&buffer[..length]));
    }
}
