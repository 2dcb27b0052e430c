//! What is checked before anything is made.

use futures_util::future::try_join_all;

use super::{At, entry, names};
use crate::config::Variable;
use crate::domain::Failure;
use crate::drivers::kubernetes::{ApiError, Kind, Object, Problem, Right};

/// The oldest cluster on which everything is there that is used: a disruption budget's
/// unhealthyPodEvictionPolicy.
const OLDEST: (u32, u32) = (1, 27);
/// Encrypted volumes of EBS, and what makes them.
const EBS_CLASS: &str = "gp3";
const EBS_DRIVER: &str = "ebs.csi.aws.com";
/// What says that a class is the cluster's default.
const IS_DEFAULT: &str = "storageclass.kubernetes.io/is-default-class";

/// What a launch does, and everything after it.
const RIGHTS: [Right; 31] = [
    right("create", Kind::NAMESPACE, ""),
    right("patch", Kind::NAMESPACE, ""),
    right("delete", Kind::NAMESPACE, ""),
    // Whoever applies what is not there yet has to be able to make it.
    right("create", Kind::SERVICE, ""),
    right("patch", Kind::SERVICE, ""),
    right("create", Kind::SECRET, ""),
    right("patch", Kind::SECRET, ""),
    right("create", Kind::CONFIG_MAP, ""),
    right("patch", Kind::CONFIG_MAP, ""),
    right("create", Kind::CLAIM, ""),
    right("patch", Kind::CLAIM, ""),
    right("list", Kind::CLAIM, ""),
    right("create", Kind::NETWORK_POLICY, ""),
    right("patch", Kind::NETWORK_POLICY, ""),
    right("create", Kind::DISRUPTION_BUDGET, ""),
    right("patch", Kind::DISRUPTION_BUDGET, ""),
    right("get", Kind::DEPLOYMENT, ""),
    right("create", Kind::DEPLOYMENT, ""),
    right("patch", Kind::DEPLOYMENT, ""),
    right("patch", Kind::DEPLOYMENT, "scale"),
    right("create", Kind::POD, ""),
    right("get", Kind::POD, ""),
    right("list", Kind::POD, ""),
    right("delete", Kind::POD, ""),
    right("get", Kind::POD, "log"),
    // A WebSocket begins as a read.
    right("get", Kind::POD, "exec"),
    right("create", Kind::POD, "exec"),
    right("get", Kind::POD, "portforward"),
    right("create", Kind::POD, "portforward"),
    right("get", Kind::SERVICE, ""),
    right("list", Kind::EVENT, ""),
];

/// What else is needed to remove a gateway and leave its volumes.
const VACATING: [Right; 6] = [
    right("delete", Kind::SERVICE, ""),
    right("delete", Kind::DEPLOYMENT, ""),
    right("delete", Kind::SECRET, ""),
    right("delete", Kind::CONFIG_MAP, ""),
    right("delete", Kind::NETWORK_POLICY, ""),
    right("delete", Kind::DISRUPTION_BUDGET, ""),
];

pub(super) const fn right(verb: &'static str, kind: Kind, part: &'static str) -> Right {
    Right { verb, kind, part }
}

/// The class of a deployment's volumes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Class {
    /// One that is there.
    There(String),
    /// That of encrypted volumes of EBS, which is still to be made.
    ToBeMade(String),
    /// The cluster's own default.
    Default,
}

impl At<'_> {
    /// Fails unless a gateway can be put there. Changes nothing.
    pub(super) async fn check(&self) -> Result<(), Failure> {
        self.manifests().check()?;
        let version = self.cluster.version().await?;
        if version < OLDEST {
            return Err(Failure::prerequisite(format!(
                "the cluster at {} is Kubernetes {}.{}, and {}.{} is the oldest that will do",
                self.cluster.server(),
                version.0,
                version.1,
                OLDEST.0,
                OLDEST.1
            ))
            .remedy("update the cluster, or name another one with --context"));
        }
        self.require(&RIGHTS).await?;
        self.operator().await?;
        let found = self.cluster.get(Kind::NAMESPACE, None, &self.namespace).await?;
        names::refuse_lost(found.as_ref(), self.site)?;
        if let Some(found) = &found {
            if names::is_going(found) {
                return Err(Failure::conflict(format!(
                    "the namespace {} is being removed",
                    self.namespace
                ))
                .remedy("try again when it is gone (kubectl get namespace shows it)"));
            }
            names::refuse_to_take(found, self.site)?;
            // Another way may have led to what is there.
            self.require(&entry::REMOVING).await?;
        }
        self.storage_class().await?;
        match self.site.deployment.ingress() {
            Some(ingress) => self.check_entry(ingress).await,
            None => Ok(()),
        }
    }

    /// Fails unless a gateway can be removed there without its volumes. Changes nothing.
    pub(super) async fn may_vacate(&self) -> Result<(), Failure> {
        self.require(&[&VACATING[..], &entry::REMOVING].concat()).await
    }

    pub(super) async fn require(&self, rights: &[Right]) -> Result<(), Failure> {
        let asked = try_join_all(rights.iter().map(async |right| {
            let may = self.cluster.may(*right, &self.namespace).await?;
            Ok::<_, Failure>((!may).then_some(*right))
        }));
        let lacking: Vec<String> =
            asked.await?.into_iter().flatten().map(|it| it.to_string()).collect();
        if lacking.is_empty() {
            return Ok(());
        }
        Err(Failure::prerequisite(format!(
            "whoever the context names may not do this on the cluster at {}: {}",
            self.cluster.server(),
            lacking.join(", ")
        ))
        .remedy(
            "ask whoever administers it for these rights (docs/kubernetes.md has the role), or name \
             another context",
        ))
    }

    /// The class that the volumes get: the one that was named, encrypted ones of EBS, or the cluster's
    /// own default.
    pub(super) async fn storage_class(&self) -> Result<Class, Failure> {
        let spec = self.site.deployment.spec.cluster.as_ref();
        let wanted = spec.and_then(|it| it.storage_class.clone());
        // What is there stays as it is: a claim's class cannot change.
        if let Some(claim) = self.claims().await?.first() {
            let class = claim.data["spec"]["storageClassName"].as_str().map(str::to_owned);
            return match (wanted, class) {
                (Some(wanted), Some(class)) if wanted != class => Err(Failure::conflict(format!(
                    "{} names {wanted:?}, and its volumes are of the class {class:?}, which cannot \
                     change",
                    Variable::StorageClass.name()
                ))
                .remedy("leave it out; or destroy it with its volumes, and launch it anew")),
                (_, class) => Ok(class.map_or(Class::Default, Class::There)),
            };
        }
        let classes = self.cluster.list(Kind::STORAGE_CLASS, None, "").await?;
        let has = |name: &str| classes.iter().any(|it| it.metadata.name.as_deref() == Some(name));
        if let Some(wanted) = wanted {
            if has(&wanted) {
                return Ok(Class::There(wanted));
            }
            let known: Vec<String> =
                classes.iter().filter_map(|it| it.metadata.name.clone()).collect();
            return Err(Failure::bad_input(format!(
                "{} names {wanted:?}, and the cluster has no such storage class",
                Variable::StorageClass.name()
            ))
            .remedy(format!("it has {}", listed(&known))));
        }
        let made = self.site.deployment.facts.cluster.as_ref();
        if let Some(class) = made.and_then(|it| it.storage_class.clone()) {
            return Ok(Class::There(class));
        }
        // One of this name may be somebody's manifest on a cluster that has no such volumes.
        let is_of_ebs = |it: &Object| {
            it.metadata.name.as_deref() == Some(EBS_CLASS) && it.data["provisioner"] == EBS_DRIVER
        };
        if classes.iter().any(is_of_ebs) {
            return Ok(Class::There(EBS_CLASS.into()));
        }
        if !has(EBS_CLASS) && self.cluster.get(Kind::CSI_DRIVER, None, EBS_DRIVER).await?.is_some()
        {
            return Ok(Class::ToBeMade(EBS_CLASS.into()));
        }
        if classes.iter().any(is_default) {
            return Ok(Class::Default);
        }
        let known: Vec<String> = classes.iter().filter_map(|it| it.metadata.name.clone()).collect();
        Err(Failure::prerequisite(
            "the cluster has no default storage class, and the gateway's state needs a volume",
        )
        .remedy(format!(
            "name one with {}: it has {}",
            Variable::StorageClass.name(),
            listed(&known)
        )))
    }

    /// Says that a class of EBS volumes does not ask for encrypted ones: whether they are is up to the
    /// account. Of other clouds' classes nothing is known.
    pub(super) async fn unencrypted(&self, class: &str) -> Result<Option<Failure>, Failure> {
        let found = match self.cluster.get(Kind::STORAGE_CLASS, None, class).await {
            Err(error) if error.problem == Problem::Forbidden => None,
            found => found?,
        };
        let asks_for_none = |it: &Object| {
            it.data["provisioner"] == EBS_DRIVER && it.data["parameters"]["encrypted"] != "true"
        };
        Ok(found.filter(asks_for_none).map(|_| {
            Failure::failed(format!(
                "the storage class {class} does not ask for encrypted volumes: they are only where \
                 the AWS account encrypts by itself"
            ))
            .remedy(format!(
                "a gateway that is launched with {} gets another class for good; k8s/storageclass.yaml \
                 is one that encrypts",
                Variable::StorageClass.name()
            ))
        }))
    }

    /// The volumes' claims that are there: this deployment's, or kept for it.
    pub(super) async fn claims(&self) -> Result<Vec<Object>, Failure> {
        let mut claims = self.cluster.list(Kind::CLAIM, Some(&self.namespace), "").await?;
        claims.retain(|it| {
            names::CLAIMS.iter().any(|name| it.metadata.name.as_deref() == Some(*name))
        });
        Ok(claims)
    }

    /// The cluster's own id; empty where whoever asks may not look.
    pub(super) async fn identity(&self) -> Result<String, Failure> {
        match self.cluster.get(Kind::NAMESPACE, None, names::OF_CLUSTER).await {
            Err(error) if error.problem == Problem::Forbidden => Ok(String::new()),
            found => Ok(found?.and_then(|it| it.metadata.uid).unwrap_or_default()),
        }
    }

    /// The deployment's namespace. That there is none says nothing on a cluster that is another one.
    pub(super) async fn found(&self) -> Result<Option<Object>, Failure> {
        let found = self.cluster.get(Kind::NAMESPACE, None, &self.namespace).await?;
        if found.is_none() {
            names::refuse_elsewhere(&self.identity().await?, self.cluster.server(), self.site)?;
        }
        Ok(found)
    }

    pub(super) async fn named(&self, kind: Kind) -> Result<Vec<String>, ApiError> {
        let all = self.cluster.list(kind, None, "").await?;
        Ok(all.into_iter().filter_map(|it| it.metadata.name).collect())
    }
}

fn is_default(class: &Object) -> bool {
    let annotations = class.metadata.annotations.as_ref();
    annotations.and_then(|it| it.get(IS_DEFAULT)).is_some_and(|it| it == "true")
}

pub(super) fn listed(names: &[String]) -> String {
    if names.is_empty() { "none".into() } else { names.join(", ") }
}
