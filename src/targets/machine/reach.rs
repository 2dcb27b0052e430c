//! Reaching a machine, from the first connection on.
//!
//! Owns the keys by which it is known: at first the one that was sent along when it was made, then
//! its own, which is read over that first connection. Refuses any other, always.

use std::fs;
use std::time::Duration;

use tokio::time::Instant;

use super::files::{Files, write};
use super::{adopted, boot};
use crate::domain::{Failure, MachineFacts};
use crate::drivers::ssh::{Machine, Refusal};
use crate::exec::{Place, wait};
use crate::targets::{Site, Work};

/// SSH's port.
const PORT: u16 = 22;
/// The file on the machine by which commands that change something wait for each other.
const LOCK: &str = "/run/lock/openclaw-pipeline";
/// The pause between two tries to connect.
const AGAIN: Duration = Duration::from_millis(500);
/// Where the machine has its own key.
const OWN_KEY: &str = "/etc/ssh/openclaw-own-host-key.pub";
/// What has it show that.
const OWN_KEY_SWITCH: &str = "/usr/local/sbin/openclaw-pipeline-own-host-key";

/// How a deployment's machine is reached.
pub(super) fn machine(site: &Site) -> Result<Machine, Failure> {
    let known = known(site)?;
    let files = Files::of(site);
    Ok(Machine {
        host: known.address.to_string(),
        port: PORT,
        user: known.user.clone(),
        key: files.key(),
        known_hosts: files.known_hosts(),
        alias: alias(site),
        sockets: site.layout.sockets(),
        lock: LOCK.into(),
    })
}

/// The machine, which was made.
pub(super) fn known(site: &Site) -> Result<&MachineFacts, Failure> {
    let name = &site.deployment.name;
    site.deployment.facts.machine.as_ref().ok_or_else(|| {
        Failure::not_found(format!("{name} has no machine yet")).remedy(name.launching(None))
    })
}

/// The name under which its keys are known, whatever its address is.
fn alias(site: &Site) -> String {
    format!("openclaw-{}", site.deployment.id)
}

/// A line of the keys that are known.
fn line(site: &Site, public: &str) -> String {
    let key: Vec<&str> = public.split_whitespace().take(2).collect();
    format!("{} {}\n", alias(site), key.join(" "))
}

/// Writes down that the machine shows this key, and no other.
pub(super) fn expect(site: &Site, public: &[&str]) -> Result<(), Failure> {
    let lines: Vec<String> = public.iter().map(|key| line(site, key)).collect();
    write(&Files::of(site).known_hosts(), lines.concat().as_bytes())
}

/// Waits until the machine takes commands, has it show its own key, and waits until it is ready
/// for a gateway. It may take so long until SSH lets in.
pub(super) async fn ready(site: &Site, within: Duration, work: Work<'_>) -> Result<(), Failure> {
    let machine = machine(site)?;
    let files = Files::of(site);
    let is_first = files.is_first();
    up(&machine, within, is_first, work).await?;
    if is_first {
        own_key(site, &machine, within, work).await?;
    }
    if adopted::is_adopted(site) {
        // An earlier version set it up, and says nothing of it.
        return adopted::refuse_other_gateway(&machine, site, work).await;
    }
    boot::done(&machine, work).await
}

/// Waits until the machine takes commands. Before its set-up came to that, it shows keys that it
/// made itself, and nothing is sent to it.
async fn up(
    machine: &Machine,
    within: Duration,
    is_first: bool,
    work: Work<'_>,
) -> Result<(), Failure> {
    let deadline = Instant::now() + within;
    loop {
        let refusal = tokio::select! {
            opened = machine.open() => match opened {
                Ok(()) => return Ok(()),
                Err(refusal) => refusal,
            },
            () = work.cancel.cancelled() => return Err(Failure::interrupted()),
        };
        let may_pass = refusal.may_pass() || (is_first && refusal == Refusal::HostKey);
        if !may_pass || Instant::now() > deadline {
            return Err(refusal.into());
        }
        let what = match &refusal {
            Refusal::KeyRefused => "it does not take the key yet",
            Refusal::HostKey => "it does not show the key yet by which it is known",
            _ => "nobody answers there yet",
        };
        work.progress.amount(0, 0, &format!("waiting for SSH: {what}"));
        tokio::select! {
            () = wait::back_off(AGAIN) => {}
            () = work.cancel.cancelled() => return Err(Failure::interrupted()),
        }
    }
}

/// From the key that was sent along to the machine's own. Killed anywhere, it goes on: both keys
/// are known until the machine has shown its own.
async fn own_key(
    site: &Site,
    machine: &Machine,
    within: Duration,
    work: Work<'_>,
) -> Result<(), Failure> {
    let files = Files::of(site);
    let once = fs::read_to_string(files.once_key().with_extension("pub"))?;
    let read = async || {
        let mut cmd = Place::There(machine.root()).cmd("cat");
        cmd.arg(OWN_KEY).cancel_on(work.cancel).output().await
    };
    let mut output = read().await?;
    if output.unreached() {
        // The connection broke, and a look can be made twice.
        up(machine, within, true, work).await?;
        output = read().await?;
    }
    if !output.success() {
        return Err(Failure::failed(format!(
            "the machine has no host key of its own: {}",
            site.scrub(&output.last_line(), 200)
        )));
    }
    let own = own(&output.stdout)?;
    expect(site, &[&own, &once])?;
    let mut cmd = Place::There(machine.root()).cmd(OWN_KEY_SWITCH);
    let output = cmd.cancel_on(work.cancel).output().await?;
    if !output.success() && !output.unreached() {
        return Err(Failure::failed(format!(
            "the machine does not show its own host key: {}",
            site.scrub(&output.last_line(), 200)
        )));
    }
    // What was open goes on with the key that it began with.
    machine.close().await;
    expect(site, &[&own])?;
    match up(machine, within, true, work).await {
        Ok(()) => files.forget_once(),
        Err(failure) => {
            expect(site, &[&own, &once])?;
            Err(failure)
        }
    }
}

/// A public key, as the machine told it: exactly one, of the kind that is asked for.
fn own(text: &str) -> Result<String, Failure> {
    let words: Vec<&str> = text.split_whitespace().take(2).collect();
    let letters = |word: &str| {
        (40..=200).contains(&word.len())
            && word.bytes().all(|c| c.is_ascii_alphanumeric() || b"+/=".contains(&c))
    };
    match words.as_slice() {
        ["ssh-ed25519", key] if letters(key) => Ok(format!("ssh-ed25519 {key}")),
        _ => Err(Failure::failed("what the machine calls its host key is none")),
    }
}
