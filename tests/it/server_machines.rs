//! Launches on machines of a cloud, asked of the server, without a cloud: what is refused in place,
//! what a token's limits say, and what is shown. There is no Terraform on these installations, so
//! what is begun ends in its first step, with nothing made.

use serde_json::{Value, json};

use crate::support::client::Answer;
use crate::support::product::Product;
use crate::support::server::{API_TOKEN, Served};

const KEY: &str = "sk-ant-api03-distinctive-0123456789";

fn served(settings: &[(&str, &str)]) -> Served {
    let mut product = Product::new();
    product.set("OPENCLAW_PIPELINE_API_TOKEN", API_TOKEN);
    product.set("AWS_EC2_METADATA_DISABLED", "true");
    for (name, value) in settings {
        product.set(name, *value);
    }
    Served::on(product, &[])
}

/// A launch on a machine, with what is said of it.
fn body(name: &str, more: &Value) -> Value {
    let mut body = json!({ "name": name, "anthropic_api_key": KEY });
    for (field, value) in more.as_object().expect("fields") {
        body[field] = value.clone();
    }
    body
}

fn launch(served: &Served, token: &str, name: &str, more: &Value) -> Answer {
    served.call("POST", "/launch").token(token).json(&body(name, more)).send()
}

#[test]
fn what_a_machine_is_asked_to_be_is_refused_in_place() {
    let served = served(&[]);
    for (field, wrong) in [
        ("region", json!("US-WEST-2")),
        ("region", json!("us-west")),
        ("region", json!("us-west-2\n")),
        ("size", json!("t3 medium")),
        ("size", json!("$(id)")),
        ("expose", json!("world")),
        ("expose", json!(true)),
        ("ssh_cidr", json!("0.0.0.0/0")),
    ] {
        for path in ["/launch", "/v1/deployments"] {
            served.post(path, &body("main", &json!({ field: wrong }))).names(field);
        }
    }
    for target in ["docker", "process"] {
        let more = json!({ "target": target, "cloudflare": true });
        served.post("/launch", &body("main", &more)).names("cloudflare");
    }
    let both = json!({ "cloudflare": true, "expose": "none" });
    let said = served.post("/launch", &body("main", &both)).names("expose");
    assert!(said["detail"].as_str().expect("text").contains("cloudflare"), "{said}");
    served
        .post("/launch", &body("main", &json!({ "tunnel_hostname": "ai.example.com" })))
        .names("tunnel_hostname");
    served
        .post("/launch", &body("main", &json!({ "tunnel_token": "eyJhIjoi0123456789" })))
        .names("tunnel_token");
    // What has no machine has none of these.
    for field in ["region", "size", "expose"] {
        let value = if field == "expose" { "none" } else { "us-west-2" };
        for target in ["docker", "process"] {
            let more = json!({ "target": target, field: value });
            served.post("/launch", &body("main", &more)).names(field);
        }
    }
    assert_eq!(served.get("/v1/deployments").ok(200)["items"], json!([]));
    served.assert_well();
}

#[test]
fn a_port_that_a_machine_has_for_others_is_refused_in_place() {
    let served = served(&[]);
    for (port, whose) in [(22, "SSH"), (4000, "the pipeline server")] {
        for path in ["/launch", "/v1/deployments"] {
            for target in ["ec2", "lightsail"] {
                let more = json!({ "target": target, "port": port });
                let said = served.post(path, &body("main", &more)).names("port");
                assert!(said["detail"].as_str().expect("text").contains(whose), "{said}");
                assert!(said["remedy"].as_str().expect("text").contains("another port"), "{said}");
            }
        }
    }
    assert_eq!(served.get("/v1/deployments").ok(200)["items"], json!([]));
    served.assert_well();
}

#[test]
fn without_a_credential_a_machine_is_made_only_for_who_says_so() {
    let served = served(&[]);
    for target in [json!(null), json!("ec2"), json!("lightsail"), json!("eks")] {
        let body = json!({ "name": "main", "target": target });
        for path in ["/launch", "/v1/deployments"] {
            served.post(path, &body).refuses(400, "no credential");
        }
    }
    let body = json!({ "name": "main", "allow_no_credential": true, "region": "" });
    let launched = served.post("/launch", &body).ok(202);
    assert_eq!(launched["message"], "launching main on the ec2 target");
    assert_eq!(served.ended(&launched)["status"], "failed", "there is no Terraform");
    served.assert_well();
}

#[test]
fn a_deployment_shows_what_its_machine_is_to_be() {
    let served = served(&[("AWS_REGION", "eu-west-1"), ("EXPOSE", "operator")]);
    let shown = |name: &str, more: &Value| {
        let ended = served.ended(&launch(&served, API_TOKEN, name, more).ok(202));
        assert_eq!(ended["status"], "failed", "there is no Terraform");
        let answer = served.get(&format!("/v1/deployments/{name}"));
        assert!(!answer.text().contains(KEY), "{}", answer.text());
        let it = answer.ok(200);
        let all = served.get("/status").ok(200)["deployments"].clone();
        let same = all.as_array().expect("all").iter().find(|all| all["name"] == name);
        let facts = |it: &Value| {
            ["target", "region", "size", "expose", "address", "url"].map(|field| it[field].clone())
        };
        assert_eq!(same.map(facts), Some(facts(&it)));
        facts(&it)
    };
    let null = Value::Null;
    assert_eq!(
        shown("main", &json!({})),
        [
            "ec2".into(),
            "eu-west-1".into(),
            "t3.medium".into(),
            "operator".into(),
            null.clone(),
            null
        ]
    );
    let null = Value::Null;
    let more = json!({ "target": "lightsail", "region": "us-east-1", "expose": "none" });
    assert_eq!(
        shown("light", &more),
        [
            "lightsail".into(),
            "us-east-1".into(),
            "medium_3_0".into(),
            "none".into(),
            null.clone(),
            null
        ]
    );
    let more = json!({ "size": "t4g.large" });
    assert_eq!(shown("arm", &more)[2], "t4g.large");
    let local = served.launch("local");
    assert_eq!(local["status"], "succeeded");
    let local = served.get("/v1/deployments/local").ok(200);
    for field in ["region", "size", "expose", "address"] {
        assert_eq!(local[field], Value::Null, "{field}");
    }
    served.assert_well();
}

#[test]
fn a_tokens_limits_hold_for_machines() {
    let served = served(&[("AWS_REGION", "us-east-1")]);
    let token = |limits: Value| {
        let body = json!({
            "label": "limited", "scopes": ["read", "deploy", "destroy"], "limits": limits,
        });
        let made = served.post("/v1/tokens", &body).ok(201);
        made["token"].as_str().expect("a token").to_owned()
    };
    let launch = |token: &str, name: &str, more: Value| launch(&served, token, name, &more);
    let failed = |answer: Answer| assert_eq!(served.ended(&answer.ok(202))["status"], "failed");

    let lightsail = token(json!({ "targets": ["lightsail"] }));
    launch(&lightsail, "a", json!({})).refuses(403, "ec2");
    failed(launch(&lightsail, "a", json!({ "target": "lightsail" })));

    let large = token(json!({ "sizes": ["t3.large"] }));
    launch(&large, "b", json!({})).refuses(403, "size");
    launch(&large, "b", json!({ "size": "t3.xlarge" })).refuses(403, "size");
    failed(launch(&large, "b", json!({ "size": "t3.large" })));

    let ireland = token(json!({ "regions": ["eu-west-1"] }));
    launch(&ireland, "c", json!({})).refuses(403, "region");
    failed(launch(&ireland, "c", json!({ "region": "eu-west-1" })));

    // ~$36.4 a month each.
    let some = token(json!({ "monthly_price": 80 }));
    launch(&some, "d", json!({ "size": "t3.xlarge" })).refuses(403, "128");
    let unknown = json!({ "region": "us-east-1", "size": "m7i.48xlarge" });
    launch(&some, "d", unknown).refuses(403, "not known");
    failed(launch(&some, "d", json!({})));
    failed(launch(&some, "e", json!({})));
    launch(&some, "f", json!({})).refuses(403, "110");
    // What costs nothing is not refused for it, and what is gone is not counted.
    let local = Served::launch_body("g");
    served.ended(&served.call("POST", "/launch").token(&some).json(&local).send().ok(202));
    let gone = served.call("DELETE", "/v1/deployments/e").token(&some).send().ok(202);
    assert_eq!(served.ended(&gone)["status"], "succeeded", "nothing was made");
    failed(launch(&some, "f", json!({})));
    served.assert_well();
}

#[test]
fn a_server_that_keeps_its_own_machine_to_itself_launches_in_the_cloud() {
    let served = served(&[("OPENCLAW_PIPELINE_LOCAL_TARGETS", "false")]);
    for target in ["docker", "process"] {
        let refused = served.post("/launch", &body("main", &json!({ "target": target })));
        let said = refused.names("target");
        assert!(said["detail"].as_str().expect("text").contains("ec2, lightsail"), "{said}");
    }
    launch(&served, API_TOKEN, "main", &json!({})).ok(202);
    served.assert_well();
}
