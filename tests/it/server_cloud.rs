//! Launches on EC2, asked of the server, against the simulated cloud: real Terraform, a real
//! machine behind the instance, the real gateway on it.
//!
//! Owns one launch that goes all the way, several side by side, and what the cloud says no to before
//! anything is made.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::cloud::Cloud;
use crate::support::lab::cloud_search_path;
use crate::support::product::Product;
use crate::support::server::{API_TOKEN, Served};

/// The provider's key of each launch: distinctive, so that a leak is found.
const KEY: &str = "sk-ant-api03-distinctive-0123456789";
/// What a launch on EC2 tells, in this order. What a receiver does not know by name may come between.
const TOLD: [&str; 9] = [
    "launching",
    "creating_key",
    "creating_config",
    "creating_ec2",
    "deploying_app",
    "pulling_image",
    "starting_app",
    "health_check",
    "completed",
];

/// A server whose cloud this is.
fn served(cloud: &Cloud) -> Served {
    let mut product = Product::bare();
    product.set("OPENCLAW_PIPELINE_API_TOKEN", API_TOKEN);
    product.unset("GATEWAY_PORT");
    // Terraform and SSH, the real ones.
    product.set("PATH", cloud_search_path());
    product.set("OPENCLAW_PIPELINE_SSH_CIDR", format!("{}/32", cloud.operator()));
    for (name, value) in cloud.environment() {
        product.set(name, value);
    }
    Served::on(product, &[])
}

fn told(served: &Served, name: &str) -> Vec<Value> {
    let path = format!("/v1/events?name={name}&after=0&limit=200");
    let events = served.call("GET", &path).header("accept", "application/json").send().ok(200);
    events["items"].as_array().expect("events").clone()
}

#[test]
fn a_launch_without_a_target_gives_a_proven_gateway_on_ec2_and_takes_it_back() {
    let Some(cloud) = Cloud::start() else { return };
    let served = served(&cloud);
    let body = json!({ "name": "web", "anthropic_api_key": KEY });
    let launched = served.post("/launch", &body).ok(202);
    assert_eq!(launched["message"], "launching web on the ec2 target");
    let before = served.get("/v1/deployments/web").ok(200);
    assert_eq!((&before["url"], &before["address"]), (&Value::Null, &Value::Null));

    let operation = served.ended_however_long(&launched);
    assert_eq!(operation["status"], "succeeded", "{operation:#}");
    let events = told(&served, "web");
    let kinds: Vec<&str> = events.iter().filter_map(|it| it["type"].as_str()).collect();
    let expected: Vec<&str> = kinds.iter().copied().filter(|it| TOLD.contains(it)).collect();
    assert_eq!(expected, TOLD, "{kinds:?}");
    assert_eq!(kinds.last(), Some(&"completed"), "{kinds:?}");

    let [machine] = &cloud.instances()[..] else { panic!("one instance") };
    let address = machine.public.expect("an address").to_string();
    let shown = served.get("/v1/deployments/web");
    let web = shown.ok(200);
    let facts = ["status", "target", "region", "size", "address", "expose", "url", "port"];
    let port = 18789;
    let expected = json!([
        "running",
        "ec2",
        "us-east-1",
        "t3.medium",
        address,
        "http",
        format!("http://{address}:{port}/"),
        port,
    ]);
    assert_eq!(json!(facts.map(|field| web[field].clone())), expected, "{web:#}");
    assert_eq!(web["urls_elsewhere"], json!([]), "its one address is the one for everybody");

    // Nothing of it holds a secret but the link, which begins with that address.
    let link = served.post("/v1/deployments/web/access", &json!({})).ok(200);
    let url = link["url"].as_str().expect("a link");
    assert!(url.starts_with(&format!("http://{address}:{port}/#")), "{link}");
    assert_eq!(link["kind"], "one_time");
    let texts = [shown.text(), json!(events).to_string(), operation.to_string(), served.log()];
    for text in texts.iter().chain([&served.get("/status").text()]) {
        assert!(!text.contains(KEY) && !text.contains("PRIVATE KEY"), "{text}");
    }

    let gone = served.delete("/v1/deployments/web").ok(202);
    let gone = served.ended_however_long(&gone);
    assert_eq!(gone["status"], "succeeded", "{gone:#}");
    cloud.assert_empty();
    served.get("/v1/deployments/web").problem(404);
    served.assert_well();
}

#[test]
fn launches_under_one_name_are_numbered_and_go_side_by_side() {
    let Some(cloud) = Cloud::start() else { return };
    let Some([image, _]) = cloud.standin() else { return };
    let served = served(&cloud);
    let body =
        json!({ "name": "shop", "image": image, "approval": "off", "anthropic_api_key": KEY });
    let named = |name: &str| {
        let begun = served.post("/launch", &body).ok(202);
        assert_eq!(begun["name"], name);
        begun
    };
    let first = named("shop");
    served.post("/launch", &body).problem(409);
    let mut ended = vec![served.ended_however_long(&first)];
    let begun = [first, named("shop1"), named("shop2")];
    ended.extend(begun[1..].iter().map(|begun| served.ended_however_long(begun)));
    let time = |of: &Value, field: &str| of[field].as_str().expect("a time").to_owned();
    assert!(
        time(&ended[2], "created_at") < time(&ended[1], "ended_at"),
        "side by side: {ended:#?}"
    );
    let mut addresses = BTreeSet::new();
    for (begun, ended) in begun.iter().zip(&ended) {
        assert_eq!(ended["status"], "succeeded", "{ended:#}");
        let name = begun["name"].as_str().expect("a name");
        let shown = served.get(&format!("/v1/deployments/{name}")).ok(200);
        let address = shown["address"].as_str().expect("an address").to_owned();
        assert_eq!(shown["url"], format!("http://{address}:18789/"), "{shown:#}");
        assert_eq!(shown["status"], "running", "{shown:#}");
        addresses.insert(address);
    }
    let machines = cloud.instances().into_iter().filter_map(|it| it.public);
    assert_eq!(machines.map(|it| it.to_string()).collect::<BTreeSet<_>>(), addresses);
    assert_eq!(addresses.len(), 3, "each has a machine of its own");
    let removing = begun.each_ref().map(|begun| {
        let name = begun["name"].as_str().expect("a name");
        served.delete(&format!("/v1/deployments/{name}")).ok(202)
    });
    for begun in &removing {
        assert_eq!(served.ended_however_long(begun)["status"], "succeeded");
    }
    cloud.assert_empty();
    served.assert_well();
}

#[test]
fn what_the_cloud_does_not_have_is_refused_before_anything_is_made() {
    let Some(cloud) = Cloud::start() else { return };
    let served = served(&cloud);
    for (name, field, wrong, near) in [
        ("a", "size", "t3.meduim", "t3.medium"),
        ("b", "region", "us-wset-2", "us-west-2"),
        ("c", "size", "medium_3_1", "medium_3_0"),
    ] {
        let target = if name == "c" { "lightsail" } else { "ec2" };
        let body =
            json!({ "name": name, "target": target, "anthropic_api_key": KEY, field: wrong });
        let operation = served.ended_however_long(&served.post("/launch", &body).ok(202));
        assert_eq!(operation["status"], "failed", "{operation:#}");
        let steps = operation["steps"].as_array().expect("steps");
        assert_eq!(steps.len(), 1, "nothing was begun behind the first step: {operation:#}");
        let error = operation["error"].to_string();
        assert!(error.contains(wrong) && error.contains(near), "{error}");
        let failed = told(&served, name).pop().expect("an event");
        assert_eq!(failed["type"], "failed", "{failed}");
        assert!(failed["message"].as_str().is_some_and(|it| it.contains(near)), "{failed}");
    }
    cloud.assert_empty();
    served
        .post("/launch", &json!({ "name": "d", "instance_type": "t3.medium" }))
        .names("instance_type");
    for made in ["RunInstances", "ImportKeyPair", "CreateSecurityGroup", "CreateInstances"] {
        let calls = cloud.calls();
        let real = calls.iter().filter(|call| call.action == made && call.status == 200);
        assert_eq!(real.count(), 0, "{made}");
    }
    // What was never made is removed without a word to the cloud.
    for name in ["a", "b", "c"] {
        let gone = served.delete(&format!("/v1/deployments/{name}")).ok(202);
        assert_eq!(served.ended_however_long(&gone)["status"], "succeeded");
    }
    served.assert_well();
}

#[test]
fn a_plan_says_what_a_launch_would_make_and_what_it_costs() {
    let Some(cloud) = Cloud::start() else { return };
    let served = served(&cloud);
    for target in ["ec2", "lightsail"] {
        let body = json!({ "name": "web", "target": target, "anthropic_api_key": KEY });
        let plan = served.post("/v1/plan", &body).ok(200);
        assert_eq!((&plan["name"], &plan["target"]), (&json!("web"), &json!(target)), "{plan:#}");
        let changes = plan["changes"].as_array().expect("changes");
        let instance = changes.iter().find(|it| it["what"] == "the instance").expect("a machine");
        assert_eq!(instance["action"], "create");
        assert!(plan["cost"]["usd_per_month"].as_f64().is_some_and(|it| it > 5.0), "{plan:#}");
        assert!(plan["cost"]["per_month"].as_str().is_some_and(|it| it.starts_with("~$")));
        assert!(!plan["cost"]["as_of"].is_null() && !plan.to_string().contains(KEY));
    }
    let unknown = json!({ "size": "t3.nano", "region": "eu-west-3", "anthropic_api_key": KEY });
    let unknown = served.post("/v1/plan", &unknown).ok(200);
    assert_eq!(
        (&unknown["cost"]["per_month"], &unknown["cost"]["usd_per_month"]),
        (&json!("unknown"), &Value::Null)
    );
    served.post("/v1/plan", &json!({ "size": "t3.mediun" })).ok(400);
    served.post("/v1/plan", &json!({ "target": "process" })).names("target");
    cloud.assert_empty();
    assert_eq!(served.get("/v1/deployments").ok(200)["items"], json!([]), "nothing is recorded");
    served.assert_well();
}
