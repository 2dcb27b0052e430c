//! The `docker` target on a real engine, where something is wrong: the gateway exits with 78, is
//! hostile, or stopped; names are taken by somebody else; the registry moves on, or is down.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use openclaw_pipeline::domain::{Failure, FailureKind};
use openclaw_pipeline::targets::{NotUp, Observed, Target};
use serde_json::{Value, json};

use crate::support::engine::Engine;
use crate::support::executable::executable;
use crate::support::placed::{MORE, PATIENCE, Placed, again, engine, scripted};
use crate::support::ports::free_port;
use crate::support::registry::Registry;

#[tokio::test]
async fn exit_78_is_mended_once_and_held_until_it_is_mended_by_hand() {
    let Some(engine) = engine("exit_78_is_mended_once_and_held_until_it_is_mended_by_hand") else {
        return;
    };
    let Some(image) = scripted(engine) else { return };
    let mut placed = Placed::new(engine, image.image());
    placed.fetch().await;
    placed.place().await.expect("is placed");
    assert_eq!(placed.observe().await, Observed::Stopped);
    placed.start().await;
    let held = placed.until("held", |seen| matches!(seen, Observed::Held { .. })).await;
    let cause = "Error: the state has schema 18; this build supports 17".to_owned();
    assert_eq!(held, Observed::Held { cause: cause.clone() });
    let marks = placed.show().await["marks"].take();
    assert_eq!((&marks["starts"], &marks["doctored"]), (&json!(2), &json!(1)), "{marks}");

    // Held again after a restart that mended nothing, and after being stopped, too.
    placed.start().await;
    placed.until("held", |seen| matches!(seen, Observed::Held { .. })).await;
    assert_eq!(placed.show().await["marks"]["starts"], 4, "it was started again");
    placed.stop().await;
    assert_eq!(placed.observe().await, Observed::Held { cause });

    // The gateway's own command line works there, as it does in the gateway's container.
    let seen = placed.show().await;
    assert_eq!(seen["env"]["ANTHROPIC_API_KEY"], "a-key");
    assert_eq!(seen["env"]["MORE"], MORE);
    assert_eq!(seen["env"]["DOCKER_HOST"], "tcp://192.0.2.1:2375");
    assert_eq!(seen["env"]["OPENCLAW_SUPERVISOR_MODE"], "external");
    assert_eq!(seen["cap"], "0000000000000000");
    placed.openclaw(&["mend"]).await;
    let label = format!("label=io.openclaw.pipeline.id={}", placed.site.deployment.id);
    let left = engine.docker(&["container", "ls", "-aq", "--filter", &label]);
    assert_eq!(left.lines().count(), 1, "its helpers are gone");

    placed.start().await;
    placed.until("running", |seen| *seen == Observed::Running).await;
    let started = |placed: &Value| placed["marks"]["starts"].clone();
    // Its container runs a moment before it says so itself.
    let end = std::time::Instant::now() + PATIENCE;
    while started(&placed.show().await) != 5 {
        assert!(std::time::Instant::now() < end, "{}", placed.show().await);
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(placed.observe().await, Observed::Running, "what an earlier run said is history");
    placed.stop().await;
    assert_eq!(placed.observe().await, Observed::Stopped);
    assert_eq!(placed.show().await["marks"]["drained"], 1, "it was let end by itself");
}

#[tokio::test]
async fn what_is_somebody_elses_is_never_touched() {
    let Some(engine) = engine("what_is_somebody_elses_is_never_touched") else { return };
    let Some(image) = scripted(engine) else { return };
    let mut placed = Placed::new(engine, image.image());
    placed.fetch().await;
    let name = placed.name();
    let conflict = |failure: &Failure, what: &str| {
        assert_eq!(failure.kind, FailureKind::Conflict, "{failure}");
        assert!(failure.message.contains(what), "{failure}");
        assert!(failure.remedy.as_ref().is_some_and(|it| it.contains("another name")), "{failure}");
    };

    // A volume of the very name, and a container of the very project.
    let volume = format!("{name}_config");
    engine.docker(&["volume", "create", "--label", "com.docker.compose.project=blog", &volume]);
    let refused = placed.place().await.expect_err("the volume is not its own");
    conflict(&refused, "the compose project blog");
    let project = format!("com.docker.compose.project={name}");
    let other = Engine::name("other");
    let create = ["container", "create", "--name", &other, "--label", &project, image.image()];
    engine.docker(&create);
    engine.docker(&["volume", "rm", &volume]);
    conflict(&placed.place().await.expect_err("the container is not its own"), &other);
    engine.docker(&["container", "rm", &other]);

    // A container of the very name, of another installation, beside this one's own volumes.
    placed.place().await.expect("is placed");
    engine.docker(&["container", "rm", &name]);
    let id = "io.openclaw.pipeline.id=0199c0de-0000-7000-8000-000000000000";
    let label = "io.openclaw.pipeline.deployment=theirs";
    let theirs = ["container", "create", "--name", &name, "--label", id, "--label", label];
    engine.docker(&[&theirs[..], &[image.image()]].concat());
    conflict(&placed.place().await.expect_err("is not its own"), "theirs of another installation");
    let started = placed.target.start(&placed.site, placed.work()).await;
    conflict(&started.map_err(Failure::from).expect_err("is not its own"), "theirs");
    let asked = placed.target.openclaw(&placed.site, &["show"], false).await;
    conflict(&asked.expect_err("is not its own"), "theirs");
    assert_eq!(placed.observe().await, Observed::Absent);
    placed.stop().await;

    let removed = placed.target.remove(&placed.site, placed.work()).await.expect("removes");
    assert_eq!(removed.len(), 4, "three volumes and a network: {removed:?}");
    engine.docker(&["container", "inspect", &name]);
    let again = placed.target.remove(&placed.site, placed.work()).await.expect("looks");
    assert!(again.is_empty(), "{again:?}");
    engine.docker(&["container", "rm", &name]);
}

#[tokio::test]
async fn a_port_that_is_somebody_elses_is_told_apart_and_another_one_is_published() {
    let test = "a_port_that_is_somebody_elses_is_told_apart_and_another_one_is_published";
    let Some(engine) = engine(test) else { return };
    let Some(image) = scripted(engine) else { return };
    let mut placed = Placed::new(engine, image.image());
    placed.fetch().await;
    placed.place().await.expect("is placed");
    placed.openclaw(&["mend"]).await;
    let refused = async |placed: &Placed, port: u16| {
        let why = placed.target.start(&placed.site, placed.work()).await.expect_err("is taken");
        assert!(matches!(why, NotUp::PortTaken(_)), "{why:?}");
        let failure = Failure::from(why);
        assert_eq!(failure.kind, FailureKind::Conflict, "{failure}");
        assert!(failure.message.contains(&format!("port {port} on 127.0.0.1")), "{failure}");
        assert!(failure.remedy.is_some_and(|remedy| remedy.contains("GATEWAY_PORT")));
    };

    // To the engine a container that publishes it, and a program that listens there, are two things.
    let port = placed.site.port().expect("a port");
    let other = Engine::name("other");
    let publish = format!("127.0.0.1:{port}:1");
    let theirs = ["container", "run", "--detach", "--name", &other, "--publish", &publish];
    let waits = ["--entrypoint", "sleep", image.image(), "600"];
    engine.docker(&[&theirs[..], &waits].concat());
    refused(&placed, port).await;
    engine.docker(&["container", "rm", "--force", &other]);
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("is free again");
    refused(&placed, port).await;

    let free = free_port();
    placed.site.deployment.facts.port = Some(free);
    placed.place().await.expect("is placed anew");
    placed.start().await;
    let container = placed.inspect("container", &placed.name());
    let published = &container["HostConfig"]["PortBindings"]["18789/tcp"];
    assert_eq!(published, &json!([{ "HostIp": "127.0.0.1", "HostPort": free.to_string() }]));
    assert!(placed.show().await["marks"].get("mended").is_some(), "its volumes are the same");
    drop(listener);
}

#[tokio::test]
async fn a_hostile_gateway_reads_no_file_of_this_machine() {
    let Some(engine) = engine("a_hostile_gateway_reads_no_file_of_this_machine") else { return };
    let Some(image) = scripted(engine) else { return };
    let mut placed = Placed::new(engine, image.image());
    placed.fetch().await;
    placed.place().await.expect("is placed");
    let archive = placed.site.layout.home().join("archive.tar.gz");
    let stopped = placed.target.archive(&placed.site, &archive, placed.work()).await;
    let stopped = stopped.expect_err("it does not run");
    assert_eq!(stopped.kind, FailureKind::Conflict);
    assert!(stopped.remedy.is_some_and(|remedy| remedy.contains("openclaw-pipeline start")));

    placed.openclaw(&["mend"]).await;
    placed.start().await;
    let taken = placed.target.archive(&placed.site, &archive, placed.work()).await;
    taken.expect("makes an archive");
    assert_eq!(fs::read_to_string(&archive).expect("the archive"), "an archive");
    fs::remove_file(&archive).expect("goes");
    let hostile = ["exec", &placed.name(), "touch", "/home/node/.openclaw/hostile"];
    engine.docker(&hostile);
    let refused = placed.target.archive(&placed.site, &archive, placed.work()).await;
    assert!(refused.expect_err("a link").message.contains("a symbolic link"));
    assert!(!fs::read_to_string(&archive).is_ok_and(|text| !text.is_empty()));

    let secret = placed.site.layout.home().join("secret.json");
    fs::write(&secret, "{\"secret\": \"of this machine\"}").expect("a file");
    placed.openclaw(&["link", &secret.to_string_lossy()]).await;
    let refused = placed.place().await.expect_err("a link");
    assert!(refused.message.contains("a symbolic link"), "{refused}");
    assert!(refused.remedy.is_some());
}

#[tokio::test]
async fn a_large_archive_is_put_back() {
    let Some(engine) = engine("a_large_archive_is_put_back") else { return };
    let Some(image) = scripted(engine) else { return };
    let mut placed = Placed::new(engine, image.image());
    placed.fetch().await;
    placed.place().await.expect("is placed");
    let archive = placed.site.layout.home().join("archive.tar.gz");
    fs::File::create(&archive).and_then(|file| file.set_len((96 << 20) + 1)).expect("a file");
    placed.target.restore(&placed.site, &archive, placed.work()).await.expect("is put back");
    let marks = placed.show().await["marks"].take();
    assert_eq!(marks["restored"], (96 << 20) + 1, "{marks}");
    assert_eq!(marks.get("openclaw.json"), None, "what was there is gone: {marks}");
}

#[tokio::test]
async fn an_update_gets_what_the_tag_names_today() {
    let Some(engine) = engine("an_update_gets_what_the_tag_names_today") else { return };
    let Some(mut registry) = Registry::start() else { return };
    let image = registry.image("gateway:latest");
    let first = registry.push(engine, &image, "first");
    let mut placed = Placed::new(engine, &image);
    placed.fetch().await;
    assert_eq!(placed.site.deployment.facts.artefact.as_ref(), Some(&first));
    let second = registry.push_beside(engine, &image, "second");
    assert_ne!(first, second);

    let launched = placed.target.fetch(&placed.site, placed.work()).await.expect("is here");
    assert_eq!(launched.id, first, "a launch takes what is here");
    registry.stop();
    let newest = placed.target.fetch_newest(&placed.site, placed.work()).await.expect("is here");
    assert_eq!(newest.id, first);
    let notes = placed.notes.0.lock().expect("not poisoned").join("\n");
    assert!(notes.contains("using the one that is here"), "{notes}");

    registry.start_again();
    let newest = placed.target.fetch_newest(&placed.site, placed.work()).await.expect("is pulled");
    assert_eq!(newest.id, second);

    // The first is superseded; while a container is made of it, it stays.
    let name = Engine::name("user");
    engine.docker(&["container", "create", "--name", &name, &first, "x"]);
    let superseded = [first.clone(), second.clone(), "2026.9.5".into(), "x@sha256:1".into()];
    assert!(placed.target.prune(&superseded).await.expect("looks").is_empty());
    engine.docker(&["container", "rm", &name]);
    let removed = placed.target.prune(&superseded).await.expect("prunes");
    assert_eq!(removed, [format!("the image {first}")]);
    assert!(!engine.has_image(&first) && engine.has_image(&image));
    engine.docker(&["image", "rm", "--force", &image]);

    let missing = Placed::new(engine, &registry.image("nothing:latest"));
    let failure = missing.target.fetch(&missing.site, missing.work()).await.expect_err("missing");
    assert!(failure.remedy.expect("a remedy").contains("name and tag"), "{}", failure.message);
    registry.stop();
    let failure = missing.target.fetch(&missing.site, missing.work()).await.expect_err("down");
    assert!(failure.remedy.expect("a remedy").contains("cannot be reached"), "{}", failure.message);
}

#[tokio::test]
async fn the_container_is_hardened_with_either_compose() {
    let test = "the_container_is_hardened_with_either_compose";
    let Some(engine) = engine(test) else { return };
    if std::env::var_os("DOCKER_CONFIG").is_none() {
        // The plugin's protocol with the program behind it, where only that is installed.
        let config = tempfile::tempdir().expect("a directory");
        let plugins = config.path().join("cli-plugins");
        fs::create_dir(&plugins).expect("a directory");
        let plugin = plugins.join("docker-compose");
        let script = "#!/bin/sh\nif [ \"$1\" = docker-cli-plugin-metadata ]; then\n\
                      echo '{\"SchemaVersion\":\"0.1.0\",\"Vendor\":\"lab\",\"Version\":\"1\"}'\n\
                      exit\nfi\nshift\nexec docker-compose \"$@\"\n";
        executable(&plugin, script);
        again(engine, test, &[("DOCKER_CONFIG", config.path())]);
    }
    let Some(image) = scripted(engine) else { return };
    let mut placed = Placed::new(engine, image.image());
    placed.fetch().await;
    placed.place().await.expect("is placed");
    placed.place().await.expect("and placed again");

    let name = placed.name();
    let container = placed.inspect("container", &name);
    let host = &container["HostConfig"];
    assert_eq!(host["SecurityOpt"], json!(["no-new-privileges:true"]));
    assert_eq!(host["CapDrop"], json!(["ALL"]));
    assert_eq!(host["CapAdd"], Value::Null);
    assert_eq!(host["Privileged"], false);
    assert_eq!(host["PidsLimit"], 512);
    assert_eq!(host["Memory"], 1024 << 20);
    assert!(host["NanoCpus"].as_i64().is_some_and(|cpus| (1..=2_000_000_000).contains(&cpus)));
    assert_eq!(host["RestartPolicy"]["Name"], "unless-stopped");
    let log = json!({ "max-file": "3", "max-size": "10m" });
    assert_eq!(host["LogConfig"], json!({ "Type": "json-file", "Config": log }));
    let published = &host["PortBindings"]["18789/tcp"][0];
    assert_eq!(published["HostIp"], "127.0.0.1");
    let port = placed.site.port().expect("a port").to_string();
    assert_eq!(published["HostPort"], port.as_str());
    assert_eq!(container["Config"]["StopTimeout"], 330);
    let mounts = container["Mounts"].as_array().expect("mounts");
    assert!(mounts.iter().all(|mount| mount["Type"] == "volume"), "{mounts:?}");

    let id = placed.site.deployment.id.as_str();
    let own = |labels: &Value| assert_eq!(labels["io.openclaw.pipeline.id"], id, "{labels}");
    own(&container["Config"]["Labels"]);
    for volume in ["config", "settings", "workspace"] {
        own(&placed.inspect("volume", &format!("{name}_{volume}"))["Labels"]);
    }
    own(&placed.inspect("network", &format!("{name}_default"))["Labels"]);
    let seen = placed.show().await;
    assert_eq!(seen["env"]["XDG_CACHE_HOME"], "/home/node/.cache");
}

#[tokio::test]
async fn the_compose_file_works_by_hand() {
    let Some(engine) = engine("the_compose_file_works_by_hand") else { return };
    let Some(image) = scripted(engine) else { return };
    let dir = tempfile::tempdir().expect("a directory");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docker-compose.yml");
    fs::copy(file, dir.path().join("docker-compose.yml")).expect("copies");
    let name = Engine::name("hand");
    let port = free_port();
    let env = format!(
        "OPENCLAW_PIPELINE_IMAGE={}\nOPENCLAW_CONTAINER={name}\nGATEWAY_PORT={port}\n\
         OPENCLAW_CPUS=1\nOPENCLAW_GATEWAY_TOKEN=a-token-that-is-long-enough-for-all\n",
        image.image()
    );
    fs::write(dir.path().join(".env"), env).expect("a file");
    let compose = |args: &[&str]| {
        let mut command = Command::new("docker-compose");
        let output = command.args(args).current_dir(dir.path()).output().expect("docker-compose");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    compose(&["-p", &name, "up", "-d"]);
    let end = Instant::now() + PATIENCE;
    while !String::from_utf8_lossy(&engine.output(&["logs", &name]).stderr).contains("held after") {
        assert!(Instant::now() < end, "it is not held");
        std::thread::sleep(Duration::from_millis(100));
    }
    let config = engine.docker(&["exec", &name, "cat", "/home/node/.openclaw/openclaw.json"]);
    let config: Value = serde_json::from_str(&config).expect("JSON");
    let origins = &config["gateway"]["controlUi"]["allowedOrigins"];
    assert_eq!(origins[0], format!("http://127.0.0.1:{port}"));
    let owners = "printf '{}' >/home/node/.openclaw/openclaw.json";
    engine.docker(&["exec", &name, "sh", "-c", owners]);
    compose(&["-p", &name, "restart"]);
    let config = engine.docker(&["exec", &name, "cat", "/home/node/.openclaw/openclaw.json"]);
    assert_eq!(config, "{}", "what is there stays");
    compose(&["-p", &name, "down", "-v"]);
}
