//! Roles on a cluster: what one grants, and what of it somebody used.
//!
//! Owns both as sets of `VERB RESOURCE.GROUP`. Refuses to know what a role should grant.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use super::cluster::Cluster;
use super::source::read;

/// The objects of a manifest of the repository.
pub fn objects(path: &str) -> Vec<Value> {
    let text = read(path);
    let parse = |it: &str| serde_saphyr::from_str(it).unwrap_or_else(|why| panic!("{path}: {why}"));
    text.split("\n---\n").map(parse).collect()
}

/// The role that the guide has.
pub fn documented() -> String {
    let docs = read("docs/kubernetes.md");
    let (_, role) = docs.split_once("```yaml\n").expect("the role");
    role.split_once("```").expect("its end").0.to_owned()
}

/// What a role grants.
pub fn granted(role: &Value) -> BTreeSet<String> {
    let texts = |list: &Value| -> Vec<String> {
        let list = list.as_array().expect("a list").iter();
        list.map(|it| it.as_str().expect("a text").to_owned()).collect()
    };
    let mut all = BTreeSet::new();
    for rule in role["rules"].as_array().expect("rules") {
        for group in texts(&rule["apiGroups"]) {
            for resource in texts(&rule["resources"]) {
                for verb in texts(&rule["verbs"]) {
                    let is_new = all.insert(named(&verb, &resource, &group));
                    assert!(is_new, "{verb} {resource} is granted twice");
                }
            }
        }
    }
    all
}

/// What a service account asked of the cluster, by its audit log.
pub fn used(cluster: &Cluster, account: &str) -> BTreeSet<String> {
    let log = fs::read_to_string(cluster.log().join("audit.log")).expect("the audit log");
    let user = format!("system:serviceaccount:{account}");
    let of_them = log.lines().filter(|line| line.contains(&user)).filter_map(|line| {
        let entry: Value = serde_json::from_str(line).ok()?;
        (entry["user"]["username"] == user).then_some(entry)
    });
    let text = |it: &Value| it.as_str().unwrap_or_default().to_owned();
    of_them
        .filter_map(|entry| {
            let object = entry.get("objectRef")?;
            let resource = match object["subresource"].as_str() {
                Some(part) => format!("{}/{part}", text(&object["resource"])),
                None => text(&object["resource"]),
            };
            Some(named(&text(&entry["verb"]), &resource, &text(&object["apiGroup"])))
        })
        // Everybody may ask what they may do.
        .filter(|it| !it.contains("selfsubject"))
        .collect()
}

fn named(verb: &str, resource: &str, group: &str) -> String {
    if group.is_empty() {
        format!("{verb} {resource}")
    } else {
        format!("{verb} {resource}.{group}")
    }
}
