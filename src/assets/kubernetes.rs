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
    /// The kind of its objects.
    pub kind: &'static str,
    /// What each of them has to have for the program to put its own there: JSON pointers (RFC 6901) to
    /// objects.
    pub places: &'static [&'static str],
}

macro_rules! manifests {
    ($($constant:ident = $name:literal, $kind:literal, $places:expr;)*) => {
        $(#[doc = concat!("`k8s/", $name, "`.")]
        pub const $constant: Manifest = Manifest {
            name: $name,
            text: include_str!(concat!("../../k8s/", $name)),
            kind: $kind,
            places: &$places,
        };)*

        /// Each.
        pub const ALL: &[Manifest] = &[$($constant),*];
    };
}

manifests! {
    NAMESPACE = "namespace.yaml", "Namespace", [];
    STORAGE_CLASS = "storageclass.yaml", "StorageClass", [];
    CLAIMS = "pvc.yaml", "PersistentVolumeClaim", ["/spec"];
    SECRET = "secret.yaml", "Secret", [];
    SERVICE = "service.yaml", "Service", ["/spec/ports/0"];
    NETWORK_POLICY = "networkpolicy.yaml", "NetworkPolicy", ["/spec"];
    DISRUPTION_BUDGET = "poddisruptionbudget.yaml", "PodDisruptionBudget", [];
    CONFIG = "configmap.yaml", "ConfigMap", ["/data"];
    DEPLOYMENT = "deployment.yaml", "Deployment", [
        "/spec/template/metadata",
        "/spec/template/spec/initContainers/0",
        "/spec/template/spec/containers/0/resources/limits",
        "/spec/template/spec/containers/0/resources/requests",
    ];
}
