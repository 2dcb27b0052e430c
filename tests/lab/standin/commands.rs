//! The `OpenClaw` command line, as far as the product calls it.
//!
//! Owns the reading of arguments and each short command's output. Refuses other commands, and
//! options that a command does not have.

use std::process::ExitCode;

use serde_json::{Value, json};

use crate::backup;
use crate::faults::{self, Loaded};
use crate::gateway;
use crate::install::Install;
use crate::pairing::{self, Store};

/// Runs what stands after the script's path.
pub fn run(install: &Install, arguments: &[String]) -> ExitCode {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["--version" | "-V", ..] => {
            println!("OpenClaw {} (standin)", install.version);
            ExitCode::SUCCESS
        }
        ["gateway", rest @ ..] => run_gateway(install, rest),
        ["config", "validate", rest @ ..] => validate(install, rest.contains(&"--json")),
        ["config", "get", path, ..] => get(install, path),
        ["devices", "list", ..] => devices(install),
        ["dashboard", "--json", ..] => dashboard(install),
        ["doctor", rest @ ..] if rest.contains(&"--fix") => doctor(install),
        ["backup", "create", rest @ ..] => backup::create(install, rest),
        ["backup", "restore", rest @ ..] => backup::restore(install, rest),
        _ => {
            eprintln!("error: unknown command '{}'", words.join(" "));
            ExitCode::FAILURE
        }
    }
}

/// The value after an option, as `--name value` or `--name=value`.
pub fn option<'a>(words: &[&'a str], name: &str) -> Option<&'a str> {
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if *word == name {
            return words.next().copied();
        }
        if let Some(value) = word.strip_prefix(name).and_then(|rest| rest.strip_prefix('=')) {
            return Some(value);
        }
    }
    None
}

fn run_gateway(install: &Install, words: &[&str]) -> ExitCode {
    let words = words.strip_prefix(&["run"]).unwrap_or(words);
    let port = option(words, "--port").map(str::parse::<u16>);
    if let Some(Err(_)) = port {
        eprintln!("Invalid port");
        return ExitCode::FAILURE;
    }
    gateway::run(install.clone(), port.and_then(Result::ok))
}

/// A state newer than this build stops every command that opens it.
fn refuse_newer_state(install: &Install) -> Option<String> {
    let loaded = Loaded::read(install).ok()?;
    let stamp =
        faults::schema_stamp(install, &loaded.faults).filter(|one| *one > install.schema)?;
    Some(format!(
        "This OpenClaw build cannot open your existing data.\nOpenClaw state database {} uses \
         newer schema version {stamp}; this build supports {}.\nRefused by OpenClaw {} (standin) \
         installed at {}.\nUse a build that supports schema {stamp} or newer with this state \
         directory. To use an older build, restore your pre-update backup created with openclaw \
         backup create.\nSee https://docs.openclaw.ai/reference/database-schemas.",
        faults::database_path(install).display(),
        install.schema,
        install.version,
        install.package_dir.display(),
    ))
}

fn validate(install: &Install, as_json: bool) -> ExitCode {
    if let Some(message) = refuse_newer_state(install) {
        eprintln!("Config validation error: {message}");
        return ExitCode::FAILURE;
    }
    let path = install.config_path.display();
    match install.config() {
        Some(Ok(config)) if config.is_object() => {
            if as_json {
                let report = json!({"valid": true, "path": path.to_string(), "warnings": []});
                println!("{report}");
            } else {
                println!("Config valid: {path}");
            }
            ExitCode::SUCCESS
        }
        Some(read) => {
            let error = read.err().unwrap_or_else(|| "not an object".to_owned());
            eprintln!("Config invalid: {path}\nJSON5 parse failed: {error}");
            ExitCode::FAILURE
        }
        None => {
            eprintln!("Config file not found: {path}");
            ExitCode::FAILURE
        }
    }
}

fn get(install: &Install, path: &str) -> ExitCode {
    let config = install.config().and_then(Result::ok).unwrap_or_default();
    let found = path.split('.').try_fold(&config, |value, key| value.get(key));
    match found {
        Some(Value::String(_)) if path.ends_with("token") => println!("__OPENCLAW_REDACTED__"),
        Some(Value::String(text)) => println!("{text}"),
        Some(value) => println!("{value:#}"),
        None => {
            eprintln!(
                "Unknown config path: {path}. Run openclaw config schema to inspect valid paths."
            );
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn devices(install: &Install) -> ExitCode {
    let list = Store::open(&install.state_dir).list(|_| false);
    println!("{list:#}");
    ExitCode::SUCCESS
}

fn dashboard(install: &Install) -> ExitCode {
    let config = install.config().and_then(Result::ok).unwrap_or_default();
    let port = Install::port(&config);
    let refuse = |reason: &str| {
        println!("{}", json!({"ok": false, "reason": reason}));
        ExitCode::FAILURE
    };
    if std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        return refuse("Gateway is not ready");
    }
    let Ok((link, expires)) = pairing::create_link(&install.state_dir) else {
        return refuse("browser handoff could not be issued");
    };
    let http = format!("http://127.0.0.1:{port}/");
    let token = Install::token(&config);
    let fragment = token.as_ref().map(|token| format!("#token={token}")).unwrap_or_default();
    let mut report = json!({
        "ok": true, "url": format!("{http}{fragment}"), "httpUrl": http,
        "wsUrl": format!("ws://127.0.0.1:{port}"), "port": port,
        "tokenIncluded": token.is_some(),
        "browserUrl": format!(
            "{http}#bootstrapToken={link}&bootstrapProfile=owner\
             &gatewayUrl=ws%3A%2F%2F127.0.0.1%3A{port}"
        ),
        "browserBootstrapExpiresAtMs": expires,
    });
    let without = Loaded::read(install).is_ok_and(|loaded| loaded.faults.no_owner_links);
    if let Some(fields) = report.as_object_mut().filter(|_| without) {
        fields.retain(|key, _| !key.starts_with("browser"));
    }
    println!("{report}");
    ExitCode::SUCCESS
}

fn doctor(install: &Install) -> ExitCode {
    println!("┌  OpenClaw doctor");
    let loaded = match Loaded::read(install) {
        Ok(loaded) => loaded,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::FAILURE;
        }
    };
    if let Some(message) = refuse_newer_state(install) {
        eprintln!(
            "Doctor could not enter maintenance. SqliteSchemaVersionError: {message} Stop the \
             Gateway service and other OpenClaw processes using this state, then run openclaw \
             doctor --fix from an independent shell."
        );
        return ExitCode::FAILURE;
    }
    std::thread::sleep(std::time::Duration::from_millis(loaded.faults.doctor_delay_ms));
    if let Some(code) = loaded.faults.doctor_exit_code {
        eprintln!("Doctor could not repair the state: stand-in fault");
        return ExitCode::from(code);
    }
    loaded.mark_doctored();
    println!("└  Doctor complete.");
    ExitCode::SUCCESS
}
