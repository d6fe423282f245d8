//! Assets from a folder to a client, by real files and sockets.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::{LocalSet, spawn_local};
use vyuha_assets::{Manifest, PublishError, Published, Store, StoreError, Version, publish, serve};

fn version(name: &str) -> Version {
    name.parse().unwrap()
}

fn write(folder: &Path, files: &[(&str, &[u8])]) {
    for (path, content) in files {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

/// A folder of files, and an empty store.
fn begin(files: &[(&str, &[u8])]) -> (TempDir, TempDir, Store) {
    let (folder, kept) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write(folder.path(), files);
    let store = Store::open(kept.path().to_str().unwrap()).unwrap();
    (folder, kept, store)
}

async fn publish_it(store: &Store, folder: &Path, name: &str) -> Result<Published, PublishError> {
    publish(store, folder, version(name), true, |_, _| {}).await
}

/// Serves a store until the test ends.
async fn served(store: &Store) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, store.clone(), std::future::pending()));
    address
}

struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

/// Asks for a path, with these lines in the request's head.
async fn ask(address: SocketAddr, method: &str, path: &str, head: &str) -> Answer {
    let request = format!("{method} {path} HTTP/1.1\r\nHost: assets\r\nConnection: close\r\n{head}\r\n");
    let answer = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        answer
    });
    let answer = answer.await.unwrap();
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head, body: answer[end + 4..].to_vec() }
}

#[tokio::test]
async fn what_two_versions_share_is_kept_once() {
    let shared = vec![7; 3 << 20];
    let (folder, kept, store) = begin(&[("maps/a.bin", &shared), ("copy.bin", &shared), ("empty", b"")]);
    let first = publish_it(&store, folder.path(), "1.0").await.unwrap();
    assert_eq!((first.files, first.files_new, first.bytes), (3, 2, 6 << 20));
    assert_eq!(first.bytes_new, 3 << 20);
    write(folder.path(), &[("new.txt", b"new")]);
    let second = publish_it(&store, folder.path(), "1.1").await.unwrap();
    assert_eq!((second.files, second.files_new, second.bytes_new), (4, 1, 3));
    assert_eq!(store.latest().await.unwrap(), version("1.1"));
    let manifest = store.manifest(&version("1.0")).await.unwrap();
    let paths: Vec<&str> = manifest.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, ["copy.bin", "empty", "maps/a.bin"]);
    assert_eq!(fs::read_dir(kept.path().join("files")).unwrap().count(), 3);
}

#[tokio::test]
async fn a_version_never_changes() {
    let (folder, _kept, store) = begin(&[("a", b"one")]);
    publish_it(&store, folder.path(), "1").await.unwrap();
    publish_it(&store, folder.path(), "1").await.expect("the same again is nothing new");
    write(folder.path(), &[("a", b"two")]);
    let error = publish_it(&store, folder.path(), "1").await.unwrap_err();
    assert!(matches!(error, PublishError::Taken(_)), "{error}");
    let manifest = store.manifest(&version("1")).await.unwrap();
    assert_eq!(manifest.files[0].bytes, 3);
}

#[tokio::test]
async fn what_cannot_be_published_leaves_no_version() {
    let (folder, kept, store) = begin(&[]);
    let error = publish_it(&store, folder.path(), "1").await.unwrap_err();
    assert!(matches!(error, PublishError::Empty(_)), "{error}");
    std::os::unix::fs::symlink("/etc/passwd", folder.path().join("link")).unwrap();
    let error = publish_it(&store, folder.path(), "1").await.unwrap_err();
    assert!(matches!(error, PublishError::Kind(_)), "{error}");
    fs::remove_file(folder.path().join("link")).unwrap();
    write(folder.path(), &[("a", b"1"), ("A", b"2")]);
    let error = publish_it(&store, folder.path(), "1").await.unwrap_err();
    assert!(matches!(error, PublishError::Manifest(_)), "{error}");
    assert!(matches!(store.latest().await, Err(StoreError::Missing(_))));
    // A folder stands where files should: whoever runs as root may write to what is read-only.
    fs::remove_file(folder.path().join("A")).unwrap();
    fs::write(kept.path().join("files"), b"in the way").unwrap();
    let error = publish_it(&store, folder.path(), "1").await.unwrap_err();
    assert!(matches!(error, PublishError::Store(_)), "{error}");
    assert!(matches!(store.manifest(&version("1")).await, Err(StoreError::Missing(_))));
}

#[tokio::test]
async fn an_upload_that_was_cut_off_is_done_again() {
    let (folder, kept, store) = begin(&[("a.bin", &[1; 1000])]);
    let published = publish_it(&store, folder.path(), "1").await.unwrap();
    assert_eq!(published.files_new, 1);
    let hash = store.manifest(&version("1")).await.unwrap().files[0].hash;
    fs::write(kept.path().join(format!("files/{hash}")), [1; 10]).unwrap();
    let published = publish_it(&store, folder.path(), "2").await.unwrap();
    assert_eq!(published.files_new, 1, "ten bytes are not the file");
}

#[tokio::test]
async fn files_are_served_whole_and_in_parts() {
    let content: Vec<u8> = (0..200_000_u32).map(|nth| (nth * 7 % 251) as u8).collect();
    let (folder, _kept, store) = begin(&[("tiles.png", &content), ("empty.txt", b"")]);
    publish_it(&store, folder.path(), "1").await.unwrap();
    let address = served(&store).await;
    let listed = ask(address, "GET", "/manifests/latest", "").await;
    assert_eq!((listed.status, listed.header("cache-control")), (200, Some("no-cache")));
    let manifest: Manifest = serde_json::from_slice(&listed.body).unwrap();
    assert_eq!(manifest.version, version("1"));
    let path = |name: &str| {
        let file = manifest.files.iter().find(|file| file.path == name).unwrap();
        (format!("/files/{}/{name}", file.hash), format!("\"{}\"", file.hash))
    };
    let (tiles, tag) = path("tiles.png");

    let whole = ask(address, "GET", &tiles, "").await;
    assert_eq!(whole.status, 200);
    assert!(whole.body == content);
    for (name, value) in [
        ("content-type", "image/png"),
        ("content-length", "200000"),
        ("cache-control", "public, max-age=31536000, immutable"),
        ("accept-ranges", "bytes"),
        ("x-content-type-options", "nosniff"),
        ("etag", &tag),
    ] {
        assert_eq!(whole.header(name), Some(value), "{name}");
    }
    let head = ask(address, "HEAD", &tiles, "Range: bytes=0-9\r\n").await;
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, Some("200000"), 0));

    for (range, from, to) in
        [("0-99", 0, 100), ("199990-", 199_990, 200_000), ("-5", 199_995, 200_000), ("7-999999", 7, 200_000)]
    {
        let part = ask(address, "GET", &tiles, &format!("Range: bytes={range}\r\n")).await;
        assert_eq!(part.status, 206, "{range}");
        assert!(part.body == content[from..to], "{range}");
        assert_eq!(part.header("content-range"), Some(&*format!("bytes {from}-{}/200000", to - 1)));
    }
    let behind = ask(address, "GET", &tiles, "Range: bytes=200000-\r\n").await;
    assert_eq!((behind.status, behind.header("content-range")), (416, Some("bytes */200000")));
    assert_eq!(behind.header("content-type"), Some("application/problem+json"));

    let same = ask(address, "GET", &tiles, &format!("If-None-Match: \"x\", {tag}\r\n")).await;
    assert_eq!((same.status, same.body.len()), (304, 0));
    let going_on = format!("Range: bytes=5-9\r\nIf-Range: {tag}\r\n");
    assert_eq!(ask(address, "GET", &tiles, &going_on).await.status, 206);
    let of_another = "Range: bytes=5-9\r\nIf-Range: \"another\"\r\n";
    assert_eq!(ask(address, "GET", &tiles, of_another).await.status, 200);

    let empty = ask(address, "GET", &path("empty.txt").0, "").await;
    assert_eq!((empty.status, empty.header("content-length")), (200, Some("0")));
}

#[tokio::test]
async fn what_is_not_there_is_refused_and_nothing_else_is_reached() {
    let (folder, kept, store) = begin(&[("a", b"content")]);
    fs::write(kept.path().join("secret"), b"secret").unwrap();
    let address = served(&store).await;
    assert_eq!(ask(address, "GET", "/manifests/latest", "").await.status, 404);
    publish_it(&store, folder.path(), "1").await.unwrap();
    let nothing = "0".repeat(64);
    for path in [
        "/",
        "/secret",
        "/files/secret/a",
        "/files/..%2Fsecret/a",
        "/files/../secret",
        "/manifests/..%2Fsecret",
        "/manifests/2",
        "/manifests/%2e%2e",
        &format!("/files/{nothing}/a"),
        &format!("/files/{}/a", nothing.replace('0', "F")),
    ] {
        let answer = ask(address, "GET", path, "").await;
        assert_eq!((answer.status, answer.header("cache-control")), (404, Some("no-store")), "{path}");
        assert!(String::from_utf8(answer.body).unwrap().contains("\"not_found\""), "{path}");
    }
    // Nobody can have what was never published.
    for (path, tag) in [(format!("/files/{nothing}/a"), nothing.as_str()), ("/manifests/2".into(), "2")] {
        for known in [format!("\"{tag}\""), "*".into()] {
            let answer = ask(address, "GET", &path, &format!("If-None-Match: {known}\r\n")).await;
            assert_eq!(answer.status, 404, "{path} {known}");
        }
    }
    let post = ask(address, "POST", "/manifests/1", "").await;
    assert_eq!((post.status, post.header("allow")), (405, Some("GET, HEAD")));
}

#[tokio::test]
async fn a_latest_version_that_is_none_is_a_503_until_it_is_one() {
    let (folder, kept, store) = begin(&[("a", b"content")]);
    publish_it(&store, folder.path(), "1").await.unwrap();
    let address = served(&store).await;
    fs::write(kept.path().join("latest"), b"../secret").unwrap();
    let answer = ask(address, "GET", "/manifests/latest", "").await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("5")));
    fs::write(kept.path().join("latest"), b"1\n").unwrap();
    assert_eq!(ask(address, "GET", "/manifests/latest", "").await.status, 200);
}

#[tokio::test]
async fn a_manifest_is_known_by_its_version_without_being_read() {
    let (folder, kept, store) = begin(&[("a", b"content")]);
    publish_it(&store, folder.path(), "1.4").await.unwrap();
    let address = served(&store).await;
    // Longer than what is ever read into memory.
    let manifest = fs::File::options().write(true).open(kept.path().join("manifests/1.4.json")).unwrap();
    manifest.set_len(100 << 20).unwrap();
    for (path, cached) in
        [("/manifests/1.4", "public, max-age=31536000, immutable"), ("/manifests/latest", "no-cache")]
    {
        let head = ask(address, "HEAD", path, "").await;
        assert_eq!((head.status, head.header("content-length")), (200, Some("104857600")), "{path}");
        assert_eq!(
            (head.header("etag"), head.header("cache-control")),
            (Some("\"1.4\""), Some(cached)),
            "{path}"
        );
        assert_eq!(ask(address, "GET", path, "If-None-Match: \"1.4\"\r\n").await.status, 304, "{path}");
        assert_eq!(ask(address, "GET", path, "If-None-Match: \"1.3\"\r\n").await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn of_several_who_publish_a_version_at_once_one_has_it() {
    let (first, _kept, store) = begin(&[("a", b"the same")]);
    let others: Vec<TempDir> = (0..6).map(|_| tempfile::tempdir().unwrap()).collect();
    for (nth, folder) in others.iter().enumerate() {
        write(folder.path(), &[("a", nth.to_string().as_bytes())]);
    }
    let publish = |folder: &TempDir| {
        let (store, folder) = (store.clone(), folder.path().to_owned());
        spawn_local(async move { publish_it(&store, &folder, "1").await })
    };
    let local = LocalSet::new();
    let at_once = local.run_until(async {
        // Two of them have the same files, and so are one.
        let all: Vec<_> = [&first, &first].into_iter().chain(&others).map(publish).collect();
        let mut done = Vec::new();
        for (nth, one) in all.into_iter().enumerate() {
            match one.await.unwrap() {
                Ok(_) => done.push(nth.max(1)),
                Err(PublishError::Taken(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
        done.dedup();
        done
    });
    let done = at_once.await;
    assert_eq!(done.len(), 1, "{done:?}");
}

#[test]
fn addresses_are_folders_or_buckets() {
    for address in ["", "s3://", "s3:///prefix", "http://bucket", "file:///tmp"] {
        let error = Store::open(address).unwrap_err();
        assert!(matches!(error, StoreError::Address(_)), "{address:?}: {error}");
    }
}
