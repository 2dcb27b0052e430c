//! `tokens` and `audit`: who may use the API, and what was done with it.

use serde_json::{Value, json};
use time::OffsetDateTime;

use super::super::args::{Audit, CreateToken, Tokens};
use super::super::output::table;
use super::Session;
use crate::app::App;
use crate::app::tokens::{AuditFilter, AuditRecord, NewToken, TokenRecord};
use crate::domain::access::expiry;
use crate::domain::{Failure, Limits, Principal, Scope};
use crate::secrets::Secret;

/// How many tokens are read at once.
const PAGE: usize = 200;

pub(super) fn run(session: &Session<'_>, tokens: Tokens) -> Result<u8, Failure> {
    let app = session.app()?;
    match tokens {
        Tokens::Create(args) => create(session, &app, &args),
        Tokens::List => list(session, &app),
        Tokens::Revoke { id } => revoke(session, &app, &id),
    }
}

/// Who the audit log says it was.
fn record(action: &str) -> AuditRecord {
    AuditRecord::of(&Principal::operator(), action).from_address("command line")
}

fn create(session: &Session<'_>, app: &App, args: &CreateToken) -> Result<u8, Failure> {
    let new = asked(args)?;
    let by = Principal::operator();
    let (token, text) = app.create_token(&by, &new, &record("tokens.create"), None)?;
    if session.out.is_json() {
        session.out.object(&shown(&token, &text)?);
        return Ok(0);
    }
    session.out.line(text.expose());
    session.out.say(&format!(
        "This is the token {:?}, shown this once: {}. Whoever has it may do so until it is \
         revoked: openclaw-pipeline tokens revoke {}",
        token.label,
        powers(&token),
        token.id
    ));
    Ok(0)
}

/// The token with its text, as the API answers once.
fn shown(token: &TokenRecord, text: &Secret) -> Result<Value, Failure> {
    let mut value = serde_json::to_value(token)
        .map_err(|error| Failure::failed(format!("the token: {error}")))?;
    value["token"] = text.expose().into();
    Ok(value)
}

fn asked(args: &CreateToken) -> Result<NewToken, Failure> {
    let named = args.scope.iter().map(|scope| scope.trim().parse::<Scope>());
    let events = args.events.iter().map(|name| format!("events:{name}").parse());
    let targets: Vec<_> =
        args.target.iter().map(|target| target.parse()).collect::<Result<_, _>>()?;
    let expires = args.expires.as_deref().map(|end| expiry(end, OffsetDateTime::now_utc()));
    Ok(NewToken {
        label: args.label.clone(),
        scopes: named.chain(events).collect::<Result<_, _>>()?,
        name_prefix: args.prefix.as_deref().map(str::parse).transpose()?,
        limits: Limits {
            deployments: args.max_deployments,
            launches: args.max_launches,
            monthly_price: args.max_monthly_price,
            targets: Some(targets).filter(|targets| !targets.is_empty()),
            sizes: Some(args.size.clone()).filter(|sizes| !sizes.is_empty()),
            regions: Some(args.region.clone()).filter(|regions| !regions.is_empty()),
        },
        server_credentials: args.server_credentials,
        expires_at: expires.transpose()?,
    })
}

/// What a token may, in a few words.
fn powers(token: &TokenRecord) -> String {
    let scopes: Vec<String> = token.scopes.iter().map(Scope::to_string).collect();
    let mut words = vec![scopes.join(" ")];
    words
        .extend(token.name_prefix.as_ref().map(|prefix| format!("names that begin with {prefix}")));
    words.extend(token.limits.deployments.map(|most| format!("{most} deployments")));
    words.extend(token.limits.launches.map(|most| format!("{most} launches at once")));
    words.extend(token.limits.targets.as_ref().map(|targets| {
        let names: Vec<&str> = targets.iter().map(|target| target.as_str()).collect();
        format!("on {} only", names.join(" and "))
    }));
    words.extend(
        token.limits.sizes.as_ref().map(|sizes| format!("of {} only", sizes.join(" and "))),
    );
    let regions = token.limits.regions.as_ref();
    words.extend(regions.map(|regions| format!("in {} only", regions.join(" and "))));
    let price = token.limits.monthly_price;
    words.extend(price.map(|most| format!("machines for {most} dollars a month")));
    words.extend(token.server_credentials.then(|| "with the server's provider keys".to_owned()));
    words.extend(token.expires_at.as_ref().map(|end| format!("until {end}")));
    words.join(", ")
}

fn list(session: &Session<'_>, app: &App) -> Result<u8, Failure> {
    let (mut tokens, mut place) = (Vec::new(), None);
    loop {
        let (page, next) = app.tokens(&Principal::operator(), place, PAGE)?;
        tokens.extend(page);
        place = next;
        if place.is_none() {
            break;
        }
    }
    session.out.answer(&json!({ "items": tokens }), || {
        if tokens.is_empty() {
            return "There is no token. Make one: openclaw-pipeline tokens create --label LABEL \
                    --scope read"
                .to_owned();
        }
        let rows: Vec<Vec<String>> = tokens
            .iter()
            .map(|token| {
                let used = token.last_used_at.as_deref().unwrap_or("never");
                let what = [&token.id, &token.label, &powers(token), state(token), used];
                what.map(ToString::to_string).to_vec()
            })
            .collect();
        table(&["ID", "LABEL", "MAY", "STATE", "LAST USED"], &rows)
    });
    Ok(0)
}

fn state(token: &TokenRecord) -> &'static str {
    if token.revoked_at.is_some() {
        "revoked"
    } else if token.is_good(&crate::app::tokens::now()) {
        "good"
    } else {
        "expired"
    }
}

fn revoke(session: &Session<'_>, app: &App, id: &str) -> Result<u8, Failure> {
    let token = app.revoke_token(&Principal::operator(), id, &record("tokens.revoke"))?;
    session.out.answer(&token, || format!("the token {:?} is revoked", token.label));
    Ok(0)
}

pub(super) fn audit(session: &Session<'_>, args: &Audit) -> Result<u8, Failure> {
    let outcome = args.outcome.as_deref().map(str::parse).transpose()?;
    let filter = AuditFilter {
        actor: args.actor.as_deref(),
        name: args.name.as_deref(),
        outcome,
        before: None,
        limit: args.limit,
    };
    let (records, _) = session.app()?.audit(&Principal::operator(), &filter)?;
    session.out.answer(&json!({ "items": records }), || {
        if records.is_empty() {
            return "The audit log has nothing of that.".to_owned();
        }
        let rows: Vec<Vec<String>> = records.iter().map(row).collect();
        table(&["WHEN", "WHO", "FROM", "WHAT", "ABOUT", "OUTCOME", "MORE"], &rows)
    });
    Ok(0)
}

fn row(record: &AuditRecord) -> Vec<String> {
    let who = match (record.actor.as_str(), record.actor_label.as_str()) {
        ("", _) => "nobody known",
        (actor, "") => actor,
        (_, label) => label,
    };
    let outcome = match record.times {
        0 | 1 => record.outcome.as_str().to_owned(),
        times => format!("{} × {times}", record.outcome.as_str()),
    };
    let about = record.name.as_deref().unwrap_or_default();
    let more = &record.detail;
    [&record.at, who, &record.address, &record.action, about, &outcome, more]
        .map(ToString::to_string)
        .to_vec()
}
