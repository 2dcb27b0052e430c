//! What leads to a gateway by a class that the cluster has: an ingress, or a Gateway of the Gateway
//! API with a route.
//!
//! Owns the objects of both, whether the class can be had, and what a controller says of them. Refuses
//! to leave a way in that is no longer asked for.

use serde_json::{Value, json};

use super::checks::{listed, right};
use super::manifests::{Applied, Manifests, typed};
use super::{At, names};
use crate::config::Variable;
use crate::domain::text::clean;
use crate::domain::{Failure, IngressApi, IngressSpec};
use crate::drivers::kubernetes::{Kind, Object, Problem, Right};
use crate::targets::Work;
use crate::targets::looks::Looks;

/// The group of the Gateway API, and its version.
const GATEWAY_API: &str = "gateway.networking.k8s.io/v1";
/// The ports of a listener: of plain HTTP and of HTTPS.
const PORTS: (u16, u16) = (80, 443);
/// The longest words of a controller's, in characters.
const WORDS: usize = 400;

/// What may lead there, by which name, and what that is.
pub(super) const OBJECTS: [(Kind, &str, &str); 3] = [
    (Kind::INGRESS, names::GATEWAY, "ingress"),
    (Kind::HTTP_ROUTE, names::ENTRY, "route"),
    (Kind::GATEWAY, names::ENTRY, "Gateway"),
];

/// What is needed to have one of them.
const OF_INGRESSES: [Right; 2] =
    [right("create", Kind::INGRESS, ""), right("patch", Kind::INGRESS, "")];
const OF_GATEWAYS: [Right; 6] = [
    right("create", Kind::GATEWAY, ""),
    right("patch", Kind::GATEWAY, ""),
    right("get", Kind::GATEWAY, ""),
    right("create", Kind::HTTP_ROUTE, ""),
    right("patch", Kind::HTTP_ROUTE, ""),
    right("get", Kind::HTTP_ROUTE, ""),
];
/// What is needed to have none of them any more.
pub(super) const REMOVING: [Right; 3] = [
    right("delete", Kind::INGRESS, ""),
    right("delete", Kind::GATEWAY, ""),
    right("delete", Kind::HTTP_ROUTE, ""),
];

/// The kinds that an API needs.
fn kinds_of(api: IngressApi) -> &'static [Kind] {
    match api {
        IngressApi::Ingress => &[Kind::INGRESS],
        IngressApi::Gateway => &[Kind::GATEWAY, Kind::HTTP_ROUTE],
    }
}

impl Manifests<'_> {
    /// What leads to it by a class; nothing where a load balancer of its own does, or nobody.
    pub(super) fn entry(&self, port: u16) -> Result<Vec<Applied>, Failure> {
        let Some(ingress) = self.site.deployment.ingress() else { return Ok(Vec::new()) };
        let (name, objects) = match ingress.api {
            IngressApi::Ingress => (names::GATEWAY, vec![of_ingress(ingress, port)]),
            IngressApi::Gateway => (names::ENTRY, of_gateway(ingress, port).into()),
        };
        let named = objects.into_iter().map(|mut object| {
            object["metadata"] = json!({ "name": name, "namespace": names::namespace(self.site) });
            self.label(&mut object["metadata"]);
            typed(object)
        });
        named.collect()
    }
}

fn of_ingress(ingress: &IngressSpec, port: u16) -> Value {
    let mut object = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "spec": {
            "ingressClassName": ingress.class,
            "rules": [{ "host": ingress.host, "http": { "paths": [{
                "path": "/", "pathType": "Prefix",
                "backend": { "service": { "name": names::GATEWAY, "port": { "number": port } } },
            }]}}],
        },
    });
    if let Some(secret) = &ingress.tls_secret {
        object["spec"]["tls"] = json!([{ "hosts": [ingress.host], "secretName": secret }]);
    }
    object
}

fn of_gateway(ingress: &IngressSpec, port: u16) -> [Value; 2] {
    let listener = match &ingress.tls_secret {
        None => json!({
            "name": "http", "protocol": "HTTP", "port": PORTS.0, "hostname": ingress.host,
        }),
        Some(secret) => json!({
            "name": "https", "protocol": "HTTPS", "port": PORTS.1, "hostname": ingress.host,
            "tls": { "mode": "Terminate", "certificateRefs": [{ "name": secret }] },
        }),
    };
    let gateway = json!({
        "apiVersion": GATEWAY_API, "kind": "Gateway",
        "spec": { "gatewayClassName": ingress.class, "listeners": [listener] },
    });
    let route = json!({
        "apiVersion": GATEWAY_API, "kind": "HTTPRoute",
        "spec": {
            "parentRefs": [{ "name": names::ENTRY }],
            "hostnames": [ingress.host],
            "rules": [{ "backendRefs": [{ "name": names::GATEWAY, "port": port }] }],
        },
    });
    [gateway, route]
}

impl At<'_> {
    /// Fails unless the cluster has the class, and who asks may use it. Changes nothing.
    pub(super) async fn check_entry(&self, ingress: &IngressSpec) -> Result<(), Failure> {
        let (kind, variable, noun) = match ingress.api {
            IngressApi::Ingress => (Kind::INGRESS_CLASS, Variable::IngressClass, "ingresses"),
            IngressApi::Gateway => (Kind::GATEWAY_CLASS, Variable::GatewayClass, "Gateways"),
        };
        let found = self.cluster.get(kind, None, &ingress.class).await?;
        let Some(found) = found else {
            let has = match self.named(kind).await {
                Ok(known) => format!("it has {}", listed(&known)),
                Err(error) if error.problem == Problem::NotFound => {
                    "it has no Gateway API v1: whoever administers it adds that, and a controller"
                        .to_owned()
                }
                Err(error) => return Err(error.into()),
            };
            return Err(Failure::bad_input(format!(
                "{} names {:?}, and the cluster has no such class of {noun}",
                variable.name(),
                ingress.class
            ))
            .remedy(has));
        };
        let is_gateway = ingress.api == IngressApi::Gateway;
        if is_gateway && !has(&found, &found.data["status"], "Accepted", "True") {
            return Err(Failure::prerequisite(format!(
                "no controller has accepted the class of Gateways {:?}: nothing would lead to the \
                 gateway",
                ingress.class
            ))
            .remedy(format!("kubectl describe gatewayclass {} says why", ingress.class)));
        }
        self.require(if is_gateway { &OF_GATEWAYS } else { &OF_INGRESSES }).await
    }

    /// Removes what led there before, and is not asked for any more.
    pub(super) async fn close_entries(&self, work: Work<'_>) -> Result<(), Failure> {
        let wanted = self.site.deployment.ingress().map_or(&[][..], |it| kinds_of(it.api));
        for (kind, name, noun) in OBJECTS.iter().filter(|(kind, ..)| !wanted.contains(kind)) {
            self.is_removed(*kind, name, &format!("the {noun} {name}"), work).await?;
        }
        Ok(())
    }

    /// Waits until a controller leads to the gateway, where it says so: that of a Gateway does. An
    /// ingress has nobody's word, and only the way itself tells.
    pub(super) async fn entered(&self, work: Work<'_>) -> Result<(), Failure> {
        let ingress = self.site.deployment.ingress();
        let Some(ingress) = ingress.filter(|it| it.api == IngressApi::Gateway) else {
            return Ok(());
        };
        let class = self.cluster.get(Kind::GATEWAY_CLASS, None, &ingress.class).await?;
        let class = class.map(|it| it.data).unwrap_or_default();
        let controller = class["spec"]["controllerName"].as_str().unwrap_or_default();
        let mut looks = Looks::new(self.target.within, work);
        loop {
            let namespace = Some(self.namespace.as_str());
            let gateway = self.cluster.get(Kind::GATEWAY, namespace, names::ENTRY).await?;
            let route = self.cluster.get(Kind::HTTP_ROUTE, namespace, names::ENTRY).await?;
            let said = match (&gateway, &route) {
                (Some(gateway), Some(route)) => Said::of(gateway, route, controller),
                _ => {
                    return Err(Failure::conflict("somebody else removed its Gateway meanwhile")
                        .remedy("launch it again"));
                }
            };
            let words = match said {
                Said::Leads(address) => {
                    let address = address.map_or_else(
                        || "where its Gateway is".to_owned(),
                        |it| format!("to {it}, where its Gateway is"),
                    );
                    let host = &ingress.host;
                    work.progress.note(&format!("the name {host} has to lead {address}"));
                    return Ok(());
                }
                Said::Refused(words) if looks.bears(true) => words,
                Said::Refused(words) => {
                    return Err(Failure::failed(format!(
                        "its Gateway does not lead to it: {words}"
                    ))
                    .remedy("kubectl describe gateway,httproute says more; then launch it again"));
                }
                Said::Coming(words) if looks.is_late() => {
                    return Err(Failure::failed(format!("its Gateway is not there yet: {words}"))
                        .remedy(
                            "look at its controller (kubectl describe gateway, gatewayclass), and \
                             that the secret with the certificate is in its namespace; then launch \
                             it again",
                        ));
                }
                Said::Coming(words) => {
                    looks.is_well();
                    words
                }
            };
            let words = self.site.scrub(&words, 200);
            looks.next(&format!("waiting for the Gateway: {words}")).await?;
        }
    }
}

/// What a controller says of a Gateway and its route.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    /// That it leads there, and at which address.
    Leads(Option<String>),
    /// Why not yet: a certificate may still be made.
    Coming(String),
    /// What it does not take.
    Refused(String),
}

impl Said {
    /// What this controller says: what another one said of the route before stays there.
    fn of(gateway: &Object, route: &Object, controller: &str) -> Self {
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let status = &gateway.data["status"];
        let listeners = list(&status["listeners"]);
        let mut parents = list(&route.data["status"]["parents"]);
        parents.retain(|it| it["controllerName"] == controller);
        let parts = || {
            let of_gateway = std::iter::once(status).chain(&listeners).map(|it| (gateway, it));
            of_gateway.chain(parents.iter().map(|it| (route, it)))
        };
        let find = |kind, bad| parts().find_map(|(object, part)| words(object, part, kind, bad));
        if let Some(words) = find("Accepted", "False").or_else(|| find("Conflicted", "True")) {
            return Self::Refused(words);
        }
        if let Some(words) = find("ResolvedRefs", "False") {
            return Self::Coming(words);
        }
        if !has(gateway, status, "Programmed", "True") {
            let why = words(gateway, status, "Programmed", "False");
            return Self::Coming(why.unwrap_or_else(|| "its controller has not seen to it".into()));
        }
        if !parents.iter().any(|it| has(route, it, "Accepted", "True")) {
            return Self::Coming("its route is not accepted yet".into());
        }
        Self::Leads(status["addresses"][0]["value"].as_str().map(|it| clean(it, 120)))
    }
}

/// A condition, as far as it is about what the object is now.
fn condition<'a>(object: &Object, part: &'a Value, kind: &str) -> Option<&'a Value> {
    let mut conditions = part["conditions"].as_array()?.iter();
    let found = conditions.find(|it| it["type"] == kind)?;
    let seen = found["observedGeneration"].as_i64();
    (seen.is_none() || seen >= object.metadata.generation).then_some(found)
}

fn has(object: &Object, part: &Value, kind: &str, status: &str) -> bool {
    condition(object, part, kind).is_some_and(|it| it["status"] == status)
}

/// What is said where a condition is like this.
fn words(object: &Object, part: &Value, kind: &str, status: &str) -> Option<String> {
    let found = condition(object, part, kind).filter(|it| it["status"] == status)?;
    let text = |key: &str| found[key].as_str().unwrap_or_default();
    let words = match text("message") {
        "" => text("reason").to_owned(),
        message => format!("{} ({})", message, text("reason")),
    };
    Some(clean(&words, WORDS))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(kind: &str, generation: i64, status: &Value) -> Object {
        serde_json::from_value(json!({
            "apiVersion": GATEWAY_API, "kind": kind,
            "metadata": { "name": "openclaw", "generation": generation }, "status": status,
        }))
        .expect("an object")
    }

    fn said(kind: &str, status: &str, generation: i64) -> Value {
        json!({
            "type": kind, "status": status, "observedGeneration": generation,
            "reason": "AReason", "message": format!("{kind} is {status}"),
        })
    }

    fn of(gateway: &Value, listeners: &Value, parents: &Value) -> Said {
        let gateway = object(
            "Gateway",
            2,
            &json!({
                "conditions": gateway, "listeners": [{ "conditions": listeners }],
                "addresses": [{ "type": "IPAddress", "value": "192.0.2.7" }],
            }),
        );
        let parent = |name: &str, conditions: &Value| json!({ "controllerName": name, "conditions": conditions });
        // One of another controller, which led there before, has not been removed.
        let before = parent("another.test/any", &json!([said("Accepted", "False", 1)]));
        let parents = json!({ "parents": [before, parent("a.test/any", parents)] });
        Said::of(&gateway, &object("HTTPRoute", 1, &parents), "a.test/any")
    }

    #[test]
    fn a_gateway_leads_once_its_controller_says_so_of_what_it_is_now() {
        let none = json!([]);
        let (programmed, accepted) =
            (json!([said("Programmed", "True", 2)]), json!([said("Accepted", "True", 1)]));
        let at = Some("192.0.2.7".to_owned());
        assert_eq!(of(&programmed, &none, &accepted), Said::Leads(at));
        let before = json!([said("Programmed", "True", 1)]);
        for (gateway, parents) in [(&none, &accepted), (&before, &accepted), (&programmed, &none)] {
            assert!(matches!(of(gateway, &none, parents), Said::Coming(_)), "{gateway} {parents}");
        }
        let pending = json!([said("Programmed", "False", 2)]);
        let words = "Programmed is False (AReason)".to_owned();
        assert_eq!(of(&pending, &none, &accepted), Said::Coming(words));
    }

    #[test]
    fn what_a_controller_does_not_take_is_said_in_its_words() {
        let (programmed, accepted) =
            (json!([said("Programmed", "True", 2)]), json!([said("Accepted", "True", 1)]));
        let lacks = json!([said("ResolvedRefs", "False", 2)]);
        let words = "ResolvedRefs is False (AReason)".to_owned();
        // A certificate that is not there may still come.
        assert_eq!(of(&programmed, &lacks, &accepted), Said::Coming(words.clone()));
        let unresolved = json!([said("Accepted", "True", 1), said("ResolvedRefs", "False", 1)]);
        assert_eq!(of(&programmed, &json!([]), &unresolved), Said::Coming(words));
        let refused = json!([said("Accepted", "False", 1)]);
        let words = "Accepted is False (AReason)".to_owned();
        assert_eq!(of(&programmed, &lacks, &refused), Said::Refused(words));
        let conflicted = json!([said("Conflicted", "True", 2)]);
        assert!(matches!(of(&programmed, &conflicted, &accepted), Said::Refused(_)));
        // What it said of what was there before counts no more.
        let before = json!([said("ResolvedRefs", "False", 1)]);
        assert!(matches!(of(&programmed, &before, &accepted), Said::Leads(_)));
    }
}
