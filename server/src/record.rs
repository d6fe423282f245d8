//! Recordings of the shards' inputs on disk: a file a shard, each written by a thread of its own, for [`crate::replay`].
//!
//! A shard never waits for them. Each tick's record goes into a bounded queue; when the disk falls behind by more than
//! [`QUEUE_BYTES_MAX`] or fails, that shard's recording ends with what it has, a line in the log and a count in the metrics,
//! and the play goes on. So the memory of a recording is bounded: at most [`RECORD_BYTES_MAX`] in the making,
//! [`QUEUE_BYTES_MAX`] that wait, and what is being written. An existing recording is never written over.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use anyhow::{Context as _, bail};
use vyuha_game::shard::log::{
    FRAME_HEAD_BYTES, Head, PREAMBLE_BYTES, RECORD_BYTES_MAX, Sink, append_frame, preamble,
};
use vyuha_gateway::Metrics;

/// What a recording's file is called after its shard: `shard-00.vyrec`.
pub const EXTENSION: &str = "vyrec";
/// Bytes of records that wait for the disk, a shard.
const QUEUE_BYTES_MAX: usize = 32 << 20;
/// Records that wait for the disk, a shard: a minute's at 60 ticks a second.
const QUEUE_RECORDS_MAX: usize = 3600;
/// Bytes from which on no more of what waits joins a write.
const WRITE_BYTES: usize = 1 << 20;

const _: () = assert!(RECORD_BYTES_MAX < QUEUE_BYTES_MAX);

/// Where the recordings of a node go.
pub struct Recordings {
    dir: PathBuf,
    metrics: Arc<Metrics>,
}

impl Recordings {
    /// Makes the folder; none if nothing is to be recorded.
    ///
    /// # Errors
    /// If it cannot be made, or holds a recording already.
    pub fn prepare(dir: &Path, metrics: &Arc<Metrics>) -> anyhow::Result<Option<Recordings>> {
        if dir.as_os_str().is_empty() {
            return Ok(None);
        }
        let named = || format!("record.dir = {} cannot be used", dir.display());
        fs::create_dir_all(dir).with_context(named)?;
        if let Some(file) = files(dir).with_context(named)?.first() {
            bail!("record.dir: {} is a recording already; name another folder, or remove it", file.display());
        }
        tracing::info!(dir = %dir.display(), "every shard's inputs are recorded");
        Ok(Some(Recordings { dir: dir.to_owned(), metrics: metrics.clone() }))
    }

    /// Begins the recording of a shard: where its records go, and the thread that writes them until the sink is dropped.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn start(&self, head: &Head) -> anyhow::Result<(Box<dyn Sink>, JoinHandle<()>)> {
        let path = self.dir.join(format!("shard-{:02}.{EXTENSION}", head.shard));
        let mut bytes = Vec::new();
        head.encode(&mut bytes);
        let mut begin = Vec::with_capacity(PREAMBLE_BYTES + FRAME_HEAD_BYTES + bytes.len());
        begin.extend(preamble());
        append_frame(&mut begin, &bytes);
        let file = File::create_new(&path).and_then(|mut file| file.write_all(&begin).map(|()| file));
        let file = file.with_context(|| format!("{} cannot be written", path.display()))?;
        self.metrics.recorded_bytes.inc_by(begin.len() as u64);
        let (queue, thread) = spawn(file, head.shard, self.metrics.clone())?;
        Ok((Box::new(queue), thread))
    }
}

/// The recordings in a folder, sorted.
pub fn files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries: Vec<PathBuf> =
        fs::read_dir(dir)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    let is_recording = |path: &PathBuf| path.extension().is_some_and(|extension| extension == EXTENSION);
    let mut files: Vec<PathBuf> = entries.into_iter().filter(is_recording).collect();
    files.sort();
    Ok(files)
}

/// A shard's way to its recording.
struct Queue {
    shard: u16,
    records: SyncSender<Vec<u8>>,
    /// Bytes sent and not yet written.
    waiting_bytes: Arc<AtomicUsize>,
    metrics: Arc<Metrics>,
}

impl Queue {
    fn stopped(&self, why: &'static str) {
        self.metrics.recordings_stopped.inc();
        tracing::error!(shard = self.shard, why, "the recording of a shard has ended; play goes on");
    }
}

impl Sink for Queue {
    fn take(&mut self, record: Vec<u8>) -> bool {
        let bytes = record.len();
        let fits = self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes <= QUEUE_BYTES_MAX;
        let sent = if fits { self.records.try_send(record) } else { Err(TrySendError::Full(record)) };
        match sent {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => {
                self.stopped("the disk does not keep up with the inputs");
                false
            }
            // The writer has said why it ended.
            Err(TrySendError::Disconnected(_)) => false,
        }
    }

    fn overflowed(&mut self) {
        self.stopped("one tick brought more inputs than a record may hold");
    }
}

/// Starts the thread that writes to `out`.
fn spawn(
    out: impl Write + Send + 'static,
    shard: u16,
    metrics: Arc<Metrics>,
) -> anyhow::Result<(Queue, JoinHandle<()>)> {
    let (records, queued) = sync_channel(QUEUE_RECORDS_MAX);
    let waiting_bytes = Arc::new(AtomicUsize::new(0));
    let queue = Queue { shard, records, waiting_bytes: waiting_bytes.clone(), metrics: metrics.clone() };
    let thread = std::thread::Builder::new()
        .name(format!("vyuha-record-{shard}"))
        .spawn(move || {
            if let Err(error) = write(out, &queued, &waiting_bytes, &metrics) {
                metrics.recordings_stopped.inc();
                tracing::error!(shard, %error, "the recording of a shard cannot be written; play goes on");
            }
        })
        .context("a recording's thread cannot be started")?;
    Ok((queue, thread))
}

/// Writes records until the last sender is gone; all that waits goes in one write.
fn write(
    mut out: impl Write,
    queued: &Receiver<Vec<u8>>,
    waiting_bytes: &AtomicUsize,
    metrics: &Metrics,
) -> io::Result<()> {
    let mut bytes = Vec::new();
    while let Ok(first) = queued.recv() {
        bytes.clear();
        let mut taken = 0;
        let mut next = Some(first);
        while let Some(record) = next {
            append_frame(&mut bytes, &record);
            taken += record.len();
            next = if bytes.len() < WRITE_BYTES { queued.try_recv().ok() } else { None };
        }
        out.write_all(&bytes)?;
        waiting_bytes.fetch_sub(taken, Ordering::Relaxed);
        metrics.recorded_bytes.inc_by(bytes.len() as u64);
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    fn metrics() -> Arc<Metrics> {
        Arc::new(Metrics::new(1, "0", "0"))
    }

    /// A disk on which every write waits for a permit; without a giver of permits it fails.
    struct Disk {
        permits: Receiver<()>,
        written: Sender<Vec<u8>>,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.permits.recv().map_err(io::Error::other)?;
            self.written.send(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_disk_that_does_not_keep_up_ends_the_recording_at_a_whole_tick() {
        let metrics = metrics();
        let (permit, permits) = channel();
        let (written, writes) = channel();
        let (mut queue, thread) = spawn(Disk { permits, written }, 0, metrics.clone()).unwrap();
        let record = vec![7; RECORD_BYTES_MAX];
        let taken = (0..100).take_while(|_| queue.take(record.clone())).count();
        assert_eq!(taken, QUEUE_BYTES_MAX / RECORD_BYTES_MAX);
        assert_eq!(metrics.recordings_stopped.get(), 1);
        drop(queue);
        (0..taken).for_each(|_| permit.send(()).unwrap());
        thread.join().unwrap();
        let bytes: Vec<u8> = writes.iter().flatten().collect();
        assert_eq!(bytes.len(), taken * (FRAME_HEAD_BYTES + RECORD_BYTES_MAX));
        assert_eq!(metrics.recorded_bytes.get(), bytes.len() as u64);
    }

    #[test]
    fn too_many_ticks_that_wait_end_it_as_well() {
        let metrics = metrics();
        let (permit, permits) = channel();
        let (mut queue, thread) = spawn(Disk { permits, written: channel().0 }, 0, metrics.clone()).unwrap();
        let taken = (0..2 * QUEUE_RECORDS_MAX).take_while(|_| queue.take(vec![0])).count();
        assert!((QUEUE_RECORDS_MAX..2 * QUEUE_RECORDS_MAX).contains(&taken), "{taken}");
        assert_eq!(metrics.recordings_stopped.get(), 1);
        drop((queue, permit));
        thread.join().unwrap();
    }

    #[test]
    fn a_disk_that_fails_ends_the_recording_and_is_counted_once() {
        let metrics = metrics();
        let (permit, permits) = channel();
        drop(permit);
        let (mut queue, thread) = spawn(Disk { permits, written: channel().0 }, 0, metrics.clone()).unwrap();
        queue.take(vec![1]);
        thread.join().unwrap();
        assert!(!queue.take(vec![2]));
        assert_eq!(metrics.recordings_stopped.get(), 1);
        queue.overflowed();
        assert_eq!(metrics.recordings_stopped.get(), 2);
    }

    #[test]
    fn a_folder_with_a_recording_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("new/er");
        assert!(Recordings::prepare(Path::new(""), &metrics()).unwrap().is_none());
        assert!(Recordings::prepare(&dir, &metrics()).unwrap().is_some());
        fs::write(dir.join("notes.txt"), "").unwrap();
        assert!(Recordings::prepare(&dir, &metrics()).unwrap().is_some());
        fs::write(dir.join("shard-05.vyrec"), "").unwrap();
        let error = Recordings::prepare(&dir, &metrics()).err().unwrap().to_string();
        assert!(error.contains("shard-05.vyrec is a recording already"), "{error}");
    }
}
