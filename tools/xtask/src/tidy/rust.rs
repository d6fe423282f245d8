//! Splits Rust source into code, comments and literals, so that a rule about one is not misled by the others.
//! It knows just enough of the grammar for that: nested comments, raw strings, characters and lifetimes.

/// The parts of a source file. Each is as long as the file, with spaces for what belongs to the other parts, so
/// that offsets and lines agree.
pub(super) struct RustSource {
    /// Everything that is neither a comment nor a literal.
    pub code: String,
    /// Comments and doc comments.
    pub comments: String,
    /// Strings and characters, with their quotes.
    pub literals: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Code,
    Comment,
    Literal,
}

impl RustSource {
    /// Splits `text`.
    pub fn of(text: &str) -> Self {
        let mut parts = vec![Part::Code; text.len()];
        let bytes = text.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            let (part, length) = next(bytes, at);
            parts[at..at + length].fill(part);
            at += length;
        }
        let only = |wanted| {
            let keep =
                |(byte, part): (&u8, &Part)| if *part == wanted || *byte == b'\n' { *byte } else { b' ' };
            let bytes = bytes.iter().zip(&parts).map(keep).collect();
            String::from_utf8(bytes).expect("parts begin and end with whole characters")
        };
        Self { code: only(Part::Code), comments: only(Part::Comment), literals: only(Part::Literal) }
    }
}

/// The part that begins at `at`, and its length in bytes, at least one.
fn next(bytes: &[u8], at: usize) -> (Part, usize) {
    let rest = &bytes[at..];
    let in_name = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
    match rest {
        [b'/', b'/', ..] => {
            (Part::Comment, rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len()))
        }
        [b'/', b'*', ..] => (Part::Comment, block_comment_length(rest)),
        [b'"', ..] | [b'\'', b'\\', ..] => (Part::Literal, quoted_length(rest)),
        [b'r', ..] if !in_name => raw_string_length(rest, 1),
        [b'b' | b'c', b'r', ..] if !in_name => raw_string_length(rest, 2),
        [b'\'', first, ..] => {
            let width = match first {
                0xf0.. => 4,
                0xe0.. => 3,
                0xc0.. => 2,
                _ => 1,
            };
            // Anything longer is a lifetime.
            if rest.get(1 + width) == Some(&b'\'') { (Part::Literal, width + 2) } else { (Part::Code, 1) }
        }
        _ => (Part::Code, 1),
    }
}

/// The length of a block comment, which may hold others.
fn block_comment_length(bytes: &[u8]) -> usize {
    let (mut at, mut depth) = (0, 0_u32);
    while at < bytes.len() {
        match bytes[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    bytes.len()
}

/// The length of a string or character that ends with the quote it begins with.
fn quoted_length(bytes: &[u8]) -> usize {
    let mut at = 1;
    while at < bytes.len() && bytes[at] != bytes[0] {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(bytes.len())
}

/// A raw string whose prefix (`r`, `br`) is `prefix` long; or only its first letter, where it is none after all.
fn raw_string_length(bytes: &[u8], prefix: usize) -> (Part, usize) {
    let hashes = bytes[prefix..].iter().take_while(|byte| **byte == b'#').count();
    let open = prefix + hashes;
    if bytes.get(open) != Some(&b'"') {
        return (Part::Code, 1);
    }
    let close = [&b"\""[..], &vec![b'#'; hashes]].concat();
    let end = bytes[open + 1..].windows(close.len()).position(|window| window == close);
    (Part::Literal, end.map_or(bytes.len(), |end| open + 1 + end + close.len()))
}
