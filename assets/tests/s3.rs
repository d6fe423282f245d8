//! An S3-style service that is slow, stalls and fails, by real sockets and a clock that is put forward.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, advance, pause, resume};
use vyuha_assets::{PublishError, Store, publish, serve};

/// By which the clock is put forward: a machine that is busy misses some before the store takes the service for silent.
const STEP: Duration = Duration::from_secs(6);

/// How the service hands out what it keeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mood {
    /// At once.
    Well,
    /// An eighth at each step: all in all longer than it may say nothing.
    Drips,
    /// Half of it, and nothing more.
    Stalls,
    /// With 500, all of it.
    Fails,
}

struct Bucket {
    objects: HashMap<String, Vec<u8>>,
    mood: Mood,
}

type Shared = Arc<Mutex<Bucket>>;

impl Bucket {
    fn answer(&mut self, method: &str, path: &str, only_new: bool, sent: Vec<u8>) -> (&'static str, Vec<u8>) {
        match method {
            _ if self.mood == Mood::Fails => ("500 Internal Server Error", Vec::new()),
            "PUT" if only_new && self.objects.contains_key(path) => ("412 Precondition Failed", Vec::new()),
            "PUT" => {
                self.objects.insert(path.to_owned(), sent);
                ("200 OK", Vec::new())
            }
            "GET" | "HEAD" => match self.objects.get(path) {
                Some(content) => ("200 OK", content.clone()),
                None => ("404 Not Found", Vec::new()),
            },
            _ => ("501 Not Implemented", Vec::new()),
        }
    }
}

async fn line(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok().filter(|bytes| *bytes > 0)?;
    Some(line.trim_end().to_owned())
}

/// Answers the requests of one connection until it ends.
async fn serve_bucket(stream: TcpStream, bucket: Shared) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let request = line(&mut stream).await?;
        let (method, path) = request.strip_suffix(" HTTP/1.1")?.split_once(' ')?;
        let (mut bytes, mut only_new) = (0, false);
        while let Some((name, value)) = line(&mut stream).await?.to_ascii_lowercase().split_once(": ") {
            match name {
                "content-length" => bytes = value.parse().ok()?,
                "if-none-match" => only_new = value == "*",
                _ => {}
            }
        }
        let mut sent = vec![0; bytes];
        stream.read_exact(&mut sent).await.ok()?;
        let (mood, (status, content)) = {
            let mut bucket = bucket.lock().unwrap();
            (bucket.mood, bucket.answer(method, path, only_new, sent))
        };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\nLast-Modified: Sun, 22 Nov 2026 00:00:00 GMT\r\nETag: \"e\"\r\n\r\n",
            content.len()
        );
        stream.write_all(head.as_bytes()).await.ok()?;
        if method == "HEAD" {
            continue;
        }
        for (nth, part) in content.chunks(content.len().div_ceil(8).max(1)).enumerate() {
            match mood {
                Mood::Drips => pass(1).await,
                // Whoever waits for more has given up by then.
                Mood::Stalls if nth == 4 => {
                    pass(12).await;
                    return None;
                }
                _ => {}
            }
            stream.write_all(part).await.ok()?;
        }
    }
}

/// Lets everybody read what has come, and then some time go by, so many times.
async fn pass(times: u32) {
    for _ in 0..times {
        spawn_blocking(|| std::thread::sleep(Duration::from_millis(150))).await.unwrap();
        advance(STEP).await;
    }
}

/// Status and body of an answer, whose connection may break off.
async fn get(address: SocketAddr, path: &str) -> (u16, Vec<u8>) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: assets\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let (mut answer, mut chunk) = (Vec::new(), [0; 4096]);
    while let Ok(bytes @ 1..) = stream.read(&mut chunk).await {
        answer.extend_from_slice(&chunk[..bytes]);
    }
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), answer[end + 4..].to_vec())
}

#[tokio::test]
async fn a_slow_bucket_is_waited_for_and_a_silent_one_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    for (name, value) in [
        ("AWS_ENDPOINT", endpoint.as_str()),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_REGION", "us-east-1"),
    ] {
        // SAFETY: this is the only test of its program, and nothing else in it runs yet.
        unsafe { std::env::set_var(name, value) };
    }
    let bucket = Arc::new(Mutex::new(Bucket { objects: HashMap::new(), mood: Mood::Well }));
    tokio::spawn({
        let bucket = bucket.clone();
        async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve_bucket(stream, bucket.clone()));
            }
        }
    });
    let set = |mood: Mood| bucket.lock().unwrap().mood = mood;

    let folder = tempfile::tempdir().unwrap();
    let content: Vec<u8> = (0..4000_u32).map(|nth| (nth * 7 % 251) as u8).collect();
    std::fs::write(folder.path().join("a.bin"), &content).unwrap();
    let store = Store::open("s3://bucket/game").unwrap();
    let publish_it = async || publish(&store, folder.path(), "1".parse().unwrap(), true, |_, _| {}).await;
    publish_it().await.unwrap();
    let mut names: Vec<String> = bucket.lock().unwrap().objects.keys().cloned().collect();
    names.sort();
    let hash = store.manifest(&"1".parse().unwrap()).await.unwrap().files[0].hash;
    let expected = [format!("files/{hash}"), "latest".into(), "manifests/1.json".into()];
    assert_eq!(names, expected.map(|name| format!("/bucket/game/{name}")));
    publish_it().await.expect("the same again is nothing new");
    std::fs::write(folder.path().join("a.bin"), b"another").unwrap();
    let taken = publish_it().await.unwrap_err();
    assert!(matches!(taken, PublishError::Taken(_)), "{taken}");

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, store.clone(), std::future::pending()));
    let path = format!("/files/{hash}/a.bin");
    let is_whole = async || get(address, &path).await == (200, content.clone());
    assert!(is_whole().await);
    // While something runs beside, the clock does not go forward by itself.
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let beside = spawn_blocking(move || ended.recv());
    pause();
    set(Mood::Drips);
    let begun = Instant::now();
    assert!(is_whole().await, "a slow download is cut off after {:?}", begun.elapsed());
    assert!(begun.elapsed() >= 8 * STEP, "{:?}", begun.elapsed());
    set(Mood::Stalls);
    let begun = Instant::now();
    let (status, part) = get(address, &path).await;
    assert!(status == 200 && part == content[..2000], "{status}, {} bytes", part.len());
    assert!(begun.elapsed() < Duration::from_mins(2), "{:?}", begun.elapsed());
    resume();
    drop(end);
    assert!(beside.await.unwrap().is_err());
    set(Mood::Fails);
    for path in [path.as_str(), "/manifests/1", "/manifests/latest"] {
        assert_eq!(get(address, path).await.0, 503, "{path}");
    }
    set(Mood::Well);
    assert_eq!(get(address, "/manifests/latest").await.0, 200);
}
