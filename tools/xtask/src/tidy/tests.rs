//! Small trees, each with one fault planted, and what is said of it.

use std::fs;
use std::path::Path;

use super::rust::RustSource;
use super::*;

/// A manifest that breaks no rule.
fn manifest(name: &str, rest: &str) -> String {
    format!("[package]\nname = \"{name}\"\n\n[lints]\nworkspace = true\n\n{rest}")
}

/// Writes `files` and returns the faults of the tree they make.
fn faults_of(files: &[(&str, &str)]) -> Vec<String> {
    let root = tempfile::tempdir().expect("there is room for a tree");
    for (path, text) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().expect("it is in a folder")).expect("folders can be made");
        fs::write(path, text).expect("files can be written");
    }
    let tree = Tree::read(root.path()).expect("the tree can be read");
    faults(&tree).iter().map(Fault::to_string).collect()
}

/// These files have exactly these faults, each given by how its line begins.
fn check(files: &[(&str, &str)], expected: &[&str]) {
    let faults = faults_of(files);
    let same = faults.len() == expected.len();
    let same = same && faults.iter().zip(expected).all(|(fault, expected)| fault.starts_with(expected));
    assert!(same, "{files:#?}\nfound    {faults:#?}\nexpected {expected:#?}");
}

#[test]
fn this_workspace_is_read_from_its_root() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let tree = Tree::read(&root).expect("the workspace can be read");
    assert!(tree.find("tools/xtask/src/tidy/tests.rs").is_some());
    assert!(tree.files.iter().all(|file| !file.path.starts_with("target") && !file.path.starts_with(".git")));
}

#[test]
fn arrows_run_one_way() {
    let protocol = manifest("vyuha-protocol", "");
    let game = |rest: &str| manifest("vyuha-game", rest);
    let with = |rest: &str, expected: &[&str]| {
        check(&[("protocol/Cargo.toml", &protocol), ("game/Cargo.toml", &game(rest))], expected);
    };
    with("[dependencies]\nvyuha-protocol = { workspace = true }\nserde = \"1\"", &[]);

    let upward = [
        "[dependencies]\nvyuha-game = \"*\"",
        "[dev-dependencies]\nvyuha-game = { workspace = true }",
        "[build-dependencies]\nvyuha-game = { path = \"../game\" }",
        "[target.'cfg(loom)'.dependencies]\nvyuha-game = { workspace = true }",
        "[dependencies]\nrules = { package = \"vyuha-game\", path = \"../game\" }",
    ];
    for rest in upward {
        let protocol = manifest("vyuha-protocol", rest);
        check(
            &[("protocol/Cargo.toml", &protocol), ("game/Cargo.toml", &game(""))],
            &["protocol/Cargo.toml:8: vyuha-protocol may not depend on vyuha-game"],
        );
    }
    let server = manifest("vyuha", "[dependencies]\nvyuha-protocol = \"*\"\nxtask = \"*\"");
    check(
        &[
            ("protocol/Cargo.toml", &protocol),
            ("server/Cargo.toml", &server),
            ("tools/xtask/Cargo.toml", &manifest("xtask", "")),
        ],
        &["server/Cargo.toml:9: vyuha may not depend on xtask"],
    );
    check(
        &[("new/Cargo.toml", &manifest("vyuha-new", ""))],
        &["new/Cargo.toml:1: vyuha-new is not in the table"],
    );
    check(&[("new/Cargo.toml", "[package\n")], &["new/Cargo.toml:1: "]);
}

#[test]
fn every_crate_takes_the_lints_of_the_workspace() {
    let expected = &["record/Cargo.toml:1: it lacks `[lints] workspace = true`"];
    check(&[("record/Cargo.toml", "[package]\nname = \"vyuha-record\"\n")], expected);
    check(
        &[("record/Cargo.toml", "[package]\nname = \"vyuha-record\"\n[lints]\nworkspace = false\n")],
        expected,
    );
    check(&[("Cargo.toml", "[workspace]\nmembers = []\n")], &[]);
}

#[test]
fn every_system_has_its_files_and_is_listed() {
    let list = ("game/src/systems.rs", "pub const SYSTEMS: &[System] = &[System::of(crate::chat::run)];\n");
    let chat = [("game/src/chat/mod.rs", ""), ("game/src/chat/rules.rs", ""), ("game/src/chat/tests.rs", "")];
    check(&[&[list], &chat[..]].concat(), &[]);
    check(&[&[list], &chat[..2]].concat(), &["game/src/chat:1: the system chat lacks its tests.rs"]);
    check(&[&[list], &chat[1..]].concat(), &["game/src/chat:1: the system chat lacks its mod.rs"]);
    check(&[list, chat[0], chat[2]], &["game/src/chat:1: the system chat lacks its rules.rs"]);
    let unlisted = &["game/src/chat:1: the system chat is not in game/src/systems.rs"];
    check(&chat, unlisted);
    let near = ("game/src/systems.rs", "// chat\nuse crate::chats; const NAME: &str = \"chat\";\n");
    check(&[&[near], &chat[..]].concat(), unlisted);
    check(&[("game/src/shard/tick.rs", "")], &[]);
}

#[test]
fn rows_are_declared_in_rows() {
    let list = ("game/src/systems.rs", "use crate::items;\n");
    let rest = [("game/src/items/mod.rs", ""), ("game/src/items/tests.rs", "")];
    let row = "\nrecord! { Item {} }\n";
    let rules = ("game/src/items/rules.rs", "fn f() {}\n");
    check(&[&[list, ("game/src/items/rows.rs", row), rules], &rest[..]].concat(), &[]);
    let expected = &["game/src/items/rules.rs:2: a system's durable rows are declared in its rows.rs"];
    check(&[&[list, ("game/src/items/rules.rs", row)], &rest[..]].concat(), expected);
}

#[test]
fn stubs_are_found_in_code_only() {
    for (line, expected) in [
        ("fn f() { todo!() }", "todo! is a stub"),
        ("fn f() { unimplemented!(\"later\") }", "unimplemented! is a stub"),
        ("fn f() { dbg!(1); }", "dbg! is a stub"),
        ("#[ignore]", "an ignored test says why"),
    ] {
        check(&[("a/src/x.rs", &format!("\n{line}\n"))], &[&format!("a/src/x.rs:2: {expected}")]);
        // The same in a comment or a string is only spoken of.
        check(&[("a/src/x.rs", &format!("// {line}\nconst S: &str = r#\"{line}\"#;\n"))], &[]);
    }
    check(
        &[("a/src/x.rs", "#[ignore = \"takes an hour\"]\nmacro_rules! my_todo { () => {} }\nmy_todo!();\n")],
        &[],
    );
}

#[test]
fn marks_and_placeholders_are_found_wherever_they_are_written() {
    for mark in [concat!("FIX", "ME"), concat!("XX", "X"), concat!("TO", "DO"), concat!("HA", "CK")] {
        let line = format!("let a = 1; // {mark}: later\n");
        check(&[("a/src/x.rs", &line)], &[&format!("a/src/x.rs:1: {mark} marks")]);
        check(&[("page/x.js", &line)], &[&format!("page/x.js:1: {mark} marks")]);
        check(&[("a/src/x.rs", &format!("const {mark}_HEX: &str = \"{mark}\";\n"))], &[]);
    }
    for phrase in [concat!("Not built", " yet"), concat!("not imple", "mented"), concat!("coming", " soon")] {
        let text = format!("\nfn f() -> Error {{\n    error(\"{phrase}\")\n}}\n");
        check(&[("a/src/x.rs", &text)], &[&format!("a/src/x.rs:3: {:?}", phrase.to_lowercase())]);
        check(
            &[("page/x.html", &format!("<p>{phrase}</p>"))],
            &[&format!("page/x.html:1: {:?}", phrase.to_lowercase())],
        );
    }
}

#[test]
fn a_test_does_something() {
    for body in ["", "\n", " // looks fine\n", " /* } */ "] {
        for attribute in ["#[test]", "#[tokio::test]", "#[test]\n#[should_panic(expected = \"{\")]"] {
            let text = format!("\n{attribute}\nfn it_works() {{{body}}}\n");
            check(&[("a/src/x.rs", &text)], &["a/src/x.rs:2: a test with nothing in it"]);
        }
    }
    check(&[("a/src/x.rs", "#[test]\nfn it_works() { run(); }\nfn nothing() {}\n")], &[]);
}

#[test]
fn unsafe_proves_itself() {
    let wrong = &["a/src/x.rs:3: unsafe without"];
    check(&[("a/src/x.rs", "fn f() {\n    g();\n    unsafe { h() }\n}\n")], wrong);
    check(&[("a/src/x.rs", "// SAFETY: of another\nfn f() {\n    let a = unsafe { h() };\n}\n")], wrong);
    check(&[("a/src/x.rs", "struct P;\n\nunsafe impl Send for P {}\n")], wrong);
    check(&[("a/src/x.rs", "// SAFETY: far away\n\nunsafe impl Send for P {}\n")], wrong);
    for right in [
        "fn f() {\n    // SAFETY: h asks for nothing.\n    unsafe { h() }\n}\n",
        "fn f() {\n    // SAFETY: h asks for nothing,\n    // not even time.\n    #[cfg(loom)]\n    let a =\n        unsafe { h() };\n}\n",
        "fn f() {\n    unsafe { h() } // SAFETY: h asks for nothing.\n}\n",
        "// SAFETY: P holds nothing.\nunsafe impl Send for P {}\n",
        "unsafe fn f() {}\nunsafe extern \"C\" {}\n",
        "// unsafe { h() }\nconst S: &str = \"unsafe { h() }\";\n",
    ] {
        check(&[("a/src/x.rs", right)], &[]);
    }
}

#[test]
fn names_say_something() {
    for path in ["a/src/utils.rs", "a/src/helpers/mod.rs", "a/src/common.rs", "page/util.js"] {
        check(&[(path, "\n")], &[&format!("{path}:1: ")]);
    }
    check(&[("a/src/commons.rs", ""), ("docs/common.md", "")], &[]);
}

#[test]
fn files_stay_short() {
    let lines = "fn f() {}\n".repeat(600);
    check(&[("a/src/x.rs", &lines), ("docs/long.md", &lines.repeat(2))], &[]);
    check(&[("a/src/x.rs", &format!("{lines}\n"))], &["a/src/x.rs:601: 601 lines, over 600"]);
}

#[test]
fn migrations_come_in_pairs_and_numbers_once() {
    let [up, down] = ["migrations/0001_create_items.up.sql", "migrations/0001_create_items.down.sql"];
    check(&[(up, ""), (down, "")], &[]);
    check(&[(up, "")], &[&format!("{up}:1: 0001_create_items.down.sql is missing")]);
    let of_one = ["sqlite.up", "sqlite.down", "postgres.up", "postgres.down"]
        .map(|end| format!("migrations/0001_create_items.{end}.sql"));
    let [sqlite_up, sqlite_down, postgres_up, postgres_down] =
        of_one.each_ref().map(|path| (path.as_str(), ""));
    check(&[sqlite_up, sqlite_down, postgres_up, postgres_down], &[]);
    check(
        &[sqlite_up, sqlite_down, postgres_up],
        &[&format!("{}:1: 0001_create_items.postgres.down.sql is missing", postgres_up.0)],
    );
    check(&[(down, "")], &[&format!("{down}:1: 0001_create_items.up.sql is missing")]);
    for path in [
        "migrations/1_create_items.up.sql",
        "store/migrations/0001_items.up.sql",
        "migrations/0001_a_B.up.sql",
    ] {
        check(&[(path, "")], &[&format!("{path}:1: a migration is called")]);
    }
    let [up_too, down_too] =
        ["migrations/0001_create_places.up.sql", "migrations/0001_create_places.down.sql"];
    let expected =
        [down_too, up_too].map(|path| format!("{path}:1: the number 0001 belongs to create_items"));
    let expected = expected.each_ref().map(|line| line.replace("create_items", "0001_create_items"));
    check(&[(up, ""), (down, ""), (up_too, ""), (down_too, "")], &expected.each_ref().map(String::as_str));
    check(&[("tests/data/rows.sql", "")], &[]);
}

#[test]
fn paths_of_one_machine_stay_out() {
    for root in [concat!("/", "work/"), concat!("/", "home/")] {
        let expected = |path: &str| format!("{path}:2: {root} is a path of one machine");
        check(&[("docs/a.md", &format!("\nsee {root}notes\n"))], &[&expected("docs/a.md")]);
        check(&[("a/src/x.rs", &format!("\n// \"{root}x\"\n"))], &[&expected("a/src/x.rs")]);
        check(&[(".ci/run", &format!("\ncd {root}x\n"))], &[&expected(".ci/run")]);
        check(&[("docs/a.md", &format!("https://example.com{root}x and frame{root}x\n"))], &[]);
    }
}

#[test]
fn rust_is_split_into_its_parts() {
    let split = |text: &str| {
        let RustSource { code, comments, literals } = RustSource::of(text);
        assert!(code.len() == text.len() && comments.len() == text.len() && literals.len() == text.len());
        [code, comments, literals].map(|part| part.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    for (text, code, comments, literals) in [
        ("a // b \"c\"\nd", "a d", "// b \"c\"", ""),
        ("a /* b /* c */ d */ e", "a e", "/* b /* c */ d */", ""),
        ("a(\"b // c \\\" d\") // e", "a( )", "// e", "\"b // c \\\" d\""),
        ("r#\"a \" b\"# c", "c", "", "r#\"a \" b\"#"),
        ("br\"a\\\" b", "b", "", "br\"a\\\""),
        ("r#type bar\"x\"", "r#type bar", "", "\"x\""),
        (
            "fn f<'a>(x: &'a str) { '\\'' ; '\"' ; 'é' ; b'x' }",
            "fn f<'a>(x: &'a str) { ; ; ; b }",
            "",
            "'\\'' '\"' 'é' 'x'",
        ),
        ("/// é\nfn f() {}", "fn f() {}", "/// é", ""),
        ("\"open", "", "", "\"open"),
        ("/* open", "", "/* open", ""),
    ] {
        assert_eq!(split(text), [code, comments, literals], "{text}");
    }
}
