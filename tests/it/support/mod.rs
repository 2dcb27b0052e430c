//! What the tests stand on: the lab's real parts (engine, images, npm packages,
//! a browser from elsewhere), each taken with one call and given back by itself.
//!
//! Everything a test makes outside its own process carries the process's tag
//! ([`tag`]), so that whatever a killed run has left is found and removed by the
//! next one ([`owner`], [`is_gone`]).

// Each subject uses the part that it needs.
#![allow(dead_code)]

pub mod asking;
pub mod authority;
pub mod bench;
pub mod browser;
pub mod calls;
pub mod client;
pub mod clock;
pub mod cloud;
pub mod cluster;
pub mod cluster_case;
pub mod console;
pub mod control_ui;
pub mod crowd;
pub mod disk;
pub mod edge;
pub mod eks_identity;
pub mod engine;
pub mod executable;
mod fake_cluster;
mod fake_own_cluster;
pub mod fake_target;
pub mod lab;
pub mod life;
pub mod listeners;
pub mod machine_case;
pub mod memory_gateway;
pub mod netns;
pub mod outbox;
pub mod own_server;
pub mod placed;
pub mod ports;
pub mod private_client;
pub mod product;
pub mod reading;
pub mod real;
pub mod real_server;
pub mod receiver;
pub mod registry;
pub mod role;
pub mod scene;
pub mod schemathesis;
pub mod server;
pub mod silent;
pub mod source;
pub mod spellings;
pub mod standin;
pub mod stub_provider;
pub mod terraform;
pub mod unlimited;

/// What the names of this process's things contain: `oclab-PID-`.
pub fn tag() -> String {
    format!("oclab-{}-", std::process::id())
}

/// The process whose tag stands in `name`, if one does.
pub fn owner(name: &str) -> Option<u32> {
    name.split("oclab-").skip(1).find_map(|rest| {
        let (pid, _) = rest.split_once('-')?;
        pid.parse().ok()
    })
}

/// Whether the process `pid` has ended.
pub fn is_gone(pid: u32) -> bool {
    !std::path::Path::new(&format!("/proc/{pid}")).exists()
}

/// Says that a test is skipped, and why; with `CI=true` a missing part is a failure.
#[allow(clippy::print_stderr)]
pub fn skip(reason: &str) {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{reason}");
    eprintln!("skipped: {reason}");
}
