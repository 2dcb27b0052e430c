//! What the API begins: launches, and orders of a deployment.
//!
//! Owns what a launch by request is: always a new deployment, with what the request names over the
//! server's own settings. Refuses to wait for what it begins: the executor carries it out.

use std::sync::Arc;

use serde_json::json;

use super::App;
use super::launching::LaunchRequest;
use super::machines;
use super::orders::{Order, Planned, approved};
use crate::config::Settings;
use crate::config::image::{image, same_repository};
use crate::config::rules;
use crate::domain::{
    DeploymentName, EventType, Failure, Limits, Operation, OperationKind, OperationStatus,
    StepStatus, TargetKind,
};
use crate::operations::approval::Approved;
use crate::operations::definition_of;
use crate::secrets::{Secret, token};
use crate::store::{Along, Answer, Begin, IdempotencyKey, NewEvent, OwnerLimits, Spending, Store};
use crate::targets::DEFAULT_IMAGE;

/// A launch that a request asks for.
#[derive(Debug)]
pub struct LaunchOrder {
    /// The name.
    pub name: DeploymentName,
    /// Whether the next free `nameN` is taken where the name is.
    pub counts_up: bool,
    /// Where it runs.
    pub target: TargetKind,
    /// The settings of the request.
    pub settings: Settings,
    /// Whether only an administrator may destroy it.
    pub protected: bool,
    /// The token that launches, and how much it may have.
    pub owner: Option<OwnerLimits>,
    /// What else the token may have.
    pub limits: Limits,
    /// Whether it is launched without a provider's credential where that is otherwise refused.
    pub without_credential: bool,
}

/// What comes along with what a request begins.
pub type Alongs = Vec<Arc<dyn Along>>;

impl App {
    /// Begins a launch by request: always of a new deployment.
    pub async fn begin_launch(
        &self,
        order: LaunchOrder,
        along: Alongs,
    ) -> Result<Operation, Failure> {
        let LaunchOrder { name, counts_up, target, settings, protected, owner, .. } = order;
        let limits = order.limits;
        machines::allow(&limits, target, machines::machine(target, &settings)?.as_ref())?;
        if !target.is_local() && !order.without_credential && settings.credentials()?.is_empty() {
            return Err(Failure::bad_input("no credential of a provider was given")
                .remedy("give one, or say allow_no_credential"));
        }
        let request = LaunchRequest {
            name: name.clone(),
            target: Some(target),
            settings: &settings,
            user_config: None,
        };
        let mut plan = self.plan_launch(&request, None).await?;
        let keys_of_request = settings.keys_are_of_the_request()?;
        for spec in [&mut plan.params.spec, &mut plan.create.spec] {
            (spec.protected, spec.keys_of_request) = (protected, keys_of_request);
        }
        plan.create.owner = owner.as_ref().map(|owner| owner.owner.clone());
        let mut along = along;
        along.extend(plan.along());
        if let (Some(owner), Some(most)) = (&owner, limits.monthly_price) {
            let (owner, cost) = (owner.owner.clone(), machines::monthly_cost as _);
            along.push(Arc::new(Spending { owner, most, cost }));
        }
        let params = serde_json::to_value(&plan.params)
            .map_err(|error| Failure::internal(format!("the launch's parameters: {error}")))?;
        let (base, own) = (name.clone(), plan.notices(&name));
        let make = move |name: &DeploymentName| {
            let mut event = NewEvent::new(
                EventType::Launching,
                format!("launching {name} on the {target} target"),
            );
            let notices = if *name == base { own.clone() } else { plan.notices(name) };
            if !notices.is_empty() {
                event = event.with(json!({ "notices": notices }));
            }
            Ok(Begin {
                params: params.clone(),
                create: Some(plan.create.clone()),
                event: Some(event),
                limits: owner.clone(),
                along: along.clone(),
                ..Begin::new(OperationKind::Launch, name.clone())
            })
        };
        if counts_up {
            return Ok(self.store().begin_counting_async(name, make).await?);
        }
        Ok(self.store().begin_async(make(&name)?).await?)
    }

    /// Begins what is asked of a deployment that is there.
    pub async fn begin_order(
        &self,
        name: &DeploymentName,
        order: Order<'_>,
        along: Alongs,
    ) -> Result<Operation, Failure> {
        let kind = order.kind();
        self.deployment(name)?;
        if let Some(active) = self.store().active_operation(name)? {
            return Err(Store::at_work(&active).into());
        }
        // What it begins with is made from what is there; nobody else changes that meanwhile.
        let _lock = self.engine().lock(name, kind.as_str()).await?;
        match self.plan(name, order, None)? {
            Planned::Done(operation) => Ok(operation),
            Planned::Begin { params, sealed, notices } => {
                for notice in &notices {
                    tracing::info!(%name, "{notice}");
                }
                let begin = Begin { params, sealed, along, ..Begin::new(kind, name.clone()) };
                Ok(self.store().begin_async(begin).await?)
            }
        }
    }

    /// What a request was answered that was sent before.
    pub fn answered(&self, key: &IdempotencyKey) -> Result<Option<Answer>, Failure> {
        Ok(self.store().answered(key)?)
    }

    /// What an approval by hand did.
    pub fn approved(&self, operation: &Operation) -> Result<Approved, Failure> {
        debug_assert_eq!(operation.status, OperationStatus::Succeeded);
        approved(operation)
    }

    /// Whether work can begin: the store answers, and its disk has room.
    pub fn ready(&self) -> Result<(), Failure> {
        self.store().version()?;
        Ok(self.store().check_floor(OperationKind::Launch)?)
    }

    /// Has only an administrator destroy a deployment, or no longer.
    pub fn protect(&self, name: &DeploymentName, protected: bool) -> Result<(), Failure> {
        Ok(self.store().set_protected(name, protected)?)
    }
}

/// The steps of an operation that is at work which have not begun.
pub fn steps_ahead(operation: &Operation) -> impl Iterator<Item = &'static str> {
    let is_over = operation.status != OperationStatus::Running;
    // One that puts things back has a step that failed, and goes forward no more.
    let fails = operation.steps.iter().any(|step| step.status == StepStatus::FailedClean);
    let steps = definition_of(operation).steps.iter().map(|step| step.name);
    steps.filter(move |name| {
        !is_over && !fails && !operation.steps.iter().any(|begun| begun.name == *name)
    })
}

/// The version or image that a request names, checked.
pub fn checked_artefact(
    version: Option<&str>,
    named: Option<&str>,
) -> Result<(Option<String>, Option<String>), Failure> {
    Ok((version.map(rules::version).transpose()?, named.map(image).transpose()?))
}

/// A secret that a request gives for a variable, checked.
pub fn checked_key(variable: &str, given: &Secret) -> Result<Secret, Failure> {
    if variable == "OPENCLAW_GATEWAY_TOKEN" {
        return token::check_token(given.expose());
    }
    token::check_key(variable, given.expose())
}

/// Whether an image is one that the server's own credentials may go into: the official one's, or
/// one of those that the settings trust.
pub fn is_trusted_image(settings: &Settings, named: &str) -> Result<bool, Failure> {
    let trusted = settings.trusted_images()?;
    let mut repositories = trusted.iter().map(String::as_str).chain([DEFAULT_IMAGE]);
    Ok(repositories.any(|repository| same_repository(named, repository)))
}
