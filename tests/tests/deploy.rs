//! What operators put beside a node is sound: the programs that it is for say so.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

/// Runs a program in `deploy/`, which must find no fault.
#[track_caller]
fn check(program: &str, arguments: &[&str]) -> String {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
    let output = Command::new(program).args(arguments).current_dir(deploy).output();
    let output = output.unwrap_or_else(|error| panic!("{program} is needed (cargo xtask test): {error}"));
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
    said
}

#[test]
fn alerts_fire_when_they_should_and_not_otherwise() {
    check("promtool", &["check", "config", "prometheus/prometheus.yml"]);
    let said = check("promtool", &["test", "rules", "prometheus/vyuha.rules.test.yml"]);
    assert!(said.contains("SUCCESS"), "{said}");
}

#[test]
fn alerts_find_their_way() {
    check("amtool", &["check-config", "alertmanager/alertmanager.yml"]);
    let routed = |severity: &str| {
        let severity = format!("severity={severity}");
        let config = "--config.file=alertmanager/alertmanager.yml";
        check("amtool", &["config", "routes", "test", config, "alertname=VyuhaAny", &severity])
    };
    // A warning about its own flags may follow.
    assert_eq!(routed("page").lines().next(), Some("pages"));
    assert_eq!(routed("ticket").lines().next(), Some("tickets"));
}

#[test]
fn dashboards_ask_what_prometheus_understands() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/grafana");
    let mut rules = Vec::new();
    for file in fs::read_dir(folder).expect("it is there") {
        let path = file.expect("it can be read").path();
        let text = fs::read_to_string(&path).expect("it is text");
        let dashboard: Value = serde_json::from_str(&text).expect("it is JSON");
        let mut ids = HashSet::new();
        for panel in dashboard["panels"].as_array().expect("it has panels") {
            assert!(ids.insert(panel["id"].as_u64()), "{}: an id is there twice", path.display());
            for target in panel["targets"].as_array().into_iter().flatten() {
                // As Grafana would put it.
                let expr = target["expr"].as_str().expect("it asks for something");
                let expr = expr.replace("$__rate_interval", "1m").replace("$instance", ".*");
                rules.push(json!({ "record": format!("panel_{}", rules.len()), "expr": expr }));
            }
        }
    }
    assert!(rules.len() > 40, "{} panels were looked at", rules.len());
    let file = tempfile::NamedTempFile::new().expect("it can be made");
    // YAML has JSON in it.
    let groups = json!({ "groups": [{ "name": "panels", "rules": rules }] });
    fs::write(file.path(), groups.to_string()).expect("it can be written");
    check("promtool", &["check", "rules", file.path().to_str().expect("it is text")]);
}
