//! `backup`: a verified archive of the state, sealed and kept outside the volumes.

use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Write};
use std::path::Path;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::context::{Context, OperationDef, StepDef, StepEnd};
use super::steps;
use crate::domain::{Aftermath, DeploymentName, EventType, Failure, OperationKind};
use crate::exec::free_bytes;
use crate::secrets::SealingKey;
use crate::store::{Backup, now};
use crate::targets::{Layout, Site};

/// What has to be free before an archive is made, in bytes: the archive twice, plain and sealed.
const FLOOR_BYTES: u64 = 512 << 20;

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

pub(super) const BACKUP: StepDef =
    StepDef { name: "backup", says: |_| "make a verified backup".into(), event: None, run: backup };

pub(super) fn backup<'a>(c: &'a mut Context<'_>) -> BoxFuture<'a, Result<StepEnd, Failure>> {
    Box::pin(async move {
        let id = c.lease.operation.clone();
        let dir = c.layout.backups(&c.deployment.name);
        crate::secrets::private::create_private_directory(&dir)?;
        let sealed = dir.join(format!("{id}.sealed"));
        let known = c.store.backups(&c.deployment.name)?.into_iter().any(|known| known.id == id);
        if known && sealed.exists() {
            return made(id);
        }
        let free = free_bytes(&dir)?;
        if free < FLOOR_BYTES {
            return Err(Failure::failed(format!(
                "{} has {} MiB free; a backup needs {} MiB",
                dir.display(),
                free >> 20,
                FLOOR_BYTES >> 20
            ))
            .remedy("free some space"));
        }
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
            reason: if c.params.get("spec").is_some() { "update" } else { "asked for" }.into(),
            created_at: now(),
        })?;
        made(id)
    })
}

/// A directory for an archive that is not sealed.
fn scratch(dir: &Path) -> Result<tempfile::TempDir, Failure> {
    Ok(tempfile::Builder::new().prefix(SCRATCH).tempdir_in(dir)?)
}

/// Removes the archives that an executor which was killed left unsealed. The caller holds the
/// deployment's lock.
pub(super) fn sweep(layout: &Layout, name: &DeploymentName) -> Result<(), Failure> {
    let Ok(entries) = fs::read_dir(layout.backups(name)) else { return Ok(()) };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(SCRATCH) {
            fs::remove_dir_all(entry.path())?;
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
    let partial = sealed.with_extension("partial");
    let mut options = fs::OpenOptions::new();
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.create(true).truncate(true).write(true).open(&partial)?;
    let mut writer = Hashing { inner: BufWriter::new(file), hash: Sha256::new(), bytes: 0 };
    key.seal_file(BufReader::new(File::open(plain)?), &mut writer, &context(id))?;
    writer.flush()?;
    let Hashing { inner, hash, bytes } = writer;
    inner.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()?;
    fs::rename(&partial, sealed)?;
    Ok((bytes, format!("{:x}", hash.finalize())))
}

/// Opens a sealed archive into a file.
pub(super) fn unseal(key: &SealingKey, backup: &Backup, into: &Path) -> Result<(), Failure> {
    let file = File::open(&backup.path).map_err(|error| {
        Failure::not_found(format!("the backup's file {} cannot be read: {error}", backup.path))
    })?;
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

/// A backup by its id, or the newest one.
pub(super) fn find(c: &Context<'_>, id: Option<&str>) -> Result<Backup, Failure> {
    let backups = c.store.backups(&c.deployment.name)?;
    let found = match id {
        Some(id) => backups.into_iter().find(|backup| backup.id == id),
        None => backups.into_iter().next(),
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
    let scratch = scratch(&c.layout.backups(&c.deployment.name))?;
    let plain = scratch.path().join("archive.tar.gz");
    unseal(c.vault.key(), backup, &plain)?;
    c.target().restore(site, &plain, c.work()).await?;
    steps::nothing()
}
