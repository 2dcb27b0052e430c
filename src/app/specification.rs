//! The specification of a deployment: what the settings say, over what is recorded.
//!
//! Owns which of the two counts. A deployment that is there keeps what it was launched with; only
//! what somebody gave outright replaces it. Refuses another version by a launch where there is
//! data: only an update makes a backup first.

use super::clusters::{self, cluster};
use super::machines::{machine, name_tunnel};
use super::requests::is_trusted_image;
use crate::config::{Settings, Variable, image};
use crate::domain::{
    Deployment, DeploymentName, DeploymentSpec, Failure, FailureKind, OpenClawVersion, TargetKind,
};
use crate::targets::{DEFAULT_IMAGE, GatewaySecrets};

/// What a launch is specified from.
pub(super) struct Asked<'a> {
    /// The name.
    pub name: &'a DeploymentName,
    /// The target.
    pub target: TargetKind,
    /// What the user gave.
    pub settings: &'a Settings,
    /// The secrets that it will have.
    pub secrets: &'a GatewaySecrets,
    /// What is there.
    pub existing: Option<&'a Deployment>,
}

/// Whether a deployment was proven to work: from then on there may be data in it.
pub(super) fn has_data(deployment: &Deployment) -> bool {
    deployment.facts.proven_at.is_some()
}

impl Asked<'_> {
    /// The specification.
    pub fn specification(&self, notices: &mut Vec<String>) -> Result<DeploymentSpec, Failure> {
        let mut spec = self.but_the_artefact(notices)?;
        self.choose_artefact(&mut spec, notices)?;
        Ok(spec)
    }

    /// The specification, with the version and image that are recorded.
    pub fn but_the_artefact(&self, notices: &mut Vec<String>) -> Result<DeploymentSpec, Failure> {
        use Variable as V;
        let settings = self.settings;
        let (model, model_is_chosen) = self.model(notices)?;
        let Some(existing) = self.existing else {
            let process = !self.target.runs_image();
            return Ok(DeploymentSpec {
                target: self.target,
                port: settings.port_on(self.target)?,
                bind: self.bind()?,
                model,
                model_is_chosen,
                exec_ask: settings.exec_ask()?,
                heartbeat: settings.heartbeat()?,
                image: (!process).then(|| settings.image()).transpose()?,
                version: process.then(|| settings.version()).transpose()?,
                approval: settings.approval()?,
                memory_mib: settings.memory_mib()?,
                protected: false,
                keys_of_request: false,
                machine: machine(self.target, settings)?,
                cluster: cluster(self.target, settings)?,
            });
        };
        let mut spec = DeploymentSpec { model, model_is_chosen, ..existing.spec.clone() };
        spec.keys_of_request &= settings.keys_are_of_the_request()?;
        spec.port = settings.port_on(spec.target)?.or(spec.port);
        if let Some(machine) = &mut spec.machine {
            // Where the machine was never made, it can still be another one.
            let is_made = existing.facts.machine.is_some();
            if !is_made && settings.is_given(V::Region) {
                machine.region = settings.region()?;
            }
            if !is_made && settings.is_given(V::Size) {
                machine.size = settings.size()?;
            }
            if settings.is_exposure_given() {
                machine.expose = settings.expose()?;
            }
            name_tunnel(machine, settings)?;
            if settings.is_given(V::SshCidr) {
                machine.ssh_cidrs = settings.ssh_cidrs()?;
            }
            spec.bind = machine.expose.published_on();
        } else if let Some(cluster) = &mut spec.cluster {
            clusters::change(cluster, settings, existing)?;
        } else if settings.is_given(V::GatewayBind) {
            spec.bind = settings.bind()?;
        }
        if settings.is_given(V::ExecAsk) {
            spec.exec_ask = settings.exec_ask()?;
        }
        if settings.is_given(V::Heartbeat) {
            spec.heartbeat = settings.heartbeat()?;
        }
        if settings.is_given(V::Memory) {
            spec.memory_mib = settings.memory_mib()?;
        }
        let approval = settings.approval()?;
        if settings.is_given(V::Approval) || settings.is_given(V::SkipApproval) {
            spec.approval.mode = approval.mode;
        }
        if settings.is_given(V::ApprovalWindow) {
            spec.approval.window_s = approval.window_s;
        }
        if settings.is_given(V::ApprovalDevices) {
            spec.approval.devices = approval.devices;
        }
        Ok(spec)
    }

    /// The address that its port is published on.
    fn bind(&self) -> Result<std::net::IpAddr, Failure> {
        if self.target == TargetKind::Eks {
            return Ok(std::net::Ipv4Addr::LOCALHOST.into());
        }
        match machine(self.target, self.settings)? {
            Some(machine) => Ok(machine.expose.published_on()),
            None => self.settings.bind(),
        }
    }

    /// The model: the one named outright, else the recorded one, else the default of the first
    /// key that has an effect, unless the user's own configuration names one. And whether the user
    /// chose it.
    fn model(&self, notices: &mut Vec<String>) -> Result<(Option<String>, bool), Failure> {
        let (settings, secrets) = (self.settings, self.secrets);
        let recorded = self.existing.map(|it| (it.spec.model.clone(), it.spec.model_is_chosen));
        let recorded = recorded.unwrap_or_default();
        let named = settings.is_given(Variable::DefaultModel);
        let chosen = named || settings.is_given(Variable::DefaultProvider);
        if recorded.0.is_some() && !chosen {
            return Ok(recorded);
        }
        let plugins = self.existing.map_or(&[][..], |deployment| &deployment.facts.plugins);
        let usable = secrets.usable_providers(plugins);
        let choice = settings.model_with(&secrets.providers(), &usable)?;
        Ok(match choice {
            Some(_) if !named && secrets.names_model() => (None, false),
            Some(choice) => {
                notices.extend(choice.notice);
                (Some(choice.model), chosen)
            }
            None => recorded,
        })
    }

    /// Puts the version or image that was named outright into the specification of what is there.
    pub fn choose_artefact(
        &self,
        spec: &mut DeploymentSpec,
        notices: &mut Vec<String>,
    ) -> Result<(), Failure> {
        let (settings, name) = (self.settings, self.name);
        let Some(existing) = self.existing else { return Ok(()) };
        let process = !spec.target.runs_image();
        let variable = if process { Variable::Version } else { Variable::Image };
        // What could not even be fetched is nothing to stay with.
        let fetched = existing.facts.artefact.is_some() || has_data(existing);
        if !settings.is_given(variable) && fetched {
            return Ok(());
        }
        let wanted = if process { settings.version()? } else { settings.image()? };
        let has = if process { &mut spec.version } else { &mut spec.image };
        let Some(known) = has.as_mut().filter(|known| **known != wanted) else {
            *has = Some(wanted);
            return Ok(());
        };
        if !has_data(existing) {
            if !settings.is_given(variable) {
                notices.push(format!("{known} never came to run here; using {wanted} instead"));
            }
            *known = wanted;
            return Ok(());
        }
        let (flag, origin) =
            (if process { "--version" } else { "--image" }, settings.origin(variable));
        let variable = variable.name();
        // A restore pins the image that made the backup; the tag that it had says nothing new.
        if !process && image::digest(known).is_some() && image::same_repository(known, &wanted) {
            notices.push(format!(
                "{name} keeps the image {known}, and {variable} ({origin}) is not used: \
                 openclaw-pipeline update {name} {flag} {wanted} makes a backup first"
            ));
            return Ok(());
        }
        Err(Failure::conflict(format!(
            "{name} has data and runs {known}, and {variable} names {wanted} (from: {origin}): a \
             launch changes no version, because only an update makes a backup first"
        ))
        .remedy(format!(
            "openclaw-pipeline update {name} {flag} {wanted}; where it does not run, launch it \
             without {variable} first"
        )))
    }
}

/// The version or image to update to.
#[derive(Debug, Clone)]
pub struct Wanted<'a> {
    /// The version that was named for this update.
    pub version: Option<String>,
    /// The image that was named for this update.
    pub image: Option<String>,
    /// The settings, which count where neither was.
    pub settings: &'a Settings,
    /// Whether a request asks for it, and not the operator at the machine.
    pub over_api: bool,
}

/// The specification after an update.
pub(super) fn updated(
    deployment: &Deployment,
    wanted: Wanted<'_>,
) -> Result<DeploymentSpec, Failure> {
    let (settings, name) = (wanted.settings, &deployment.name);
    let mut spec = deployment.spec.clone();
    match (spec.target.runs_image(), wanted.version, wanted.image) {
        (false, Some(version), None) => spec.version = Some(version),
        (false, None, None) => spec.version = Some(newest(deployment, settings)?),
        (true, None, Some(image)) => spec.image = Some(image),
        (true, Some(version), None) => {
            let has = spec.image.as_deref().unwrap_or(DEFAULT_IMAGE);
            let repository = image::repository(has).ok_or_else(|| {
                Failure::conflict(format!("{name} runs {has}, which is in no repository"))
                    .remedy("name an image: --image")
            })?;
            spec.image = Some(format!("{repository}:{version}"));
        }
        (true, None, None) if settings.is_given(Variable::Image) => {
            spec.image = Some(settings.image()?);
        }
        (true, None, None) => {
            // The same tag: what it names by now is what an update is for.
            let has = spec.image.as_deref().unwrap_or(DEFAULT_IMAGE);
            spec.image = Some(match image::digest(has) {
                None => has.to_owned(),
                Some(_) if image::same_repository(has, DEFAULT_IMAGE) => DEFAULT_IMAGE.to_owned(),
                Some(_) => {
                    return Err(Failure::conflict(format!(
                        "{name} runs {has}: a digest names one image for ever, so there is \
                         nothing to update to"
                    ))
                    .remedy("name what to update to: --version or --image"));
                }
            });
        }
        (false, _, Some(_)) => {
            return Err(Failure::bad_input(format!(
                "{name} runs on the process target, which has no image"
            ))
            .remedy("name a version: --version"));
        }
        (true, Some(_), Some(_)) => {
            return Err(Failure::bad_input("--version and --image both name what to run")
                .remedy("give one of them"));
        }
    }
    if wanted.over_api {
        refuse_stranger(deployment, &spec, settings)?;
    }
    Ok(spec)
}

/// Refuses an image that the operator's keys may not go into, where the deployment may have some.
fn refuse_stranger(
    deployment: &Deployment,
    spec: &DeploymentSpec,
    settings: &Settings,
) -> Result<(), Failure> {
    let Some(image) = &spec.image else { return Ok(()) };
    if deployment.spec.keys_of_request || is_trusted_image(settings, image)? {
        return Ok(());
    }
    let name = &deployment.name;
    Err(Failure::new(
        FailureKind::Forbidden,
        format!("{name} may have the operator's own provider keys, and {image} may not get them"),
    )
    .remedy(
        "launch it with the keys of the request, or ask the operator for the update; its \
         repository can be named in OPENCLAW_PIPELINE_TRUSTED_IMAGES",
    ))
}

/// The version to update to when none is named: the program's own, unless the deployment is past
/// it.
fn newest(deployment: &Deployment, settings: &Settings) -> Result<String, Failure> {
    let newest = settings.version()?;
    let has = deployment.spec.version.as_deref();
    let past = has.and_then(OpenClawVersion::parse) > OpenClawVersion::parse(&newest);
    if past && !settings.is_given(Variable::Version) {
        return Err(Failure::conflict(format!(
            "{} runs {}, which is newer than {newest}",
            deployment.name,
            has.unwrap_or_default()
        ))
        .remedy("name the version to update to: --version"));
    }
    Ok(newest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;
    use crate::domain::{DeploymentStatus, Facts, FailureKind};
    use crate::secrets::Secret;

    const DIGEST: &str = "sha256:0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a";

    fn settings(text: &str) -> Settings {
        let sources = Sources::new("/w").env("HOME", "/home/u").dotenv(text);
        Settings::resolve(&sources).expect("resolved")
    }

    fn secrets(keys: &[&str]) -> GatewaySecrets {
        let key = |name: &&str| ((*name).to_owned(), Secret::new("k"));
        GatewaySecrets {
            token: Secret::new("t"),
            credentials: keys.iter().map(key).collect(),
            env: Vec::new(),
            user_config: None,
            tunnel_token: None,
        }
    }

    fn specified(
        text: &str,
        target: TargetKind,
        keys: &[&str],
        existing: Option<&Deployment>,
    ) -> Result<DeploymentSpec, Failure> {
        let (settings, secrets) = (settings(text), secrets(keys));
        let name = DeploymentName::main();
        let asked = Asked { name: &name, target, settings: &settings, secrets: &secrets, existing };
        asked.specification(&mut Vec::new())
    }

    fn proven(target: TargetKind, text: &str, keys: &[&str]) -> Deployment {
        Deployment {
            id: "1".into(),
            name: DeploymentName::main(),
            status: DeploymentStatus::Running,
            spec: specified(text, target, keys, None).expect("a specification"),
            facts: Facts { proven_at: Some("then".into()), ..Facts::default() },
            owner: None,
            created_at: String::new(),
            updated_at: String::new(),
        }
    }

    #[test]
    fn what_nobody_names_again_stays() {
        let first = "OPENCLAW_PIPELINE_VERSION=2026.9.5\nGATEWAY_BIND=192.0.2.7\nEXEC_ASK=off\n\
                     HEARTBEAT=30m\nOPENCLAW_PIPELINE_MEMORY=3g\nGATEWAY_PORT=2000\n\
                     SKIP_APPROVAL=true\nOPENCLAW_PIPELINE_APPROVAL_WINDOW=90s\n\
                     DEFAULT_MODEL=openai/gpt-5.5";
        let existing = proven(TargetKind::Process, first, &["OPENAI_API_KEY"]);
        let keys = ["OPENAI_API_KEY", "ANTHROPIC_API_KEY"];
        let again = |text: &str| {
            specified(text, TargetKind::Process, &keys, Some(&existing)).expect("launched again")
        };
        assert_eq!(again(""), existing.spec);
        assert_eq!(again(first), existing.spec);
        let other = again("EXEC_ASK=on\nOPENCLAW_PIPELINE_APPROVAL_DEVICES=1\nGATEWAY_PORT=2001");
        let mut expected = existing.spec.clone();
        expected.exec_ask = crate::domain::ExecAsk::On;
        expected.approval.devices = 1;
        expected.port = Some(2001);
        assert_eq!(other, expected);
    }

    #[test]
    fn another_version_is_refused_once_there_is_data() {
        let mut existing = proven(TargetKind::Process, "OPENCLAW_PIPELINE_VERSION=2026.9.5", &[]);
        let newer = "OPENCLAW_PIPELINE_VERSION=2026.9.6";
        let again = |existing: &Deployment| {
            specified(newer, TargetKind::Process, &[], Some(existing)).map(|spec| spec.version)
        };
        let failure = again(&existing).expect_err("another version");
        assert_eq!(failure.kind, FailureKind::Conflict);
        let remedy = failure.remedy.expect("a remedy");
        assert!(remedy.contains("update main --version 2026.9.6"), "{remedy}");
        existing.facts.proven_at = None;
        assert_eq!(again(&existing).expect("never worked").as_deref(), Some("2026.9.6"));
    }

    #[test]
    fn an_image_is_compared_as_it_was_named() {
        let tag = "OPENCLAW_PIPELINE_IMAGE=registry.example/own:latest";
        let mut existing = proven(TargetKind::Docker, tag, &[]);
        let again = |text: &str, existing: &Deployment| {
            specified(text, TargetKind::Docker, &[], Some(existing)).map(|spec| spec.image)
        };
        assert_eq!(again("", &existing).expect("kept"), existing.spec.image);
        assert_eq!(again(tag, &existing).expect("the same"), existing.spec.image);
        again("OPENCLAW_PIPELINE_IMAGE=other", &existing).expect_err("another one");
        existing.spec.image = Some(format!("registry.example/own@{DIGEST}"));
        assert_eq!(again(tag, &existing).expect("pinned"), existing.spec.image);
        again("OPENCLAW_PIPELINE_IMAGE=other", &existing).expect_err("another one");
    }

    #[test]
    fn a_key_that_needs_a_plugin_chooses_no_model_and_takes_a_named_one() {
        let model = |text: &str, keys: &[&str], plugins: &[&str]| {
            let mut existing = proven(TargetKind::Process, "", &[]);
            existing.facts.plugins = plugins.iter().map(|it| (*it).to_owned()).collect();
            specified(text, TargetKind::Process, keys, Some(&existing)).map(|spec| spec.model)
        };
        let named = "DEFAULT_MODEL=groq/llama-3";
        let chosen = model(named, &["GROQ_API_KEY"], &[]).expect("named outright");
        assert_eq!(chosen.as_deref(), Some("groq/llama-3"));
        model(named, &["OPENAI_API_KEY"], &[]).expect_err("no key of groq");
        assert_eq!(model("", &["GROQ_API_KEY"], &[]).expect("no model"), None);
        let chosen = model("", &["GROQ_API_KEY"], &["groq"]).expect("its plugin is there");
        assert!(chosen.expect("a model").starts_with("groq/"));
        let chosen = model("DEFAULT_PROVIDER=groq", &["GROQ_API_KEY"], &[]).expect("outright");
        assert!(chosen.expect("a model").starts_with("groq/"));
    }

    #[test]
    fn an_update_keeps_to_the_deployments_own_repository() {
        let own = "registry.example:5000/team/own";
        let existing = |image: &str| {
            let text = format!("OPENCLAW_PIPELINE_IMAGE={image}");
            proven(TargetKind::Docker, &text, &[])
        };
        let update = |image: &str, version: Option<&str>, named: Option<&str>, text: &str| {
            let wanted = Wanted {
                version: version.map(str::to_owned),
                image: named.map(str::to_owned),
                settings: &settings(text),
                over_api: false,
            };
            updated(&existing(image), wanted).map(|spec| spec.image.expect("an image"))
        };
        let tagged = format!("{own}:stable");
        let pinned = format!("{own}@{DIGEST}");
        assert_eq!(update(&tagged, None, None, "").expect("its tag"), tagged);
        let newer = format!("{own}:2026.9.6");
        assert_eq!(update(&tagged, Some("2026.9.6"), None, "").expect("a tag"), newer);
        assert_eq!(update(&pinned, Some("2026.9.6"), None, "").expect("a tag"), newer);
        let setting = "OPENCLAW_PIPELINE_IMAGE=other:1";
        assert_eq!(update(&tagged, None, None, setting).expect("the setting"), "other:1");
        assert_eq!(update(&tagged, None, Some("x"), setting).expect("named"), "x");
        update(&pinned, None, None, "").expect_err("pinned");
        let official = format!("ghcr.io/openclaw/openclaw@{DIGEST}");
        assert_eq!(update(&official, None, None, "").expect("the default"), DEFAULT_IMAGE);
    }

    #[test]
    fn an_update_by_request_takes_the_operators_keys_into_no_strange_image() {
        let update = |has: &str, named: Option<&str>, keys_of_request: bool, trusted: &str| {
            let mut existing =
                proven(TargetKind::Docker, &format!("OPENCLAW_PIPELINE_IMAGE={has}"), &[]);
            existing.spec.keys_of_request = keys_of_request;
            let settings = settings(&format!("OPENCLAW_PIPELINE_TRUSTED_IMAGES={trusted}"));
            let wanted = Wanted {
                version: None,
                image: named.map(str::to_owned),
                settings: &settings,
                over_api: true,
            };
            updated(&existing, wanted).map_err(|failure| failure.kind)
        };
        let official = "ghcr.io/openclaw/openclaw:2026.9.6";
        let strange = "evil.example/openclaw:latest";
        update(official, None, false, "").expect("the official one");
        update(official, Some(strange), true, "").expect("its own keys");
        update(official, Some(strange), false, "evil.example/openclaw").expect("trusted");
        for (has, named) in [(official, Some(strange)), (strange, None)] {
            assert_eq!(update(has, named, false, ""), Err(FailureKind::Forbidden), "{has}");
        }
        let like = "evil.example/openclaw-too:1";
        let refused = update(official, Some(like), false, "evil.example/openclaw");
        assert_eq!(refused, Err(FailureKind::Forbidden));
    }

    #[test]
    fn an_update_without_a_version_never_goes_back() {
        let update = |has: &str, text: &str| {
            let existing =
                proven(TargetKind::Process, &format!("OPENCLAW_PIPELINE_VERSION={has}"), &[]);
            let wanted =
                Wanted { version: None, image: None, settings: &settings(text), over_api: false };
            updated(&existing, wanted).map(|spec| spec.version.expect("a version"))
        };
        assert_eq!(update("2026.9.5", "").expect("newer"), "2026.9.6");
        update("2027.1.1", "").expect_err("older");
        let named = "OPENCLAW_PIPELINE_VERSION=2026.9.5";
        assert_eq!(update("2026.9.6", named).expect("named outright"), "2026.9.5");
    }
}
