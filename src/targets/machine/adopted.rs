//! A machine that an earlier version made, taken over with its state.
//!
//! Owns how such a state becomes one of the module's, and what has to be known of the machine before
//! anything is sent there: its key, and the keys that it shows. The file that it came from stays as it
//! is. Refuses a state with anything in it that no machine of a deployment has: nothing of it is to be
//! forgotten.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::files::{Files, write};
use super::state::{self, Kept};
use super::{Cloud, MachineTarget, account, in_words, reach};
use crate::domain::text::clean;
use crate::domain::{Failure, TargetKind};
use crate::drivers::aws::Aws;
use crate::drivers::ssh::{Machine, failure, known_keys, public_key};
use crate::drivers::terraform::{Message, Run, State, Terraform, account_of};
use crate::exec::Place;
use crate::targets::{Site, Work};

/// Takes every rule from the firewall that came along, in the same run that gives it its own.
const OVERRIDE: (&str, &str) = (
    "adopted_override.tf",
    "resource \"aws_security_group\" \"gateway\" {\n  ingress = []\n  egress  = []\n}\n",
);
/// What the module has one of, and calls `gateway`.
const TAKEN: [&str; 9] = [
    "aws_instance",
    "aws_eip",
    "aws_eip_association",
    "aws_security_group",
    "aws_key_pair",
    "aws_lightsail_instance",
    "aws_lightsail_static_ip",
    "aws_lightsail_static_ip_attachment",
    "aws_lightsail_key_pair",
];
/// What is made anew without anything being lost: a part of what is taken.
const ANEW: [&str; 5] = [
    "aws_lightsail_instance_public_ports",
    "aws_security_group_rule",
    "aws_vpc_security_group_ingress_rule",
    "aws_vpc_security_group_egress_rule",
    "aws_ec2_tag",
];

/// A machine as the state of an earlier version has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Earlier {
    /// What makes such machines.
    pub target: TargetKind,
    /// The machine's id.
    pub id: String,
    /// Its address.
    pub address: String,
    /// Its region.
    pub region: String,
    /// Its account, where the state says so, and then the one that it was looked for in.
    #[serde(default)]
    account: String,
    /// Its instance type or bundle.
    pub size: String,
    /// The public keys that it is known by, as the user's own SSH knows them.
    host_keys: Vec<String>,
    /// Its state, as the module's.
    state: String,
    /// Which one that is.
    lineage: String,
}

impl Earlier {
    /// The machine in a state, whose address the file of known hosts has to know.
    pub async fn read(state: &Path, known_hosts: &Path) -> Result<Self, Failure> {
        if !state.is_file() {
            return Err(Failure::bad_input(format!("there is no file {}", state.display()))
                .remedy("name the state of the earlier version: --state terraform-NAME.tfstate"));
        }
        State::read(state)?;
        let mut earlier = Self::parse(&fs::read_to_string(state)?)
            .map_err(|failure| failure.context(state.display().to_string()))?;
        earlier.host_keys = known_keys(known_hosts, &earlier.address).await?;
        if earlier.host_keys.is_empty() {
            let address = &earlier.address;
            return Err(Failure::conflict(format!(
                "{} knows no key of {address}, so nobody can tell whether the machine there is the \
                 one that is meant; nothing was changed",
                known_hosts.display()
            ))
            .remedy(format!(
                "ssh-keyscan -t ed25519 {address} > FILE, compare its fingerprint (ssh-keygen -lf \
                 FILE) with what the machine's console says, and give it with --known-hosts FILE"
            )));
        }
        Ok(earlier)
    }

    fn parse(text: &str) -> Result<Self, Failure> {
        let mut file: Value = serde_json::from_str(text)
            .map_err(|_| Failure::bad_input("it is no Terraform state"))?;
        let resources = file["resources"].take();
        let mut kept: Vec<Value> = Vec::new();
        let mut others = Vec::new();
        for mut resource in resources.as_array().cloned().unwrap_or_default() {
            let kind = resource["type"].as_str().unwrap_or_default().to_owned();
            let count = resource["instances"].as_array().map_or(0, Vec::len);
            if resource["mode"] != "managed" || count == 0 || ANEW.contains(&kind.as_str()) {
                continue;
            }
            if !kind.starts_with("aws_") {
                // Files and helpers of the module that it was: nothing in the account.
                continue;
            }
            let is_second = kept.iter().any(|it| it["type"] == kind.as_str());
            if !TAKEN.contains(&kind.as_str()) || count > 1 || is_second {
                let name = resource["name"].as_str().unwrap_or_default();
                others.push(clean(&format!("{kind}.{name}"), 80));
                continue;
            }
            resource["name"] = "gateway".into();
            if let Some(resource) = resource.as_object_mut() {
                resource.remove("module");
                resource.remove("each");
            }
            if let Some(instance) = resource["instances"][0].as_object_mut() {
                instance.remove("index_key");
                instance.remove("dependencies");
            }
            kept.push(resource);
        }
        if !others.is_empty() {
            return Err(Failure::conflict(format!(
                "it holds what no machine of a deployment has: {}",
                others.join(", ")
            ))
            .remedy(
                "destroy that with the earlier version, or have it forgotten there (terraform state \
                 rm), then adopt the rest",
            ));
        }
        let of = |kind: &str| {
            let found = kept.iter().find(|it| it["type"] == kind);
            found.map(|it| it["instances"][0]["attributes"].clone())
        };
        let text = |value: &Value, name: &str| {
            value[name].as_str().filter(|it| !it.is_empty()).map(|it| clean(it, 100))
        };
        let missing = |what: &str| Failure::bad_input(format!("it has no {what} of a machine"));
        let (target, machine) = match (of("aws_instance"), of("aws_lightsail_instance")) {
            (Some(machine), None) => (TargetKind::Ec2, machine),
            (None, Some(machine)) => (TargetKind::Lightsail, machine),
            _ => {
                return Err(Failure::bad_input("it holds no machine, or several")
                    .remedy("name the state of one deployment of the earlier version"));
            }
        };
        let (size, id) = match target {
            TargetKind::Lightsail => ("bundle_id", "name"),
            _ => ("instance_type", "id"),
        };
        let address = match target {
            TargetKind::Lightsail => {
                of("aws_lightsail_static_ip").and_then(|it| text(&it, "ip_address"))
            }
            _ => of("aws_eip").and_then(|it| text(&it, "public_ip")),
        };
        let address = address
            .or_else(|| text(&machine, "public_ip"))
            .or_else(|| text(&machine, "public_ip_address"));
        let address = address.filter(|it| it.parse::<std::net::Ipv4Addr>().is_ok());
        let zone = text(&machine, "availability_zone").ok_or_else(|| missing("zone"))?;
        let arn = text(&machine, "arn").unwrap_or_default();
        let lineage = file["lineage"].as_str().unwrap_or_default().to_owned();
        file["resources"] = Value::Array(kept.clone());
        file["outputs"] = json!({});
        file["check_results"] = Value::Null;
        file["serial"] = (file["serial"].as_u64().unwrap_or_default() + 1).into();
        Ok(Self {
            target,
            id: text(&machine, id).ok_or_else(|| missing("id"))?,
            address: address.ok_or_else(|| missing("address"))?,
            region: zone.trim_end_matches(|c: char| c.is_ascii_lowercase()).to_owned(),
            account: account_of(&arn).unwrap_or_default().to_owned(),
            size: text(&machine, size).ok_or_else(|| missing("size"))?,
            host_keys: Vec::new(),
            state: format!("{file:#}\n"),
            lineage,
        })
    }

    /// What a deployment took over, if it did.
    fn of(site: &Site) -> Result<Option<Self>, Failure> {
        match fs::read_to_string(Files::of(site).adopted()) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            text => serde_json::from_str(&text?)
                .map(Some)
                .map_err(|error| Failure::internal(format!("adopted.json: {error}"))),
        }
    }
}

impl MachineTarget {
    /// Writes down what is taken over, with a key of the user's that the machine takes. The launch
    /// that follows does the rest.
    pub async fn adopt(&self, site: &Site, earlier: &Earlier, key: &Path) -> Result<(), Failure> {
        let public = public_key(key).await?;
        let who = Aws::new(self.tools.aws.clone(), Some(&earlier.region))?.identity().await?;
        let mut earlier = earlier.clone();
        if earlier.account.is_empty() {
            earlier.account.clone_from(&who.account);
        }
        account::refuse_other(site, &earlier.account, &who)?;
        let files = Files::of(site);
        files.make()?;
        write(&files.key(), &fs::read(key)?)?;
        write(&files.key().with_extension("pub"), format!("{public}\n").as_bytes())?;
        files.write_users(self.cloud, super::infra::spec(site)?)?;
        let text = serde_json::to_string(&earlier)
            .map_err(|error| Failure::internal(format!("adopted.json: {error}")))?;
        write(&files.adopted(), text.as_bytes())
    }
}

/// The account of the machine that a deployment took over, if it did.
pub(super) fn account(site: &Site) -> Option<String> {
    let earlier = Earlier::of(site).ok().flatten()?;
    Some(earlier.account).filter(|it| !it.is_empty())
}

/// Whether a deployment's machine was taken over.
pub(super) fn is_adopted(site: &Site) -> bool {
    Files::of(site).adopted().exists()
}

/// Has what was taken over stand as the deployment's own before its first run: the state, and the keys
/// that the machine shows.
pub(super) async fn place(
    cloud: Cloud,
    terraform: &Terraform,
    site: &Site,
    work: Work<'_>,
) -> Result<(), Failure> {
    let Some(earlier) = Earlier::of(site)? else { return Ok(()) };
    let keys: Vec<&str> = earlier.host_keys.iter().map(String::as_str).collect();
    reach::expect(site, &keys)?;
    let there = state::held(terraform, site, work).await?;
    if there.lineage.is_empty() {
        match Kept::of(site) {
            Kept::File(path) => {
                Kept::of(site).close()?;
                write(&path, earlier.state.as_bytes())?;
            }
            Kept::Bucket(bucket) => {
                let within = site.layout.look(&site.deployment.name)?;
                let file = within.path().join("earlier.tfstate");
                write(&file, earlier.state.as_bytes())?;
                let told = |_: &Message| {};
                let run = Run { cancel: work.cancel, lock: work.lock, told: &told };
                terraform.push(&bucket, within.path(), &file, run).await?;
            }
        }
    } else if there.lineage != earlier.lineage {
        return Err(Failure::conflict(format!(
            "there is another state in {} already; nothing was changed",
            state::place(site)
        ))
        .remedy("name another place by TF_STATE"));
    }
    let run = Files::of(site).run();
    crate::secrets::private::create_private_directory(&run)?;
    if cloud == Cloud::Ec2 && earlier.state.contains("\"aws_security_group\"") {
        write(&run.join(OVERRIDE.0), OVERRIDE.1.as_bytes())?;
    }
    Ok(())
}

/// Forgets what was for the first run alone.
pub(super) fn placed(site: &Site) -> Result<(), Failure> {
    match fs::remove_file(Files::of(site).run().join(OVERRIDE.0)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// That what was to be taken over is not there.
pub(super) fn gone(site: &Site) -> Failure {
    let name = &site.deployment.name;
    Failure::not_found(format!(
        "{} that {name} was to take over is not there any more; nothing was changed",
        in_words(match site.deployment.spec.target {
            TargetKind::Lightsail => "aws_lightsail_instance",
            _ => "aws_instance",
        })
    ))
    .remedy(format!("openclaw-pipeline destroy {name} removes what is left of it"))
}

/// Refuses to go on while somebody else's container has the gateway's port: the one of the earlier
/// version, with data that is its owner's to move.
pub(super) async fn refuse_other_gateway(
    machine: &Machine,
    site: &Site,
    work: Work<'_>,
) -> Result<(), Failure> {
    let port = site.port()?;
    let mut cmd = Place::There(machine.root()).cmd("docker");
    let form = format!("{{{{.Names}}}}\t{{{{.Label \"{}\"}}}}", super::container::ID);
    cmd.args(["ps", "--filter", &format!("publish={port}"), "--format", &form]);
    let output = cmd.cancel_on(work.cancel).output().await?;
    if output.unreached() {
        return Err(failure(&output));
    }
    if !output.success() {
        return Err(Failure::prerequisite(format!(
            "Docker does not answer on the machine: {}",
            site.scrub(&output.last_line(), 200)
        ))
        .remedy("install Docker with its compose plugin there, and start it"));
    }
    let mut lines = output.stdout.lines().filter_map(|line| line.split_once('\t'));
    let Some((other, _)) = lines.find(|(_, id)| *id != site.deployment.id) else { return Ok(()) };
    let (name, other) = (&site.deployment.name, clean(other, 80));
    Err(Failure::conflict(format!(
        "the container {other} has port {port} of the machine, and goes on as it is: the earlier \
         version's gateway, with its own data"
    ))
    .remedy(format!(
        "openclaw-pipeline shell {name} --host leads to it. Save what is worth it (sudo docker exec \
         {other} openclaw backup create), stop it (sudo docker update --restart=no {other} && sudo \
         docker stop {other}; its volumes stay)"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(kind: &str, attributes: &Value) -> Value {
        json!({
            "mode": "managed", "type": kind, "name": "openclaw", "module": "module.m",
            "provider": "provider[\"registry.terraform.io/hashicorp/aws\"]",
            "instances": [{
                "index_key": 0, "schema_version": 1, "attributes": attributes,
                "dependencies": ["aws_security_group.openclaw"],
            }],
        })
    }

    fn state(resources: &[Value]) -> String {
        json!({
            "version": 4, "terraform_version": "1.5.7", "serial": 9, "lineage": "l",
            "outputs": { "ip": { "value": "x", "type": "string" } }, "resources": resources,
        })
        .to_string()
    }

    fn instance() -> Value {
        let attributes = json!({
            "id": "i-1", "arn": "arn:aws:ec2:us-west-2:123456789012:instance/i-1",
            "availability_zone": "us-west-2b", "instance_type": "t3.small",
            "public_ip": "198.51.100.1",
        });
        resource("aws_instance", &attributes)
    }

    #[test]
    fn an_earlier_state_becomes_the_modules() {
        let address = resource("aws_eip", &json!({ "id": "e", "public_ip": "203.0.113.9" }));
        let data = json!({ "mode": "data", "type": "aws_ami", "name": "x", "instances": [{}] });
        let file = resource("local_file", &json!({ "id": "f" }));
        let ports = resource("aws_security_group_rule", &json!({ "id": "r" }));
        let earlier =
            Earlier::parse(&state(&[instance(), address, data, file, ports])).expect("one");
        assert_eq!(
            (earlier.target, earlier.region.as_str(), earlier.size.as_str()),
            (TargetKind::Ec2, "us-west-2", "t3.small")
        );
        assert_eq!((earlier.id.as_str(), earlier.address.as_str()), ("i-1", "203.0.113.9"));
        assert_eq!(earlier.account, "123456789012");
        let made: Value = serde_json::from_str(&earlier.state).expect("a state");
        assert_eq!((&made["serial"], &made["lineage"]), (&10.into(), &"l".into()));
        let resources = made["resources"].as_array().expect("resources");
        assert_eq!(resources.len(), 2, "{made}");
        for it in resources {
            assert_eq!(it["name"], "gateway");
            assert!(it.get("module").is_none() && it["instances"][0].get("index_key").is_none());
            assert!(it["instances"][0].get("dependencies").is_none(), "{it}");
            assert_eq!(it["instances"][0]["schema_version"], 1);
        }
    }

    #[test]
    fn what_would_be_forgotten_is_refused() {
        let bucket = resource("aws_s3_bucket", &json!({ "id": "b" }));
        let refused = |resources: &[Value]| Earlier::parse(&state(resources)).expect_err("refused");
        let failure = refused(&[instance(), bucket]);
        assert!(failure.message.contains("aws_s3_bucket.openclaw"), "{failure}");
        refused(&[instance(), instance()]);
        refused(&[]);
        let nameless = resource("aws_instance", &json!({ "id": "i-1" }));
        assert!(refused(&[nameless]).message.contains("zone"));
        Earlier::parse("{").expect_err("no state");
    }
}
