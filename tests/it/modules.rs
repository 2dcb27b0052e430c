//! The Terraform modules: their form, their variables, what they would make, what they refuse.
//!
//! What they would make is asserted in Terraform's own tests, `terraform/*/tests/`; this runs them.
//! Refuses to make anything anywhere: no command here reaches a cloud.

use std::collections::BTreeMap;
use std::io::{Seek as _, Write as _};
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::support::lab::{self, Lab, Part};
use crate::support::source::{files, has_extension, read, root};
use crate::support::terraform::{Module, missing, said, terraform};
use crate::user_data;

/// The modules of machines.
const MACHINES: [&str; 2] = ["ec2", "lightsail"];
/// All of them, by their folders.
const FOLDERS: [&str; 3] = ["terraform/", "terraform/ec2/", "terraform/lightsail/"];

/// A module's files of this kind, by their names.
fn of(folder: &str, extension: &str) -> Vec<String> {
    let named = files(folder).into_iter().map(|path| path[folder.len()..].to_owned());
    named.filter(|name| !name.contains('/') && has_extension(name, extension)).collect()
}

// ---------------------------------------------------------------------- their form

#[test]
fn they_are_formatted() {
    if let Some(reason) = missing() {
        lab::skip::<()>(reason);
        return;
    }
    let home = tempfile::tempdir().expect("a directory");
    let mut check = terraform(home.path(), &["fmt", "-check", "-recursive", "-diff", "terraform"]);
    check.env_remove("TF_CLI_CONFIG_FILE");
    let output = check.current_dir(root()).output().expect("terraform starts");
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn the_linter_has_nothing_to_say() {
    let Some(tflint) = Lab::require(Part::Tflint).and_then(|lab| lab.tflint()) else { return };
    for folder in FOLDERS {
        let mut lint = Command::new(&tflint);
        lint.arg("--config").arg(root().join("terraform/.tflint.hcl"));
        let output = lint.current_dir(root().join(folder)).output().expect("tflint starts");
        assert!(output.status.success(), "{folder}: {}", said(&output));
    }
}

/// The blocks of a kind in a module's file, by their name: each one's lines.
fn blocks(folder: &str, file: &str, kind: &str) -> BTreeMap<String, String> {
    let text = read(&format!("{folder}{file}"));
    let open = format!("{kind} \"");
    let mut found = BTreeMap::new();
    for block in text.split("\n}\n") {
        if let Some(start) = block.find(&open) {
            let (name, body) = block[start + open.len()..].split_once('"').expect("a name");
            found.insert(name.to_owned(), body.to_owned());
        }
    }
    found
}

#[test]
fn no_other_provider_is_needed() {
    for folder in FOLDERS {
        let versions = read(&format!("{folder}versions.tf"));
        assert_eq!(versions.matches("source ").count(), 1, "{versions}");
        assert!(versions.contains("\"hashicorp/aws\""), "{versions}");
        for name in of(folder, "tf") {
            for kind in ["resource", "data"] {
                for it in blocks(folder, &name, kind).keys() {
                    assert!(it.starts_with("aws_"), "{folder}{name}: {kind} {it}");
                }
            }
        }
    }
}

#[test]
fn every_variable_says_what_it_is_and_what_it_may_be() {
    for folder in FOLDERS {
        for (name, body) in blocks(folder, "variables.tf", "variable") {
            let lacks = |what: &str| !body.contains(what);
            assert!(!lacks("  description = "), "{folder}: {name} has no description");
            assert!(!lacks("  type        = "), "{folder}: {name} has no type");
            // A key that is refused would be shown by the refusal: main.tf looks at it.
            let elsewhere = name == "host_key" || body.contains("= bool\n");
            assert!(elsewhere || !lacks("  validation {"), "{folder}: {name} takes anything");
        }
    }
}

#[test]
fn they_speak_alike() {
    let [cluster, ec2, lightsail] = FOLDERS.map(|it| blocks(it, "variables.tf", "variable"));
    // But for what names its default and its bound.
    for name in ["suffix", "region", "installation", "operation"] {
        assert_eq!(cluster[name], ec2[name], "{name}");
    }
    let own = |from: &BTreeMap<String, String>, other: &BTreeMap<String, String>| {
        from.keys().filter(|name| !other.contains_key(*name)).cloned().collect::<Vec<_>>()
    };
    assert_eq!(own(&lightsail, &ec2), ["availability_zone"]);
    let of_ec2 = own(&ec2, &lightsail);
    let known = |name: &String| {
        name.starts_with("server_") || ["ami_id", "subnet_id", "volume_gb"].contains(&name.as_str())
    };
    assert!(of_ec2.iter().all(known), "{of_ec2:?}");
    // What each takes is each one's own.
    for (name, body) in lightsail.iter().filter(|(name, _)| ec2.contains_key(*name)) {
        let differs = ["size", "public_key"].contains(&name.as_str());
        assert_eq!(ec2[name] != *body, differs, "{name}");
    }
    let [_, ec2, lightsail] = FOLDERS.map(|it| blocks(it, "outputs.tf", "output"));
    assert!(ec2.keys().eq(lightsail.keys()));
}

#[test]
fn the_document_has_every_variable_and_output() {
    let text = read("docs/terraform.md");
    let mut wrong = Vec::new();
    for folder in FOLDERS {
        for (file, kind) in [("variables.tf", "variable"), ("outputs.tf", "output")] {
            for name in blocks(folder, file, kind).keys() {
                if !text.contains(&format!("| `{name}` |")) {
                    wrong.push(format!("{kind} {name} of {folder}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "docs/terraform.md lacks: {wrong:?}");
}

/// The policy of a server that no role can be given to is what the role has of Lightsail.
#[test]
fn the_document_has_the_policy_of_a_server_without_a_role() {
    let text = read("docs/server.md");
    let policy = text.split("```json\n").find(|it| it.contains("\"Sid\"")).expect("a policy");
    let policy = policy.split("```").next().expect("its end");
    let policy = [("REGION", "us-west-2"), ("ACCOUNT", "123456789012"), ("INSTALLATION", "inst-1")]
        .iter()
        .fold(policy.to_owned(), |policy, (word, value)| policy.replace(word, value));
    let mut said: Value = serde_json::from_str(&policy).expect("JSON");
    let mut role: Value =
        serde_json::from_str(&read("terraform/ec2/tests/server-policy.json")).expect("JSON");
    let statements = role["Statement"].as_array_mut().expect("statements");
    statements.retain(|it| {
        let name = it["Sid"].as_str().expect("a name");
        name.starts_with("Lightsail") || ["Look", "FindTheRegion"].contains(&name)
    });
    // Of what is looked at, the quotas alone are not EC2's.
    let look = statements.iter_mut().find(|it| it["Sid"] == "Look").expect("looking");
    let actions = look["Action"].as_array_mut().expect("actions");
    actions.retain(|it| it.as_str().is_some_and(|it| it.starts_with("servicequotas:")));
    for policy in [&mut said, &mut role] {
        for statement in policy["Statement"].as_array_mut().expect("statements") {
            let action = statement["Action"].take();
            let mut all = action.as_array().cloned().unwrap_or_else(|| vec![action]);
            all.sort_by_key(Value::to_string);
            statement["Action"] = all.into();
        }
    }
    assert_eq!(said, role);
}

// ------------------------------------------------------------- what they would make

/// Validates a module and runs its own tests.
fn proves_itself(name: &str) {
    let Some(module) = Module::placed(name) else { return };
    let validate = module.run(&["validate", "-no-color"]);
    assert!(validate.status.success(), "{}", said(&validate));
    let test = module.run(&["test", "-no-color"]);
    assert!(test.status.success(), "{}", said(&test));
    // One that ran nothing would end well, too.
    assert!(said(&test).contains(" passed, 0 failed."), "{}", said(&test));
    assert!(!said(&test).contains("Success! 0 passed"), "{}", said(&test));
}

#[test]
fn ec2_makes_what_it_says() {
    proves_itself("ec2");
}

#[test]
fn lightsail_makes_what_it_says() {
    proves_itself("lightsail");
}

#[test]
fn the_cluster_is_what_it_says() {
    proves_itself("");
}

// ------------------------------------------------------------------- what runs there

#[test]
fn both_machines_are_told_the_same() {
    let [ec2, lightsail] = MACHINES.map(|it| read(&format!("terraform/{it}/user-data.sh")));
    assert_eq!(ec2, lightsail, "user-data.sh is one script in two places");
    let pinned = |module: &str| {
        let text = read(&format!("terraform/{module}/main.tf"));
        let start = text.find("compose_version = ").expect("a version");
        text[start..].lines().take(5).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(pinned("ec2"), pinned("lightsail"));
}

/// Terraform's own rendering, of which the tests of the script make theirs.
#[test]
fn terraform_fills_in_the_script() {
    let Some(module) = Module::placed("ec2") else { return };
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKHEChAFNzsAClPcSHYtLLTkTDaoCxJHRrOjCp01dNWR";
    let mut console = module.command(&["console"]);
    let key = format!("public_key={key}");
    for variable in [&key, "ssh_cidrs=[\"203.0.113.7/32\"]", "image=ghcr.io/openclaw/openclaw:1"] {
        console.args(["-var", variable]);
    }
    let mut expression = tempfile::tempfile().expect("a file");
    expression.write_all(b"base64encode(nonsensitive(local.user_data))\n").expect("its text");
    expression.rewind().expect("its beginning");
    let output = console.stdin(expression).output().expect("terraform starts");
    assert!(output.status.success(), "{}", said(&output));
    let encoded = String::from_utf8(output.stdout).expect("text");
    let bytes = STANDARD.decode(encoded.trim().trim_matches('"')).expect("base64");
    let text = String::from_utf8(bytes).expect("text");
    assert_eq!(text, user_data::rendered("", "ghcr.io/openclaw/openclaw:1"));
}
