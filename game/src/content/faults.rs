//! Faults of content: each names its file and field, and all of them are listed at once.

use std::fmt;

/// One thing wrong with the content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentFault {
    /// The file, relative to the content's folder.
    pub file: String,
    /// The field, such as `zones[2].spawn`; empty if the whole file is meant.
    pub field: String,
    /// What is wrong and what is expected.
    pub problem: String,
}

impl fmt::Display for ContentFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field.as_str() {
            "" => write!(f, "{}: {}", self.file, self.problem),
            field => write!(f, "{}: {field}: {}", self.file, self.problem),
        }
    }
}

/// Every fault of a content, at least one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ContentErrors(pub Vec<ContentFault>);

impl fmt::Display for ContentErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the content has {} fault(s):", self.0.len())?;
        self.0.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
    }
}
