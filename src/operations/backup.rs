//! `backup`: a verified archive of the state, sealed and kept outside the volumes.

use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Write};
use std::path::Path;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::context::{Context, OperationDef, Repeat, StepDef, StepEnd};
use super::steps;
use crate::domain::{Aftermath, DeploymentName, EventType, Failure, OperationKind};
use crate::exec::free_bytes;
use crate::secrets::SealingKey;
use crate::store::{Backup, Store, now};
use crate::targets::{Layout, Site};

/// What has to be free before an archive is made, in bytes: the archive twice, plain and sealed.
const FLOOR_BYTES: u64 = 512 << 20;

/// How many of the backups that updates and restores make by themselves are kept.
const KEPT: usize = 5;

/// How a sealed archive's name ends.
const SEALED: &str = "sealed";

/// How the name of one ends that is being written.
const PARTIAL: &str = "partial";

/// How the directories begin in which an archive lies unsealed while it is worked on.
const SCRATCH: &str = "unsealed-";

/// What a backup leaves for later steps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Made {
    /// The backup's id; the operation's own.
    pub id: String,
}

pub(super) static DEFINITION: OperationDef = OperationDef {
    kind: OperationKind::Backup,
    done: Some(EventType::BackedUp),
    done_says: |c| format!("{} is backed up and the archive verified", c.deployment.name),
    steps: &[BACKUP],
    recovery: &[],
    changes_from: "backup",
    recovered: Aftermath::Broken,
};

pub(super) const BACKUP: StepDef = StepDef {
    name: "backup",
    says: |_| "make a verified backup".into(),
    event: None,
    run: backup,
    repeat: Repeat::Before("stop"),
};

pub(super) fn backup<'a>(c: &'a mut Context<'_>) -> BoxFuture<'a, Result<StepEnd, Failure>> {
    Box::pin(async move {
        let id = c.lease.operation.clone();
        let dir = c.layout.backups(&c.deployment.name);
        crate::secrets::private::create_private_directory(&dir)?;
        // Each executor writes a file of its own: the recorded one is whole, whenever it dies.
        let sealed = dir.join(format!("{id}.{}.{SEALED}", c.lease.epoch));
        let known = c.store.backups(&c.deployment.name)?;
        require_space(&dir, known.first().map_or(0, |last| last.bytes))?;
        // The plain archive lies in a directory that goes when this step ends, however it does.
        let scratch = scratch(&dir)?;
        let plain = scratch.path().join("archive.tar.gz");
        let site = c.site()?;
        c.target().archive(&site, &plain, c.work()).await?;
        let (bytes, sha256) = seal(c.vault.key(), &id, &plain, &sealed)?;
        let facts = &c.deployment.facts;
        c.store.put_backup(&Backup {
            id: id.clone(),
            deployment_id: c.deployment.id.clone(),
            deployment: c.deployment.name.to_string(),
            path: sealed.to_string_lossy().into_owned(),
            bytes,
            sha256,
            version: facts.gateway_version.clone().unwrap_or_default(),
            artefact: facts.artefact.clone().unwrap_or_default(),
            // A removal makes one only where somebody asks for it.
            reason: match c.kind {
                OperationKind::Destroy => OperationKind::Backup,
                kind => kind,
            }
            .as_str()
            .into(),
            created_at: now(),
        })?;
        thin(c)?;
        sweep(c.store, c.layout, &c.deployment.name)?;
        made(id)
    })
}

/// Requires room for an archive, plain and sealed, that is somewhat larger than the last one.
fn require_space(dir: &Path, last_bytes: i64) -> Result<(), Failure> {
    let needed = FLOOR_BYTES.max(u64::try_from(last_bytes).unwrap_or(0).saturating_mul(3));
    let free = free_bytes(dir)?;
    if free >= needed {
        return Ok(());
    }
    Err(Failure::failed(format!(
        "{} has {} MiB free; a backup needs {} MiB",
        dir.display(),
        free >> 20,
        needed >> 20
    ))
    .remedy("free some space (openclaw-pipeline backups --delete ID removes an old backup)"))
}

/// Removes the oldest of the backups that nobody asked for. Those that a user asked for stay.
fn thin(c: &Context<'_>) -> Result<(), Failure> {
    let asked_for = OperationKind::Backup.as_str();
    let known = c.store.backups(&c.deployment.name)?;
    for old in known.iter().filter(|it| it.reason != asked_for).skip(KEPT) {
        c.store.delete_backup(&old.id)?;
    }
    Ok(())
}

/// A directory for an archive that is not sealed.
fn scratch(dir: &Path) -> Result<tempfile::TempDir, Failure> {
    Ok(tempfile::Builder::new().prefix(SCRATCH).tempdir_in(dir)?)
}

/// Removes what no backup is, or is no more: archives that an executor which was killed left
/// unsealed or half sealed, and files that the store does not know. The caller holds the
/// deployment's lock.
pub fn sweep(store: &Store, layout: &Layout, name: &DeploymentName) -> Result<(), Failure> {
    let Ok(entries) = fs::read_dir(layout.backups(name)) else { return Ok(()) };
    let known = store.backups(name)?;
    for entry in entries.flatten() {
        let file_name = entry.file_name().to_string_lossy().into_owned();
        let path = entry.path();
        if file_name.starts_with(SCRATCH) {
            fs::remove_dir_all(path)?;
        } else if file_name.ends_with(PARTIAL)
            || (file_name.ends_with(SEALED) && !known.iter().any(|it| Path::new(&it.path) == path))
        {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

fn made(id: String) -> Result<StepEnd, Failure> {
    serde_json::to_value(Made { id })
        .map(StepEnd::Done)
        .map_err(|error| Failure::failed(error.to_string()))
}

/// Seals an archive; answers the sealed file's size and SHA-256.
fn seal(key: &SealingKey, id: &str, plain: &Path, sealed: &Path) -> Result<(i64, String), Failure> {
    let partial = sealed.with_extension(PARTIAL);
    let mut options = fs::OpenOptions::new();
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.create(true).truncate(true).write(true).open(&partial)?;
    let mut writer = Hashing { inner: BufWriter::new(file), hash: Sha256::new(), bytes: 0 };
    key.seal_file(BufReader::new(File::open(plain)?), &mut writer, &context(id))?;
    writer.flush()?;
    let Hashing { inner, hash, bytes } = writer;
    inner.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()?;
    fs::rename(&partial, sealed)?;
    // The row that is about to name the file must not outlive it in a power cut.
    if let Some(dir) = sealed.parent() {
        File::open(dir)?.sync_all()?;
    }
    Ok((bytes, format!("{:x}", hash.finalize())))
}

/// Opens a sealed archive to its last byte, and keeps nothing of it: it can be put back.
pub(super) fn verify(key: &SealingKey, backup: &Backup) -> Result<(), Failure> {
    let file = BufReader::new(sealed_file(backup)?);
    key.open_file(file, std::io::sink(), &context(&backup.id))
        .map(drop)
        .map_err(|failure| failure.context(format!("the backup {}", backup.id)))
}

fn sealed_file(backup: &Backup) -> Result<File, Failure> {
    File::open(&backup.path).map_err(|error| {
        Failure::not_found(format!("the backup's file {} cannot be read: {error}", backup.path))
            .remedy("choose another one: openclaw-pipeline backups lists them")
    })
}

/// Opens a sealed archive into a file.
pub(super) fn unseal(key: &SealingKey, backup: &Backup, into: &Path) -> Result<(), Failure> {
    let file = sealed_file(backup)?;
    let mut options = fs::OpenOptions::new();
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let out = options.create_new(true).write(true).open(into)?;
    let mut out = BufWriter::new(out);
    key.open_file(BufReader::new(file), &mut out, &context(&backup.id))?;
    out.flush()?;
    Ok(())
}

fn context(id: &str) -> Vec<u8> {
    format!("backup/{id}").into_bytes()
}

/// A writer that hashes what passes.
struct Hashing<W> {
    inner: W,
    hash: Sha256,
    bytes: i64,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.bytes += i64::try_from(written).unwrap_or_default();
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

/// A backup by its id, or the newest one. What a restore saved is meant by nobody who names none:
/// trying it again would go back to what it was to replace.
pub(super) fn find(c: &Context<'_>, id: Option<&str>) -> Result<Backup, Failure> {
    let backups = c.store.backups(&c.deployment.name)?;
    let found = match id {
        Some(id) => backups.into_iter().find(|backup| backup.id == id),
        None => backups.into_iter().find(|it| it.reason != OperationKind::Restore.as_str()),
    };
    found.ok_or_else(|| {
        Failure::not_found(format!("{} has no such backup", c.deployment.name))
            .remedy(format!("openclaw-pipeline backups {} lists them", c.deployment.name))
    })
}

/// Puts a backup's state in place of the present one; the gateway does not run.
pub(super) async fn put_back(
    c: &Context<'_>,
    site: &Site,
    backup: &Backup,
) -> Result<StepEnd, Failure> {
    let dir = c.layout.backups(&c.deployment.name);
    require_space(&dir, backup.bytes)?;
    let scratch = scratch(&dir)?;
    let plain = scratch.path().join("archive.tar.gz");
    unseal(c.vault.key(), backup, &plain)?;
    c.target().restore(site, &plain, c.work()).await?;
    steps::nothing()
}
