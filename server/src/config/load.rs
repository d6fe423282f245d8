//! Puts the layers on top of each other: default, file, environment, flags.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::check;
use super::fault::{Fault, Faults, Place, Source, mend_unknown};
use super::keys::{Config, KEYS, Key};

/// The variable that names the configuration file where the flag `--config` does not.
pub const CONFIG_VARIABLE: &str = "VYUHA_CONFIG";

/// A value that was given as a flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlagValue {
    /// The path of the key that it sets.
    pub key: &'static str,
    /// The flag as it was written, with its dashes: `--port` may set `listen.address`.
    pub flag: String,
    /// The value.
    pub text: String,
}

/// What a configuration is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layers {
    /// The configuration file, if a flag names one.
    pub file: Option<PathBuf>,
    /// The process's environment; names that do not start with `VYUHA_` are passed over.
    pub environment: Vec<(OsString, OsString)>,
    /// The flags.
    pub flags: Vec<FlagValue>,
}

/// A valid configuration, and where each of its values came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Effective {
    /// The configuration.
    pub config: Config,
    /// The source of each key, in the order of [`KEYS`].
    pub(super) sources: Vec<Source>,
}

impl Effective {
    /// Each key with its value in TOML and its source.
    pub(super) fn settings(&self) -> impl Iterator<Item = (&'static Key, toml::Value, &Source)> {
        KEYS.iter().zip(&self.sources).map(|(key, source)| (key, (key.value)(&self.config), source))
    }

    /// A key's value as it stands, to be named in a fault.
    pub(super) fn place(&self, key: &Key) -> Place {
        let index = KEYS.iter().position(|other| other.path == key.path).expect("every key is in the table");
        Place {
            key: key.path.to_owned(),
            value: Some(plain((key.value)(&self.config))),
            source: self.sources[index].clone(),
        }
    }
}

/// Reads every layer. The error lists all that is wrong in any of them.
pub fn load(layers: &Layers) -> Result<Effective, Faults> {
    let mut loading = Loading {
        effective: Effective { config: Config::default(), sources: vec![Source::Default; KEYS.len()] },
        faults: Vec::new(),
    };
    let variables = loading.variables(&layers.environment);
    let named = variables.iter().find(|(name, _)| name == CONFIG_VARIABLE);
    if let Some(path) = &layers.file {
        loading.file(path, Source::Flag("--config".to_owned()));
    } else if let Some((name, path)) = named {
        loading.file(Path::new(path), Source::Variable(name.clone()));
    }
    for (name, text) in variables.into_iter().filter(|(name, _)| name != CONFIG_VARIABLE) {
        match KEYS.iter().find(|key| key.variable() == name) {
            Some(key) => loading.set(key, &text, Source::Variable(name)),
            None => loading.unknown(name.clone(), Source::Variable(name), Key::variable),
        }
    }
    for FlagValue { key, flag, text } in &layers.flags {
        let key = Key::find(key).expect("flags are made from the table");
        loading.set(key, text, Source::Flag(flag.clone()));
    }
    loading.finish()
}

struct Loading {
    effective: Effective,
    faults: Vec<Fault>,
}

impl Loading {
    /// The variables that are ours, sorted so that faults come in the same order on every machine.
    fn variables(&mut self, environment: &[(OsString, OsString)]) -> Vec<(String, String)> {
        let mut variables = Vec::new();
        for (name, text) in environment {
            let Some(name) = name.to_str().filter(|name| name.starts_with("VYUHA_")) else { continue };
            match text.to_str() {
                Some(text) => variables.push((name.to_owned(), text.to_owned())),
                None => self.faults.push(Fault {
                    places: vec![Place {
                        key: name.to_owned(),
                        value: Some(text.to_string_lossy().into_owned()),
                        source: Source::Variable(name.to_owned()),
                    }],
                    why: "the value is not UTF-8".to_owned(),
                    mend: "write it in UTF-8".to_owned(),
                }),
            }
        }
        variables.sort();
        variables
    }

    /// Reads the file at `path`, which `named_by` named.
    fn file(&mut self, path: &Path, named_by: Source) {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                return self.faults.push(Fault {
                    places: vec![Place {
                        key: "configuration file".to_owned(),
                        value: Some(path.display().to_string()),
                        source: named_by,
                    }],
                    why: format!("it cannot be read ({error})"),
                    mend: "name a file that can".to_owned(),
                });
            }
        };
        let (table, errors) = DeTable::parse_recoverable(&text);
        let file = File { path, text: &text };
        for error in &errors {
            self.faults.push(Fault {
                places: vec![Place {
                    key: "TOML".to_owned(),
                    value: None,
                    source: file.source(error.span().map_or(0, |span| span.start)),
                }],
                why: error.message().to_owned(),
                mend: "write it as TOML; `vyuha config show` prints an example".to_owned(),
            });
        }
        // What was recovered from a file with errors would only bring faults that nobody wrote.
        if errors.is_empty() {
            self.table("", table.get_ref(), &file);
        }
    }

    /// Sets what `table` holds; `prefix` is its own path with a dot at the end, or empty.
    fn table(&mut self, prefix: &str, table: &DeTable<'_>, file: &File<'_>) {
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(name, _)| name.span().start);
        for (name, value) in entries {
            let path = format!("{prefix}{}", name.get_ref());
            let source = file.source(name.span().start);
            match (Key::find(&path), value.get_ref()) {
                (None, DeValue::Table(inner)) if !inner.is_empty() => {
                    self.table(&format!("{path}."), inner, file);
                }
                (None, DeValue::Table(_)) if KEYS.iter().any(|key| key.parts().0 == path) => {}
                (None, _) => self.unknown(path, source, |key| key.path.to_owned()),
                (Some(key), inner) => {
                    if let Some(text) = scalar(inner) {
                        self.set(key, &text, source);
                    } else {
                        let written = file.text.get(value.span()).unwrap_or_default();
                        self.refuse(key, written, source, "it is not a single value".to_owned());
                    }
                }
            }
        }
    }

    fn set(&mut self, key: &'static Key, text: &str, source: Source) {
        match (key.set)(&mut self.effective.config, key, text) {
            Ok(()) => {
                let index = KEYS.iter().position(|other| std::ptr::eq(other, key));
                self.effective.sources[index.expect("every key is in the table")] = source;
            }
            Err(why) => self.refuse(key, text, source, why),
        }
    }

    fn refuse(&mut self, key: &Key, value: &str, source: Source, why: String) {
        let place = Place { key: key.path.to_owned(), value: Some(value.to_owned()), source };
        self.faults.push(Fault { places: vec![place], why, mend: format!("write {}", key.expected()) });
    }

    fn unknown(&mut self, written: String, source: Source, name: impl Fn(&Key) -> String) {
        self.faults.push(Fault {
            mend: mend_unknown(&written, name),
            places: vec![Place { key: written, value: None, source }],
            why: "there is no such key".to_owned(),
        });
    }

    fn finish(mut self) -> Result<Effective, Faults> {
        let faulty: Vec<String> =
            self.faults.iter().flat_map(|fault| &fault.places).map(|place| place.key.clone()).collect();
        for conflict in check::conflicts(&self.effective.config) {
            // A key that is wrong by itself still has an older value: nothing follows from that one.
            if !conflict.keys.iter().any(|path| faulty.iter().any(|key| key == path)) {
                let places = conflict.keys.iter().map(|path| {
                    self.effective.place(Key::find(path).expect("conflicts are between keys of the table"))
                });
                self.faults.push(Fault { places: places.collect(), why: conflict.why, mend: conflict.mend });
            }
        }
        if self.faults.is_empty() { Ok(self.effective) } else { Err(Faults(self.faults)) }
    }
}

struct File<'a> {
    path: &'a Path,
    text: &'a str,
}

impl File<'_> {
    /// The line on which the byte at `offset` stands.
    fn source(&self, offset: usize) -> Source {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line = 1 + before.matches('\n').count();
        Source::File { path: self.path.to_owned(), line }
    }
}

/// The text of a single TOML value, as a variable or a flag would have it.
fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => {
            let value = i128::from_str_radix(number.as_str(), number.radix());
            Some(value.map_or_else(|_| number.as_str().to_owned(), |value| value.to_string()))
        }
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        DeValue::Boolean(truth) => Some(truth.to_string()),
        DeValue::Datetime(time) => Some(time.to_string()),
        DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

/// A value without TOML's quotes.
fn plain(value: toml::Value) -> String {
    match value {
        toml::Value::String(text) => text,
        other => other.to_string(),
    }
}
