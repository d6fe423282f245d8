//! `docs/protocol.md` says what the code says. Run with `UPDATE_DOCS=1` to write its lists anew.

use std::fmt::Write as _;

use vyuha_protocol::ErrorCode;
use vyuha_protocol::message::{ClientMessage, Description, ServerMessage};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/protocol.md");

/// A doc comment as the page shows it: links as plain names.
fn plain(doc: &str) -> String {
    doc.trim().replace("[`crate::", "`").replace("[`", "`").replace("`]", "`").replace("  ", " ")
}

fn form(rust: &str) -> &'static str {
    match rust {
        "u8" => "u8",
        "i8" => "i8",
        "bool" => "u8, 0 or 1",
        "u16" => "u16",
        "u32" => "u32",
        "u64" => "u64",
        "i64" => "i64",
        "String" => "string",
        "[u8; 16]" => "16 bytes",
        "[u8; 32]" => "32 bytes",
        "InventorySlot" => "slot",
        "Vec<InventorySlot>" => "list of slots",
        "Vec<ItemSlot>" => "list of item slots",
        "Vec<CharacterSummary>" => "list of characters",
        other => panic!("the page has no name for {other}: give it one here and explain it there"),
    }
}

fn messages(title: &str, all: &[Description]) -> String {
    let mut page = format!("## Messages from the {title}\n\n");
    for (name, kind, doc, fields, fixed_bytes) in all {
        writeln!(page, "### `{kind:#06x}` {name}\n\n{}\n", plain(doc)).unwrap();
        writeln!(page, "| offset | field | form | meaning |\n|---|---|---|---|").unwrap();
        for field in *fields {
            let row = (field.offset, field.name, form(field.form), plain(field.doc));
            writeln!(page, "| {} | {} | {} | {} |", row.0, row.1, row.2, row.3).unwrap();
        }
        writeln!(page, "\nFixed part: {fixed_bytes} bytes.\n").unwrap();
    }
    page
}

fn errors() -> String {
    let mut page = "| number | name | meaning |\n|---|---|---|\n".to_owned();
    for &code in ErrorCode::ALL {
        writeln!(page, "| {} | {} | {} |", code as u16, code.name(), code.text()).unwrap();
    }
    page
}

fn replaced(page: &str, list: &str, text: &str) -> String {
    let (begin, end) = (format!("<!-- {list}: begin -->\n"), format!("<!-- {list}: end -->"));
    let from = page.find(&begin).expect("the page marks where the list begins") + begin.len();
    let to = page.find(&end).expect("the page marks where the list ends");
    format!("{}{text}{}", &page[..from], &page[to..])
}

#[test]
fn the_page_lists_every_message_and_error() {
    let page = std::fs::read_to_string(PAGE).unwrap();
    let lists = messages("client", ClientMessage::ALL) + &messages("server", ServerMessage::ALL);
    let wanted = replaced(&replaced(&page, "messages", &lists), "errors", &errors());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(PAGE, wanted).unwrap();
    } else {
        assert!(page == wanted, "docs/protocol.md is not what the code says: run with UPDATE_DOCS=1");
    }
}
