//! Making the cluster, or bringing the one that is there to what its values say.

use serde_json::{Value, json};

use super::EksMaker;
use crate::assets::terraform;
use crate::domain::text::clean;
use crate::domain::{EksCluster, Failure, MachineSpec, OwnClusterFacts};
use crate::drivers::aws::CallError;
use crate::drivers::aws::sweep::Kind as Made;
use crate::drivers::kubernetes::Kind;
use crate::drivers::terraform::{
    Change, Message, Outputs, Plan, Run, Verb, Workspace, is_name_taken,
};
use crate::secrets::private::create_private_directory;
use crate::targets::looks::Looks;
use crate::targets::machine::files::{Files, suffix};
use crate::targets::machine::meter::{self, Meter};
use crate::targets::machine::state::{self, Room};
use crate::targets::machine::{account, infra};
use crate::targets::{Site, Work};

/// The nodes' size unless another one is asked for.
const NODE_SIZE: &str = "t3.medium";
/// How many nodes there are at first.
const NODES: u32 = 2;
/// What no apply takes away: gateways, their volumes and addresses hang by it.
const KEPT: [&str; 6] =
    ["aws_eks_cluster", "aws_eks_node_group", "aws_eip", "aws_vpc", "aws_subnet", "aws_kms_key"];

impl EksMaker {
    /// Checks who calls, the region, the nodes' size, and whether there is room. Changes nothing.
    pub async fn preflight(&self, site: &Site, work: Work<'_>) -> Result<(), Failure> {
        let tools = &self.tools;
        tools.checkout.module(&terraform::CLUSTER)?;
        tools.terraform.require().await?;
        state::refuse_others(&tools.terraform, site, work).await?;
        let machine = infra::spec(site)?;
        let region = infra::region(site, machine)?;
        work.progress.amount(0, 0, "who calls AWS");
        account::of(tools, site, &region, work).await?;
        let aws = account::aws(&tools.aws, &region)?;
        let looked = async {
            work.progress.amount(0, 0, "the region and the nodes' size");
            aws.check_region().await?;
            let node = aws.instance_type(&size(site, machine)).await?;
            let (vcpus, addresses) = tokio::join!(aws.room_for_vcpus(), aws.room_for_addresses());
            Ok::<_, CallError>((node, vcpus, addresses))
        };
        let (node, vcpus, addresses) = looked.await?;
        let held = self.held(site, work).await?;
        // Whoever may not look for what a killed run left finds out now, and not when all is made. What
        // it left counts, and goes.
        let strays = self.strays(site, work).await?;
        let left = |kind| strays.iter().any(|it| it.kind == kind);
        if !held.has("aws_eks_node_group") && !left(Made::NodeGroup) {
            vcpus.check(node.vcpus * NODES)?;
        }
        if !held.has("aws_eip") && !left(Made::Address) {
            addresses.check(1)?;
        }
        Ok(())
    }

    /// Writes the values that it is made with. What the user changed there is kept.
    pub async fn write_values(&self, site: &Site, operation: &str) -> Result<(), Failure> {
        let files = Files::of(site);
        create_private_directory(&site.dir())?;
        let machine = infra::spec(site)?;
        let region = infra::region(site, machine)?;
        let node_size = machine.size.as_deref().unwrap_or(NODE_SIZE);
        files.write_users_text(&format!(
            "# What the cluster is made with. Yours to change; it is kept as you leave it, and\n\
             # docs/terraform.md says what else there is (kubernetes_version, nodes_max, admin_arns\n\
             # and more). Names, tags and who reaches its API are the program's own\n\
             # (program.tfvars.json), by OPENCLAW_PIPELINE_SSH_CIDR.\n\
             region    = \"{region}\"\n\
             node_size = \"{node_size}\"\n"
        ))?;
        let ranges = infra::operators(&self.tools, machine, "the cluster's API").await?;
        let known = site.deployment.facts.own_cluster.as_ref();
        let made_by = known.map_or(operation, |it| &it.made_by);
        files.write_own(&json!({
            "name": site.deployment.name,
            "region": region,
            "suffix": suffix(site),
            "installation": site.layout.installation(),
            "deployment": site.deployment.id,
            "operation": made_by,
            "api_cidrs": ranges,
        }))
    }

    /// Makes it, or brings the one that is there to what its values say.
    pub async fn make(
        &self,
        site: &Site,
        operation: &str,
        work: Work<'_>,
    ) -> Result<OwnClusterFacts, Failure> {
        let files = Files::of(site);
        let region = infra::region(site, infra::spec(site)?)?;
        let account = account::of(&self.tools, site, &region, work).await?;
        let went_before = files.run().exists();
        if !account::has_begun(site) {
            files.write_account(&account)?;
        }
        let module = self.init(&site.layout, work.cancel).await?;
        let room = Room::of(site, module);
        let workspace = room.workspace();
        let meter = Meter::new(work.progress);
        let told = |message: &Message| meter.told(message);
        let run = Run { cancel: work.cancel, lock: work.lock, told: &told };
        room.close()?;
        let known = site.deployment.facts.own_cluster.as_ref();
        if let Some(known) = known
            && self.held(site, work).await?.held.is_empty()
        {
            return Err(lost(site, known));
        }
        if known.is_none() && went_before {
            self.remove_strays(site, work).await?;
        }
        let applied = match self.apply(site, workspace, run, work).await {
            // What was asked for last has the name: by a run that was killed, and it came only after
            // the look; or by this one, whose answer was lost on its way.
            Err(failure) if is_name_taken(&failure) => {
                if known.is_some() {
                    return Err(self.in_the_way(failure, site, work).await);
                }
                if self.remove_strays(site, work).await?.is_empty() {
                    return Err(failure);
                }
                self.apply(site, workspace, run, work).await
            }
            applied => applied,
        };
        let outputs = applied?;
        if known.is_none() {
            // What was asked for once more because no answer came is there twice.
            self.remove_strays(site, work).await?;
        }
        facts(site, account, operation, &outputs)
    }

    /// One apply. What is there already is looked at first, and kept.
    async fn apply(
        &self,
        site: &Site,
        workspace: Workspace<'_>,
        run: Run<'_>,
        work: Work<'_>,
    ) -> Result<Outputs, Failure> {
        let terraform = &self.tools.terraform;
        let before = self.held(site, work).await?;
        if before.held.is_empty() {
            return terraform.apply(workspace, run).await;
        }
        let file = Files::of(site).plan();
        let applied = async {
            let plan = terraform.plan(workspace, &file, run).await?;
            // What was never whole holds nobody's gateway.
            let is_whole = |kind: &&str| {
                let known = site.deployment.facts.own_cluster.is_some();
                known || before.held.iter().any(|it| it.kind == **kind && !it.is_tainted)
            };
            let kinds: Vec<&str> = KEPT.iter().copied().filter(|it| is_whole(it)).collect();
            plan.keep(&kinds)?;
            if plan.is_idle {
                return Ok(before.outputs.clone());
            }
            let outputs = terraform.apply_plan(workspace, &file, run).await?;
            for who in no_longer_let_in(&plan) {
                work.progress.note(&format!(
                    "{who} administers the cluster no more: whoever applies it last does, and whom \
                     admin_arns names in {}",
                    Files::of(site).users().display()
                ));
            }
            Ok(outputs)
        };
        let applied = applied.await;
        let _ = std::fs::remove_file(&file);
        applied
    }

    /// What there is of it by now, in words.
    pub async fn made(&self, site: &Site, work: Work<'_>) -> Result<Vec<String>, Failure> {
        Ok(meter::things(&self.held(site, work).await?))
    }

    /// Waits until its API takes these credentials, and a node takes pods.
    pub async fn ready(&self, facts: &OwnClusterFacts, work: Work<'_>) -> Result<(), Failure> {
        let cluster = self.api(&facts.at).await?;
        let mut looks = Looks::new(self.tools.boot_within, work);
        loop {
            // Who may do what on a new cluster gets about within a minute.
            let why = match cluster.list(Kind::NODE, None, "").await {
                Ok(nodes) if nodes.iter().any(takes_pods) => return Ok(()),
                Ok(nodes) => Failure::failed(format!(
                    "none of the cluster's {} nodes takes pods",
                    nodes.len()
                ))
                .remedy("look at them: kubectl describe nodes"),
                Err(error) => error.into(),
            };
            if looks.is_late() {
                return Err(why);
            }
            looks.next("waiting for a node that takes pods").await?;
        }
    }
}

/// Whose way in a plan takes away.
fn no_longer_let_in(plan: &Plan) -> impl Iterator<Item = String> {
    let is_lost = |it: &&Change| it.kind == "aws_eks_access_entry" && it.verb == Verb::Delete;
    // A resource is named with its key: aws_eks_access_entry.admin["arn:…"].
    let whose = |it: &Change| it.address.split('"').nth(1).map(|arn| clean(arn, 300));
    plan.changes.iter().filter(is_lost).filter_map(whose)
}

fn takes_pods(node: &crate::drivers::kubernetes::Object) -> bool {
    let conditions = node.data["status"]["conditions"].as_array();
    let is_ready = |it: &Value| it["type"] == "Ready" && it["status"] == "True";
    conditions.into_iter().flatten().any(is_ready) && node.data["spec"]["unschedulable"] != true
}

fn size(site: &Site, machine: &MachineSpec) -> String {
    let users = Files::of(site).users_value("node_size");
    users.or_else(|| machine.size.clone()).unwrap_or_else(|| NODE_SIZE.to_owned())
}

/// That nobody knows any more what belongs to a cluster which was made.
fn lost(site: &Site, known: &OwnClusterFacts) -> Failure {
    Failure::conflict(format!(
        "Terraform's state of the cluster holds nothing, and {} was made; nothing was changed",
        known.at.name
    ))
    .remedy(format!("put the state back (in {}, or its .backup)", state::place(site)))
}

/// What the module says that it made.
fn facts(
    site: &Site,
    account: String,
    operation: &str,
    outputs: &Outputs,
) -> Result<OwnClusterFacts, Failure> {
    let needed = |name: &str| {
        let text = outputs.get(name).and_then(Value::as_str).map(str::to_owned);
        text.ok_or_else(|| Failure::failed(format!("the module does not say its {name}")))
    };
    let known = site.deployment.facts.own_cluster.as_ref();
    Ok(OwnClusterFacts {
        at: EksCluster {
            server: needed("endpoint")?,
            authority: needed("certificate_authority")?,
            name: needed("resource_name")?,
            region: needed("region")?,
        },
        account,
        version: needed("cluster_version")?,
        made_by: known.map_or_else(|| operation.to_owned(), |it| it.made_by.clone()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_apply_takes_away_what_gateways_hang_by() {
        let kinds = [
            "aws_eks_cluster",
            "aws_eks_node_group",
            "aws_eip",
            "aws_vpc",
            "aws_subnet",
            "aws_kms_key",
        ];
        for kind in kinds {
            for verb in [Verb::Delete, Verb::Replace] {
                let (address, kind) = (format!("{kind}.it"), kind.to_owned());
                let change = Change { address, kind, verb, because: Vec::new() };
                let plan = Plan { changes: vec![change.clone()], is_idle: false };
                let refused = plan.keep(&KEPT).expect_err("refused");
                assert!(refused.message.contains(&change.address), "{refused:?}");
            }
        }
    }

    #[test]
    fn a_node_takes_pods_that_is_ready_and_not_to_be_emptied() {
        let node = |ready: &str, unschedulable: Value| {
            let node = json!({
                "apiVersion": "v1", "kind": "Node", "metadata": { "name": "a" },
                "spec": { "unschedulable": unschedulable },
                "status": { "conditions": [
                    { "type": "MemoryPressure", "status": "False" },
                    { "type": "Ready", "status": ready },
                ] },
            });
            serde_json::from_value(node).expect("a node")
        };
        assert!(takes_pods(&node("True", Value::Null)));
        assert!(!takes_pods(&node("True", json!(true))));
        for ready in ["False", "Unknown"] {
            assert!(!takes_pods(&node(ready, Value::Null)), "{ready}");
        }
    }
}
