//! `backup create` and `backup restore`.
//!
//! Owns the archive: a `.tar.gz` with the real one's layout (`NAME/manifest.json` and
//! `NAME/payload/posix/…`), its deflate blocks stored, not compressed, so that no more than the
//! `tar` crate is needed and every `tar` reads it. Refuses to overwrite an archive, to write one
//! inside the state directory, and to restore into a directory that is not empty.

use std::io::{self, Read as _};
use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use crate::commands::option;
use crate::faults::Loaded;
use crate::files;
use crate::install::Install;

/// `backup create [--verify] [--output PATH] [--no-include-workspace] [--json]`.
pub fn create(install: &Install, words: &[&str]) -> ExitCode {
    let faults = Loaded::read(install).map(|loaded| loaded.faults).unwrap_or_default();
    std::thread::sleep(Duration::from_millis(faults.backup_delay_ms));
    if let Some(code) = faults.backup_exit_code {
        eprintln!("Backup failed: stand-in fault");
        return ExitCode::from(code);
    }
    match write_archive(install, words) {
        Ok(report) => {
            if words.contains(&"--json") {
                println!("{report:#}");
            } else {
                let archive = report["archivePath"].as_str().unwrap_or_default();
                println!("Backup archive: {archive}\nIncluded 1 path:");
                println!("- state: {}\nCreated {archive}", install.state_dir.display());
                if report["verified"] == true {
                    println!("Archive verification: passed");
                }
            }
            ExitCode::SUCCESS
        }
        Err(error) => fail(&error, words),
    }
}

/// An error for people on stderr and, where JSON was asked for, for programs on stdout.
fn fail(error: &io::Error, words: &[&str]) -> ExitCode {
    let message = error.to_string();
    if words.contains(&"--json") {
        let report = json!({"ok": false, "error": {"type": "cli_error", "message": message}});
        println!("{report:#}");
        eprintln!("[openclaw] The CLI command failed.\n[openclaw] Reason: {message}");
    } else {
        eprintln!("{message}");
    }
    ExitCode::FAILURE
}

fn write_archive(install: &Install, words: &[&str]) -> io::Result<Value> {
    let created = files::iso_now();
    let name = created.replace(':', "-").replace('Z', "+00-00") + "-openclaw-backup";
    let output = option(words, "--output").map_or_else(PathBuf::new, PathBuf::from);
    let path = if output.as_os_str().is_empty() || output.is_dir() {
        output.join(format!("{name}.tar.gz"))
    } else {
        output
    };
    let path = std::path::absolute(path)?;
    let state_dir = std::path::absolute(&install.state_dir)?;
    if path.starts_with(&state_dir) {
        return Err(io::Error::other(format!(
            "Backup output must not be written inside a source path: {} is inside {}",
            path.display(),
            state_dir.display()
        )));
    }
    if path.exists() {
        let shown = path.display();
        return Err(io::Error::other(format!("Refusing to overwrite existing archive: {shown}")));
    }
    let include_workspace = !words.contains(&"--no-include-workspace");
    let inside = state_dir.strip_prefix("/").unwrap_or(&state_dir);
    let root = Path::new(&name).join("payload/posix").join(inside);
    let asset = json!({"kind": "state", "sourcePath": state_dir, "archivePath": root});
    let manifest = json!({
        "schemaVersion": 1, "createdAt": created, "archiveRoot": name,
        "runtimeVersion": install.version, "platform": "linux",
        "options": {"includeWorkspace": include_workspace, "onlyConfig": false},
        "paths": {"stateDir": state_dir, "configPath": install.config_path},
        "assets": [asset], "skipped": [],
    });
    let mut archive = tar::Builder::new(Vec::new());
    archive.follow_symlinks(false);
    let skipped = if include_workspace { None } else { Some(workspace(install, &state_dir)) };
    append(&mut archive, &state_dir, &root, skipped.as_deref())?;
    let text = format!("{manifest:#}\n");
    let mut header = tar::Header::new_gnu();
    header.set_size(text.len() as u64);
    header.set_mode(0o600);
    header.set_mtime(files::now_ms() / 1000);
    let manifest_path = Path::new(&name).join("manifest.json");
    archive.append_data(&mut header, manifest_path, text.as_bytes())?;
    let packed = gzip(&archive.into_inner()?);
    let draft = path.with_extension("tmp");
    std::fs::write(&draft, packed)?;
    std::fs::rename(&draft, &path)?;
    let verify = words.contains(&"--verify");
    if verify {
        read_archive(&path)?;
    }
    Ok(json!({
        "createdAt": created, "archiveRoot": name, "archivePath": path, "dryRun": false,
        "includeWorkspace": include_workspace, "onlyConfig": false, "verified": verify,
        "assets": [asset], "skipped": [], "skippedVolatileCount": 0,
    }))
}

fn workspace(install: &Install, state_dir: &Path) -> PathBuf {
    let config = install.config().and_then(Result::ok).unwrap_or_default();
    let named = config.pointer("/agents/defaults/workspace").and_then(Value::as_str);
    named.map_or_else(|| state_dir.join("workspace"), PathBuf::from)
}

fn append(
    archive: &mut tar::Builder<Vec<u8>>,
    source: &Path,
    target: &Path,
    skipped: Option<&Path>,
) -> io::Result<()> {
    archive.append_dir(target, source)?;
    let mut entries = std::fs::read_dir(source)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let (path, kind) = (entry.path(), entry.file_type()?);
        let inner = target.join(entry.file_name());
        if skipped == Some(&path) {
            continue;
        }
        if kind.is_dir() {
            append(archive, &path, &inner, skipped)?;
        } else if kind.is_file() || kind.is_symlink() {
            archive.append_path_with_name(&path, &inner)?;
        }
    }
    Ok(())
}

/// `backup restore ARCHIVE --target DIRECTORY [--json]`.
pub fn restore(install: &Install, words: &[&str]) -> ExitCode {
    let archive = words.first().filter(|word| !word.starts_with('-'));
    let (Some(archive), Some(target)) = (archive, option(words, "--target")) else {
        eprintln!("error: required option '--target <path>' not specified");
        return ExitCode::FAILURE;
    };
    match unpack(install, Path::new(archive), Path::new(target)) {
        Ok(report) => {
            if words.contains(&"--json") {
                println!("{report:#}");
            } else {
                println!("Restored {archive} to {target}");
            }
            ExitCode::SUCCESS
        }
        Err(error) => fail(&error, words),
    }
}

fn unpack(install: &Install, archive: &Path, target: &Path) -> io::Result<Value> {
    let occupied = std::fs::read_dir(target).is_ok_and(|mut entries| entries.next().is_some());
    if occupied {
        let shown = target.display();
        return Err(io::Error::other(format!(
            "Backup restore target directory must be empty: {shown}"
        )));
    }
    let target = std::path::absolute(target)?;
    if target.starts_with(std::path::absolute(&install.state_dir)?) {
        return Err(io::Error::other("Backup restore target must not be inside the live state"));
    }
    let (bytes, manifest, entries) = read_archive(archive)?;
    std::fs::create_dir_all(&target)?;
    tar::Archive::new(bytes.as_slice()).unpack(&target)?;
    Ok(json!({
        "ok": true, "archivePath": archive, "archiveRoot": manifest["archiveRoot"],
        "createdAt": manifest["createdAt"], "runtimeVersion": manifest["runtimeVersion"],
        "assetCount": 1, "entryCount": entries, "symlinkCount": 0, "targetPath": target,
        "warnings": [],
    }))
}

/// Reads an archive and holds it against its manifest: the tar, the manifest, its entries.
fn read_archive(path: &Path) -> io::Result<(Vec<u8>, Value, usize)> {
    let broken = |what: &str| io::Error::other(format!("Backup archive is invalid: {what}"));
    let bytes = gunzip(&std::fs::read(path)?).ok_or_else(|| broken("not a stored gzip file"))?;
    let (mut manifest, mut names) = (None, Vec::new());
    for entry in tar::Archive::new(bytes.as_slice()).entries()? {
        let mut entry = entry?;
        let name = entry.path()?.into_owned();
        if name.components().any(|part| !matches!(part, Component::Normal(_))) {
            return Err(broken("a path leaves the archive"));
        }
        if name.components().count() == 2 && name.ends_with("manifest.json") {
            let mut text = String::new();
            entry.read_to_string(&mut text)?;
            manifest = serde_json::from_str::<Value>(&text).ok();
        }
        names.push(name);
    }
    let manifest = manifest.ok_or_else(|| broken("no manifest"))?;
    let payload = manifest.pointer("/assets/0/archivePath").and_then(Value::as_str);
    let there = payload.is_some_and(|payload| names.iter().any(|name| name.starts_with(payload)));
    if !there {
        return Err(broken("a declared payload is missing"));
    }
    Ok((bytes, manifest, names.len()))
}

/// Wraps bytes as a gzip file of stored blocks.
fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let mut blocks = bytes.chunks(0xffff).peekable();
    while let Some(block) = blocks.next() {
        let length = u16::try_from(block.len()).unwrap_or(u16::MAX);
        packed.push(u8::from(blocks.peek().is_none()));
        packed.extend(length.to_le_bytes());
        packed.extend((!length).to_le_bytes());
        packed.extend(block);
    }
    packed.extend(crc32(bytes).to_le_bytes());
    let size = u32::try_from(bytes.len() & 0xffff_ffff).unwrap_or_default();
    packed.extend(size.to_le_bytes());
    packed
}

/// Undoes [`gzip`]; `None` for what it did not write, or what was damaged since.
fn gunzip(packed: &[u8]) -> Option<Vec<u8>> {
    let mut rest = packed.strip_prefix(&[0x1f, 0x8b, 8, 0])?.get(6..)?;
    let mut bytes = Vec::new();
    loop {
        let (head, tail) = rest.split_at_checked(5)?;
        let length = usize::from(u16::from_le_bytes([head[1], head[2]]));
        bytes.extend(tail.get(..length)?);
        rest = tail.get(length..)?;
        match head[0] {
            0 => {}
            1 => break,
            _ => return None,
        }
    }
    (rest.get(..4)? == crc32(&bytes).to_le_bytes()).then_some(bytes)
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            if sum & 1 == 1 { (sum >> 1) ^ 0xedb8_8320 } else { sum >> 1 }
        })
    })
}
