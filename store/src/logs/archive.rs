//! A compressed CSV file that is there whole or not at all, and never replaces another.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use flate2::{Compression, write::GzEncoder};
use vyuha_record::Value;

/// An archive that is being written.
pub(super) struct Archive {
    dir: PathBuf,
    name: String,
    unfinished: PathBuf,
    out: GzEncoder<BufWriter<File>>,
}

/// An archive that is whole and synced.
pub(super) struct Synced {
    dir: PathBuf,
    name: String,
    unfinished: PathBuf,
}

impl Archive {
    /// Begins the archive `name`, such as `ledger_2026_11`.
    pub fn create(dir: &Path, name: String) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let unfinished = dir.join(format!("{name}.csv.gz.unfinished"));
        let out = GzEncoder::new(BufWriter::new(File::create(&unfinished)?), Compression::default());
        Ok(Self { dir: dir.into(), name, unfinished, out })
    }

    /// Adds bytes of CSV.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)
    }

    /// Adds a line of CSV as PostgreSQL writes it: null is nothing, blobs are `\x` and hexadecimal digits.
    pub fn write_row(&mut self, values: &[Value]) -> io::Result<()> {
        let fields: Vec<_> = values.iter().map(field).collect();
        writeln!(self.out, "{}", fields.join(","))
    }

    /// Makes what it holds last, though it is no archive yet: that may take a while.
    pub fn sync(self) -> io::Result<Synced> {
        let Self { dir, name, unfinished, out } = self;
        out.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        Ok(Synced { dir, name, unfinished })
    }
}

impl Synced {
    /// Makes it an archive, and says where it is.
    pub fn publish(self) -> io::Result<PathBuf> {
        // One of that name is of a run that ended before what it holds was deleted: all of it where that is one transaction, as in
        // PostgreSQL, or the rest of it. This one holds what was left.
        let names = (1..).map(|n| if n == 1 { self.name.clone() } else { format!("{}.{n}", self.name) });
        let mut paths = names.map(|name| self.dir.join(format!("{name}.csv.gz")));
        let path = paths.find(|path| !path.exists()).expect("numbers do not end");
        fs::rename(&self.unfinished, &path)?;
        File::open(&self.dir)?.sync_all()?;
        Ok(path)
    }
}

fn field(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Int(int) => int.to_string(),
        Value::Text(text) if text.is_empty() || text.contains(['"', ',', '\n', '\r']) => {
            format!("\"{}\"", text.replace('"', "\"\""))
        }
        Value::Text(text) => text.clone(),
        Value::Blob(blob) => blob.iter().fold("\\x".to_owned(), |hex, byte| hex + &format!("{byte:02x}")),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;

    use super::*;

    #[test]
    fn it_reads_back_and_replaces_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let write = |number: i64| {
            let mut archive = Archive::create(&dir.path().join("deep/er"), "t_2026_11".into()).unwrap();
            archive.write(b"a,b,c,d\n").unwrap();
            let row = [number.into(), "x, \"y\"\n".into(), Value::Null, vec![0, 255].into()];
            archive.write_row(&row).unwrap();
            archive.sync().unwrap().publish().unwrap()
        };
        let (first, second) = (write(1), write(2));
        assert!(first.ends_with("t_2026_11.csv.gz") && second.ends_with("t_2026_11.2.csv.gz"), "{second:?}");
        for (path, number) in [(&first, 1), (&second, 2)] {
            let mut text = String::new();
            GzDecoder::new(File::open(path).unwrap()).read_to_string(&mut text).unwrap();
            assert_eq!(text, format!("a,b,c,d\n{number},\"x, \"\"y\"\"\n\",,\\x00ff\n"));
        }
        assert_eq!(first.parent().unwrap().read_dir().unwrap().count(), 2, "nothing unfinished is left");
    }
}
