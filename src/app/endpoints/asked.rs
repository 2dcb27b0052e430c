//! What is asked of endpoints, read and refused in the words of whoever asked: filters, and what
//! is to be sent again.

use crate::domain::{EventType, Failure, NamePrefix, Principal, text};
use crate::store::{Endpoint, Filter};

/// The most types or beginnings of names that a filter lists.
const LISTED_MAX: usize = 64;

/// A filter as it is asked for.
#[derive(Debug, Clone, Default)]
pub struct AskedFilter {
    /// Types of events.
    pub events: Option<Vec<String>>,
    /// What names begin with.
    pub names: Option<Vec<String>>,
}

impl AskedFilter {
    /// The filter, if it is one.
    pub fn read(&self) -> Result<Filter, Failure> {
        Ok(Filter {
            events: self.events.as_deref().map(read_events).transpose()?,
            names: self.names.as_deref().map(read_names).transpose()?,
        })
    }
}

/// The types that a filter lists.
pub fn read_events(given: &[String]) -> Result<Vec<EventType>, Failure> {
    let unknown = |given: &String| {
        let all: Vec<&str> = EventType::ALL.iter().map(|it| it.as_str()).collect();
        Failure::bad_input(format!("events lists types; {:?} is none", text::clean(given, 40)))
            .remedy(format!("choose among {}", all.join(", ")))
    };
    let read = |it: &String| EventType::parse(it).ok_or_else(|| unknown(it));
    listed("events", given, read)
}

/// The beginnings of names that a filter lists.
pub fn read_names(given: &[String]) -> Result<Vec<NamePrefix>, Failure> {
    listed("names", given, |it| it.parse().map_err(|failure: Failure| failure.context("names")))
}

fn listed<T: PartialEq>(
    field: &str,
    given: &[String],
    read: impl Fn(&String) -> Result<T, Failure>,
) -> Result<Vec<T>, Failure> {
    if given.is_empty() || given.len() > LISTED_MAX {
        return Err(Failure::bad_input(format!("{field} lists 1 to {LISTED_MAX} items"))
            .remedy(format!("leave {field} out for all")));
    }
    let mut all = Vec::new();
    for item in given {
        let item = read(item)?;
        if !all.contains(&item) {
            all.push(item);
        }
    }
    Ok(all)
}

/// What is to be sent again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplayWanted {
    /// The event with this id.
    Event(String),
    /// What this delivery of the endpoint sends.
    Delivery(String),
    /// The events from one place in the order to another, both included.
    Range {
        /// The first one.
        from: i64,
        /// The last one.
        to: i64,
        /// Only what stands in the dead letters.
        dead: bool,
    },
}

/// The part of a range that there is.
pub(super) fn range(from: i64, to: i64, extent: Option<(i64, i64)>) -> Result<(i64, i64), Failure> {
    if from < 1 || to < from {
        return Err(Failure::bad_input(
            "from_sequence is 1 or more, and to_sequence not before it",
        )
        .remedy("name the first and the last event that is to be sent again"));
    }
    match extent {
        Some((first, last)) if to >= first && from <= last => Ok((from.max(first), to.min(last))),
        Some((first, last)) => Err(Failure::not_found(format!(
            "there is no event from {from} to {to}: the history has {first} to {last}"
        ))
        .remedy("name a range within it")),
        None => Err(Failure::not_found("there is no event yet").remedy("launch something first")),
    }
}

/// Whether an endpoint exists for somebody: one that is told of names out of their reach does not.
pub(super) fn reaches(by: &Principal, endpoint: &Endpoint) -> bool {
    within(by, endpoint.filter.names.as_deref())
}

fn within(by: &Principal, names: Option<&[NamePrefix]>) -> bool {
    let Some(prefix) = &by.name_prefix else { return true };
    names.is_some_and(|it| it.iter().all(|name| name.as_str().starts_with(prefix.as_str())))
}

/// The names that somebody's endpoint may be told of: no more than they reach.
pub(super) fn reached(
    by: &Principal,
    names: Option<Vec<NamePrefix>>,
) -> Result<Option<Vec<NamePrefix>>, Failure> {
    let names = names.or_else(|| by.name_prefix.clone().map(|prefix| vec![prefix]));
    match &by.name_prefix {
        Some(prefix) if !within(by, names.as_deref()) => Err(Failure::bad_input(format!(
            "names begin with {prefix}: the token reaches no others"
        ))
        .remedy(format!("leave names out for all that begin with {prefix}"))),
        _ => Ok(names),
    }
}
