//! Client assets: published by the program, served by a node.

use std::fs;

use serde_json::Value;
use vyuha_tests::{Node, Options, http_get, run_program};

#[test]
fn what_is_published_is_served_and_a_version_can_be_gone_back_to() {
    let (store, folder) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let store = store.path().to_str().expect("it is text");
    let publish = |version: &str, content: &str| {
        fs::write(folder.path().join("tiles.txt"), content).expect("it can be written");
        let folder = folder.path().to_str().expect("it is text");
        run_program(&["assets", "publish", folder, "--version", version, "--store", store, "--json"])
    };
    let (status, published, _) = publish("1.0", "first");
    let published: Value = serde_json::from_str(&published).expect("it is JSON");
    assert_eq!((status, &published["files_new"]), (Some(0), &Value::from(1)));
    let mut node =
        Node::start(&Options::test_world().with("assets-store", store).with("assets-address", "127.0.0.1:0"));
    let assets = node.assets.expect("they are served");
    let latest = || {
        let (status, manifest) = http_get(assets, "/manifests/latest");
        assert_eq!(status, 200, "{manifest}");
        let manifest: Value = serde_json::from_str(&manifest).expect("it is JSON");
        let hash = manifest["files"][0]["hash"].as_str().expect("it is text").to_owned();
        (manifest["version"].clone(), http_get(assets, &format!("/files/{hash}/tiles.txt")))
    };
    assert_eq!(latest(), ("1.0".into(), (200, "first".into())));
    // A node need not be told.
    assert_eq!(publish("1.1", "second").0, Some(0));
    assert_eq!(latest(), ("1.1".into(), (200, "second".into())));
    let (status, _, said) = publish("1.0", "third");
    assert!(status == Some(1) && said.contains("published already"), "{said}");
    assert_eq!(run_program(&["assets", "latest", "1.0", "--store", store]).0, Some(0));
    assert_eq!(latest(), ("1.0".into(), (200, "first".into())));
    assert_eq!(http_get(assets, "/manifests/2.0").0, 404);
    node.terminate();
}
