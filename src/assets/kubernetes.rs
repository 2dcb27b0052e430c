//! The manifests of a gateway on Kubernetes, and what runs in its pod beside them.

/// Puts an archive's state and workspace in place of the present ones, in a pod that has both volumes.
pub const RESTORE: &str = include_str!("../../assets/cluster/restore.sh");

/// A manifest, as `k8s/` has it.
#[derive(Debug, Clone, Copy)]
pub struct Manifest {
    /// Its file's name.
    pub name: &'static str,
    /// What stands in it.
    pub text: &'static str,
}

macro_rules! manifests {
    ($($constant:ident = $name:literal;)*) => {
        $(#[doc = concat!("`k8s/", $name, "`.")]
        pub const $constant: Manifest =
            Manifest { name: $name, text: include_str!(concat!("../../k8s/", $name)) };)*

        /// Each.
        pub const ALL: &[Manifest] = &[$($constant),*];
    };
}

manifests! {
    NAMESPACE = "namespace.yaml";
    STORAGE_CLASS = "storageclass.yaml";
    CLAIMS = "pvc.yaml";
    SECRET = "secret.yaml";
    SERVICE = "service.yaml";
    NETWORK_POLICY = "networkpolicy.yaml";
    DISRUPTION_BUDGET = "poddisruptionbudget.yaml";
    CONFIG = "configmap.yaml";
    DEPLOYMENT = "deployment.yaml";
}
