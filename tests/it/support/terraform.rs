//! Terraform, run on a copy of a module and away from every cloud.
//!
//! Owns where the AWS provider comes from: one that lies unpacked on this machine, else what
//! `terraform init` downloads. Refuses to let a command reach AWS: the one address that it is given
//! for that leads nowhere.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use tempfile::TempDir;

use super::lab;
use super::source::root;

/// A copy of a module, initialised. What Terraform keeps beside it never stands in the repository.
pub struct Module {
    directory: TempDir,
}

impl Module {
    /// The module of this name below `terraform/`, or `None` after `skipped: REASON`.
    pub fn placed(name: &str) -> Option<Self> {
        if let Some(reason) = missing() {
            return lab::skip(reason);
        }
        let directory = tempfile::tempdir().expect("a directory");
        copy(&root().join("terraform").join(name), &directory.path().join("module"));
        std::fs::write(directory.path().join("terraformrc"), settings()).expect("the settings");
        let module = Self { directory };
        let init = module.run(&["init", "-input=false", "-backend=false", "-no-color"]);
        if !init.status.success() {
            return lab::skip(&format!("terraform init: {}", said(&init)));
        }
        Some(module)
    }

    /// Runs it, and returns what it printed.
    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("terraform starts")
    }

    /// The same, for a caller that has more to say.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = terraform(self.directory.path(), args);
        command.current_dir(self.directory.path().join("module"));
        command
    }
}

/// Terraform with nothing of the user's: neither settings nor credentials.
pub fn terraform(home: &Path, args: &[&str]) -> Command {
    let mut command = Command::new("terraform");
    command
        .args(args)
        .env_clear()
        .env("PATH", lab::cloud_search_path())
        .env("HOME", home)
        .env("TF_CLI_CONFIG_FILE", home.join("terraformrc"))
        .env("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        .env("AWS_EC2_METADATA_DISABLED", "true");
    command
}

/// Why there is no Terraform here, where there is none.
pub fn missing() -> Option<&'static str> {
    static MISSING: OnceLock<bool> = OnceLock::new();
    let is_missing =
        MISSING.get_or_init(|| Command::new("terraform").arg("-version").output().is_err());
    is_missing.then_some("terraform is missing")
}

/// What a command printed, both ways.
pub fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

fn settings() -> String {
    let mirror = mirror().map_or_else(String::new, |path| {
        let aws = "include = [\"registry.terraform.io/hashicorp/aws\"]";
        let path = path.display();
        format!("provider_installation {{\n  filesystem_mirror {{\n    path = \"{path}\"\n    {aws}\n  }}\n}}\n")
    });
    format!("{mirror}disable_checkpoint = true\n")
}

/// A folder that holds the provider, in one of the places where machines keep such.
fn mirror() -> Option<PathBuf> {
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".terraform.d"));
    let places = ["/opt", "/usr/share/terraform", "/usr/local/share/terraform"];
    let mut folders: Vec<PathBuf> = places.iter().map(PathBuf::from).chain(home).collect();
    let below = folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten();
    let below: Vec<PathBuf> = below.flatten().map(|entry| entry.path()).collect();
    folders.extend(below);
    folders.into_iter().find(|folder| folder.join("registry.terraform.io/hashicorp/aws").is_dir())
}

/// What stands in the repository, and not what Terraform has put beside it.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("the module").flatten() {
        let name = entry.file_name().into_string().expect("a plain name");
        let kept = name.starts_with(".terraform") || name.contains(".tfstate");
        if entry.path().is_dir() && !kept {
            copy(&entry.path(), &to.join(name));
        } else if !kept && !name.ends_with(".tfvars") {
            std::fs::copy(entry.path(), to.join(name)).expect("a copy");
        }
    }
}
