//! What is in the way: ports that are taken, a configuration that its user broke, and data
//! directories and keys that are not ours to use.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};

use crate::support::ports::free_port;
use crate::support::product::{NEWEST, OLDER, Product, turn_at_the_default_port};

#[test]
fn an_address_that_this_machine_does_not_have_is_told_as_that() {
    let product = Product::new();
    let failed = product.run(["launch", "--target", "process", "--bind", "198.51.100.77"]).code(2);
    failed.says("GATEWAY_BIND is 198.51.100.77, which is no address of this machine");
    product.assert_nothing_runs();
}

#[test]
fn an_explicit_port_that_is_taken_is_refused() {
    let product = Product::new();
    let port = product.port();
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("free");
    let failed = product.run(["launch", "--target", "process"]).code(4);
    failed.says(&format!("port {port} on 127.0.0.1 is taken"));
    failed.says(&format!("ss -ltnp 'sport = :{port}'")).says("choose another GATEWAY_PORT");
    product.assert_nothing_runs();
    assert_eq!(product.status("main"), "failed");
    // Nothing of it is there yet; why not is what its owner asks.
    let doctor = product.run(["doctor", "main"]).code(1);
    doctor.answers(&format!("its launch failed: step prepare: port {port} on 127.0.0.1 is taken"));
    doctor.answers("something else listens on its port").answers("choose another GATEWAY_PORT");
    drop(taken);
    product.launch();
    product.assert_one_gateway("main");
}

#[test]
fn another_deployments_port_is_taken_even_while_that_one_is_stopped() {
    let product = Product::new();
    product.launch();
    product.run(["stop"]).ok();
    let failed = product.run(["launch", "two", "--target", "process"]).code(4);
    failed.says(&format!("port {} on 127.0.0.1 is taken", product.port()));
    product.run(["start"]).ok();
}

#[test]
fn the_default_port_gives_way_to_the_next_free_one() {
    let _turn = turn_at_the_default_port();
    let mut product = Product::new();
    product.unset("GATEWAY_PORT");
    // Somebody else may hold it already, which does as well.
    let _taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 18789));
    let done = product.launch();
    done.says("note: port 18789 is taken; using ");
    let url = product.json(["status"])["url"].as_str().expect("an address").to_owned();
    let port = url.trim_end_matches('/').rsplit(':').next().and_then(|port| port.parse().ok());
    let first: u16 = port.expect("a port");
    assert!(first > 18789 && (first - 18789).is_multiple_of(120), "{first}");
    product.run(["launch", "two", "--target", "process"]).ok();
    let second = product.json(["status", "two"])["url"].as_str().expect("an address").to_owned();
    assert_ne!(second, url);
    // It keeps its port.
    product.run(["restart"]).ok();
    assert_eq!(product.json(["status"])["url"], url.as_str());
}

#[test]
fn a_port_that_was_taken_while_stopped_is_told_by_start() {
    let product = Product::new();
    product.launch();
    product.run(["stop"]).ok();
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, product.port())).expect("free");
    let doctor = product.run(["doctor", "main"]).done();
    doctor.answers("stopped on request").answers("something else listens on its port");
    let failed = product.run(["start"]).code(4);
    failed.says(&format!("port {} on 127.0.0.1 cannot be used", product.port()));
    failed.says("GATEWAY_PORT");
    product.assert_nothing_runs();
    let doctor = product.run(["doctor", "main"]).code(1);
    doctor.answers("its start failed: step start").answers("something else listens on its port");
    drop(taken);
    product.run(["start"]).ok();
    product.assert_one_gateway("main");
    // And a launch can move it.
    product.run(["stop"]).ok();
    let port = free_port().to_string();
    product.run(["launch", "--target", "process", "--port", &port]).ok().answers(&port);
    let config = fs::read_to_string(product.state("main").join("openclaw.json")).expect("there");
    assert!(config.contains(&port) && !config.contains(&format!(":{}\"", product.port())));
}

#[test]
fn a_configuration_that_its_user_broke_is_left_as_it_is() {
    let product = Product::new();
    product.launch();
    let path = product.state("main").join("openclaw.json");
    let broken = "{ gateway: { mode: \"local\", // the rest is lost\n";
    let whole = fs::read_to_string(&path).expect("there");
    fs::write(&path, broken).expect("written");
    let gateway = product.gateway("main");
    let failed = product.run(["restart"]).code(2);
    failed.says(&path.display().to_string()).says("openclaw.json cannot be read as JSON5");
    failed.says("mend the file, or move it away; nothing was changed");
    assert_eq!(fs::read_to_string(&path).expect("there"), broken);
    for args in [&["rotate"][..], &["update", "--version", OLDER.0]] {
        let run = args.iter().skip(1).fold(product.run([args[0]]), |run, arg| run.arg(arg));
        run.without("OPENCLAW_GATEWAY_TOKEN").code(2).says("cannot be read as JSON5");
    }
    // The gateway that ran is as it was.
    assert_eq!(product.gateway("main"), gateway);
    product.assert_one_gateway("main");
    fs::write(&path, whole).expect("written");
    product.run(["restart"]).ok();
    product.assert_one_gateway("main");
}

#[test]
fn what_the_user_changed_in_the_configuration_stays() {
    let product = Product::new();
    product.launch();
    let path = product.state("main").join("openclaw.json");
    let mut config: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(&path).expect("there")).expect("JSON");
    config["channels"]["telegram"]["enabled"] = true.into();
    config["gateway"]["controlUi"]["allowedOrigins"]
        .as_array_mut()
        .expect("a list")
        .push("https://mine.example".into());
    config["gateway"]["port"] = 1.into();
    fs::write(&path, config.to_string()).expect("written");
    product.run(["restart"]).ok();
    let after: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(&path).expect("there")).expect("JSON");
    assert_eq!(after["channels"]["telegram"]["enabled"], true);
    assert_eq!(after["gateway"]["port"], product.port(), "managed");
    let origins = after["gateway"]["controlUi"]["allowedOrigins"].to_string();
    assert!(origins.contains("https://mine.example"), "{origins}");
}

#[test]
fn a_data_directory_of_a_newer_program_is_refused() {
    let product = Product::new();
    product.run(["list"]).ok();
    let database = product.home().join("pipeline.db");
    let db = rusqlite::Connection::open(&database).expect("opens");
    db.pragma_update(None, "user_version", 99).expect("set");
    drop(db);
    for args in [["launch", "main"], ["status", "main"], ["destroy", "main"]] {
        let failed = product.run(args).code(4);
        failed.says("the data directory belongs to a newer openclaw-pipeline: its schema is 99");
        failed.says("use the newer program");
    }
    product.run(["doctor"]).code(1).answers("belongs to a newer openclaw-pipeline");
}

#[test]
fn a_damaged_database_is_refused_and_kept() {
    let product = Product::new();
    product.launch();
    product.run(["stop"]).ok();
    let database = product.home().join("pipeline.db");
    for part in ["pipeline.db-wal", "pipeline.db-shm"] {
        let _ = fs::remove_file(product.home().join(part));
    }
    let damaged = "this is no database, whatever its name says".repeat(200);
    fs::write(&database, &damaged).expect("written");
    let failed = product.run(["list"]).code(1);
    failed.says(&format!("the state database {} is damaged", database.display()));
    failed.says("it was left as it is").says("copy it aside");
    product.run(["launch"]).code(1).says("is damaged");
    assert_eq!(fs::read_to_string(&database).expect("there"), damaged);
    assert!(product.state("main").join("openclaw.json").exists(), "the data is there");
}

#[test]
fn another_sealing_key_is_refused_and_a_lost_one_is_not_replaced() {
    let product = Product::new();
    product.launch();
    let other = Product::bare();
    other.run(["list"]).ok();
    let failed = product.run(["status"]).env("OPENCLAW_PIPELINE_KEY_FILE", other.key_file());
    let failed = failed.code(4);
    failed.says("is not the one that this data directory was sealed with");
    failed.says("OPENCLAW_PIPELINE_KEY_FILE");
    let key = fs::read(product.key_file()).expect("the key");
    fs::remove_file(product.key_file()).expect("removed");
    product.run(["status"]).code(3).says("the sealing key").says("restore");
    assert!(!product.key_file().exists(), "none is made in its place");
    fs::write(product.key_file(), &key).expect("put back");
    let failed = product.run(["status"]).code(2);
    failed.says("other users can read").says("chmod 600");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(product.key_file(), mode).expect("a mode");
    product.assert_one_gateway("main");
}

#[test]
fn places_that_are_none_are_refused() {
    let product = Product::new();
    let file = product.path("a-file");
    fs::write(&file, "").expect("written");
    let failed = product.run(["list"]).env("OPENCLAW_PIPELINE_HOME", file.join("below")).code(5);
    failed.says("cannot be used").says("OPENCLAW_PIPELINE_HOME");
    let failed = product.run(["list"]).env("OPENCLAW_PIPELINE_HOME", file).code(5);
    failed.says("cannot be used");
    let inside = product.home().join("key");
    let failed = product.run(["list"]).env("OPENCLAW_PIPELINE_KEY_FILE", inside).code(2);
    failed.says("lives outside the data directory");
    let failed = product.run(["list"]).without("OPENCLAW_PIPELINE_HOME").without("HOME").code(2);
    failed.says("OPENCLAW_PIPELINE_HOME is not set").says("set HOME");
}

#[test]
fn a_configuration_that_is_something_else_where_ours_goes_is_launched_with_a_notice() {
    for odd in ["true", "'x'", "[1]"] {
        let product = Product::new();
        fs::write(
            product.work().join("openclaw.json"),
            format!("{{gateway: {{controlUi: {odd}}}, agents: {{defaults: {{heartbeat: {{every: '5m'}}}}}}}}"),
        )
        .expect("written");
        let done = product.launch();
        done.says("gateway.controlUi").says("agents.defaults.heartbeat.every (see HEARTBEAT)");
        product.assert_one_gateway("main");
    }
}

#[test]
fn the_model_of_the_users_own_file_is_proven() {
    let product = Product::bare();
    product.install_faulty(NEWEST, Some("{models_unavailable: true}"));
    let text = "{agents: {defaults: {model: 'anthropic/claude-sonnet-4-6'}}}";
    fs::write(product.work().join("openclaw.json"), text).expect("written");
    // Without a key it cannot be available, and the launch says so itself.
    product.launch();
    product.run(["destroy", "main", "--yes"]).ok();
    let failed = product.run(["launch", "--target", "process"]).env("ANTHROPIC_API_KEY", "sk-x");
    failed.code(1).says("the model anthropic/claude-sonnet-4-6 is not available");
}

#[test]
fn a_model_that_the_user_chose_in_the_gateway_stays() {
    let product = Product::new();
    product.run(["launch", "--target", "process"]).env("ANTHROPIC_API_KEY", "sk-x").ok();
    let path = product.state("main").join("openclaw.json");
    let text = || fs::read_to_string(&path).expect("there");
    assert!(text().contains("anthropic/claude-sonnet-5"));
    fs::write(&path, text().replace("claude-sonnet-5", "claude-sonnet-4-6")).expect("written");
    product.run(["restart"]).ok();
    assert!(text().contains("anthropic/claude-sonnet-4-6"));
    product.run(["stop"]).ok();
    product.run(["launch", "--model", "anthropic/claude-sonnet-5"]).ok();
    assert!(text().contains("anthropic/claude-sonnet-5"), "it was asked for outright");
}
