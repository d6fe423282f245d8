//! One thread of a node, stopped while the others run on: how a disk that takes its time looks from outside.

use std::fs;

use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use crate::Node;

/// A thread that stands still until this is dropped. Must be dropped by the thread that stopped it, and before the node's
/// end is waited for: a process ends only once whoever traces its threads has taken note.
#[derive(Debug)]
pub struct StoppedThread {
    id: Pid,
}

impl StoppedThread {
    /// Stops a node's thread of this name.
    ///
    /// # Panics
    /// If there is no such thread, or the machine does not let a process trace its own children.
    pub fn of(node: &Node, name: &str) -> StoppedThread {
        let tasks = format!("/proc/{}/task", node.pid().as_raw_nonzero());
        let tasks = fs::read_dir(tasks).expect("the node runs");
        let named = tasks.map_while(Result::ok).find(|task| {
            // A thread may have ended since it was listed.
            fs::read_to_string(task.path().join("comm")).is_ok_and(|comm| comm.trim_end() == name)
        });
        let task = named.unwrap_or_else(|| panic!("the node has no thread {name}"));
        let id = task.file_name().to_str().and_then(|id| id.parse().ok()).map(Pid::from_raw);
        let id = id.expect("threads are numbered");
        ptrace::seize(id, ptrace::Options::empty()).expect("a process may trace its children");
        ptrace::interrupt(id).expect("it is traced");
        waitpid(id, Some(WaitPidFlag::__WALL)).expect("it stops");
        StoppedThread { id }
    }
}

impl Drop for StoppedThread {
    fn drop(&mut self) {
        // A thread that was killed cannot be let go, only taken note of.
        if ptrace::detach(self.id, None).is_err() {
            let _ = waitpid(self.id, Some(WaitPidFlag::__WALL));
        }
    }
}
