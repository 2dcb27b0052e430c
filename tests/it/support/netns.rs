//! A network namespace that stands for "somewhere on the internet": whatever
//! runs in it reaches this host over a veth pair, from an address of
//! 203.0.113.0/24, and reaches nothing of the host's loopback.
//!
//! Each takes one /30 of 203.0.113.128/25 (the lower half is left to the
//! simulated cloud's public addresses). The host's end of the pair is named
//! after that /30, so that the kernel itself refuses to give it out twice.

use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::AsFd as _;
use std::process::{Command, Output};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::lab::{Lab, Part, command};

const SLOTS: u8 = 32;
const PREFIX: &str = "oclab-";

/// A namespace, removed with everything in it when dropped.
#[derive(Debug)]
pub struct NetNs {
    name: String,
    link: String,
    slot: u8,
}

impl NetNs {
    /// Makes one, after sweeping those of dead test runs. `None` (after
    /// `skipped: REASON`) where this machine cannot have one.
    pub fn create() -> Option<Self> {
        Lab::require(Part::NetNs)?;
        let _turn = turn();
        sweep();
        let netns = (0..SLOTS).find_map(Self::claim);
        Some(netns.expect("all 32 of the lab's /30 networks are in use"))
    }

    fn claim(slot: u8) -> Option<Self> {
        let netns =
            Self { name: format!("{}{slot}", super::tag()), link: format!("oclv{slot}"), slot };
        if std::path::Path::new(&format!("/sys/class/net/{}", netns.link)).exists() {
            // Dropping it would take down the one that is there.
            std::mem::forget(netns);
            return None;
        }
        if !ip(&["netns", "add", &netns.name]).status.success() {
            // Another thread of this process is at the same slot.
            std::mem::forget(netns);
            return None;
        }
        let pair = ip(&[
            "link",
            "add",
            &netns.link,
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "netns",
            &netns.name,
        ]);
        if !pair.status.success() {
            // Another process was quicker: only the namespace is ours.
            ip(&["netns", "del", &netns.name]);
            std::mem::forget(netns);
            return None;
        }
        let host = format!("{}/30", netns.host());
        let inside = format!("{}/30", netns.inside());
        let gateway = netns.host().to_string();
        for args in [
            ["addr", "add", &host, "dev", &netns.link].as_slice(),
            &["link", "set", &netns.link, "up"],
            &["-n", &netns.name, "addr", "add", &inside, "dev", "eth0"],
            &["-n", &netns.name, "link", "set", "lo", "up"],
            &["-n", &netns.name, "link", "set", "eth0", "up"],
            &["-n", &netns.name, "route", "add", "default", "via", &gateway],
        ] {
            let output = ip(args);
            let why = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "ip {args:?}: {why}");
        }
        Some(netns)
    }

    /// This host's address as seen from inside: what a foreign browser opens.
    pub fn host(&self) -> Ipv4Addr {
        Ipv4Addr::new(203, 0, 113, 128 + 4 * self.slot + 1)
    }

    /// The address that whatever runs inside comes from.
    pub fn inside(&self) -> Ipv4Addr {
        Ipv4Addr::new(203, 0, 113, 128 + 4 * self.slot + 2)
    }

    /// The namespace's name, as `ip netns` has it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Does something inside: what it connects to, it connects to from there.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        within(&format!("/run/netns/{}", self.name), work)
    }

    /// A command that runs inside.
    pub fn command(&self, program: &str) -> Command {
        let mut inside = command("ip");
        inside.args(["netns", "exec", &self.name, program]);
        inside
    }
}

/// Does something in a network namespace, on a thread of its own.
pub fn within<T: Send>(namespace: &str, work: impl FnOnce() -> T + Send) -> T {
    let namespace = std::fs::File::open(namespace).expect("it is");
    let inside = || {
        let kind = Some(LinkNameSpaceType::Network);
        move_into_link_name_space(namespace.as_fd(), kind).expect("root may enter it");
        work()
    };
    let done = std::thread::scope(|scope| scope.spawn(inside).join());
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

impl Drop for NetNs {
    fn drop(&mut self) {
        // One that could not be made goes while its maker has the turn.
        let _turn = (!std::thread::panicking()).then(turn);
        remove(&self.name);
        // The kernel takes the pair down with the namespace, but in its own
        // time; the /30 is free for the next test only when the name is.
        ip(&["link", "del", &self.link]);
    }
}

/// Who makes or removes one, in this process or another: a slot has one name after the other.
fn turn() -> File {
    let lock = File::create("/run/lock/oclab-netns").expect("a file for a lock");
    lock.lock().expect("a lock for network namespaces");
    lock
}

fn remove(name: &str) {
    let pids = ip(&["netns", "pids", name]);
    for pid in String::from_utf8_lossy(&pids.stdout).lines().filter_map(|pid| pid.parse().ok()) {
        if let Some(pid) = rustix::process::Pid::from_raw(pid) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
    ip(&["netns", "del", name]);
}

fn sweep() {
    let list = ip(&["netns", "list"]);
    for line in String::from_utf8_lossy(&list.stdout).lines() {
        let name = line.split_whitespace().next().unwrap_or_default();
        if name.starts_with(PREFIX) && super::owner(name).is_some_and(super::is_gone) {
            remove(name);
            if let Some((_, slot)) = name.rsplit_once('-') {
                ip(&["link", "del", &format!("oclv{slot}")]);
            }
        }
    }
}

fn ip(args: &[&str]) -> Output {
    command("ip").args(args).output().expect("run ip")
}
