//! Reading of tables field by field. A fault is noted and reading goes on with some value in range, so that one
//! run finds every fault; nothing that was read is used once there is one.

use std::ops::RangeInclusive;

use toml::{Table, Value};

use super::faults::ContentFault;

/// Faults found so far in a file.
pub struct Faults<'a> {
    file: &'a str,
    found: &'a mut Vec<ContentFault>,
}

impl<'a> Faults<'a> {
    pub fn new(file: &'a str, found: &'a mut Vec<ContentFault>) -> Faults<'a> {
        Faults { file, found }
    }

    pub fn note(&mut self, field: impl Into<String>, problem: impl Into<String>) {
        let (field, problem) = (field.into(), problem.into());
        self.found.push(ContentFault { file: self.file.to_owned(), field, problem });
    }
}

/// A table whose fields are taken one by one.
pub struct Reader<'r, 'a> {
    path: String,
    fields: Table,
    pub faults: &'r mut Faults<'a>,
}

impl<'r, 'a> Reader<'r, 'a> {
    pub fn new(path: String, fields: Table, faults: &'r mut Faults<'a>) -> Reader<'r, 'a> {
        Reader { path, fields, faults }
    }

    /// Notes a fault of a field.
    pub fn fault(&mut self, name: &str, problem: impl Into<String>) {
        self.faults.note(self.field(name), problem);
    }

    /// Whether there is a field, for those that may be left out.
    pub fn has(&self, name: &str) -> bool {
        self.fields.contains_key(name)
    }

    pub fn integer<T: TryFrom<i64>>(&mut self, name: &str, range: RangeInclusive<i64>) -> T {
        let (low, high) = (*range.start(), *range.end());
        let value = match self.fields.remove(name) {
            Some(Value::Integer(value)) if range.contains(&value) => value,
            Some(Value::Integer(value)) => {
                self.fault(name, format!("{value} is not from {low} to {high}"));
                low
            }
            other => {
                self.fault_of_type(name, &format!("an integer from {low} to {high}"), other.as_ref());
                low
            }
        };
        T::try_from(value).ok().expect("each range lies within its field's type")
    }

    pub fn text(&mut self, name: &str) -> String {
        match self.fields.remove(name) {
            Some(Value::String(text)) if !text.trim().is_empty() => text,
            other => {
                self.fault_of_type(name, "a text that is not empty", other.as_ref());
                String::new()
            }
        }
    }

    pub fn flag(&mut self, name: &str) -> bool {
        match self.fields.remove(name) {
            Some(Value::Boolean(flag)) => flag,
            other => {
                self.fault_of_type(name, "true or false", other.as_ref());
                false
            }
        }
    }

    /// Two tile coordinates, [east, south].
    pub fn tile(&mut self, name: &str) -> (u32, u32) {
        let value = self.fields.remove(name);
        if let Some(tile) = value.as_ref().and_then(tile) {
            return tile;
        }
        self.fault_of_type(name, "two tile coordinates [east, south]", value.as_ref());
        (0, 0)
    }

    /// A list of tiles; without it none.
    pub fn tiles(&mut self, name: &str) -> Vec<(u32, u32)> {
        let Some(value) = self.fields.remove(name) else { return Vec::new() };
        let tiles = value.as_array().and_then(|tiles| tiles.iter().map(tile).collect());
        if let Some(tiles) = tiles {
            return tiles;
        }
        self.fault_of_type(name, "a list of tiles [[east, south], ...]", Some(&value));
        Vec::new()
    }

    /// The tables of a list, each read by `read`.
    pub fn list<T>(&mut self, name: &str, mut read: impl FnMut(&mut Reader<'_, 'a>) -> T) -> Vec<T> {
        let rows = match self.fields.remove(name) {
            Some(Value::Array(rows)) => rows,
            other => {
                self.fault_of_type(name, "a list of tables", other.as_ref());
                return Vec::new();
            }
        };
        let path = self.field(name);
        let mut items = Vec::with_capacity(rows.len());
        for (index, row) in rows.into_iter().enumerate() {
            let path = format!("{path}[{index}]");
            if let Value::Table(fields) = row {
                let mut reader = Reader::new(path, fields, self.faults);
                items.push(read(&mut reader));
                reader.finish();
            } else {
                self.faults.note(path, format!("expected a table, found {}", row.type_str()));
            }
        }
        items
    }

    /// What `read` makes of this table, if it noted no fault: what is faulty must not give rise to more faults
    /// elsewhere.
    pub fn sound<T>(&mut self, read: impl FnOnce(&mut Self) -> T) -> Option<T> {
        let faults_before = self.faults.found.len();
        let value = read(self);
        (self.faults.found.len() == faults_before).then_some(value)
    }

    /// Notes every field that nobody asked for: most are misspelt.
    pub fn finish(self) {
        for name in self.fields.keys() {
            self.faults.note(join(&self.path, name), "there is no such field");
        }
    }

    fn field(&self, name: &str) -> String {
        join(&self.path, name)
    }

    fn fault_of_type(&mut self, name: &str, expected: &str, found: Option<&Value>) {
        let found = match found {
            None => "nothing".to_owned(),
            Some(value) => format!("{} {value}", value.type_str()),
        };
        self.fault(name, format!("expected {expected}, found {found}"));
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn tile(value: &Value) -> Option<(u32, u32)> {
    let coordinate = |value: &Value| value.as_integer().and_then(|value| u32::try_from(value).ok());
    match value.as_array()?.as_slice() {
        [east, south] => Some((coordinate(east)?, coordinate(south)?)),
        _ => None,
    }
}
