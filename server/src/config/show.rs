//! Writes the effective configuration: as a TOML file that reads back the same, or as JSON.

use std::fmt::Write;

use super::load::Effective;

impl Effective {
    /// A whole configuration file, each key with what it does, what it may be and where its value came from.
    pub fn to_toml(&self) -> String {
        let mut out = String::new();
        let mut open_section = "";
        for (key, value, source) in self.settings() {
            let (section, name) = key.parts();
            if section != open_section {
                let gap = if open_section.is_empty() { "" } else { "\n" };
                let _ = writeln!(out, "{gap}# {}\n[{section}]", key.section_doc);
                open_section = section;
            }
            let _ = writeln!(
                out,
                "\n# {}\n# {}; default {:?}\n# {} or --{}\n# from: {}\n{name} = {value}",
                key.doc,
                key.expected(),
                key.default,
                key.variable(),
                key.flag(),
                source.to_string().escape_debug(),
            );
        }
        out
    }

    /// One JSON object: each key's path with its value, default, source and names.
    pub fn to_json(&self) -> serde_json::Value {
        let settings = self.settings().map(|(key, value, source)| {
            let setting = serde_json::json!({
                "value": value,
                "default": key.default,
                "source": source.to_string(),
                "doc": key.doc,
                "expected": key.expected(),
                "variable": key.variable(),
                "flag": format!("--{}", key.flag()),
            });
            (key.path.to_owned(), setting)
        });
        serde_json::Value::Object(settings.collect())
    }
}
