//! The nouns and the rules: names, specifications, statuses, events, policies.
//!
//! Owns what is true whatever the tools and the targets are. Refuses I/O, clocks and randomness:
//! everything here is a pure function of its arguments, so that it can be tested without a machine.

pub mod access;
pub mod approval;
pub mod cluster;
pub mod credential;
pub mod event;
pub mod failure;
pub mod machine;
pub mod model;
pub mod name;
pub mod operation;
pub mod spec;
pub mod state_place;
pub mod status;
pub mod text;
pub mod tunnel;
pub mod version;

pub use access::{Denied, Limits, NamePrefix, Need, Principal, PrincipalKind, Scope};
pub use cluster::{
    ClusterFacts, ClusterSpec, EksCluster, IngressApi, IngressSpec, OwnClusterFacts,
};
pub use credential::{Credential, Provider};
pub use event::{Event, EventSource, EventType};
pub use failure::{Failure, FailureKind};
pub use machine::{Expose, MachineFacts, MachineSpec, Reach, SERVER_PORT, ServerFacts, ServerSpec};
pub use name::DeploymentName;
pub use operation::{Operation, OperationKind, OperationStatus, StepRecord, StepStatus};
pub use spec::{Deployment, DeploymentSpec, ExecAsk, Facts, TargetKind};
pub use state_place::StatePlace;
pub use status::{Aftermath, Change, DeploymentStatus};
pub use tunnel::TunnelFacts;
pub use version::OpenClawVersion;
