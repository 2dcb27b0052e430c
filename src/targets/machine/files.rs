//! A machine's files in its deployment's directory.
//!
//! Owns where they lie, the values of the module's variables, and who may read them. What the user
//! may change stands in `terraform.tfvars`, which is written once and then kept; what is the
//! program's own stands beside it and is written anew. Refuses a secret in any of them, but for the
//! key by which the machine is known at its first connection: it has a file of its own, which is
//! gone after that.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::cloud::Cloud;
use crate::config::variables::DEFAULT_PORT;
use crate::domain::{Expose, Failure, MachineSpec, Reach, ServerSpec, TargetKind};
use crate::secrets::private::create_private_directory;
use crate::targets::{DEFAULT_IMAGE, Site};

/// How many characters of a hash make a name unique.
const SUFFIX: usize = 8;

/// Where a machine's files lie.
#[derive(Debug, Clone)]
pub(in crate::targets) struct Files {
    dir: PathBuf,
}

impl Files {
    pub(in crate::targets) fn of(site: &Site) -> Self {
        Self { dir: site.dir() }
    }

    /// In the directory of a deployment.
    pub(super) fn at(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// Terraform's own directory.
    pub(in crate::targets) fn run(&self) -> PathBuf {
        self.dir.join("terraform")
    }

    /// Its state, unless that is kept elsewhere.
    pub(in crate::targets) fn state(&self) -> PathBuf {
        self.dir.join("terraform.tfstate")
    }

    /// The values that the user may change.
    pub(in crate::targets) fn users(&self) -> PathBuf {
        self.dir.join("terraform.tfvars")
    }

    /// The program's own values.
    fn own(&self) -> PathBuf {
        self.dir.join("program.tfvars.json")
    }

    /// The key of the first connection, as a value.
    fn once(&self) -> PathBuf {
        self.dir.join("once.tfvars.json")
    }

    /// What was taken over from an earlier version.
    pub(super) fn adopted(&self) -> PathBuf {
        self.dir.join("adopted.json")
    }

    /// A plan that is looked at.
    pub(in crate::targets) fn plan(&self) -> PathBuf {
        self.dir.join("plan")
    }

    /// The region that is in force: the one of an earlier run, else the one that the user wrote
    /// down, if any did.
    pub(in crate::targets) fn region(&self) -> Option<String> {
        self.region_of_run().or_else(|| self.users_value("region"))
    }

    /// The region that an earlier run worked in.
    pub(in crate::targets) fn region_of_run(&self) -> Option<String> {
        let text = self.run().exists().then(|| fs::read_to_string(self.own()).ok())??;
        let own: Value = serde_json::from_str(&text).ok()?;
        own["region"].as_str().map(str::to_owned)
    }

    /// What `account_of_run` reads.
    fn account(&self) -> PathBuf {
        self.dir.join("account")
    }

    /// The account that an earlier run worked in, if it wrote that down.
    pub(in crate::targets) fn account_of_run(&self) -> Option<String> {
        let text = self.run().exists().then(|| fs::read_to_string(self.account()).ok())??;
        Some(text.trim().to_owned()).filter(|it| !it.is_empty())
    }

    /// Writes down the account that runs work in from now on.
    pub(in crate::targets) fn write_account(&self, account: &str) -> Result<(), Failure> {
        write(&self.account(), format!("{account}\n").as_bytes())
    }

    /// A plain text among the values that the user may change.
    pub(in crate::targets) fn users_value(&self, name: &str) -> Option<String> {
        let text = fs::read_to_string(self.users()).ok()?;
        let value = |line: &str| {
            let (named, value) = line.split_once('=')?;
            let value = value.trim().strip_prefix('"')?.split('"').next()?;
            (named.trim() == name).then(|| value.to_owned())
        };
        text.lines().filter_map(value).next_back()
    }

    /// Every file with values, the later ones before the earlier ones.
    pub(in crate::targets) fn variables(&self) -> Vec<PathBuf> {
        let all = [self.users(), self.own(), self.once()];
        all.into_iter().filter(|path| path.exists()).collect()
    }

    /// What SSH needs.
    pub(super) fn ssh(&self) -> PathBuf {
        self.dir.join("ssh")
    }

    /// The private key.
    pub(super) fn key(&self) -> PathBuf {
        self.ssh().join("key")
    }

    /// The keys that the machine may show.
    pub(super) fn known_hosts(&self) -> PathBuf {
        self.ssh().join("known_hosts")
    }

    /// The key that it shows once.
    pub(super) fn once_key(&self) -> PathBuf {
        self.ssh().join("once")
    }

    /// Whether the machine's first connection is still to come.
    pub(super) fn is_first(&self) -> bool {
        self.once_key().exists()
    }

    pub(super) fn make(&self) -> Result<(), Failure> {
        create_private_directory(&self.dir)?;
        create_private_directory(&self.ssh())?;
        Ok(())
    }

    /// Writes the values that the user may change, unless they are there.
    pub(super) fn write_users(&self, cloud: Cloud, machine: &MachineSpec) -> Result<(), Failure> {
        let size = machine.size.as_deref().unwrap_or(cloud.default_size());
        let text = format!(
            "# What this deployment's machine is made with. Yours to change before it is made;\n\
             # it is kept as you leave it. Ports, keys, names and tags are the program's own\n\
             # (program.tfvars.json), by EXPOSE, OPENCLAW_PIPELINE_SSH_CIDR and GATEWAY_PORT.\n\
             region = \"{}\"\n\
             size   = \"{size}\"\n",
            machine.region
        );
        self.write_users_text(&text)
    }

    /// Writes these values, which the user may change, unless there are some.
    pub(in crate::targets) fn write_users_text(&self, text: &str) -> Result<(), Failure> {
        let path = self.users();
        if path.exists() { Ok(()) } else { write(&path, text.as_bytes()) }
    }

    /// Writes the program's own values.
    pub(in crate::targets) fn write_own(&self, values: &Value) -> Result<(), Failure> {
        write(&self.own(), format!("{values:#}\n").as_bytes())
    }

    /// Writes the key of the first connection as a value.
    pub(super) fn write_once(&self, private: &str) -> Result<(), Failure> {
        write(&self.once(), json!({ "host_key": private }).to_string().as_bytes())
    }

    /// Forgets the key of the first connection.
    pub(super) fn forget_once(&self) -> Result<(), Failure> {
        let key = self.once_key();
        for path in [self.once(), key.with_extension("pub"), key] {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error.into());
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// The program's own values.
pub(super) struct Own<'a> {
    pub(super) site: &'a Site,
    pub(super) machine: &'a MachineSpec,
    pub(super) public_key: &'a str,
    pub(super) ssh_cidrs: &'a [String],
    pub(super) operation: &'a str,
    pub(super) region: &'a str,
}

impl Own<'_> {
    pub(super) fn values(&self) -> Value {
        let deployment = &self.site.deployment;
        let everybody = ["0.0.0.0/0".to_owned()];
        let gateway: &[String] = match self.machine.expose {
            Expose::Http => &everybody,
            Expose::Operator => self.ssh_cidrs,
            Expose::Tunnel | Expose::None => &[],
        };
        let mut values = json!({
            "name": deployment.name,
            // Whatever becomes of the user's file: what was made is nowhere else.
            "region": self.region,
            "suffix": suffix(self.site),
            "installation": self.site.layout.installation(),
            "deployment": deployment.id,
            "operation": self.operation,
            "public_key": self.public_key,
            "image": deployment.spec.image.as_deref().unwrap_or(DEFAULT_IMAGE),
            "gateway_port": deployment.facts.port,
            "gateway_cidrs": gateway,
            "ssh_cidrs": self.ssh_cidrs,
            // Whatever the user's file says: it opens a port, and on EC2 gives the machine a role.
            "server": false,
        });
        if let Some(server) = &self.machine.server {
            self.of_server(server, &mut values);
        }
        values
    }

    /// What the machine of a pipeline server has beside that, and has not.
    fn of_server(&self, server: &ServerSpec, values: &mut Value) {
        values["server"] = true.into();
        values["server_cidrs"] = match server.reach {
            Reach::Tunnel => json!([]),
            _ if server.cidrs.is_empty() => json!(self.ssh_cidrs),
            _ => json!(server.cidrs),
        };
        // No gateway runs there by itself.
        values["image"] = "".into();
        values["gateway_port"] = DEFAULT_PORT.into();
        if self.site.deployment.spec.target == TargetKind::Ec2 {
            values["server_installation"] = server.installation.as_str().into();
        }
    }
}

/// What makes a deployment's names unique in an account: a hash of installation and deployment.
pub(in crate::targets) fn suffix(site: &Site) -> String {
    suffix_of(site.layout.installation(), &site.deployment.id)
}

/// The same, of the two ids.
pub(super) fn suffix_of(installation: &str, deployment: &str) -> String {
    use sha2::Digest as _;
    let hash = sha2::Sha256::digest(format!("{installation}/{deployment}"));
    let first = hash.iter().take(SUFFIX / 2).fold(0_u64, |sum, it| sum << 8 | u64::from(*it));
    format!("{first:0SUFFIX$x}")
}

/// Writes a file for its owner alone, whole or not at all.
pub(in crate::targets) fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let half = path.with_extension("new");
    let _ = fs::remove_file(&half);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&half)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(fs::rename(&half, path)?)
}
