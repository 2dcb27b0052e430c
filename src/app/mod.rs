//! The composition root: the verbs that the command line (and later the API) share.
//!
//! Owns putting the layers together, and going on with what was interrupted before anything new
//! is begun. Refuses to print and to know of terminals.

pub mod access;
mod adopt;
pub mod audit;
mod backups;
pub mod check;
mod clusters;
pub mod devices;
pub mod doctor;
pub mod endpoints;
pub mod env_file;
mod exposing;
pub mod external;
mod figures;
mod handover;
pub mod image;
pub mod in_pod;
mod infra;
mod launching;
mod listing;
pub mod logs;
mod machines;
mod orders;
mod orphans;
mod own_cluster;
mod own_server;
mod pruning;
pub mod rate;
mod reachable;
mod reports;
mod requests;
mod rotation;
mod serving;
mod specification;
mod states;
pub mod tokens;
mod tunnel;
mod verbs;
mod without_effect;

use std::path::Path;
use std::sync::Arc;

use crate::config::{Settings, tool_variable};
use crate::domain::{Change, Deployment, DeploymentName, DeploymentStatus, Failure};
use crate::drivers::aws::Environment;
use crate::drivers::terraform::Terraform;
use crate::exec::LockFile;
use crate::keeper::Keeper;
use crate::operations::vault::Vault;
use crate::operations::{Engine, Watcher, approval};
use crate::secrets::SealingKey;
use crate::store::Store;
use crate::targets::cluster::{Finder, Own};
use crate::targets::machine::Tools;
use crate::targets::{Checkout, Layout, Observed, Site, Target, Targets, keeper};

pub use crate::exec::wait::back_off;
pub use crate::operations::DestroyParams;
pub use crate::operations::approval::Approved;
pub use crate::store::{
    Answer as Repeated, AuditOutcome, AuditRecord, Backup, DeploymentFilter, EventFilter,
    IdempotencyKey, KEY_MAX, Once, OperationFilter, OwnerLimits, SESSION_HOURS, Unprotected,
};
pub use crate::targets::LogOptions;
pub use crate::targets::own_cluster::Clearing;
pub use crate::webhooks::address::is_near;
pub use access::{Access, AccessKind};
pub use adopt::Adopted;
pub use audit::Denials;
pub use devices::{Device, Devices, Waiting, check_request_id};
pub use exposing::{Exposure, refuse_without_machine};
pub use infra::{Held, MachineRequest, Planned, PlannedChange, Price};
pub use launching::{LaunchRequest, Launched};
pub use orders::Order;
pub use orphans::{Kept, Orphan, Orphans};
pub use own_cluster::PlannedCluster;
pub use own_server::{LeftBehind, OwnServer, OwnServerRequest, OwnServerWork, certificate_here};
pub use requests::{
    Alongs, LaunchOrder, checked_artefact, checked_key, is_trusted_image, steps_ahead,
};
pub use rotation::Rotation;
pub use serving::{AT_ONCE, DEFAULT_GRACE, Executor, LOOKS, Load, Serving};
pub use specification::Wanted;
pub use tokens::{AuthError, Authenticator};
pub use tunnel::{TunnelTold, open_browser};

/// The names of this machine by which a server on it may be called.
pub fn own_names() -> Vec<String> {
    crate::exec::addresses::host_name().into_iter().collect()
}

/// The program, put together over one data directory.
#[derive(Clone)]
pub struct App {
    engine: Engine,
}

impl App {
    /// Opens the data directory that the settings name, and makes it when it is not there.
    pub fn open(settings: &Settings) -> Result<Self, Failure> {
        settings.database()?;
        let tools = Tools {
            terraform: Terraform::new(settings.terraform()?),
            aws: Environment::read(tool_variable),
            own_address: settings.own_address()?,
            boot_within: settings.boot_within()?,
            checkout: Checkout::new(settings.checkout()?),
        };
        Self::open_with(&settings.data_directory()?, &settings.key_file()?, Some(tools))
    }

    /// Opens a data directory with a sealing key.
    pub fn open_at(home: &Path, key_file: &Path) -> Result<Self, Failure> {
        Self::open_with(home, key_file, None)
    }

    fn open_with(home: &Path, key_file: &Path, tools: Option<Tools>) -> Result<Self, Failure> {
        let store = Store::open(home)?;
        let vault = Arc::new(Vault::new(sealing_key(&store, key_file)?));
        let installation = store.installation_id()?;
        let layout = Layout::new(home).sealed_by(key_file).of_installation(installation);
        let targets = match tools {
            Some(tools) => {
                let finder = Finder::new(Own::told(tool_variable), tools.aws.clone());
                Targets::driving(&layout, &tools, finder)
            }
            None => Targets::new(&layout),
        };
        Ok(Self { engine: Engine::new(store, layout, targets, vault) })
    }

    /// The same, for a server: browsers are let in as it says, and work is handed to nobody.
    fn serving(self, watcher: Watcher) -> Self {
        Self { engine: self.engine.watched_by(watcher) }
    }

    /// Has the server look now which windows are open.
    fn watch_now(&self) {
        if let Watcher::Here(told) = self.engine.watcher() {
            told.notify_one();
        }
    }

    fn is_server(&self) -> bool {
        matches!(self.engine.watcher(), Watcher::Here(_))
    }

    /// The store.
    pub fn store(&self) -> &Store {
        self.engine.store()
    }

    /// Where things lie.
    pub fn layout(&self) -> &Layout {
        self.engine.layout()
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The keeper of a deployment.
    pub fn keeper(&self, name: DeploymentName) -> Keeper {
        Keeper::new(self.engine.clone(), name)
    }

    /// The deployment with this name; a destroyed one is not found.
    pub fn deployment(&self, name: &DeploymentName) -> Result<Deployment, Failure> {
        let found = self.store().deployment(name)?;
        found.filter(|deployment| deployment.status != DeploymentStatus::Destroyed).ok_or_else(
            || {
                Failure::not_found(format!("there is no deployment {name}"))
                    .remedy("openclaw-pipeline list shows what there is")
            },
        )
    }

    /// The deployment as its target sees it.
    pub fn site(&self, name: &DeploymentName) -> Result<Site, Failure> {
        self.engine.site(&self.deployment(name)?)
    }

    /// Looks at a deployment that is meant to run, and records when it does not, or does again.
    pub async fn look(&self, deployment: &Deployment) -> Result<Deployment, Failure> {
        if !listing::is_watched(deployment) {
            return Ok(deployment.clone());
        }
        if !deployment.name.is_gateway() {
            let answers = if deployment.name.is_server() {
                self.server_answers(deployment).await
            } else {
                let answers = Box::pin(self.cluster_answers(deployment)).await;
                answers.map_or(Some(false), |it| it.map(|()| true))
            };
            let change = answers.map(|it| if it { Change::Recover } else { Change::Degrade });
            if let Some(change) = change {
                self.store().observe(&deployment.name, change)?;
            }
            return self.deployment(&deployment.name);
        }
        let site = self.engine.site(deployment)?;
        let change = if deployment.spec.target.has_own_address() {
            self.reached(deployment).await
        } else {
            // An engine that does not answer says nothing about the gateway.
            self.target(&site).observe(&site).await.ok().map(|seen| match seen {
                Observed::Running => Change::Recover,
                _ => Change::Degrade,
            })
        };
        let Some(change) = change else { return Ok(deployment.clone()) };
        if matches!(change, Change::Recover) {
            self.watch_again(&site).await?;
        } else if self.follow_tunnel(deployment).await {
            return self.deployment(&deployment.name);
        }
        self.store().observe(&deployment.name, change)?;
        self.deployment(&deployment.name)
    }

    /// Starts a keeper anew that died while the approval window is open. Whoever is at work on
    /// the deployment sees to that itself.
    async fn watch_again(&self, site: &Site) -> Result<(), Failure> {
        let name = &site.deployment.name;
        let window = approval::window_now(self.store(), &site.deployment)?;
        let open = window.is_some_and(|(state, _)| approval::is_worth_watching(state));
        if !open || keeper::lives(self.layout(), name)? || self.is_at_work(name)? {
            return Ok(());
        }
        if self.is_server() || self.is_served()? {
            // The server watches itself.
            return Ok(());
        }
        keeper::spawn(site).await
    }

    fn is_at_work(&self, name: &DeploymentName) -> Result<bool, Failure> {
        Ok(LockFile::is_held(&self.layout().lock(name))?)
    }

    /// Whether an operation on a deployment is active and nobody is at work on it.
    pub fn is_interrupted(&self, deployment: &Deployment) -> Result<bool, Failure> {
        if self.store().active_operation(&deployment.name)?.is_none() {
            return Ok(false);
        }
        Ok(!self.is_at_work(&deployment.name)?)
    }

    /// The target of a deployment.
    pub fn target(&self, site: &Site) -> &dyn Target {
        self.engine.targets().get(site.deployment.spec.target)
    }
}

/// The sealing key. Once something was sealed, the key that sealed it is the only one: another
/// one is refused, and none is made in its place.
fn sealing_key(store: &Store, path: &Path) -> Result<SealingKey, Failure> {
    let Some(known) = store.key_fingerprint()? else {
        let key = SealingKey::load_or_create(path)?;
        store.set_key_fingerprint(&key.fingerprint())?;
        return Ok(key);
    };
    let key = SealingKey::load(path)?;
    if key.fingerprint() == known {
        return Ok(key);
    }
    Err(Failure::conflict(format!(
        "the key in {} is not the one that this data directory was sealed with",
        path.display()
    ))
    .remedy("name the right key in OPENCLAW_PIPELINE_KEY_FILE"))
}
