//! The machine that a launch asks for, and what machines cost.
//!
//! Owns the size that nobody named, which is recorded outright: another default of a later version
//! replaces no machine. Refuses to guess: what the table of prices does not know costs an unknown
//! sum, which no limit allows.

use std::sync::LazyLock;

use crate::assets;
use crate::config::Settings;
use crate::domain::access::{Denied, Wanted};
use crate::domain::{DeploymentSpec, Expose, Failure, Limits, MachineSpec, TargetKind};
use crate::drivers::aws::prices::Prices;

/// The disk that an EC2 instance is made with; the bundles of Lightsail have theirs.
const DISK_GIB: u32 = 30;

/// The machine of a deployment that is new, where its target makes one.
pub(super) fn machine(
    target: TargetKind,
    settings: &Settings,
) -> Result<Option<MachineSpec>, Failure> {
    let Some(default) = target.default_size() else {
        if target.is_local() && settings.expose()? == Expose::Tunnel {
            return Err(Failure::bad_input(format!(
                "EXPOSE or CLOUDFLARE asks for a tunnel, and none can be put in front of a gateway \
                 on the {target} target"
            ))
            .remedy("launch on ec2 or lightsail, or leave the two out"));
        }
        return Ok(None);
    };
    Ok(Some(MachineSpec {
        region: settings.region()?,
        size: Some(settings.size()?.unwrap_or_else(|| default.to_owned())),
        expose: settings.expose()?,
        ssh_cidrs: settings.ssh_cidrs()?,
        state: settings.state_place()?,
        server: None,
        tunnel_host: settings.tunnel_host()?,
        tunnel_image: settings.tunnel_image()?,
    }))
}

/// Takes over what the settings say of the tunnel; what they do not say stays.
pub(super) fn name_tunnel(machine: &mut MachineSpec, settings: &Settings) -> Result<(), Failure> {
    if let Some(host) = settings.tunnel_host()? {
        machine.tunnel_host = Some(host);
    }
    if let Some(image) = settings.tunnel_image()? {
        machine.tunnel_image = Some(image);
    }
    Ok(())
}

/// Refuses a launch that a token's limits do not allow by itself. What it comes to together with
/// those that the token has is the store's to say.
pub(super) fn allow(
    limits: &Limits,
    target: TargetKind,
    machine: Option<&MachineSpec>,
) -> Result<(), Failure> {
    let size = machine.and_then(|it| it.size.as_deref());
    let region = machine.map(|it| it.region.as_str());
    let cost = machine.map(|machine| cost(target, machine));
    let wanted = Wanted {
        size,
        region,
        monthly_price: cost.flatten().map(whole_dollars),
        ..Wanted::on(target)
    };
    limits.allow(&wanted)?;
    match (limits.monthly_price, cost) {
        (Some(most), Some(None)) => Err(Denied::Limit(format!(
            "it may spend {most} dollars a month, and what a machine of this size costs in this \
             region is not known"
        ))
        .into()),
        _ => Ok(()),
    }
}

/// What a deployment costs a month, in US dollars; `None` where that is not known.
pub(super) fn monthly_cost(spec: &DeploymentSpec) -> Option<f64> {
    match &spec.machine {
        None => Some(0.0),
        Some(machine) => cost(spec.target, machine),
    }
}

fn cost(target: TargetKind, machine: &MachineSpec) -> Option<f64> {
    static PRICES: LazyLock<Option<Prices>> = LazyLock::new(|| Prices::read(assets::PRICES).ok());
    let prices = PRICES.as_ref()?;
    let size = machine.size.as_deref().or(target.default_size())?;
    match target {
        TargetKind::Ec2 => prices.ec2(&machine.region, size, DISK_GIB, true).usd(),
        TargetKind::Lightsail => prices.lightsail(&machine.region, size).usd(),
        // Its nodes are there, and paid for, whatever runs on them.
        TargetKind::Docker | TargetKind::Process | TargetKind::Eks => Some(0.0),
    }
}

/// The next whole dollar: a sum that a limit is compared with is never less than what is paid.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast of a float saturates, and prices are positive"
)]
fn whole_dollars(usd: f64) -> u32 {
    usd.ceil() as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;

    fn asked(target: TargetKind, text: &str) -> Option<MachineSpec> {
        let sources = Sources::new("/w").env("HOME", "/home/u").dotenv(text);
        machine(target, &Settings::resolve(&sources).expect("resolved")).expect("a machine")
    }

    fn refusal(limits: &Limits, target: TargetKind, text: &str) -> Option<String> {
        let refused = allow(limits, target, asked(target, text).as_ref());
        refused.err().map(|failure| failure.message)
    }

    #[test]
    fn the_size_that_nobody_named_is_recorded() {
        let size = |target, text| asked(target, text).and_then(|it| it.size);
        assert_eq!(size(TargetKind::Ec2, "").as_deref(), Some("t3.medium"));
        assert_eq!(size(TargetKind::Lightsail, "").as_deref(), Some("medium_3_0"));
        let named = size(TargetKind::Ec2, "OPENCLAW_PIPELINE_SIZE=t3.large");
        assert_eq!(named.as_deref(), Some("t3.large"));
        assert_eq!(asked(TargetKind::Docker, "OPENCLAW_PIPELINE_SIZE=t3.large"), None);
    }

    #[test]
    fn limits_hold_for_what_nobody_named_too() {
        let only = |items: &[&str]| Some(items.iter().map(|it| (*it).to_owned()).collect());
        let sizes = Limits { sizes: only(&["t3.large"]), ..Limits::default() };
        let regions = Limits { regions: only(&["eu-west-1"]), ..Limits::default() };
        for limits in [&sizes, &regions] {
            refusal(limits, TargetKind::Ec2, "").expect("not listed");
            assert_eq!(refusal(limits, TargetKind::Docker, ""), None);
        }
        assert_eq!(refusal(&sizes, TargetKind::Ec2, "OPENCLAW_PIPELINE_SIZE=t3.large"), None);
        assert_eq!(refusal(&regions, TargetKind::Ec2, "AWS_REGION=eu-west-1"), None);
    }

    #[test]
    fn what_costs_more_than_it_may_or_nobody_knows_how_much_is_refused() {
        let limits = |most| Limits { monthly_price: Some(most), ..Limits::default() };
        // ~$36.4
        assert_eq!(refusal(&limits(37), TargetKind::Ec2, "AWS_REGION=us-east-1"), None);
        let dear = refusal(&limits(36), TargetKind::Ec2, "AWS_REGION=us-east-1");
        assert!(dear.expect("too dear").contains("37"));
        let unknown = "AWS_REGION=us-east-1\nOPENCLAW_PIPELINE_SIZE=m7i.48xlarge";
        let refused = refusal(&limits(100_000), TargetKind::Ec2, unknown).expect("unknown");
        assert!(refused.contains("not known"), "{refused}");
        assert_eq!(refusal(&Limits::default(), TargetKind::Ec2, unknown), None);
        assert_eq!(refusal(&limits(0), TargetKind::Process, unknown), None);
    }
}
