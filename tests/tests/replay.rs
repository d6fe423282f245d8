//! Recording and replay: what a real node was fed over real sockets is run again from its recording, under every set of
//! vector instructions that this machine has, and what does not fit is told.

use std::fs;
use std::path::Path;

use serde_json::Value;
use vyuha_game::shard::log::{FRAME_HEAD_BYTES, PREAMBLE_BYTES, append_frame, first_frame, preamble};
use vyuha_protocol::motion::Heading;
use vyuha_tests::{COIN, DEPOT, HERB, Mover, Node, Options, Player, YARD, run_program, test_world_folder};

/// The vector instructions that this machine has, by the program's own word.
fn levels() -> Vec<&'static str> {
    let accepted = |level: &&str| run_program(&["config", "check", "--shard-simd", level]).0 == Some(0);
    ["scalar", "neon", "sse2", "avx2", "avx512"].into_iter().filter(accepted).collect()
}

/// Players that walk, talk, take, drop, leave and come again, on both shards.
fn play(node: &Node) {
    let mut walker = Player::sign_up(node, "Walker", YARD);
    let mut taker = Player::sign_up(node, "Taker", DEPOT);
    let mut idler = Player::sign_up(node, "Idler", DEPOT);
    walker.walk((0..40).map(|step| Heading { x: 127 - step, y: 3 * step }));
    walker.say("hello").expect("it may speak");
    for kind in [COIN, HERB, COIN] {
        let slot = taker.pick_up_any(kind);
        taker.drop_items(slot.slot, 1).expect("there is room on the ground");
    }
    idler.walk([Heading { x: -127, y: 127 }; 20]);
    let who = taker.log_out();
    who.sign_in(node).walk([Heading { x: 50, y: -50 }; 10]);
    walker.walk([Heading { x: -127, y: 0 }; 10]);
}

/// The exit status of a replay, its report, and what it says on stderr.
fn replay(recording: &Path, flags: &[&str]) -> (Option<i32>, Value, String) {
    let (recording, content) = (recording.to_str().expect("UTF-8"), test_world_folder());
    let content = content.to_str().expect("UTF-8");
    let arguments = [&["replay", recording, "--content", content, "--json"], flags].concat();
    let (code, stdout, stderr) = run_program(&arguments);
    let report = stdout.lines().last().map(|line| serde_json::from_str(line).expect("the last line is JSON"));
    (code, report.unwrap_or_default(), stderr)
}

fn state_hashes(report: &Value) -> Vec<String> {
    let shards = report["shards"].as_array().expect("it lists the shards");
    shards.iter().map(|shard| shard["state_hash"].as_str().expect("it is text").to_owned()).collect()
}

/// Records a run at a level, with or without zones that move, which ends by a kill or in good order.
fn record(dir: &Path, simd: &str, moves: bool, killed: bool) {
    let options = Options::test_world().with("record", dir.to_str().expect("UTF-8")).with("shard-simd", simd);
    let mut node = Node::start(&options);
    assert!(node.log().contains(&format!("simd=\"{simd}\"")), "{}", node.log());
    let mover = moves.then(|| Mover::start(&node, 5));
    play(&node);
    if let Some(mover) = mover {
        assert!(mover.finish().len() > 5, "few moves prove little");
    }
    node.await_metrics("a recording that grows", |metrics| {
        metrics.value("vyuha_recorded_bytes_total") > 10_000
    });
    assert_eq!(node.metrics().value("vyuha_recordings_stopped_total"), 0);
    if killed {
        node.kill_9();
    } else {
        node.terminate();
    }
}

#[test]
fn one_recording_gives_one_state_at_every_level_whatever_ended_the_node() {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let levels = levels();
    assert!(levels.contains(&"scalar"));
    let widest = *levels.last().expect("there is one");
    for (simd, killed) in [(widest, true), ("scalar", false)] {
        let dir = folder.path().join(simd);
        record(&dir, simd, true, killed);
        let mut states = Vec::new();
        for level in &levels {
            let (code, report, stderr) = replay(&dir, &["--simd", level]);
            assert_eq!((code, &report["equal"]), (Some(0), &Value::Bool(true)), "{level}: {report} {stderr}");
            assert_eq!(report["simd"], *level);
            assert!(
                report["shards"].as_array().is_some_and(|shards| shards.len() == 2
                    && shards.iter().all(|shard| shard["ticks"].as_u64() > Some(60))),
                "{report}"
            );
            // A kill may tear a zone's departure off one file and leave its arrival in the other.
            assert!(killed || !report.to_string().contains("does not get that far"), "{report}");
            states.push(state_hashes(&report));
        }
        assert!(states.iter().all(|other| *other == states[0]), "{states:?}");

        // One shard that is run less far keeps back the zones that went from it to the other.
        let (code, report, stderr) = replay(&dir, &["--until", "50"]);
        assert_eq!(code, Some(0), "{report} {stderr}");
        fs::remove_file(dir.join("shard-01.vyrec")).expect("it was recorded");
        let (code, report, stderr) = replay(&dir, &[]);
        assert_eq!((code, &report["equal"]), (Some(0), &Value::Bool(true)), "{stderr}");
        let awaits = report["shards"][0]["awaits"].as_str().unwrap_or_default();
        assert!(awaits.contains("from a shard whose recording does not get that far"), "{report}");
    }
}

/// The payloads of a recording's frames: its head and its ticks.
fn payloads(file: &Path) -> Vec<Vec<u8>> {
    let bytes = fs::read(file).expect("it was recorded");
    let (mut payloads, mut rest) = (Vec::new(), &bytes[PREAMBLE_BYTES..]);
    while let Some(payload) = first_frame(rest).expect("it was not changed") {
        payloads.push(payload.to_vec());
        rest = &rest[FRAME_HEAD_BYTES + payload.len()..];
    }
    payloads
}

fn write(file: &Path, payloads: &[Vec<u8>]) {
    let mut bytes = preamble().to_vec();
    for payload in payloads {
        append_frame(&mut bytes, payload);
    }
    fs::write(file, bytes).expect("there is room for it");
}

#[test]
fn what_does_not_fit_is_told_and_what_is_torn_is_cut_off() {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let dir = folder.path().join("rec");
    record(&dir, "scalar", false, true);
    let file = dir.join("shard-01.vyrec");
    let original = payloads(&file);
    let ticks = original.len() - 1;

    let until = |tick: usize| {
        let (code, report, _) = replay(&dir, &["--hash", "--until", &tick.to_string()]);
        assert_eq!((code, &report["shards"][1]["ticks"]), (Some(0), &tick.into()), "{report}");
        report["shards"][1]["zones"].clone()
    };
    let zones = until(30);
    assert_eq!((zones.as_array().map(Vec::len), &zones), (Some(1), &until(30)));
    assert_ne!(zones[0]["columns"]["place"], until(31)[0]["columns"]["place"]);

    // The last hash of a record is that of the shard's only zone's last column.
    let mut changed = original.clone();
    *changed[40].last_mut().expect("it has bytes") ^= 1;
    write(&file, &changed);
    let (code, report, stderr) = replay(&dir, &[]);
    assert_eq!((code, &report["equal"]), (Some(1), &Value::Bool(false)));
    let expected = serde_json::json!({ "tick": 40, "parts": [{ "zone": DEPOT.0, "column": "sessions" }] });
    assert_eq!(report["shards"][1]["difference"], expected);
    assert_eq!(report["shards"][0]["difference"], Value::Null);
    assert!(stderr.contains("not as recorded"), "{stderr}");

    // Inputs that did not come: from there on somebody stands elsewhere.
    let mut changed = original.clone();
    let longest = (2..=ticks).max_by_key(|tick| changed[*tick].len()).expect("there are ticks");
    // A record ends with the tick's mark and number, the shard's own hash and one for each column of its only zone.
    let columns = zones[0]["columns"].as_object().expect("it lists the columns").len();
    let calls = changed[longest].len() - (1 + 8 + 8 * (1 + columns));
    changed[longest].drain(..calls);
    write(&file, &changed);
    let (code, report, _) = replay(&dir, &[]);
    assert_eq!(code, Some(1));
    assert_eq!(report["shards"][1]["difference"]["tick"], longest);

    let mut torn = fs::read(&file).expect("it is there");
    write(&file, &original);
    let whole = fs::read(&file).expect("it is there");
    fs::write(&file, &whole[..whole.len() - 3]).expect("there is room for it");
    let (code, report, stderr) = replay(&dir, &[]);
    assert_eq!(code, Some(0), "{report} {stderr}");
    let shard = &report["shards"][1];
    assert_eq!(shard["ticks"], ticks - 1);
    assert_eq!(shard["torn_bytes"], original[ticks].len() + FRAME_HEAD_BYTES - 3);

    torn.clone_from(&whole);
    torn[whole.len() / 2] ^= 1;
    fs::write(&file, &torn).expect("there is room for it");
    let (code, report, stderr) = replay(&dir, &[]);
    assert_eq!((code, &report["equal"]), (Some(1), &Value::Bool(false)));
    assert!(report["shards"][1]["unreadable"]["byte"].as_u64() <= Some(whole.len() as u64 / 2), "{report}");
    assert!(stderr.contains("cannot be read to its end"), "{stderr}");

    let refused = |bytes: &[u8], why: &str| {
        fs::write(&file, bytes).expect("there is room for it");
        let (code, report, stderr) = replay(&dir, &[]);
        assert_eq!((code, report), (Some(1), Value::Null), "{stderr}");
        assert!(stderr.contains(why), "{stderr}");
    };
    refused(b"VYUHALOG\x09\0\0\0", "format 9, this program reads format 3");
    refused(b"something else", "this is no recording of a shard");
    refused(&whole[..7], "nothing was recorded");
    refused(&whole[..40], "nothing was recorded");
    let (code, _, stderr) = run_program(&["replay", dir.to_str().expect("UTF-8")]);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("played with other content; name its folder with --content"), "{stderr}");
    let (code, _, stderr) = run_program(&["replay", folder.path().to_str().expect("UTF-8")]);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("holds no recording"), "{stderr}");
}

#[test]
fn a_node_never_writes_over_a_recording() {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    fs::write(folder.path().join("shard-00.vyrec"), "precious").expect("there is room for a file");
    let dir = folder.path().to_str().expect("UTF-8");
    let (code, _, stderr) = run_program(&[
        "serve",
        "--listen-address=127.0.0.1:0",
        "--admin-address=127.0.0.1:0",
        "--record",
        dir,
    ]);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("is a recording already; name another folder"), "{stderr}");
    assert_eq!(fs::read(folder.path().join("shard-00.vyrec")).expect("it is there"), b"precious");
}
