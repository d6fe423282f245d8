//! `clients/web` speaks what the code says: the types of its messages, and cases that its tests check its own code by.
//! Run with `UPDATE_DOCS=1` to write them anew.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};
use vyuha_protocol::message::{
    ClientMessage, Description, Field, Hello, InventorySlot, PARTS, PickedUp, Ping, Said, Say, ServerMessage,
};
use vyuha_protocol::motion::{Heading, displacement, step};
use vyuha_protocol::msgpack::{self, SNAPSHOT_NAME, SUBPROTOCOL};
use vyuha_protocol::units::{CELL_UNITS, STEP_UNITS_MAX, TILE_UNITS};
use vyuha_protocol::{ErrorCode, PROTOCOL_VERSION, Pos, TileMap};

const CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../clients/web");
const HEAD: &str =
    "// Written from the protocol's declarations: UPDATE_DOCS=1 cargo test -p vyuha-protocol --test web\n\n";

/// A doc comment as TypeScript shows it: links as plain names.
fn plain(doc: &str) -> String {
    doc.trim().replace("[`crate::", "`").replace("[`", "`").replace("`]", "`").replace("  ", " ")
}

fn form(rust: &str) -> String {
    match rust {
        "u8" | "i8" | "u16" | "u32" => "number".to_owned(),
        "u64" | "i64" => "Int64".to_owned(),
        "bool" => "boolean".to_owned(),
        "String" => "string".to_owned(),
        "[u8; 16]" | "[u8; 32]" => "Uint8Array".to_owned(),
        part if PARTS.iter().any(|(name, ..)| *name == part) => part.to_owned(),
        other => {
            let part = other.strip_prefix("Vec<").and_then(|part| part.strip_suffix('>'));
            format!("{}[]", form(part.unwrap_or_else(|| panic!("TypeScript has no name for {other} here"))))
        }
    }
}

fn interface(out: &mut String, name: &str, doc: &str, fields: &[Field]) {
    writeln!(out, "/** {} */\nexport interface {name} {{", plain(doc)).unwrap();
    for field in fields {
        writeln!(out, "  /** {} */\n  {}: {};", plain(field.doc), field.name, form(field.form)).unwrap();
    }
    out.push_str("}\n\n");
}

fn direction(out: &mut String, name: &str, doc: &str, all: &[Description], more: &str) {
    writeln!(out, "/** {doc} */\nexport interface {name}s {{").unwrap();
    for (message, ..) in all {
        writeln!(out, "  {message}: {message};").unwrap();
    }
    writeln!(out, "{more}}}\n").unwrap();
    writeln!(
        out,
        "export type {name} = {{ [Name in keyof {name}s]: [Name, {name}s[Name]] }}[keyof {name}s];\n"
    )
    .unwrap();
}

fn types() -> String {
    let mut out = HEAD.to_owned();
    out.push_str("/** A whole number of 64 bits: a bigint where a number would not be exact. */\n");
    out.push_str("export type Int64 = number | bigint;\n\n");
    for (name, doc, fields) in PARTS {
        interface(&mut out, name, doc, fields);
    }
    for (name, _, doc, fields, _) in ClientMessage::ALL.iter().chain(ServerMessage::ALL) {
        interface(&mut out, name, doc, fields);
    }
    direction(&mut out, "ClientMessage", "What a client says, by name.", ClientMessage::ALL, "");
    let snapshot = format!("  /** See snapshot.js. */\n  {SNAPSHOT_NAME}: Uint8Array;\n");
    direction(&mut out, "ServerMessage", "What a server says, by name.", ServerMessage::ALL, &snapshot);
    let names: Vec<String> = ErrorCode::ALL.iter().map(|code| format!("\n  | \"{}\"", code.name())).collect();
    writeln!(
        out,
        "/** Why a request was refused or a connection closed. */\nexport type ErrorName ={};\n",
        names.concat()
    )
    .unwrap();
    for (name, form) in [
        ("PROTOCOL_VERSION", "number"),
        ("SUBPROTOCOL", "string"),
        ("TILE_UNITS", "number"),
        ("CELL_UNITS", "number"),
        ("STEP_UNITS_MAX", "number"),
        ("ERROR_NAMES", "Readonly<Record<number, ErrorName>>"),
    ] {
        writeln!(out, "export const {name}: {form};").unwrap();
    }
    out
}

fn constants() -> String {
    let mut out = HEAD.to_owned();
    writeln!(out, "export const PROTOCOL_VERSION = {PROTOCOL_VERSION};").unwrap();
    writeln!(out, "export const SUBPROTOCOL = {SUBPROTOCOL:?};").unwrap();
    writeln!(out, "\n// Position units along the side of a tile, of a cell, and of the longest step.")
        .unwrap();
    writeln!(out, "export const TILE_UNITS = {TILE_UNITS};").unwrap();
    writeln!(out, "export const CELL_UNITS = {CELL_UNITS};").unwrap();
    writeln!(out, "export const STEP_UNITS_MAX = {STEP_UNITS_MAX};").unwrap();
    writeln!(out, "\nexport const ERROR_NAMES = {{").unwrap();
    for &code in ErrorCode::ALL {
        writeln!(out, "  {}: {:?},", code as u16, code.name()).unwrap();
    }
    out.push_str("};\n");
    out
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

/// Messages with their bytes; what JSON has no form for is given as `{"bytes": hex}` and `{"bigint": digits}`.
fn messages() -> Vec<Value> {
    macro_rules! case {
        ($message:expr, $fields:tt) => {{
            let message = $message;
            let mut bytes = Vec::new();
            msgpack::append(&mut bytes, &message);
            json!({ "message": [name_of(&message), $fields], "hex": hex(&bytes) })
        }};
    }
    fn name_of<M: vyuha_protocol::message::Message>(_: &M) -> &'static str {
        M::NAME
    }
    let slot = InventorySlot { slot: 3, kind: 700, count: 70_000 };
    let long = "ā".repeat(40);
    vec![
        case!(Hello { version: 1, content_hash: [0xab; 32] }, { "version": 1, "content_hash": { "bytes": "ab".repeat(32) } }),
        case!(Say { request: 7, text: "नमस्ते 👋".into() }, { "request": 7, "text": "नमस्ते 👋" }),
        case!(Say { request: 200, text: long.clone() }, { "request": 200, "text": long }),
        case!(Ping { stamp: 5 }, { "stamp": 5 }),
        case!(Ping { stamp: 1 << 53 }, { "stamp": { "bigint": "9007199254740992" } }),
        case!(Ping { stamp: u64::MAX }, { "stamp": { "bigint": "18446744073709551615" } }),
        case!(
            vyuha_protocol::message::Input { sequence: u32::MAX, heading_x: -127, heading_y: -1 },
            { "sequence": u32::MAX, "heading_x": -127, "heading_y": -1 }
        ),
        case!(
            vyuha_protocol::message::SelectCharacter { request: 1, character: i64::MIN },
            { "request": 1, "character": { "bigint": "-9223372036854775808" } }
        ),
        case!(
            vyuha_protocol::message::SelectCharacter { request: 1, character: -40_000 },
            { "request": 1, "character": -40_000 }
        ),
        case!(PickedUp { request: 65_536, entity: 1, slot }, {
            "request": 65_536, "entity": 1, "slot": { "slot": 3, "kind": 700, "count": 70_000 }
        }),
        case!(Said { entity: 255, name: "Asha".into(), text: String::new() }, {
            "entity": 255, "name": "Asha", "text": ""
        }),
        case!(
            vyuha_protocol::message::Characters { request: 1, characters: Vec::new() },
            { "request": 1, "characters": [] }
        ),
        case!(
            vyuha_protocol::message::Error { request: 0, code: 8, closing: true, text: "x".repeat(300) },
            { "request": 0, "code": 8, "closing": true, "text": "x".repeat(300) }
        ),
    ]
}

/// A walk among walls in every direction, by the law of motion.
fn walk() -> Value {
    let rows = [
        "##############",
        "#....T.......#",
        "#.##.....##..#",
        "#.#..~~...#..#",
        "#....~~...#..#",
        "#.##......#..#",
        "#....T.......#",
        "##############",
    ];
    let map = TileMap::parse(&rows.join("\n")).expect("the map is sound");
    let (speed, start) = (700, Pos::tile_centre(4, 4));
    let (mut pos, mut headings, mut trail) = (start, Vec::new(), Vec::new());
    // Headings of every sign and length, in an order that mixes them.
    for nth in 0..400_i32 {
        let heading = Heading { x: (nth * 37 % 255 - 127) as i8, y: (nth * nth * 11 % 255 - 127) as i8 };
        for _ in 0..4 {
            pos = step(&map, pos, displacement(heading, speed));
        }
        headings.push([heading.x, heading.y]);
        trail.push([pos.x, pos.y]);
    }
    json!({ "rows": rows, "speed": speed, "start": [start.x, start.y], "steps_each": 4, "headings": headings, "trail": trail })
}

#[test]
fn the_web_client_has_the_types_and_cases_of_this_protocol() {
    let cases = json!({ "messages": messages(), "walk": walk() });
    let cases = serde_json::to_string(&cases).expect("it is JSON") + "\n";
    for (file, wanted) in
        [("client/protocol.d.ts", types()), ("client/protocol.js", constants()), ("test/cases.json", cases)]
    {
        let path = Path::new(CLIENT).join(file);
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(&path, &wanted).expect("the file can be written");
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(found == wanted, "clients/web/{file} is not what the code says: run with UPDATE_DOCS=1");
    }
}
