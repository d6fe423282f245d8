//! An OpenID Connect provider as a child process: `tests/oidc`, which npm installs.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::http::{Cookies, http};

/// A running provider; it is killed on drop.
#[derive(Debug)]
pub struct IdentityProvider {
    child: Child,
    /// Where it is.
    pub address: SocketAddr,
}

impl IdentityProvider {
    /// What a node is called there, and what proves that.
    pub const CLIENT: (&str, &str) = ("vyuha", "a secret of the tests, 32 bytes and more");
    /// Where it sends people back to.
    pub const REDIRECT_URI: &str = "https://play.example.com/signed-in";

    /// Starts a provider.
    ///
    /// # Panics
    /// If it cannot be installed or started.
    pub fn start() -> IdentityProvider {
        IdentityProvider::start_at(0)
    }

    fn start_at(port: u16) -> IdentityProvider {
        let mut child = Command::new("node")
            .arg("provider.js")
            .arg(port.to_string())
            .current_dir(installed())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("node starts (on Debian: apt-get install nodejs npm)");
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        stdout.read_line(&mut line).expect("the provider says where it is");
        let address = line.trim().strip_prefix("http://").and_then(|address| address.parse().ok());
        IdentityProvider { child, address: address.expect("the provider says where it is") }
    }

    /// Its own name for itself.
    pub fn issuer(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Ends it.
    pub fn stop(&mut self) {
        self.child.kill().expect("the provider can be killed");
        self.child.wait().expect("the provider can be waited for");
    }

    /// Starts it again where it was, with other keys.
    pub fn start_again(&mut self) {
        *self = IdentityProvider::start_at(self.address.port());
    }

    /// Signs with other keys from now on.
    pub fn turn_keys(&self) {
        self.control(&json!({ "turn_keys": true }));
    }

    /// Plants a fault in every ID token from now on; an empty one mends them.
    pub fn plant(&self, fault: &Value) {
        self.control(&json!({ "fault": fault }));
    }

    /// How often its keys were fetched.
    pub fn key_fetches(&self) -> u64 {
        self.control(&json!({}))["key_fetches"].as_u64().expect("a number")
    }

    fn control(&self, order: &Value) -> Value {
        let answer = http(self.address, "POST", "/control", &[], Some(order)).expect("the provider answers");
        assert_eq!(answer.status, 200, "{order}");
        answer.body
    }

    /// Goes to the page of an authorization as `who`, in a browser without any past, until it is sent back: the parameters
    /// that it is sent back with.
    pub fn visit(&self, authorization_url: &str, who: &str) -> Vec<(String, String)> {
        let mut cookies = Cookies::default();
        let mut url = format!("{authorization_url}&login_hint={who}");
        for _ in 0..10 {
            if let Some(query) = url.strip_prefix(Self::REDIRECT_URI) {
                let pairs = query.trim_start_matches('?').split('&').filter_map(|pair| pair.split_once('='));
                return pairs.map(|(name, value)| (name.to_owned(), unescape(value))).collect();
            }
            let target = url.strip_prefix(&self.issuer()).unwrap_or(&url);
            let header = cookies.header();
            let answer = http(self.address, "GET", target, &[("Cookie", &header)], None);
            let answer = answer.expect("the provider answers");
            cookies.take(&answer);
            answer.header("location").unwrap_or_else(|| panic!("{answer:?}")).clone_into(&mut url);
        }
        panic!("the provider sends in circles");
    }
}

impl Drop for IdentityProvider {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The folder of the provider, with what its lock file asks for.
fn installed() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("oidc");
        let written = |file: &str| fs::metadata(folder.join(file)).and_then(|file| file.modified()).ok();
        // npm writes it from the lock file when it is done.
        let is_installed = written("node_modules/.package-lock.json")
            .is_some_and(|installed| Some(installed) >= written("package-lock.json"));
        if !is_installed {
            let done = Command::new("npm")
                .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
                .current_dir(&folder)
                .output()
                .expect("npm starts (on Debian: apt-get install npm)");
            assert!(done.status.success(), "npm ci: {}", String::from_utf8_lossy(&done.stderr));
        }
        folder
    })
}

/// A parameter of a query as it was meant.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let escaped =
            digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(|_| *first == b'%');
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &after[2..] } else { after };
    }
    String::from_utf8(bytes).expect("a parameter is UTF-8")
}
