//! The program with the lab's cluster, and stand-in gateways on it.
//!
//! Owns one installation that the cluster's administrator uses, and the namespace of its deployment.
//! Refuses to be what is tested: it looks at the cluster with `kubectl`, never into the program.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::cluster::{Cluster, Namespace};
use super::machine_case::patient;
use super::product::{Done, Live, Product, Run, TOKEN};
use super::standin;

/// The provider's key, which no provider is asked with.
pub const KEY: &str = "sk-ant-a-key-that-only-looks-like-one";

/// An installation and its cluster.
pub struct Case<'a> {
    /// The cluster.
    pub cluster: &'a Cluster,
    /// The installation.
    pub product: Product,
    /// The deployment.
    pub name: String,
    /// Its namespace, which is gone with this.
    pub namespace: Namespace<'a>,
    /// The stand-in gateway's image, and that of the version before.
    pub images: [String; 2],
}

impl<'a> Case<'a> {
    /// With nothing on it of this name. `None`, after `skipped: REASON`, where this machine cannot have
    /// one.
    pub fn of(cluster: &'a Cluster, name: &str) -> Option<Self> {
        let images = standin::images()?;
        let mut product = Product::bare();
        product.set("KUBECONFIG", cluster.kubeconfig());
        product.set("OPENCLAW_PIPELINE_KUBE_CONTEXT", "lab");
        product.set("ANTHROPIC_API_KEY", KEY);
        // Nothing of whoever launches gets to a gateway.
        product.set("AWS_SECRET_ACCESS_KEY", "a-key-that-stays-here");
        product.set("OPENCLAW_PIPELINE_IMAGE", &images[0]);
        product.unset("GATEWAY_PORT");
        product.with_hosts(cluster.hosts());
        let namespace = Namespace::of(cluster, &format!("openclaw-{name}"));
        Some(Self { cluster, product, name: name.to_owned(), namespace, images })
    }

    /// A command about the deployment.
    pub fn run<const N: usize>(&self, args: [&str; N]) -> Run {
        let (verb, rest) = args.split_first().expect("a verb");
        let run = self.product.run([verb, &self.name]);
        rest.iter().fold(run, |run, arg| run.arg(arg))
    }

    /// A launch to be.
    pub fn launch(&self) -> Run {
        self.run(["launch", "--target", "eks", "--no-link"])
    }

    /// A launch that works.
    #[track_caller]
    pub fn launched(&self) -> Done {
        works(self.launch())
    }

    /// A launch that fails, and says so with these words.
    #[track_caller]
    pub fn launch_fails(&self, run: Run, code: i32, words: &[&str]) -> Done {
        let done = patient(run);
        assert_eq!(done.code, code, "{}", done.stderr);
        for words in words {
            done.says(words);
        }
        done
    }

    /// A launch that has just begun with a step.
    #[track_caller]
    pub fn launch_at(&self, step: &str) -> Live {
        let mut live = self.launch().arg("--json").live();
        let begun = format!("\"step\":\"{step}\"");
        while let Some(line) = live.line() {
            if line.contains(&begun) {
                return live;
            }
        }
        panic!("it never came to {step}: {:?}", live.done());
    }

    /// `kubectl` in the namespace.
    #[track_caller]
    pub fn said(&self, args: &[&str]) -> String {
        self.cluster.said(&[&["--namespace", self.namespace.name()], args].concat())
    }

    /// What there is in the namespace, as JSON.
    #[track_caller]
    pub fn get(&self, args: &[&str]) -> Value {
        self.cluster.get(&[args, &["--namespace", self.namespace.name()]].concat())
    }

    /// Runs a script of a shell in the gateway's pod.
    #[track_caller]
    pub fn inside(&self, script: &str) -> String {
        let exec = ["exec", "deployment/openclaw", "-c", "openclaw", "--", "sh", "-c", script];
        self.said(&exec)
    }

    /// The gateway's configuration, as it is in place.
    #[track_caller]
    pub fn configured(&self) -> Value {
        let file = self.inside("cat /home/node/.openclaw/openclaw.json");
        serde_json::from_str(&file).expect("JSON")
    }

    /// The status, as the program tells it.
    pub fn status(&self) -> Value {
        let done = patient(self.run(["status", "--json"]));
        serde_json::from_str(&done.stdout).expect("an object")
    }

    /// Removes it, after which there is nothing: not on the cluster, not here.
    #[track_caller]
    pub fn destroys_all(&self) -> Done {
        let done = works(self.run(["destroy", "--yes"]));
        assert!(!self.namespace.is_there(), "its namespace is left");
        let volumes = self.cluster.get(&["persistentvolumes"]);
        let left: Vec<&Value> = volumes["items"]
            .as_array()
            .expect("a list")
            .iter()
            .filter(|it| it["spec"]["claimRef"]["namespace"] == self.namespace.name())
            .collect();
        assert!(left.is_empty(), "{left:?}");
        assert!(!self.product.deployment(&self.name).exists(), "its files are left");
        assert_eq!(self.product.json(["list"])["items"], json!([]));
        done
    }

    /// A kubeconfig of somebody else, or of nobody.
    pub fn kubeconfig(&self, change: impl FnOnce(&mut Value)) -> PathBuf {
        let text = fs::read_to_string(self.cluster.kubeconfig()).expect("the administrator's");
        let mut config: Value = serde_json::from_str(&text).expect("JSON is YAML");
        change(&mut config);
        let path = self.product.path("work").join("kubeconfig");
        fs::write(&path, config.to_string()).expect("written");
        path
    }

    /// That no process of the installation has a secret among its arguments.
    #[track_caller]
    pub fn no_secret_in_arguments(&self) {
        for process in self.product.processes() {
            for secret in [TOKEN, KEY] {
                assert!(!process.args.iter().any(|it| it.contains(secret)), "{:?}", process.args);
            }
        }
    }
}

/// A command that takes its time, and works.
#[track_caller]
pub fn works(run: Run) -> Done {
    let done = patient(run);
    assert_eq!(done.code, 0, "{}", done.stderr);
    done
}
