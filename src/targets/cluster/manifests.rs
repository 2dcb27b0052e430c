//! The objects of a deployment, from the manifests as they are shipped.
//!
//! Owns what the program puts in the place of what the manifests say: namespace, labels, image, port,
//! exposure, storage class, limits, secrets. Refuses a manifest of a checkout that is none, holds what it
//! should not, or lacks a place where the program puts something.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::names;
use crate::assets::kubernetes::{self, Manifest};
use crate::config::rules::MEMORY_MIN_MIB;
use crate::domain::{ClusterFacts, Deployment, Expose, Failure};
use crate::drivers::kubernetes::{Kind, Object};
use crate::secrets::Secret;
use crate::targets::{Checkout, Site};

/// The deployment's objects to be.
pub(super) struct Manifests<'a> {
    pub(super) site: &'a Site,
    checkout: &'a Checkout,
}

/// An object, and what kind it is.
pub(super) type Applied = (Kind, Object);

impl<'a> Manifests<'a> {
    pub(super) fn new(site: &'a Site, checkout: &'a Checkout) -> Self {
        Self { site, checkout }
    }

    /// A manifest's objects, in the deployment's namespace and with its labels.
    fn read(&self, manifest: &Manifest) -> Result<Vec<Value>, Failure> {
        let text = self.checkout.manifest(manifest)?;
        let unreadable = |why: &dyn std::fmt::Display| unusable(manifest, why);
        let mut objects = Vec::new();
        for document in text.split("\n---\n") {
            let mut object: Value =
                serde_saphyr::from_str(document).map_err(|error| unreadable(&error))?;
            if !object["metadata"].is_object() {
                return Err(unreadable(&"an object has no metadata"));
            }
            if object["kind"] != manifest.kind {
                return Err(unreadable(&format_args!("it is to hold a {}", manifest.kind)));
            }
            let annotations = &object["metadata"]["annotations"];
            if !annotations.is_null() && !annotations.is_object() {
                return Err(unreadable(&"its annotations are no names with values"));
            }
            if let Some(place) = manifest.places.iter().find(|it| !has(&object, it)) {
                return Err(unreadable(&format_args!("it has no {place}")));
            }
            if object["metadata"]["namespace"].is_string() {
                object["metadata"]["namespace"] = json!(names::namespace(self.site));
            }
            self.label(&mut object["metadata"]);
            objects.push(object);
        }
        Ok(objects)
    }

    /// Puts the deployment's labels on an object of it.
    pub(super) fn label(&self, metadata: &mut Value) {
        if !metadata["labels"].is_object() {
            metadata["labels"] = json!({});
        }
        if let (Some(into), Some(own)) =
            (metadata["labels"].as_object_mut(), names::labels(self.site).as_object())
        {
            into.extend(own.clone());
        }
    }

    /// Fails unless each can be used.
    pub(super) fn check(&self) -> Result<(), Failure> {
        kubernetes::ALL.iter().try_for_each(|manifest| {
            let shipped = manifest.text.split("\n---\n").map(name_in);
            let objects = self.read(manifest)?;
            let names = objects.iter().map(|it| it["metadata"]["name"].as_str().map(str::to_owned));
            if !shipped.eq(names) {
                return Err(unusable(
                    manifest,
                    &"its objects are to be called as in the shipped one",
                ));
            }
            objects.into_iter().try_for_each(|object| {
                typed(object).map(drop).map_err(|failure| unusable(manifest, &failure.message))
            })
        })
    }

    fn one(&self, manifest: &Manifest) -> Result<Value, Failure> {
        let mut objects = self.read(manifest)?.into_iter();
        objects
            .next()
            .ok_or_else(|| Failure::bad_input(format!("k8s/{} has no object", manifest.name)))
    }

    /// Its namespace.
    pub(super) fn namespace(&self) -> Result<Applied, Failure> {
        let mut object = self.one(&kubernetes::NAMESPACE)?;
        object["metadata"]["name"] = json!(names::namespace(self.site));
        typed(object)
    }

    /// The class of encrypted volumes of EBS, which is nobody's own.
    pub(super) fn storage_class(&self) -> Result<Applied, Failure> {
        let mut object = self.one(&kubernetes::STORAGE_CLASS)?;
        object["metadata"]["labels"] = json!({ "app.kubernetes.io/part-of": "openclaw" });
        typed(object)
    }

    /// Its address.
    pub(super) fn service(&self, port: u16) -> Result<Applied, Failure> {
        let mut object = self.one(&kubernetes::SERVICE)?;
        let spec = self.site.deployment.spec.cluster.clone().unwrap_or_default();
        object["spec"]["ports"][0]["port"] = json!(port);
        if spec.expose == Expose::None || self.site.deployment.ingress().is_some() {
            object["spec"]["type"] = json!("ClusterIP");
            if let Some(spec) = object["spec"].as_object_mut() {
                spec.shift_remove("externalTrafficPolicy");
            }
            if let Some(metadata) = object["metadata"].as_object_mut() {
                metadata.shift_remove("annotations");
            }
            return typed(object);
        }
        if spec.expose == Expose::Operator {
            object["spec"]["loadBalancerSourceRanges"] = json!(self.named_operators()?);
        }
        // What AWS makes for it is the installation's, too.
        object["metadata"]["annotations"][TAGS] = json!(names::tags(self.site));
        typed(object)
    }

    /// Who it talks to, and who may end its pod.
    pub(super) fn policies(&self) -> Result<Vec<Applied>, Failure> {
        let mut policy = self.one(&kubernetes::NETWORK_POLICY)?;
        let expose = self.site.deployment.spec.cluster.as_ref().map(|it| it.expose);
        let expose = expose.unwrap_or_default();
        narrow(&mut policy, expose, &self.operators());
        let budget = self.one(&kubernetes::DISRUPTION_BUDGET)?;
        [policy, budget].into_iter().map(typed).collect()
    }

    /// Whom it is for, where it is the operator's alone: the ranges that were named, else who
    /// launched it.
    fn operators(&self) -> Vec<String> {
        let Deployment { spec, facts, .. } = &self.site.deployment;
        let named = spec.cluster.as_ref().map(|it| it.source_ranges.clone()).unwrap_or_default();
        if !named.is_empty() {
            return named;
        }
        facts.cluster.iter().filter_map(|it| it.operator.clone()).collect()
    }

    /// The same for a load balancer, which no range at all leaves open to everybody.
    fn named_operators(&self) -> Result<Vec<String>, Failure> {
        let all = self.operators();
        if all.is_empty() {
            let name = &self.site.deployment.name;
            return Err(Failure::conflict(format!(
                "it is not known whom {name} is for: the launch that asked for its operator alone \
                 did not come as far"
            ))
            .remedy(name.launching(None)));
        }
        Ok(all)
    }

    /// Its volumes. One that is there has its class for good, and is made no smaller.
    pub(super) fn claims(
        &self,
        facts: &ClusterFacts,
        there: &[Object],
    ) -> Result<Vec<Applied>, Failure> {
        let mut objects = self.read(&kubernetes::CLAIMS)?;
        for object in &mut objects {
            let name = object["metadata"]["name"].as_str();
            let known = there.iter().find(|it| it.metadata.name.as_deref() == name);
            if let Some(known) = known.and_then(|it| it.data.pointer(STORAGE))
                && bytes(known).is_none_or(|it| Some(it) > object.pointer(STORAGE).and_then(bytes))
                && let Some(size) = object.pointer_mut(STORAGE)
            {
                size.clone_from(known);
            }
            match &facts.storage_class {
                Some(class) => object["spec"]["storageClassName"] = json!(class),
                None => {
                    if let Some(spec) = object["spec"].as_object_mut() {
                        spec.shift_remove("storageClassName");
                    }
                }
            }
        }
        objects.into_iter().map(typed).collect()
    }

    /// What it is told in secret, and the user's own configuration, for the first start.
    pub(super) fn secrets(&self) -> Result<Vec<Applied>, Failure> {
        let mut object = self.one(&kubernetes::SECRET)?;
        let encoded = |value: &Secret| json!(BASE64.encode(value.expose()));
        let token = ("OPENCLAW_GATEWAY_TOKEN".to_owned(), self.site.secrets.token.clone());
        let values = std::iter::once(token).chain(self.site.gateway_env());
        let data: serde_json::Map<_, _> =
            values.map(|(name, value)| (name, encoded(&value))).collect();
        object["data"] = Value::Object(data);
        let mut all = vec![typed(object)?];
        if let Some(file) = &self.site.secrets.user_config {
            let mut metadata =
                json!({ "name": names::FILE, "namespace": names::namespace(self.site) });
            self.label(&mut metadata);
            all.push(typed(json!({
                "apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": metadata,
                "data": { "openclaw.json": encoded(file) },
            }))?);
        }
        Ok(all)
    }

    /// What configures it.
    pub(super) fn config(&self, instructions: &Value) -> Result<Applied, Failure> {
        let mut object = self.one(&kubernetes::CONFIG)?;
        let text = serde_json::to_string_pretty(instructions)
            .map_err(|error| Failure::failed(format!("the instructions: {error}")))?;
        object["data"]["managed.json"] = json!(text);
        typed(object)
    }

    /// The gateway, so often.
    pub(super) fn deployment(&self, image: &str, replicas: u64) -> Result<Applied, Failure> {
        let mut object = self.one(&kubernetes::DEPLOYMENT)?;
        object["spec"]["replicas"] = json!(replicas);
        self.label(&mut object["spec"]["template"]["metadata"]);
        self.fit(&mut object["spec"]["template"]["spec"], image);
        typed(object)
    }

    /// Puts the image and the memory where they belong. Half of the limit is kept for it on its node.
    fn fit(&self, pod: &mut Value, image: &str) {
        pod["initContainers"][0]["image"] = json!(image);
        let memory = self.site.deployment.spec.memory_mib;
        let heap = self.site.heap_mib();
        let gateway = &mut pod["containers"][0];
        gateway["image"] = json!(image);
        gateway["resources"]["limits"]["memory"] = json!(format!("{memory}Mi"));
        gateway["resources"]["requests"]["memory"] =
            json!(format!("{}Mi", MEMORY_MIN_MIB.max(memory / 2)));
        let variables = gateway["env"].as_array_mut().into_iter().flatten();
        for variable in variables.filter(|it| it["name"] == "NODE_OPTIONS") {
            variable["value"] = json!(format!("--max-old-space-size={heap}"));
        }
    }

    /// A pod of this image that runs this script beside the gateway, under the same rules.
    pub(super) fn pod(
        &self,
        name: &str,
        image: &str,
        command: &[&str],
        has_volumes: bool,
    ) -> Result<Applied, Failure> {
        let deployment = self.one(&kubernetes::DEPLOYMENT)?;
        let mut spec = deployment["spec"]["template"]["spec"].clone();
        self.fit(&mut spec, image);
        let mut container = spec["containers"][0].take();
        for key in ["args", "ports", "startupProbe", "readinessProbe", "livenessProbe"] {
            if let Some(container) = container.as_object_mut() {
                container.shift_remove(key);
            }
        }
        container["command"] = json!(command);
        if has_volumes {
            // Whole, so that what lies on one of them can be moved on it.
            let whole = ["config", "workspace"]
                .map(|it| json!({ "name": it, "mountPath": format!("/volumes/{it}") }));
            if let Some(mounts) = container["volumeMounts"].as_array_mut() {
                mounts.extend(whole);
            }
        } else {
            // Neither has it secrets: it runs what was just fetched.
            if let Some(container) = container.as_object_mut() {
                container.shift_remove("envFrom");
            }
            container["resources"] = json!({
                "requests": { "cpu": "10m", "memory": "64Mi" },
                "limits": { "cpu": "1", "memory": "128Mi" },
            });
            // A node waits a moment for each volume, also for an empty one.
            for list in [&mut container["volumeMounts"], &mut spec["volumes"]] {
                *list = json!([]);
            }
        }
        spec["containers"] = json!([container]);
        // Whoever mends a configuration that cannot be merged gets at it here.
        if let Some(spec) = spec.as_object_mut() {
            spec.shift_remove("initContainers");
        }
        spec["restartPolicy"] = json!("Never");
        spec["terminationGracePeriodSeconds"] = json!(1);
        let mut metadata = json!({ "name": name, "namespace": names::namespace(self.site) });
        self.label(&mut metadata);
        // Not the gateway's name, by which its service would send browsers here.
        metadata["labels"]["app.kubernetes.io/name"] = json!(name);
        metadata["labels"]["app.kubernetes.io/part-of"] = json!("openclaw");
        typed(json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec }))
    }
}

/// What cannot be made anything of.
fn unusable(manifest: &Manifest, why: &dyn std::fmt::Display) -> Failure {
    Failure::bad_input(format!("k8s/{} cannot be used: {why}", manifest.name))
        .remedy("begin with the file as it is shipped, and change what it says")
}

/// The name of the object in a document.
fn name_in(document: &str) -> Option<String> {
    let object: Value = serde_saphyr::from_str(document).ok()?;
    object["metadata"]["name"].as_str().map(str::to_owned)
}

/// Whether an object has another one at this place, with lists where the place has numbers.
fn has(object: &Value, place: &str) -> bool {
    let mut parts = place.split('/').skip(1);
    let found = parts.try_fold(object, |it, part| match part.parse::<usize>() {
        Ok(index) => it.as_array()?.get(index),
        Err(_) => it.as_object()?.get(part),
    });
    found.is_some_and(Value::is_object)
}

/// Where a service says how its load balancer is tagged in AWS.
const TAGS: &str = "service.beta.kubernetes.io/aws-load-balancer-additional-resource-tags";

/// Where a claim says how large it is.
const STORAGE: &str = "/spec/resources/requests/storage";

/// A quantity as the API writes it, in bytes.
fn bytes(quantity: &Value) -> Option<u64> {
    let text = quantity.as_str()?;
    let end = text.find(|it: char| !it.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let factor: u64 = match unit {
        "" => 1,
        "k" => 1000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

pub(super) fn typed(object: Value) -> Result<Applied, Failure> {
    let object: Object = serde_json::from_value(object)
        .map_err(|error| Failure::bad_input(format!("a manifest is no object: {error}")))?;
    let kind = Kind::of(&object)
        .ok_or_else(|| Failure::bad_input("a manifest's object is of a kind that is not used"))?;
    Ok((kind, object))
}

/// Lets those in to the gateway's port whom its exposure is for. Its load balancer tells them apart,
/// too; a port of a node, and other pods, lead past that. What forwards a port through the cluster's API
/// comes from within the pod.
fn narrow(policy: &mut Value, expose: Expose, operators: &[String]) {
    let Some(rules) = policy["spec"]["ingress"].as_array_mut() else { return };
    // Nobody that is named is everybody.
    let is_for_all =
        |rule: &Value| rule.get("from").is_none_or(|it| it.as_array().is_none_or(Vec::is_empty));
    match expose {
        Expose::Operator if !operators.is_empty() => {
            let block = |range: &String| json!({ "ipBlock": { "cidr": range } });
            let from: Vec<Value> = operators.iter().map(block).collect();
            let open = rules.iter_mut().filter(|it| is_for_all(it));
            for rule in open.filter_map(Value::as_object_mut) {
                rule.insert("from".to_owned(), json!(from));
            }
        }
        Expose::Operator | Expose::None => rules.retain(|rule| !is_for_all(rule)),
        Expose::Http | Expose::Tunnel => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_a_list_is_no_key() {
        let listed = json!({ "spec": { "ports": [{ "port": 1 }] } });
        let keyed = json!({ "spec": { "ports": { "0": { "port": 1 } } } });
        assert!(has(&listed, "/spec/ports/0") && has(&listed, "/spec"));
        assert!(!has(&keyed, "/spec/ports/0") && !has(&listed, "/spec/ports/1"));
        assert!(!has(&json!({ "spec": "text" }), "/spec"));
    }

    #[test]
    fn whoever_may_come_is_named_or_it_is_for_all() {
        let everybody = || json!({ "ports": [{ "port": 18789 }], "from": [] });
        let some = json!({ "from": [{ "podSelector": {} }] });
        let policy = || {
            let rules = [json!({ "ports": [{ "port": 18789 }] }), everybody(), some.clone()];
            json!({ "spec": { "ingress": rules } })
        };
        let narrowed_to = |expose, operators: &[String]| {
            let mut policy = policy();
            narrow(&mut policy, expose, operators);
            policy["spec"]["ingress"].clone()
        };
        let narrowed = |expose| narrowed_to(expose, &["192.0.2.7/32".to_owned()]);
        let operator = json!({
            "ports": [{ "port": 18789 }], "from": [{ "ipBlock": { "cidr": "192.0.2.7/32" } }],
        });
        assert_eq!(narrowed(Expose::Operator), json!([operator, operator, some]));
        assert_eq!(narrowed_to(Expose::Operator, &[]), json!([some]));
        assert_eq!(narrowed(Expose::None), json!([some]));
        assert_eq!(narrowed(Expose::Http), policy()["spec"]["ingress"]);
    }

    #[test]
    fn quantities_are_compared_by_what_they_mean() {
        let of = |text: &str| bytes(&json!(text));
        assert_eq!(of("1Gi"), Some(1 << 30));
        assert_eq!(of("1073741824"), of("1Gi"));
        assert!(of("2Gi") > of("2G") && of("10Gi") > of("9999Mi"));
        for odd in ["", "Gi", "1.5Gi", "1Xi", "-1Gi", "99999999999999Ti"] {
            assert_eq!(of(odd), None, "{odd:?}");
        }
    }
}
