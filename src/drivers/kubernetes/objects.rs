//! Objects of a cluster's: applied, read, removed.
//!
//! Owns server-side apply with this program's own field manager, so that what others set on the same
//! object stays theirs, and that an object which is gone is as good as removed. What this
//! program says of an object counts, whoever said otherwise. Refuses to remove an object that came
//! after the one that was looked at, unless it is asked for by its name alone.

use std::sync::atomic::{AtomicUsize, Ordering};

use kube::Api;
use kube::api::{
    DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, Preconditions,
};
use kube::core::ApiResource;

use super::Cluster;
use super::error::{ApiError, Problem};

/// The name under which this program's fields are known.
pub const MANAGER: &str = "openclaw-pipeline";

/// How many events of a namespace are read.
const EVENTS_MAX: u32 = 500;

/// An object of any kind.
pub type Object = DynamicObject;

/// A kind of object, as the API names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    group: &'static str,
    version: &'static str,
    name: &'static str,
    plural: &'static str,
    is_namespaced: bool,
}

macro_rules! kinds {
    ($($name:ident: $group:literal $version:literal $kind:literal $plural:literal $namespaced:literal;)*) => {
        impl Kind {
            $(#[doc = concat!("`", $kind, "`.")]
            pub const $name: Self = Self {
                group: $group,
                version: $version,
                name: $kind,
                plural: $plural,
                is_namespaced: $namespaced,
            };)*

            /// Each that is known here.
            pub const ALL: &[Self] = &[$(Self::$name),*];
        }
    };
}

kinds! {
    NAMESPACE: "" "v1" "Namespace" "namespaces" false;
    NODE: "" "v1" "Node" "nodes" false;
    POD: "" "v1" "Pod" "pods" true;
    SECRET: "" "v1" "Secret" "secrets" true;
    CONFIG_MAP: "" "v1" "ConfigMap" "configmaps" true;
    SERVICE: "" "v1" "Service" "services" true;
    CLAIM: "" "v1" "PersistentVolumeClaim" "persistentvolumeclaims" true;
    VOLUME: "" "v1" "PersistentVolume" "persistentvolumes" false;
    EVENT: "" "v1" "Event" "events" true;
    QUOTA: "" "v1" "ResourceQuota" "resourcequotas" true;
    DEPLOYMENT: "apps" "v1" "Deployment" "deployments" true;
    NETWORK_POLICY: "networking.k8s.io" "v1" "NetworkPolicy" "networkpolicies" true;
    INGRESS: "networking.k8s.io" "v1" "Ingress" "ingresses" true;
    DISRUPTION_BUDGET: "policy" "v1" "PodDisruptionBudget" "poddisruptionbudgets" true;
    STORAGE_CLASS: "storage.k8s.io" "v1" "StorageClass" "storageclasses" false;
    INGRESS_CLASS: "networking.k8s.io" "v1" "IngressClass" "ingressclasses" false;
    GATEWAY: "gateway.networking.k8s.io" "v1" "Gateway" "gateways" true;
    HTTP_ROUTE: "gateway.networking.k8s.io" "v1" "HTTPRoute" "httproutes" true;
    GATEWAY_CLASS: "gateway.networking.k8s.io" "v1" "GatewayClass" "gatewayclasses" false;
    CSI_DRIVER: "storage.k8s.io" "v1" "CSIDriver" "csidrivers" false;
    ACCESS_REVIEW: "authorization.k8s.io" "v1" "SelfSubjectAccessReview" "selfsubjectaccessreviews" false;
}

impl Kind {
    /// The kind of an object, where it is known here.
    pub fn of(object: &Object) -> Option<Self> {
        let types = object.types.as_ref()?;
        let is_it = |it: &&Self| it.api_version() == types.api_version && it.name == types.kind;
        Self::ALL.iter().find(is_it).copied()
    }

    fn api_version(self) -> String {
        match self.group {
            "" => self.version.to_owned(),
            group => format!("{group}/{}", self.version),
        }
    }

    pub(super) fn group(self) -> &'static str {
        self.group
    }

    /// What the API's paths call it.
    pub fn plural(self) -> &'static str {
        self.plural
    }

    pub(super) fn is_namespaced(self) -> bool {
        self.is_namespaced
    }

    pub(super) fn resource(self) -> ApiResource {
        ApiResource {
            group: self.group.into(),
            version: self.version.into(),
            api_version: self.api_version(),
            kind: self.name.into(),
            plural: self.plural.into(),
        }
    }
}

impl Cluster {
    pub(super) fn api(&self, kind: Kind, namespace: Option<&str>) -> Api<Object> {
        let resource = kind.resource();
        match namespace.filter(|_| kind.is_namespaced) {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        }
    }

    /// Makes an object what it should be, as far as it says; answers what it is now.
    pub async fn apply(&self, kind: Kind, object: &Object) -> Result<Object, ApiError> {
        let api = self.api(kind, object.metadata.namespace.as_deref());
        let name = object.metadata.name.as_deref().unwrap_or_default();
        let params = PatchParams::apply(MANAGER).force();
        let patch = Patch::Apply(object);
        self.ask(|| api.patch(name, &params, &patch)).await
    }

    /// An object; `None` where there is none, or the cluster knows no such kind.
    pub async fn get(
        &self,
        kind: Kind,
        namespace: Option<&str>,
        name: &str,
    ) -> Result<Option<Object>, ApiError> {
        let api = self.api(kind, namespace);
        match self.ask(|| api.get(name)).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.problem == Problem::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The objects with a label, such as `app.kubernetes.io/name=openclaw`, in a namespace or in all.
    pub async fn list(
        &self,
        kind: Kind,
        namespace: Option<&str>,
        label: &str,
    ) -> Result<Vec<Object>, ApiError> {
        let params = ListParams::default().labels(label);
        let api = self.api(kind, namespace);
        Ok(self.ask(|| api.list(&params)).await?.items)
    }

    /// The events of a namespace.
    pub async fn list_events(&self, namespace: &str) -> Result<Vec<Object>, ApiError> {
        let params = ListParams::default().limit(EVENTS_MAX);
        let api = self.api(Kind::EVENT, Some(namespace));
        Ok(self.ask(|| api.list(&params)).await?.items)
    }

    /// Changes what a patch names of an object, and nothing else.
    pub async fn merge(
        &self,
        kind: Kind,
        namespace: Option<&str>,
        name: &str,
        patch: &serde_json::Value,
    ) -> Result<Object, ApiError> {
        let params = PatchParams { field_manager: Some(MANAGER.into()), ..PatchParams::default() };
        let api = self.api(kind, namespace);
        let patch = Patch::Merge(patch);
        self.ask(|| api.patch(name, &params, &patch)).await
    }

    /// Makes an object, which must not be there yet.
    pub async fn create(&self, kind: Kind, object: &Object) -> Result<Object, ApiError> {
        let api = self.api(kind, object.metadata.namespace.as_deref());
        let params = PostParams { field_manager: Some(MANAGER.into()), ..PostParams::default() };
        let tries = AtomicUsize::new(0);
        let made = self.ask(|| async {
            tries.fetch_add(1, Ordering::Relaxed);
            let made = api.create(&params, object).await;
            let is_undone = |it: &kube::Error| {
                let error = ApiError::of(it, &self.server);
                error.was_not_done || error.problem == Problem::Unauthenticated
            };
            if made.as_ref().is_err_and(is_undone) {
                tries.fetch_sub(1, Ordering::Relaxed);
            }
            made
        });
        let made = made.await;
        let was_lost = tries.into_inner() > 1;
        match (made, &object.metadata.name) {
            // Made by the call whose answer was lost, if it is this program's.
            (Err(error), Some(name)) if was_lost && error.problem == Problem::Conflict => {
                let found = self.ask(|| api.get(name)).await?;
                let managers = found.metadata.managed_fields.iter().flatten();
                let is_ours =
                    managers.filter_map(|it| it.manager.as_deref()).any(|it| it == MANAGER);
                if is_ours { Ok(found) } else { Err(error) }
            }
            (made, _) => made,
        }
    }

    /// Says how many of a deployment's pods there are to be.
    pub async fn scale(&self, namespace: &str, name: &str, replicas: u32) -> Result<(), ApiError> {
        let patch = Patch::Merge(serde_json::json!({
            "apiVersion": "autoscaling/v1", "kind": "Scale",
            "metadata": { "name": name, "namespace": namespace },
            "spec": { "replicas": replicas },
        }));
        let api = self.api(Kind::DEPLOYMENT, Some(namespace));
        let params = PatchParams { field_manager: Some(MANAGER.into()), ..PatchParams::default() };
        self.ask(|| api.patch_scale(name, &params, &patch)).await.map(drop)
    }

    /// Removes an object, if it is still the one of this id; one that is gone is as good as removed.
    pub async fn remove(
        &self,
        kind: Kind,
        namespace: Option<&str>,
        name: &str,
        uid: &str,
    ) -> Result<(), ApiError> {
        let only = Preconditions { uid: Some(uid.to_owned()), resource_version: None };
        let params = DeleteParams { preconditions: Some(only), ..DeleteParams::background() };
        self.delete(kind, namespace, name, &params).await.map(drop)
    }

    /// Removes whatever has a name in a namespace, which nobody else's is known to be; whether there
    /// was anything. Whoever calls need not be able to read it.
    pub async fn remove_named(
        &self,
        kind: Kind,
        namespace: &str,
        name: &str,
    ) -> Result<bool, ApiError> {
        self.delete(kind, Some(namespace), name, &DeleteParams::background()).await
    }

    async fn delete(
        &self,
        kind: Kind,
        namespace: Option<&str>,
        name: &str,
        params: &DeleteParams,
    ) -> Result<bool, ApiError> {
        let api = self.api(kind, namespace);
        match self.ask(|| api.delete(name, params)).await {
            Ok(_) => Ok(true),
            Err(error) if error.problem == Problem::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_known_by_what_an_object_says_it_is() {
        for kind in Kind::ALL {
            let object: Object = serde_json::from_value(serde_json::json!({
                "apiVersion": kind.api_version(), "kind": kind.name, "metadata": { "name": "a" },
            }))
            .expect("an object");
            assert_eq!(Kind::of(&object), Some(*kind));
        }
    }
}
