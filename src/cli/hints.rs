//! The program's own name in what a person is told, so that a hint works when it is pasted.
//!
//! Owns the replacement of `openclaw-pipeline VERB` by the program as it was called. Refuses to
//! touch what is stored or for a machine: there the name is always the plain one.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use clap::CommandFactory;

use super::args::Cli;

/// The name that texts call the program by.
const NAME: &str = "openclaw-pipeline";

/// The text with the commands in it as they can be pasted here.
pub fn pasteable(text: &str) -> Cow<'_, str> {
    // Most texts name no command: only one that does pays for the look along PATH.
    static PROGRAM: OnceLock<String> = OnceLock::new();
    if !text.contains(NAME) {
        return Cow::Borrowed(text);
    }
    replaced(text, PROGRAM.get_or_init(|| called_as().unwrap_or_else(|| NAME.to_owned())))
}

/// How a shell calls this very program; `None` when nothing but its plain name is known.
fn called_as() -> Option<String> {
    let own = std::env::current_exe().ok()?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let typed = std::env::args_os().next().unwrap_or_default();
    Some(quoted(&chosen(&own, &typed, &path).to_string_lossy()))
}

/// The shortest name that leads to the program: its plain one, else what was typed, else where it
/// lies.
fn chosen(own: &Path, typed: &OsStr, path: &OsStr) -> PathBuf {
    let leads_here = |name: &OsStr| {
        let has_directory = Path::new(name).components().count() > 1;
        let found = if has_directory { Some(PathBuf::from(name)) } else { found_in(path, name) };
        found.is_some_and(|found| is_same(&found, own))
    };
    [OsStr::new(NAME), typed]
        .into_iter()
        .find(|name| leads_here(name))
        .map_or_else(|| own.to_owned(), PathBuf::from)
}

/// What a shell finds under a name: the first file in PATH that can be run.
fn found_in(path: &OsStr, name: &OsStr) -> Option<PathBuf> {
    let candidates = std::env::split_paths(path).map(|directory| directory.join(name));
    candidates.into_iter().find(|file| {
        fs::metadata(file)
            .is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
    })
}

fn is_same(one: &Path, other: &Path) -> bool {
    match (fs::metadata(one), fs::metadata(other)) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        _ => false,
    }
}

/// A word for a shell.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:@,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// The text with `program` wherever the plain name is followed by a verb.
fn replaced<'a>(text: &'a str, program: &str) -> Cow<'a, str> {
    if program == NAME {
        return Cow::Borrowed(text);
    }
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(NAME) {
        let (before, after) = (&rest[..start], &rest[start + NAME.len()..]);
        let in_a_word = before.ends_with(|c: char| c.is_alphanumeric() || "/-_.@".contains(c));
        result.push_str(before);
        result.push_str(if !in_a_word && begins_with_a_verb(after) { program } else { NAME });
        rest = after;
    }
    result.push_str(rest);
    Cow::Owned(result)
}

fn begins_with_a_verb(after: &str) -> bool {
    let Some(after) = after.strip_prefix(' ') else { return false };
    let verb =
        after.split(|c: char| !c.is_ascii_lowercase() && c != '-').next().unwrap_or_default();
    Cli::command().get_subcommands().any(|it| it.get_name() == verb)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_replaced_and_nothing_else() {
        let text = "openclaw-pipeline logs -f main; then: openclaw-pipeline start main\n\
                    ~/.config/openclaw-pipeline logs; my-openclaw-pipeline logs; \
                    openclaw-pipeline is a program; openclaw-pipeline";
        assert_eq!(
            replaced(text, "target/quick/openclaw-pipeline"),
            "target/quick/openclaw-pipeline logs -f main; then: \
             target/quick/openclaw-pipeline start main\n\
             ~/.config/openclaw-pipeline logs; my-openclaw-pipeline logs; \
             openclaw-pipeline is a program; openclaw-pipeline"
        );
        assert!(matches!(replaced(text, NAME), Cow::Borrowed(_)));
    }

    #[test]
    fn what_is_printed_leads_to_this_very_program() {
        let directory = tempfile::tempdir().expect("a directory");
        let make = |path: &str| {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
            fs::write(&path, path.to_string_lossy().as_bytes()).expect("a file");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode");
            path
        };
        let (own, other) = (make("bin/openclaw-pipeline"), make("other/openclaw-pipeline"));
        let dir = |path: &Path| path.parent().expect("a parent").as_os_str().to_owned();
        let picked = |typed: &Path, path: &OsStr| chosen(&own, typed.as_os_str(), path);
        let elsewhere = Path::new("somewhere/else");
        assert_eq!(picked(elsewhere, &dir(&own)), Path::new(NAME));
        assert_eq!(picked(&own, &dir(&other)), own, "another one of that name");
        assert_eq!(picked(&own, OsStr::new("")), own);
        assert_eq!(picked(elsewhere, OsStr::new("")), own, "what was typed leads nowhere");
        let link = directory.path().join("bin/ocp");
        std::os::unix::fs::symlink(&own, &link).expect("a link");
        assert_eq!(picked(&link, OsStr::new("")), link, "a link to it is it");
    }

    #[test]
    fn a_blank_in_the_path_is_quoted() {
        assert_eq!(quoted("target/quick/openclaw-pipeline"), "target/quick/openclaw-pipeline");
        assert_eq!(quoted("/a b/it's"), r"'/a b/it'\''s'");
    }
}
