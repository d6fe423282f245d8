//! A disk in memory that fails as told, and loses what was not synced when the power goes.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard},
};

use rand::RngExt as _;

use super::{Disk, DiskFile};

const SECTOR_BYTES: usize = 512;

/// What goes wrong, in files that are segments (not in the spare).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Every write takes only this many bytes of what it is given.
    ShortWrites {
        /// How many.
        bytes: usize,
    },
    /// The next write finds the disk full; later ones would succeed.
    DiskFull,
    /// The next sync fails, and, as on Linux, forgets that anything was unsynced.
    FailedSync,
    /// Syncs wait until the fault is taken away.
    StuckSync,
    /// Every sync succeeds and syncs nothing: a disk that lies, against which nothing helps.
    LyingSync,
}

/// Clones share the disk.
#[derive(Clone, Default)]
pub struct FaultyDisk(Arc<(Mutex<State>, Condvar)>);

#[derive(Default)]
struct State {
    /// What the process sees, and what would be there after a power loss.
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    files: Vec<Contents>,
    fault: Option<Fault>,
    /// Operations until the machine stops; none: it does not.
    operations_left: Option<u64>,
    segment_writes: u64,
}

#[derive(Default, Clone)]
struct Contents {
    cached: Vec<u8>,
    durable: Vec<u8>,
}

struct FaultyFile {
    disk: FaultyDisk,
    inode: usize,
    is_segment: bool,
}

impl FaultyDisk {
    /// Lets something go wrong from now on.
    pub fn plant(&self, fault: Fault) {
        self.state().fault = Some(fault);
    }

    /// Takes the fault away.
    pub fn mend(&self) {
        self.state().fault = None;
        self.0.1.notify_all();
    }

    /// Stops everything after so many more operations: each later one fails.
    pub fn stop_after(&self, operations: u64) {
        self.state().operations_left = Some(operations);
    }

    /// The process starts again: the page cache has all that was written.
    pub fn kill(&self) {
        self.state().operations_left = None;
    }

    /// The machine starts again: of what was not synced, any sectors may have reached the disk.
    pub fn power_loss(&self, rng: &mut impl rand::Rng) {
        let state = &mut *self.state();
        state.operations_left = None;
        state.fault = None;
        if rng.random() {
            state.durable_names = state.names.clone();
        }
        state.names = state.durable_names.clone();
        for file in &mut state.files {
            let size = if rng.random() { file.cached.len() } else { file.durable.len() };
            file.durable.resize(size, 0);
            for at in (0..size.min(file.cached.len())).step_by(SECTOR_BYTES) {
                let end = (at + SECTOR_BYTES).min(size).min(file.cached.len());
                if rng.random() {
                    file.durable[at..end].copy_from_slice(&file.cached[at..end]);
                }
            }
            file.cached = file.durable.clone();
        }
    }

    /// The names of all files.
    #[cfg(test)]
    pub fn names(&self) -> Vec<String> {
        self.list(Path::new("")).unwrap()
    }

    /// Whether it stopped, or is about to.
    #[cfg(feature = "simulation")]
    pub fn has_stopped(&self) -> bool {
        self.state().operations_left == Some(0)
    }

    /// Changes a file behind everybody's back.
    #[cfg(test)]
    pub fn edit(&self, path: &Path, edit: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state();
        let inode = state.names[path];
        edit(&mut state.files[inode].cached);
        state.files[inode].durable = state.files[inode].cached.clone();
    }

    /// A disk with the same contents and a life of its own.
    #[cfg(test)]
    #[must_use]
    pub fn copy(&self) -> Self {
        let state = self.state();
        let copy = State {
            names: state.names.clone(),
            durable_names: state.durable_names.clone(),
            files: state.files.clone(),
            ..State::default()
        };
        Self(Arc::new((Mutex::new(copy), Condvar::new())))
    }

    /// Writes to segments so far.
    #[cfg(test)]
    pub fn segment_writes(&self) -> u64 {
        self.state().segment_writes
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().unwrap()
    }

    fn operation(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        match &mut state.operations_left {
            Some(0) => return Err(io::Error::other("planted: the machine has stopped")),
            Some(left) => *left -= 1,
            None => {}
        }
        Ok(state)
    }

    fn handle(&self, path: &Path, inode: usize) -> Box<dyn DiskFile> {
        let is_segment = path.extension().is_some_and(|extension| extension == "segment");
        Box::new(FaultyFile { disk: self.clone(), inode, is_segment })
    }
}

impl Disk for FaultyDisk {
    fn create_dir(&self, _: &Path) -> io::Result<()> {
        self.operation().map(drop)
    }

    fn list(&self, _: &Path) -> io::Result<Vec<String>> {
        let state = self.operation()?;
        Ok(state.names.keys().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.operation()?;
        let inode = state.files.len();
        state.files.push(Contents::default());
        state.names.insert(path.into(), inode);
        Ok(self.handle(path, inode))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let state = self.operation()?;
        let inode = *state.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(self.handle(path, inode))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.operation()?;
        let inode = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.names.insert(to.into(), inode);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.operation()?.names.remove(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        let mut state = self.operation()?;
        state.durable_names = state.names.clone();
        Ok(())
    }
}

impl DiskFile for FaultyFile {
    fn size_bytes(&self) -> io::Result<u64> {
        Ok(self.disk.operation()?.files[self.inode].cached.len() as u64)
    }

    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.disk.operation()?;
        let bytes = state.files[self.inode].cached.get(offset as usize..).unwrap_or_default();
        let read = bytes.len().min(into.len());
        into[..read].copy_from_slice(&bytes[..read]);
        Ok(read)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let stops_in_it = self.disk.state().operations_left == Some(0);
        let mut written = bytes.len();
        let mut state = self.disk.state();
        if stops_in_it {
            // The machine stops in the middle of this write.
            written /= 2;
        } else {
            drop(state);
            state = self.disk.operation()?;
        }
        if self.is_segment {
            state.segment_writes += 1;
            match state.fault {
                Some(Fault::ShortWrites { bytes }) => written = written.min(bytes),
                Some(Fault::DiskFull) => {
                    state.fault = None;
                    return Err(io::ErrorKind::StorageFull.into());
                }
                _ => {}
            }
        }
        let cached = &mut state.files[self.inode].cached;
        let end = offset as usize + written;
        cached.resize(cached.len().max(end), 0);
        cached[offset as usize..end].copy_from_slice(&bytes[..written]);
        if stops_in_it { Err(io::Error::other("planted: the machine has stopped")) } else { Ok(written) }
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.operation()?;
        while self.is_segment && state.fault == Some(Fault::StuckSync) {
            state = self.disk.0.1.wait(state).unwrap();
        }
        if self.is_segment && state.fault == Some(Fault::FailedSync) {
            state.fault = None;
            return Err(io::Error::other("planted: the sync failed"));
        }
        if self.is_segment && state.fault == Some(Fault::LyingSync) {
            return Ok(());
        }
        let file = &mut state.files[self.inode];
        file.durable = file.cached.clone();
        Ok(())
    }
}
