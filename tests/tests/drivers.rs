//! What drives a node's sockets: io_uring where that is allowed, plain system calls where it is not.

use rustix::io::Errno;
use vyuha_protocol::ZoneId;
use vyuha_protocol::motion::Heading;
use vyuha_tests::{Confinement, Node, Options, Player, run_node};

/// Below what an executor needs.
const LITTLE_LOCKED_MEMORY_BYTES: u64 = 64 << 10;

fn blocked(errno: Errno) -> Confinement {
    Confinement { io_uring_setup: Some(errno), ..Confinement::default() }
}

fn cramped() -> Confinement {
    Confinement { locked_memory_bytes: Some(LITTLE_LOCKED_MEMORY_BYTES), ..Confinement::default() }
}

/// How many rings the node keeps.
fn rings(node: &Node) -> usize {
    let files = std::fs::read_dir(format!("/proc/{}/fd", node.pid().as_raw_nonzero())).expect("it runs");
    let links = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
    links.filter(|link| link.to_string_lossy().contains("[io_uring]")).count()
}

/// Somebody signs up, sees the world, walks in it, and leaves; then the node ends in good order.
fn play(mut node: Node) {
    let mut player = Player::sign_up(&node, "Asha", ZoneId(1));
    player.until("an NPC", |core| core.world().iter().find(|entity| !entity.kind.is_player()).map(|_| ()));
    let walk = player.walk([Heading { x: 127, y: 0 }; 20]);
    assert_eq!(walk.corrections, 0);
    assert!(!walk.trail.is_empty());
    player.log_out();
    node.terminate();
}

/// A node that is left the choice falls back, says why and what to change, and is played on.
fn check_fallback(confinement: Confinement, words: &[&str]) {
    let node = Node::start(&Options::example_world().confined(confinement));
    let log = node.log();
    for word in words.iter().chain(&["plain system calls are used instead", "driven by syscalls"]) {
        assert!(log.contains(word), "{word:?} is missing in:\n{log}");
    }
    assert_eq!((node.driver.as_str(), rings(&node)), ("syscalls", 0));
    play(node);
}

#[test]
fn a_node_uses_io_uring_where_it_may() {
    let node = Node::start(&Options::example_world());
    assert_eq!(node.driver, "io_uring");
    // For each of two shards three of the executor and one of the sockets.
    assert_eq!(rings(&node), 8);
    play(node);
}

#[test]
fn a_node_that_is_told_to_do_without_io_uring_does() {
    let node = Node::start(&Options::example_world().with("net-driver", "syscalls"));
    assert_eq!((node.driver.as_str(), rings(&node)), ("syscalls", 0));
    assert!(!node.log().contains("instead"), "{}", node.log());
    play(node);
}

#[test]
fn where_a_seccomp_filter_blocks_io_uring_the_node_does_without() {
    check_fallback(blocked(Errno::PERM), &["seccomp", "--security-opt seccomp=", "io_uring_setup"]);
}

#[test]
fn where_a_sandbox_has_no_io_uring_the_node_does_without() {
    check_fallback(blocked(Errno::NOSYS), &["no io_uring", "Linux 6.1"]);
}

#[test]
fn where_too_little_memory_may_be_locked_the_node_does_without() {
    check_fallback(cramped(), &["65536 bytes of memory may be locked", "ulimit -l", "LimitMEMLOCK="]);
}

#[test]
fn a_node_that_is_told_to_use_io_uring_does_not_start_where_it_may_not() {
    for (confinement, words) in [
        (blocked(Errno::PERM), ["--security-opt seccomp=", "set net.driver to auto or to syscalls"]),
        (cramped(), ["ulimit -l", "set net.driver to auto or to syscalls"]),
    ] {
        let options = Options::example_world().with("net-driver", "io_uring").confined(confinement);
        let (status, stdout, stderr) = run_node(&options);
        assert_eq!((status, stdout.as_str()), (Some(1), ""), "{stderr}");
        for word in words {
            assert!(stderr.contains(word), "{word:?} is missing in:\n{stderr}");
        }
    }
}
