//! `vyuha nodes`: which nodes live, as the node at `admin.address` knows.

use std::fmt::Write as _;
use std::io::Write as _;

use anyhow::Context as _;
use serde_json::Value;

use crate::clock;
use crate::config::Config;
use crate::zones::ask;

/// Runs `vyuha nodes` against the node at `admin.address`.
///
/// # Errors
/// If no node answers there, or Redis is away.
pub fn run(config: &Config, as_json: bool) -> anyhow::Result<()> {
    let answer = ask(config, "GET", "/api/nodes", None)?;
    let text = if as_json { format!("{answer}\n") } else { list_text(&answer, clock::unix_ms()) };
    std::io::stdout().write_all(text.as_bytes()).context("cannot write to stdout")
}

fn list_text(answer: &Value, now_ms: i64) -> String {
    let mut text = format!(
        "{:<16}  {:>7}  {:>6}  {:>10}  {:>5}  {:>9}  {:<21}  admin\n",
        "node", "players", "shards", "tick p99", "shed", "told", "players' port"
    );
    for node in answer["nodes"].as_array().into_iter().flatten() {
        let word = |key: &str| node[key].as_str().unwrap_or_default();
        let number = |key: &str| node[key].as_i64().unwrap_or_default();
        let (players, shards, shed) = (number("players"), number("shards"), number("shed_ticks"));
        let (tick_ms, told_s) =
            (number("tick_us_p99") as f64 / 1e3, (now_ms - number("told_unix_ms")) / 1000);
        let (name, listen, admin) = (word("name"), word("listen"), word("admin"));
        let _ = writeln!(
            text,
            "{name:<16}  {players:>7}  {shards:>6}  {tick_ms:>7.2} ms  {shed:>5}  {told_s:>3} s ago  {listen:<21}  {admin}"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_a_node() {
        let node = json!({
            "name": "west", "players": 812, "shards": 4, "tick_us_p99": 4210, "shed_ticks": 3, "told_unix_ms": 5_000,
            "listen": "10.0.0.1:7777", "admin": "10.0.0.1:7780",
        });
        let text = list_text(&json!({ "hot": { "kind": "redis" }, "nodes": [node] }), 9_500);
        let wanted = "\
node              players  shards    tick p99   shed       told  players' port          admin
west                  812       4     4.21 ms      3    4 s ago  10.0.0.1:7777          10.0.0.1:7780
";
        assert_eq!(text, wanted);
    }
}
