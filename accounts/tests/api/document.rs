//! The interface held against its own document by schemathesis: whatever it thinks up, from nobody, from somebody signed in and
//! from staff, no answer is a fault of the server's or one that the document does not know.

use std::env;
use std::fs;
use std::process::Stdio;

use tokio::process::Command;
use tokio::sync::mpsc;
use vyuha_gateway::Announcement;

use crate::node::{EMAIL, Node};
use crate::staff::Member;

/// How long each caller tries at most, in seconds, and how many requests of each operation are thought up beside those that go
/// to the limits of the document.
const SECONDS_MAX: &str = "20";
const EXAMPLES: &str = "15";
/// The same requests each time.
const SEED: &str = "1";
/// All but two: a token that has the right form and is unknown is refused, as it should be; and a write without a token whose
/// idempotency key was used is refused for its key.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,\
                      response_schema_conformance,negative_data_rejection,unsupported_method,allow_header_conformance,\
                      use_after_free,ensure_resource_availability,ignored_auth";

/// A body that is too long is refused as well. The identity provider of these tests is away, as the document says that it may be.
const SETTINGS: &str = r#"
[checks]
negative_data_rejection.expected-statuses = [400, 401, 403, 404, 405, 406, 409, 413, 415, 422, 428, 429, "5xx"]

[[operations]]
include-operation-id = [
    "begin_identity_sign_in", "complete_identity_sign_in", "complete_identity_sign_in_in_browser",
    "begin_identity_link", "link_identity",
]
checks.not_a_server_error.expected-statuses = ["2xx", "4xx", 503]
"#;

#[tokio::test]
#[ignore = "needs schemathesis, which `cargo xtask api` installs"]
async fn whatever_is_sent_gets_a_documented_answer() {
    let program = env::var_os("SCHEMATHESIS").expect("`cargo xtask api` says where schemathesis is");
    for caller in ["nobody", "player", "administrator"] {
        let mut node = Node::start().await;
        let admin = Member::first(&mut node).await;
        node.register(EMAIL).await;
        let (player, _) = node.tokens(EMAIL).await;
        let mut announced = std::mem::replace(&mut node.announcements, mpsc::channel(1).1);
        tokio::spawn(async move {
            while let Some(Announcement { answer, .. }) = announced.recv().await {
                // Whoever asked may have gone.
                let _ = answer.send(Ok(()));
            }
        });
        let mut schemathesis = Command::new(&program);
        schemathesis.arg("run").arg(format!("http://{}/api/v1/openapi.json", node.address));
        schemathesis.args(["--phases", "coverage,fuzzing", "--continue-on-failure", "--checks", CHECKS]);
        schemathesis.args(["--generation-database", "none", "--warnings", "off", "--no-color"]);
        schemathesis
            .args(["--seed", SEED, "--max-time", SECONDS_MAX, "--max-examples", EXAMPLES])
            .stdin(Stdio::null());
        // Where it finds its settings, and puts what it found.
        let folder = node.folder.as_ref().unwrap().path();
        fs::write(folder.join("schemathesis.toml"), SETTINGS).unwrap();
        schemathesis.current_dir(folder);
        let token = match caller {
            "nobody" => None,
            "player" => Some(&player),
            _ => Some(&admin.token),
        };
        if let Some(token) = token {
            schemathesis.arg("--header").arg(format!("Authorization: Bearer {token}"));
        }
        let done = schemathesis.output().await.expect("schemathesis can be started");
        let said = String::from_utf8_lossy(&done.stdout);
        let (found, summary) = said.split_once(" SUMMARY ").unwrap_or((&said, ""));
        assert!(done.status.success(), "{caller}: {}\n{found}\n{summary}", done.status);
        assert!(summary.contains(" passed"), "{caller}: nothing was tested: {said}");
        println!("{caller}: {summary}");
    }
}
