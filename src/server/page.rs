//! Lists by pages.
//!
//! Owns the form of a cursor: opaque, and good for the list that gave it. Refuses any other text.

use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use utoipa::IntoParams;

use super::problem::{Answer, Problem};
use super::views::Page;

/// How many items a page has unless the caller says.
const DEFAULT: u32 = 50;
/// How many it has at most.
const MOST: u32 = 200;

/// Which page.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Which {
    /// At most so many, 1 to 200; 50 when left out.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    #[param(min_length = 1, pattern = "^[A-Za-z0-9_-]+$")]
    cursor: Option<String>,
}

impl Which {
    /// This page of a list that is short enough to be there whole.
    pub fn of<T, V>(
        &self,
        mut all: Vec<T>,
        list: &str,
        id: impl Fn(&T) -> String,
        view: impl Fn(&T) -> V,
    ) -> Answer<Page<V>> {
        let limit = limit(self.limit)?;
        if let Some(after) = cursor::<String>(self.cursor.as_deref(), list)? {
            let place = all.iter().position(|it| id(it) == after).ok_or_else(|| {
                Problem::field("cursor", "what it stands behind is not there any more")
                    .remedy("leave it out, and begin with the first page")
            })?;
            all.drain(..=place);
        }
        Ok(page(all, limit, list, id, view))
    }
}

/// How many items a page is to have.
pub fn limit(given: Option<u32>) -> Answer<usize> {
    let limit = given.unwrap_or(DEFAULT);
    if !(1..=MOST).contains(&limit) {
        return Err(Problem::field("limit", format!("limit is 1 to {MOST}; {limit} is not")));
    }
    Ok(usize::try_from(limit).unwrap_or(usize::MAX))
}

/// The place that a cursor of this list names.
pub fn cursor<T: FromStr>(given: Option<&str>, list: &str) -> Answer<Option<T>> {
    let Some(given) = given else { return Ok(None) };
    let place = URL_SAFE_NO_PAD
        .decode(given)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .and_then(|text| text.strip_prefix(list)?.strip_prefix(':')?.parse().ok());
    match place {
        Some(place) => Ok(Some(place)),
        None => Err(Problem::field("cursor", "it is no cursor that this list gave")
            .remedy("leave it out for the first page, and then take next_cursor as it is")),
    }
}

/// The cursor of a place.
pub fn cursor_at(list: &str, place: &str) -> String {
    URL_SAFE_NO_PAD.encode(format!("{list}:{place}"))
}

/// A page of what was asked for with one more than its limit.
pub fn page<T, V>(
    mut found: Vec<T>,
    limit: usize,
    list: &str,
    place: impl Fn(&T) -> String,
    view: impl Fn(&T) -> V,
) -> Page<V> {
    let more = found.len() > limit;
    found.truncate(limit);
    let next_cursor = match found.last() {
        Some(end) if more => Some(cursor_at(list, &place(end))),
        _ => None,
    };
    Page { items: found.iter().map(view).collect(), next_cursor }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_good_for_its_list_alone() {
        let page = page(vec![1, 2, 3], 2, "numbers", ToString::to_string, |it| *it);
        assert_eq!(page.items, [1, 2]);
        let next = page.next_cursor.expect("there is more");
        assert_eq!(cursor::<i64>(Some(&next), "numbers").expect("its own"), Some(2));
        for (text, list) in [
            (next.as_str(), "others"),
            ("", "numbers"),
            ("Ą", "numbers"),
            ("bnVtYmVyczo", "numbers"),
            ("bnVtYmVyczp4", "numbers"),
        ] {
            cursor::<i64>(Some(text), list).expect_err(text);
        }
        let whole = super::page(vec![1, 2], 2, "numbers", ToString::to_string, |it| *it);
        assert_eq!(whole.next_cursor, None);
    }

    #[test]
    fn a_list_that_is_there_whole_is_paged_as_well() {
        let at = |limit, cursor: Option<String>| {
            let which = Which { limit: Some(limit), cursor };
            which.of(vec![3, 1, 2], "numbers", ToString::to_string, |it| *it)
        };
        let first = at(2, None).expect("a page");
        assert_eq!(first.items, [3, 1]);
        let rest = at(2, first.next_cursor).expect("a page");
        assert_eq!((rest.items, rest.next_cursor), (vec![2], None));
        at(2, Some(cursor_at("numbers", "7"))).map(|it| it.items).expect_err("gone");
        at(0, None).map(|it| it.items).expect_err("none");
    }

    #[test]
    fn limits() {
        assert_eq!(limit(None).expect("default"), 50);
        assert_eq!(limit(Some(200)).expect("the most"), 200);
        for wrong in [0, 201, u32::MAX] {
            limit(Some(wrong)).expect_err("out of range");
        }
    }
}
