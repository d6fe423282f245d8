//! The text of `/metrics`.

use std::collections::BTreeMap;

/// One reading of `/metrics`, as whole numbers: all that the tests compare are counts.
#[derive(Debug)]
pub struct Metrics {
    samples: BTreeMap<String, u64>,
}

impl Metrics {
    /// Reads the text form. Every line must be a comment or a sample.
    ///
    /// # Panics
    /// If one is neither.
    pub fn parse(text: &str) -> Metrics {
        let samples = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let samples = samples.map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line:?}"));
            let value: f64 = value.parse().unwrap_or_else(|_| panic!("no number: {line:?}"));
            (name.to_owned(), value as u64)
        });
        Metrics { samples: samples.collect() }
    }

    /// A sample by its name and labels, such as `vyuha_errors_total{code="Flood"}`; 0 where there is none, as with a
    /// counter that never counted.
    pub fn value(&self, sample: &str) -> u64 {
        self.samples.get(sample).copied().unwrap_or(0)
    }

    /// The sum of a figure's samples over all its labels.
    pub fn sum(&self, name: &str) -> u64 {
        let of_name = |sample: &&String| sample.split('{').next() == Some(name);
        self.samples.iter().filter(|(sample, _)| of_name(sample)).map(|(_, value)| value).sum()
    }

    /// Whether there is any sample of this name.
    pub fn has(&self, name: &str) -> bool {
        self.samples.keys().any(|sample| sample.split('{').next() == Some(name))
    }

    /// How often a request was refused, or a connection closed, with this code.
    pub fn errors(&self, code: &str) -> u64 {
        self.value(&format!("vyuha_errors_total{{code=\"{code}\"}}"))
    }
}
