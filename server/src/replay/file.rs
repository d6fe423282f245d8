//! Reads a recording frame by frame, holding no more of it than the frame at hand and what was read ahead.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use vyuha_game::shard::log::{FRAME_HEAD_BYTES, LogError, PREAMBLE_BYTES, check_preamble, first_frame};

/// Bytes asked of the file at once.
const READ_BYTES: u64 = 1 << 20;

/// How the reading of a recording ended.
#[derive(Debug)]
pub enum End {
    /// Every byte belongs to a tick.
    Whole,
    /// The last bytes belong to no whole tick, as after a kill.
    Torn {
        /// How many.
        bytes: u64,
    },
    /// There is more of it, which was not asked for.
    Stopped,
    /// A zone comes here that the replay of another shard did not get to.
    Awaits {
        /// Which zone.
        error: LogError,
    },
    /// What follows cannot be read, or is not as it was written.
    Unreadable {
        /// Where, in bytes from the start of the file.
        at: u64,
        /// In what way.
        error: anyhow::Error,
    },
}

/// A recording that is being read.
pub struct LogFile {
    file: File,
    bytes: u64,
    /// What was read and not left behind; it begins with the frame handed out last.
    buffer: Vec<u8>,
    /// Bytes at the buffer's start that were handed out.
    used: usize,
    /// Bytes of the file before the buffer.
    behind: u64,
}

impl LogFile {
    /// A recording before its head.
    ///
    /// # Errors
    /// If it cannot be read, is none, or is of another format.
    pub fn open(path: &Path) -> anyhow::Result<LogFile> {
        let file = File::open(path)?;
        let bytes = file.metadata()?.len();
        let mut log = LogFile { file, bytes, buffer: Vec::new(), used: 0, behind: 0 };
        while log.buffer.len() < PREAMBLE_BYTES {
            if log.read_on()? == 0 {
                bail!("it ends before its head: nothing was recorded");
            }
        }
        let preamble = log.buffer.first_chunk().expect("that many were read");
        check_preamble(preamble)?;
        log.used = PREAMBLE_BYTES;
        Ok(log)
    }

    /// The payload of the first frame.
    ///
    /// # Errors
    /// If there is none.
    pub fn head(&mut self) -> anyhow::Result<&[u8]> {
        self.next()?.context("it ends within its head: nothing was recorded")
    }

    /// The payload of the next frame; none at the end, whole or torn.
    ///
    /// # Errors
    /// If the file cannot be read, or a checksum is wrong.
    pub fn next(&mut self) -> anyhow::Result<Option<&[u8]>> {
        loop {
            if let Some(payload) = first_frame(&self.buffer[self.used..])? {
                let length = payload.len();
                let start = self.used + FRAME_HEAD_BYTES;
                self.used = start + length;
                return Ok(Some(&self.buffer[start..start + length]));
            }
            if self.read_on()? == 0 {
                return Ok(None);
            }
        }
    }

    /// How it ended, once there is no next frame.
    pub fn end(&self) -> End {
        match (self.buffer.len() - self.used) as u64 {
            0 => End::Whole,
            bytes => End::Torn { bytes },
        }
    }

    /// Where the next frame begins, in bytes from the start of the file.
    pub fn consumed(&self) -> u64 {
        self.behind + self.used as u64
    }

    /// The file's length when it was opened.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn read_on(&mut self) -> io::Result<usize> {
        self.buffer.drain(..self.used);
        self.behind += self.used as u64;
        self.used = 0;
        (&self.file).take(READ_BYTES).read_to_end(&mut self.buffer)
    }
}
