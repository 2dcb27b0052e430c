//! A state file, as far as it is looked into.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::Deserialize;

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
}

#[derive(Deserialize)]
struct File {
    version: u64,
    #[serde(default)]
    serial: u64,
    #[serde(default)]
    lineage: String,
    resources: Vec<Resource>,
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
}

#[derive(Deserialize)]
struct Attributes {
    #[serde(default)]
    id: Option<String>,
}

impl State {
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

    fn parse(text: &str) -> Result<Self, String> {
        let file: File = serde_json::from_str(text)
            .map_err(|error| format!("line {} of it is not what such a file has", error.line()))?;
        if file.version != VERSION {
            return Err(format!("it has format {}, and {VERSION} is understood", file.version));
        }
        let managed = file.resources.into_iter().filter(|resource| resource.mode == "managed");
        let held = managed.flat_map(|Resource { kind, name, instances, .. }| {
            instances.into_iter().map(move |instance| Held {
                kind: kind.clone(),
                name: name.clone(),
                id: instance.attributes.and_then(|it| it.id).unwrap_or_default(),
            })
        });
        Ok(Self { held: held.collect(), serial: file.serial, lineage: file.lineage })
    }

    /// Whether there is anything of this type.
    pub fn has(&self, kind: &str) -> bool {
        self.held.iter().any(|held| held.kind == kind)
    }
}

/// What Terraform could not write to its state in the end, beside the module: it is pushed before
/// anything else is done.
pub fn errored(module: &Path) -> Option<PathBuf> {
    let path = module.join("errored.tfstate");
    path.exists().then_some(path)
}

fn refused(path: &Path, why: &str) -> Failure {
    Failure::bad_input(format!("{} is no Terraform state: {why}", path.display())).remedy(
        "name the state file of an earlier version (terraform-NAME.tfstate), or move this one away",
    )
}
