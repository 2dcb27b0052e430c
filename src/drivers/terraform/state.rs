//! A state file, as far as it is looked into.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::Outputs;
use crate::domain::Failure;

/// The newest form that is understood.
const VERSION: u64 = 4;
/// The largest file that is read, in bytes.
const BOUND: u64 = 16 << 20;

/// What a state holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// Every resource that there is.
    pub held: Vec<Held>,
    /// How often it was written.
    pub serial: u64,
    /// Which one it is, whatever was written to it.
    pub lineage: String,
    /// The account of what it holds, where that says so.
    pub account: Option<String>,
    /// What the module gave when it was applied.
    pub outputs: Outputs,
}

/// A resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Its type.
    pub kind: String,
    /// Its name in the module.
    pub name: String,
    /// Its id.
    pub id: String,
    /// Whether its making was broken off, or failed: nobody knows what it is like.
    pub is_tainted: bool,
}

#[derive(Deserialize)]
struct File {
    version: u64,
    #[serde(default)]
    serial: u64,
    #[serde(default)]
    lineage: String,
    #[serde(default)]
    outputs: BTreeMap<String, Output>,
    resources: Vec<Resource>,
}

#[derive(Deserialize)]
struct Output {
    value: Value,
}

#[derive(Deserialize)]
struct Resource {
    mode: String,
    #[serde(rename = "type")]
    kind: String,
    name: String,
    #[serde(default)]
    instances: Vec<Instance>,
}

#[derive(Deserialize)]
struct Instance {
    #[serde(default)]
    attributes: Option<Attributes>,
    #[serde(default)]
    status: Option<String>,
}

#[derive(Deserialize)]
struct Attributes {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    arn: Option<String>,
}

/// The account in the name that AWS has for something.
pub fn account_of(arn: &str) -> Option<&str> {
    let account = arn.strip_prefix("arn:")?.split(':').nth(3)?;
    (account.len() == 12 && account.bytes().all(|c| c.is_ascii_digit())).then_some(account)
}

impl State {
    /// That of a file, once what an earlier run in a directory could not write to it is there.
    pub fn settled(dir: &Path, path: &Path) -> Result<Self, Failure> {
        recover(dir, path)?;
        Self::read(path)
    }

    /// That of a file; one that is not there holds nothing.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        match fs::metadata(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error.into()),
            Ok(found) if found.len() > BOUND => return Err(refused(path, "it is too large")),
            Ok(_) => {}
        }
        let text = fs::read_to_string(path)?;
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        Self::parse(&text).map_err(|why| refused(path, &why))
    }

    /// That of a text that came from somewhere else; an empty one holds nothing.
    pub(super) fn of_text(text: &str, from: &str) -> Result<Self, Failure> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        Self::parse(text)
            .map_err(|why| Failure::bad_input(format!("{from} is no Terraform state: {why}")))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let file: File = serde_json::from_str(text)
            .map_err(|error| format!("line {} of it is not what such a file has", error.line()))?;
        if file.version != VERSION {
            return Err(format!("it has format {}, and {VERSION} is understood", file.version));
        }
        let managed: Vec<Resource> =
            file.resources.into_iter().filter(|resource| resource.mode == "managed").collect();
        let instances = managed.iter().flat_map(|resource| &resource.instances);
        let mut arns = instances.filter_map(|it| it.attributes.as_ref()?.arn.as_deref());
        let account = arns.find_map(account_of).map(str::to_owned);
        let held = managed.into_iter().flat_map(|Resource { kind, name, instances, .. }| {
            instances.into_iter().map(move |instance| Held {
                kind: kind.clone(),
                name: name.clone(),
                id: instance.attributes.and_then(|it| it.id).unwrap_or_default(),
                is_tainted: instance.status.as_deref() == Some("tainted"),
            })
        });
        Ok(Self {
            held: held.collect(),
            serial: file.serial,
            lineage: file.lineage,
            account,
            outputs: file.outputs.into_iter().map(|(name, it)| (name, it.value)).collect(),
        })
    }

    /// Whether there is anything of this type.
    pub fn has(&self, kind: &str) -> bool {
        self.held.iter().any(|held| held.kind == kind)
    }
}

/// Takes what a run could not write to its state in the end, and left beside it, as the state. It
/// has to be of the same one, and newer: else it is left where it is, and said.
pub(super) fn recover(dir: &Path, state: &Path) -> Result<(), Failure> {
    let path = dir.join("errored.tfstate");
    if !path.exists() {
        return Ok(());
    }
    let (left, known) = (State::read(&path)?, State::read(state)?);
    let is_later =
        known.lineage.is_empty() || (left.lineage == known.lineage && left.serial > known.serial);
    if !is_later {
        return Err(Failure::conflict(format!(
            "{} was left by a run that could not write its state, and does not follow {}",
            path.display(),
            state.display()
        ))
        .remedy("look at both, keep the one that is right, and move errored.tfstate away"));
    }
    if state.exists() {
        fs::copy(state, before_recovery(state))?;
    }
    // Terraform made it one for everybody.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    fs::rename(&path, state)?;
    Ok(())
}

/// Where a state is kept that another one took the place of.
pub fn before_recovery(state: &Path) -> PathBuf {
    state.with_extension("tfstate.before")
}

fn refused(path: &Path, why: &str) -> Failure {
    Failure::bad_input(format!("{} is no Terraform state: {why}", path.display())).remedy(
        "name the state file of an earlier version (terraform-NAME.tfstate), or move this one away",
    )
}
