//! Environment files: reading `.env` files, and writing them for Docker and for people.
//!
//! Owns the one grammar that every such file is read with. Refuses what it would have to guess
//! at (an open quote, a line without `=`, a character that cannot be meant), and never echoes a
//! line: what stands there by mistake may be a secret, the key included.
//!
//! There is no interpolation: tokens contain `$`, and a `$` stays what it is.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::Secret;
use crate::domain::Failure;

/// The largest file that is read, in bytes.
pub const MAX_BYTES: usize = 1 << 20;

/// The longest line that Docker reads from an environment file, in bytes: its scanner's buffer.
const DOCKER_MAX_LINE: usize = 65_535;

/// One variable of a file.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its name.
    pub key: String,
    /// Its value. Every value is treated as a secret: the file cannot tell which are.
    pub value: Secret,
    /// The line that it stands on, from 1.
    pub line: usize,
}

/// What a file says.
#[derive(Debug, Clone, Default)]
pub struct EnvFile {
    /// The variables, each once, in the order of their lines.
    pub entries: Vec<Entry>,
    /// What the reader should know: keys that are set twice.
    pub notices: Vec<String>,
}

impl EnvFile {
    /// The entry of a key.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }
}

/// Whether a text is a variable's name: `[A-Za-z_][A-Za-z0-9_]*`, at most 256 characters.
pub fn is_key(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() <= 256
        && bytes.first().is_some_and(|c| c.is_ascii_alphabetic() || *c == b'_')
        && bytes.iter().all(|c| c.is_ascii_alphanumeric() || *c == b'_')
}

/// The text of a file, bounded and checked to be UTF-8. The kind of failure of a file that is
/// not there is `NotFound`.
pub fn read_text(path: &Path) -> Result<String, Failure> {
    let shown = path.display();
    let unreadable = |error: std::io::Error| {
        let failure = match error.kind() {
            std::io::ErrorKind::NotFound => Failure::not_found(format!("{shown} does not exist")),
            _ => Failure::failed(format!("{shown} cannot be read: {error}")),
        };
        failure
            .remedy(format!("check that {shown} is a file that you may read, or name another one"))
    };
    let file = File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    // One byte more than allowed tells a file that is too large from one that just fits.
    file.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > MAX_BYTES {
        return Err(too_large().context(shown.to_string()));
    }
    String::from_utf8(bytes).map_err(|_| {
        Failure::bad_input(format!("{shown} is not UTF-8 text"))
            .remedy("save it as UTF-8; an editor may have written UTF-16")
    })
}

/// Reads and parses a file; failures and notices name it.
pub fn load(path: &Path) -> Result<EnvFile, Failure> {
    let shown = path.display().to_string();
    let mut file = parse(&read_text(path)?).map_err(|failure| failure.context(&shown))?;
    for notice in &mut file.notices {
        *notice = format!("{shown}: {notice}");
    }
    Ok(file)
}

/// Parses the text of an environment file. A failure names the line, the rule and the remedy.
pub fn parse(text: &str) -> Result<EnvFile, Failure> {
    if text.len() > MAX_BYTES {
        return Err(too_large());
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut file = EnvFile::default();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for (index, raw) in text.split('\n').enumerate() {
        let number = index + 1;
        let line = raw.strip_suffix('\r').unwrap_or(raw);
        let Some((key, value)) = parse_line(line).map_err(|wrong| wrong.at(number))? else {
            continue;
        };
        if let Some(earlier) = seen.insert(key.clone(), number) {
            file.notices.push(format!(
                "{key} is set on line {earlier} and again on line {number}; line {number} is used"
            ));
            file.entries.retain(|entry| entry.key != key);
        }
        file.entries.push(Entry { key, value: Secret::new(value), line: number });
    }
    Ok(file)
}

/// The rule that a line breaks, and what to do about it.
struct Wrong {
    rule: &'static str,
    remedy: &'static str,
}

impl Wrong {
    fn at(self, line: usize) -> Failure {
        Failure::bad_input(format!("line {line}: {}", self.rule)).remedy(self.remedy)
    }
}

fn wrong<T>(rule: &'static str, remedy: &'static str) -> Result<T, Wrong> {
    Err(Wrong { rule, remedy })
}

fn too_large() -> Failure {
    Failure::bad_input("an environment file is at most 1 MiB").remedy("check that it is one")
}

fn parse_line(line: &str) -> Result<Option<(String, String)>, Wrong> {
    if line.chars().any(|c| c.is_control() && c != '\t') {
        return wrong(
            "a line has no control character but a tab (NUL and lone carriage returns included)",
            "remove the character; write a line break as \\n inside double quotes",
        );
    }
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let line = match line.strip_prefix("export") {
        Some(rest) if rest.starts_with([' ', '\t']) => rest.trim_start(),
        _ => line,
    };
    let Some((key, value)) = line.split_once('=') else {
        return wrong(
            "a line is KEY=VALUE, a comment that starts with #, or empty; this one has no =",
            "complete the line, or put # before it",
        );
    };
    let key = key.trim_end();
    if !is_key(key) {
        return wrong(
            "a key is letters, digits and _, and does not start with a digit",
            "correct what stands before the =",
        );
    }
    let value = match value.trim_start().chars().next() {
        Some('\'') => single_quoted(&value.trim_start()[1..])?,
        Some('"') => double_quoted(&value.trim_start()[1..])?,
        _ => unquoted(value).to_owned(),
    };
    Ok(Some((key.to_owned(), value)))
}

/// A value without quotes ends at a comment, which is a `#` behind a blank.
fn unquoted(value: &str) -> &str {
    let comment = value.find(" #").into_iter().chain(value.find("\t#")).min();
    value[..comment.unwrap_or(value.len())].trim()
}

fn single_quoted(rest: &str) -> Result<String, Wrong> {
    let Some((value, tail)) = rest.split_once('\'') else {
        return unclosed();
    };
    nothing_behind(tail)?;
    Ok(value.to_owned())
}

fn double_quoted(rest: &str) -> Result<String, Wrong> {
    let mut value = String::with_capacity(rest.len());
    let mut chars = rest.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => {
                nothing_behind(chars.as_str())?;
                return Ok(value);
            }
            '\\' => match chars.next() {
                Some('n') => value.push('\n'),
                Some(escaped @ ('"' | '\\' | '$')) => value.push(escaped),
                Some(_) => {
                    return wrong(
                        "inside double quotes a backslash stands before n, \", \\ or $ only",
                        "write \\\\ for a backslash, or put the value in single quotes",
                    );
                }
                None => return unclosed(),
            },
            other => value.push(other),
        }
    }
    unclosed()
}

fn unclosed<T>() -> Result<T, Wrong> {
    wrong(
        "a value that begins with a quote ends with the same quote on the same line",
        "close the quote, write a line break as \\n inside double quotes, or put a value that \
         begins with a quote into the other kind of quotes",
    )
}

fn nothing_behind(tail: &str) -> Result<(), Wrong> {
    let rest = tail.trim_start();
    if rest.is_empty() || (rest.starts_with('#') && rest.len() < tail.len()) {
        return Ok(());
    }
    wrong(
        "behind a closing quote stands nothing but a blank and a comment",
        "put the whole value inside the quotes, and write \\\" for a quote inside double quotes",
    )
}

/// The pairs in the format of Docker's `--env-file`: raw lines, without quotes or escapes.
pub fn render<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<String, Failure> {
    let mut out = String::new();
    for (key, value) in pairs {
        check_key(key)?;
        if value.contains(['\n', '\r', '\0']) {
            return Err(Failure::bad_input(format!(
                "{key} holds a line break or NUL, which Docker's environment files cannot carry"
            ))
            .remedy(format!(
                "give {key} without line breaks, in base64 for example, or as a file in the \
                 gateway's state"
            )));
        }
        if key.len() + 1 + value.len() > DOCKER_MAX_LINE {
            return Err(Failure::bad_input(format!(
                "{key} is longer than the 64 KiB that Docker reads of a line"
            ))
            .remedy("give a shorter value"));
        }
        let _ = writeln!(out, "{key}={value}");
    }
    Ok(out)
}

/// The pairs as a `.env` file that [`parse`] reads back: values are quoted where they need it.
pub fn render_quoted<'a>(
    pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<String, Failure> {
    let mut out = String::new();
    for (key, value) in pairs {
        check_key(key)?;
        if value.chars().any(|c| c.is_control() && c != '\t' && c != '\n') {
            return Err(Failure::bad_input(format!(
                "{key} holds a control character, which an environment file cannot carry"
            ))
            .remedy("remove the character"));
        }
        let _ = writeln!(out, "{key}={}", quoted(value));
    }
    Ok(out)
}

fn quoted(value: &str) -> String {
    // What a shell and every other reader of such files takes as it is needs no quotes.
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=+,@%".contains(c);
    if value.chars().all(plain) {
        return value.to_owned();
    }
    let mut out = String::with_capacity(value.len() + 2);
    out.push('"');
    for c in value.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '"' | '\\' | '$' => {
                out.push('\\');
                out.push(c);
            }
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

fn check_key(key: &str) -> Result<(), Failure> {
    if is_key(key) {
        return Ok(());
    }
    // Not echoed: it may be a value that lost its key.
    Err(Failure::bad_input(
        "a variable's name is letters, digits and _, and does not start with a digit; one of \
         those given is not",
    )
    .remedy("correct the name"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        parse(text)
            .expect(text)
            .entries
            .iter()
            .map(|entry| (entry.key.clone(), entry.value.expose().to_owned()))
            .collect()
    }

    fn value(text: &str) -> String {
        let mut pairs = pairs(text);
        assert_eq!(pairs.len(), 1, "{text}");
        pairs.remove(0).1
    }

    #[test]
    fn the_usual_spellings_are_read() {
        for (line, expected) in [
            ("A=b", "b"),
            ("A=", ""),
            ("A=\"\"", ""),
            ("A=''", ""),
            ("export A=b", "b"),
            ("export\tA=b", "b"),
            ("  A = b c  ", "b c"),
            ("A=b # comment", "b"),
            ("A=b\t# comment", "b"),
            ("A=b#c", "b#c"),
            ("A= # comment", ""),
            ("A=#c", "#c"),
            ("A=#c # d", "#c"),
            ("A='b # c' # d", "b # c"),
            ("A=\" b \"", " b "),
            ("A=$HOME${x}", "$HOME${x}"),
            ("A=\"$HOME\"", "$HOME"),
            ("A=\"a\\$b\\\"c\\\\d\\ne\"", "a$b\"c\\d\ne"),
            ("A='a\\nb'", "a\\nb"),
            ("A=it's", "it's"),
            ("A=a=b==", "a=b=="),
            ("A=ä€", "ä€"),
            ("\u{feff}A=b", "b"),
        ] {
            assert_eq!(value(line), expected, "{line:?}");
        }
    }

    #[test]
    fn lines_end_either_way_and_keep_their_numbers() {
        let file =
            parse("\u{feff}# first\r\nA=1\r\n\r\nexport B=\"2\"\r\nexportC=3").expect("CRLF");
        let found: Vec<(&str, &str, usize)> = file
            .entries
            .iter()
            .map(|entry| (entry.key.as_str(), entry.value.expose(), entry.line))
            .collect();
        assert_eq!(found, [("A", "1", 2), ("B", "2", 4), ("exportC", "3", 5)]);
    }

    #[test]
    fn the_last_of_a_key_wins_and_both_lines_are_named() {
        let file = parse("A=1\nB=2\nA=3").expect("duplicates");
        assert_eq!(file.get("A").expect("A").value.expose(), "3");
        assert_eq!(file.entries.len(), 2);
        assert_eq!(file.notices, ["A is set on line 1 and again on line 3; line 3 is used"]);
    }

    #[test]
    fn malformed_lines_are_named_and_never_echoed() {
        for line in [
            "s3cr3t",
            "export s3cr3t",
            "sk-s3cr3t=",
            "1A=s3cr3t",
            "=s3cr3t",
            "A B=s3cr3t",
            "A=\"s3cr3t",
            "A='s3cr3t",
            "A=\"s3cr3t\"x",
            "A='s3cr3t'x",
            "A='s3cr3t'#x",
            "A=\"s3cr3t\\",
            "A=\"s3cr3t\\t\"",
            "A=s3cr3t\0",
            "A=s3\rcr3t",
            "A=s3\u{1b}[0mcr3t",
        ] {
            let failure = parse(&format!("# fine\n{line}\nB=2")).expect_err(line);
            assert!(failure.message.starts_with("line 2: "), "{failure}");
            let remedy = failure.remedy.expect("a remedy");
            for text in [&failure.message, &remedy] {
                assert!(!text.contains("cr3t"), "{text}");
            }
        }
    }

    #[test]
    fn the_size_is_bounded() {
        let failure = parse(&"#".repeat(MAX_BYTES + 1)).expect_err("too large");
        assert!(failure.message.contains("1 MiB"), "{failure}");
    }

    #[test]
    fn a_files_failures_name_the_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("some.env");
        assert_eq!(load(&path).expect_err("absent").kind, crate::domain::FailureKind::NotFound);
        std::fs::write(&path, "A=1\nnonsense\n").expect("written");
        let failure = load(&path).expect_err("malformed");
        assert!(failure.message.contains("some.env: line 2: "), "{failure}");
        std::fs::write(&path, [b'A', b'=', 0xff]).expect("written");
        let failure = load(&path).expect_err("not text");
        assert!(failure.message.contains("UTF-8"), "{failure}");
        std::fs::write(&path, vec![b'#'; MAX_BYTES + 1]).expect("written");
        let failure = load(&path).expect_err("too large");
        assert!(failure.message.contains("1 MiB"), "{failure}");
    }

    #[test]
    fn docker_gets_raw_lines_and_no_line_breaks() {
        assert_eq!(
            render([("A", "b c"), ("B", "\"$x\" # y"), ("C", "")]).expect("rendered"),
            "A=b c\nB=\"$x\" # y\nC=\n"
        );
        for value in ["s3cr3t\n", "s3\rcr3t", "s3cr3t\0"] {
            let failure = render([("PEM", value)]).expect_err("a line break");
            assert!(failure.message.contains("PEM"), "{failure}");
            assert!(!failure.message.contains("cr3t"), "{failure}");
        }
        assert!(render([("A", "x".repeat(70_000).as_str())]).is_err());
        assert!(render([("A B", "x")]).is_err());
        assert!(render([("A\nB", "x")]).is_err());
    }

    /// What Docker makes of an environment file (cli/opts/file.go).
    fn docker_reads(text: &str) -> Vec<(String, String)> {
        text.lines()
            .map(|line| line.split_once('=').expect("KEY=VALUE"))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    }

    proptest! {
        #[test]
        fn what_is_quoted_is_read_back(
            values in prop::collection::vec("([ -~äß€\t\n]|[#'\"\\\\$ ]){0,40}", 0..6)
        ) {
            let keys: Vec<String> = (0..values.len()).map(|i| format!("K_{i}")).collect();
            let given: Vec<(&str, &str)> = keys
                .iter()
                .map(String::as_str)
                .zip(values.iter().map(String::as_str))
                .collect();
            let text = render_quoted(given.clone()).expect("rendered");
            let read = pairs(&text);
            let read: Vec<(&str, &str)> =
                read.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            prop_assert_eq!(read, given);
        }

        #[test]
        fn docker_reads_what_was_rendered(value in "[ -~äß€\t]{0,60}") {
            let text = render([("KEY", value.as_str())]).expect("rendered");
            prop_assert_eq!(docker_reads(&text), vec![("KEY".to_owned(), value)]);
        }

        #[test]
        fn no_text_makes_it_panic_or_leak(text in "(KEY=|\"|'|#|=|\\\\|s3cr3t|\n|\r|\0| |\\PC){0,30}") {
            if let Err(failure) = parse(&text) {
                prop_assert!(!failure.message.contains("s3cr3t"));
                prop_assert!(failure.message.starts_with("line "));
            }
        }
    }
}
