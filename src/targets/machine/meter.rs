//! How far Terraform is with a machine, and what it worked on.
//!
//! Owns the count of resources, their names in words, and which of them people know. Refuses to name
//! the parts of a thing beside it: a rule is its firewall's.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::cloud::{LIGHTSAIL_FIREWALL, in_words};
use crate::drivers::terraform::{Message, Said, State};
use crate::targets::Progress;

/// Terraform's messages as progress.
pub(in crate::targets) struct Meter<'a> {
    progress: &'a dyn Progress,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    done: u64,
    total: u64,
    /// The ids of what is worked on, by address.
    ids: BTreeMap<String, String>,
    ended: Vec<String>,
}

impl<'a> Meter<'a> {
    pub(in crate::targets) fn new(progress: &'a dyn Progress) -> Self {
        Self { progress, seen: Mutex::default() }
    }

    pub(in crate::targets) fn told(&self, message: &Message) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let what = match &message.said {
            Said::Planned { add, change, remove } => {
                seen.total = add + change + remove;
                "resources".to_owned()
            }
            Said::Begins { address, action, id } => {
                if let Some(id) = id {
                    seen.ids.insert(address.clone(), id.clone());
                }
                let doing = match action.as_str() {
                    "create" => "making",
                    "delete" => "removing",
                    _ => "changing",
                };
                format!("resources: {doing} {}", words(address))
            }
            Said::GoesOn { address, elapsed_s } => {
                format!("resources: {} ({elapsed_s} s)", words(address))
            }
            Said::Ends { address, id, failed: false } => {
                seen.done += 1;
                let id = id.clone().or_else(|| seen.ids.get(address).cloned());
                seen.ended.extend(thing(address, id.as_deref()));
                "resources".to_owned()
            }
            _ => return,
        };
        self.progress.amount(seen.done, seen.total, &what);
    }

    /// What work was done on.
    pub(in crate::targets) fn ended(self) -> Vec<String> {
        self.seen.into_inner().unwrap_or_else(PoisonError::into_inner).ended
    }
}

/// What a resource is, in words.
fn words(address: &str) -> &str {
    in_words(address.split('.').next().unwrap_or_default())
}

/// A resource with its id, where it is something that people know, and no part of another one.
fn thing(address: &str, id: Option<&str>) -> Option<String> {
    let kind = address.split('.').next().unwrap_or_default();
    match id.filter(|_| is_of_its_own(kind))? {
        // Only Terraform knows it by an id.
        _ if kind == LIGHTSAIL_FIREWALL => Some(in_words(kind).to_owned()),
        id => Some(format!("{} {id}", in_words(kind))),
    }
}

fn is_of_its_own(kind: &str) -> bool {
    !["_rule", "_association", "_attachment"].iter().any(|it| kind.ends_with(it))
}

/// What a state holds of such things, in words, each once.
pub(in crate::targets) fn things(state: &State) -> Vec<String> {
    let mut things: Vec<String> = Vec::new();
    for kind in state.held.iter().map(|held| held.kind.as_str()) {
        let words = in_words(kind);
        if is_of_its_own(kind) && !things.iter().any(|it| it == words) {
            things.push(words.to_owned());
        }
    }
    things
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drivers::terraform::Held;

    /// What was told: how much of how much, and of what.
    #[derive(Default)]
    struct Told(Mutex<Vec<(u64, u64, String)>>);

    impl Progress for Told {
        fn amount(&self, done: u64, total: u64, what: &str) {
            self.0.lock().expect("no panic").push((done, total, what.to_owned()));
        }

        fn note(&self, line: &str) {
            panic!("{line}");
        }
    }

    #[test]
    fn resources_are_counted_as_terraform_ends_with_them() {
        let told = Told::default();
        let meter = Meter::new(&told);
        let hook = |kind: &str, address: &str, more: &str| {
            let resource = format!(r#""resource":{{"addr":"{address}"}}"#);
            format!(r#"{{"type":"{kind}","hook":{{{resource}{more}}}}}"#)
        };
        let key = "aws_key_pair.gateway";
        let rule = "aws_vpc_security_group_ingress_rule.gateway";
        for line in [
            r#"{"type":"version","terraform":"1.11.4"}"#.to_owned(),
            r#"{"type":"change_summary","changes":{"add":2,"change":1,"remove":0,"operation":"plan"}}"#
                .to_owned(),
            hook("apply_start", key, r#","action":"create""#),
            hook("apply_progress", key, r#","action":"create","elapsed_seconds":10"#),
            hook("apply_complete", key, r#","action":"create","id_key":"id","id_value":"mine""#),
            hook("apply_complete", rule, r#","action":"create","id_key":"id","id_value":"sgr-1""#),
            hook("apply_start", "aws_eip.gateway", r#","action":"update","id_value":"eip-1""#),
            hook("apply_complete", "aws_eip.gateway", r#","action":"update""#),
        ] {
            if let Some(message) = Message::parse(&line) {
                meter.told(&message);
            }
        }
        let ended = meter.ended();
        assert_eq!(ended, ["the SSH key mine", "the address eip-1"], "no rule beside its firewall");
        let told = told.0.into_inner().expect("no panic");
        let told: Vec<_> =
            told.iter().map(|(done, of, what)| (*done, *of, what.as_str())).collect();
        let expected = [
            (0, 3, "resources"),
            (0, 3, "resources: making the SSH key"),
            (0, 3, "resources: the SSH key (10 s)"),
            (1, 3, "resources"),
            (2, 3, "resources"),
            (2, 3, "resources: changing the address"),
            (3, 3, "resources"),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn parts_of_things_are_not_named() {
        let held = |kind: &str| Held {
            kind: kind.to_owned(),
            name: "machine".into(),
            id: "id".into(),
            is_tainted: false,
        };
        let kinds = [
            "aws_eip",
            "aws_key_pair",
            "aws_security_group",
            "aws_vpc_security_group_ingress_rule",
            "aws_vpc_security_group_ingress_rule",
            "aws_eip_association",
        ];
        let state = State { held: kinds.map(held).into(), ..State::default() };
        assert_eq!(things(&state), ["the address", "the SSH key", "the firewall"]);
        let state = State { held: vec![held(LIGHTSAIL_FIREWALL)], ..State::default() };
        assert_eq!(things(&state), ["the firewall"]);
        let told = |address, id| thing(address, id);
        assert_eq!(told("aws_eip.machine", Some("eip-1")).as_deref(), Some("the address eip-1"));
        assert_eq!(told("aws_eip_association.machine", Some("x")), None);
        let ports = "aws_lightsail_instance_public_ports.machine";
        assert_eq!(told(ports, Some("123")).as_deref(), Some("the firewall"));
    }
}
