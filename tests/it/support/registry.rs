//! A real image registry on loopback, which every engine takes without TLS.

use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use super::engine::Engine;
use super::lab::{command, skip};
use super::ports::free_port;

/// A registry. It ends with the test.
pub struct Registry {
    process: Child,
    port: u16,
    data: tempfile::TempDir,
}

impl Registry {
    /// Starts one; `None`, after `skipped: REASON`, where Debian's registry is not installed.
    pub fn start() -> Option<Self> {
        if !Path::new("/usr/bin/docker-registry").exists() {
            return skip("docker-registry missing: run tests/lab/setup packages");
        }
        let data = tempfile::tempdir().expect("a directory");
        let port = free_port();
        let process = serve(data.path(), port);
        let registry = Self { process, port, data };
        registry.wait();
        Some(registry)
    }

    fn wait(&self) {
        let end = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            assert!(Instant::now() < end, "the registry does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The reference of an image in it.
    pub fn image(&self, name: &str) -> String {
        format!("127.0.0.1:{}/{name}", self.port)
    }

    /// Stops it.
    pub fn stop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Starts it again.
    pub fn start_again(&mut self) {
        self.process = serve(self.data.path(), self.port);
        self.wait();
    }

    /// Makes an image with one small file and pushes it; answers its digest. The engine does not
    /// keep it.
    pub fn push(&self, engine: &Engine, image: &str, content: &str) -> String {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("content"), content).expect("a file");
        let archive = dir.path().join("root.tar");
        let mut builder = tar::Builder::new(std::fs::File::create(&archive).expect("a file"));
        builder
            .append_path_with_name(dir.path().join("content"), "content")
            .and_then(|()| builder.finish())
            .expect("packs");
        engine.docker(&["import", &archive.to_string_lossy(), image]);
        engine.docker(&["push", "--quiet", image]);
        let format = "{{index .RepoDigests 0}}";
        let digest = engine.docker(&["image", "inspect", "--format", format, image]);
        engine.docker(&["image", "rm", image]);
        digest
    }

    /// The same from elsewhere: what the engine has under that name stays.
    pub fn push_beside(&self, engine: &Engine, image: &str, content: &str) -> String {
        let kept = format!("openclaw-lab/{}", Engine::name("kept"));
        engine.docker(&["tag", image, &kept]);
        let digest = self.push(engine, image, content);
        engine.docker(&["tag", &kept, image]);
        engine.docker(&["image", "rm", &kept]);
        digest
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.stop();
    }
}

fn serve(data: &Path, port: u16) -> Child {
    let config = data.join("config.yml");
    let text = format!(
        "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
         http: {{addr: \"127.0.0.1:{port}\"}}\n",
        data.display()
    );
    std::fs::write(&config, text).expect("a configuration");
    command("/usr/bin/docker-registry")
        .arg("serve")
        .arg(config)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the registry starts")
}
