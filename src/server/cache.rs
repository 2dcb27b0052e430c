//! Answers that were made before, for as long as nothing was committed since.
//!
//! Owns their bound. Every answer of the same state is the same bytes, so a front end that asks
//! again and again costs no more than looking whether the state is another one.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Serialize;

use super::problem::Answer;
use super::state::Server;
use crate::domain::Failure;

/// How many bytes of answers are kept.
const BOUND: usize = 4 << 20;

/// Answers by what was asked.
#[derive(Debug, Default)]
pub struct Cache {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    version: i64,
    size: usize,
    answers: HashMap<String, Bytes>,
}

impl Cache {
    /// The answer that was made at this version of the state.
    pub fn get(&self, version: i64, asked: &str) -> Option<Bytes> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.version == version { kept.answers.get(asked).cloned() } else { None }
    }

    /// Keeps an answer of this version of the state.
    pub fn put(&self, version: i64, asked: String, answer: &Bytes) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let size = asked.len() + answer.len();
        if kept.version != version || kept.size + size > BOUND {
            *kept = Kept { version, ..Kept::default() };
        }
        if size <= BOUND && kept.answers.insert(asked, answer.clone()).is_none() {
            kept.size += size;
        }
    }
}

/// A JSON answer that was made before, or is made now.
pub fn answered<T: Serialize>(
    server: &Server,
    asked: String,
    make: impl FnOnce() -> Result<T, Failure>,
) -> Answer<Response> {
    // Read before the state is: an answer is never older than what it is kept under.
    let version = server.app().store().version().map_err(Failure::from)?;
    let bytes = if let Some(bytes) = server.cache().get(version, &asked) {
        bytes
    } else {
        let bytes = Bytes::from(serde_json::to_vec(&make()?)?);
        server.cache().put(version, asked, &bytes);
        bytes
    };
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, bytes).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_holds_until_the_state_is_another_one() {
        let cache = Cache::default();
        let answer = Bytes::from_static(b"answer");
        cache.put(1, "a".into(), &answer);
        assert_eq!(cache.get(1, "a"), Some(answer.clone()));
        assert_eq!(cache.get(2, "a"), None);
        cache.put(2, "b".into(), &answer);
        assert_eq!(cache.get(1, "a"), None, "the old ones are gone");
        assert_eq!(cache.get(2, "b"), Some(answer));
    }

    #[test]
    fn it_is_bounded() {
        let cache = Cache::default();
        let answer = Bytes::from(vec![0; 1 << 20]);
        for number in 0..100 {
            cache.put(1, number.to_string(), &answer);
            let kept = cache.kept.lock().expect("no panic");
            assert!(kept.size <= BOUND && kept.answers.len() <= 4);
        }
        cache.put(1, "huge".into(), &Bytes::from(vec![0; BOUND + 1]));
        assert_eq!(cache.get(1, "huge"), None);
    }
}
