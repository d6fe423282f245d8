//! Nothing is a stub, and every unsafe block proves itself.
//!
//! clippy denies some of this too, but only in code that is compiled on this machine; here every line counts.

use super::Fault;
use super::rust::RustSource;
use super::tree::{File, Tree};

/// Macros that stand for code that is not there, or for a look at it.
const MACROS: &[&str] = &["todo!", "unimplemented!", "dbg!"];

/// Marks of unfinished work. Spelled so that this file does not breach its own rule.
const MARKS: &[&str] = &[concat!("FIX", "ME"), concat!("XX", "X"), concat!("TO", "DO"), concat!("HA", "CK")];

/// What a placeholder says.
const PHRASES: &[&str] = &[
    concat!("not built", " yet"),
    concat!("not imple", "mented"),
    concat!("not yet imple", "mented"),
    concat!("(being", " written)"),
    concat!("coming", " soon"),
];

/// Files other than Rust that are code all the same.
const CODE: &[&str] = &["js", "mjs", "css", "html", "sql", "toml", "sh", "yml", "yaml"];

/// Faults of unfinished work and unproved unsafe blocks.
pub(super) fn check(tree: &Tree) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (file, rust) in tree.rust_files() {
        for name in MACROS {
            faults.extend(words(&rust.code, name).map(|at| file.fault(at, format!("{name} is a stub"))));
        }
        faults.extend(marks(file, &rust.comments));
        faults.extend(phrases(file, &rust.comments));
        faults.extend(phrases(file, &rust.literals));
        faults.extend(
            rust.code
                .match_indices("#[ignore]")
                .map(|(at, _)| file.fault(at, "an ignored test says why: #[ignore = \"reason\"]")),
        );
        faults.extend(empty_tests(file, rust));
        faults.extend(unproved_unsafe(file, rust));
    }
    for file in tree.files.iter().filter(|file| CODE.contains(&file.extension())) {
        faults.extend(marks(file, &file.text));
        faults.extend(phrases(file, &file.text));
    }
    faults
}

/// Where `word` stands in `text` on its own, not inside a longer name.
fn words<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + use<'a> {
    let inside = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    let bytes = text.as_bytes();
    text.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let before = at.checked_sub(1).and_then(|before| bytes.get(before));
        !inside(before) && !inside(bytes.get(at + word.len()))
    })
}

fn marks(file: &File, text: &str) -> Vec<Fault> {
    let found = MARKS.iter().flat_map(|mark| words(text, mark).map(move |at| (at, mark)));
    found.map(|(at, mark)| file.fault(at, format!("{mark} marks what is not finished"))).collect()
}

fn phrases(file: &File, text: &str) -> Vec<Fault> {
    let lower = text.to_ascii_lowercase();
    let found = PHRASES.iter().flat_map(|phrase| words(&lower, phrase).map(move |at| (at, phrase)));
    found.map(|(at, phrase)| file.fault(at, format!("{phrase:?} is a placeholder"))).collect()
}

/// Tests that check nothing: their body is empty but for comments.
fn empty_tests(file: &File, rust: &RustSource) -> Vec<Fault> {
    let code = &rust.code;
    let attributes = ["#[test]", "::test]"].into_iter().flat_map(|end| code.match_indices(end));
    let empty = attributes.filter(|(at, _)| {
        let Some(name) = code[*at..].find("fn ") else { return false };
        let Some(open) = code[at + name..].find('{').map(|open| at + name + open) else { return false };
        let Some(close) = code[open..].find('}').map(|close| open + close) else { return false };
        // A literal is blank in the code; a body of nothing else is as empty.
        code[open + 1..close].trim().is_empty()
    });
    empty.map(|(at, _)| file.fault(at, "a test with nothing in it")).collect()
}

/// Unsafe blocks and implementations without a SAFETY comment on their statement or right above it.
fn unproved_unsafe(file: &File, rust: &RustSource) -> Vec<Fault> {
    let lines: Vec<(&str, &str)> = rust.code.lines().zip(rust.comments.lines()).collect();
    let mut faults = Vec::new();
    for at in words(&rust.code, "unsafe") {
        let rest = rust.code[at + "unsafe".len()..].trim_start();
        if !(rest.starts_with('{') || rest.starts_with("impl")) {
            continue;
        }
        let line = rust.code[..at].matches('\n').count();
        let proved = lines[line].1.contains("SAFETY:") || {
            // Upwards through comments, attributes and the beginning of the same statement.
            let above = lines[..line].iter().rev().take_while(|(code, comment)| {
                let (code, in_comment) = (code.trim(), !comment.trim().is_empty());
                let ends_another = code.ends_with([';', '{', '}', ',']);
                !ends_another && (!code.is_empty() || in_comment)
            });
            above.into_iter().any(|(_, comment)| comment.contains("SAFETY:"))
        };
        if !proved {
            faults.push(file.fault(at, "unsafe without a `// SAFETY:` comment above it"));
        }
    }
    faults
}
