//! What was probably meant.
//!
//! Owns the guess among names that exist. Refuses to offer what is not near: a wrong offer is worse
//! than none.

/// How many names are offered.
const OFFERED: usize = 3;

/// The names that are nearest to one, the nearest first.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Vec<String> {
    let name = name.to_ascii_lowercase();
    let allowed = (name.len() / 4).clamp(1, 3);
    let mut found: Vec<(usize, usize, &str)> = known
        .enumerate()
        .map(|(index, known)| (distance(&name, &known.to_ascii_lowercase()), index, known))
        .filter(|(distance, ..)| *distance <= allowed)
        .collect();
    found.sort_unstable();
    found.into_iter().take(OFFERED).map(|(.., known)| known.to_owned()).collect()
}

/// How many letters have to be put in, taken out, replaced, or change places with the next one.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    rows[0] = (0..=b.len()).collect();
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = least;
        }
    }
    rows[a.len()][b.len()]
}

/// `: near to it are a, b`, or nothing.
pub(super) fn offer(near: &[String]) -> String {
    if near.is_empty() { String::new() } else { format!("; near to it: {}", near.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_strangers_are_not() {
        let sizes = ["t2.medium", "t3.medium", "t3.large", "t3a.medium", "m7i.large"];
        assert_eq!(
            nearest("t3.meduim", sizes.into_iter()),
            ["t3.medium", "t2.medium", "t3a.medium"]
        );
        assert_eq!(nearest("T3.LARGE", sizes.into_iter()), ["t3.large"]);
        assert!(nearest("gigantic", sizes.into_iter()).is_empty());
        assert!(nearest("", sizes.into_iter()).is_empty());
    }

    #[test]
    fn distances() {
        for (a, b, expected) in [
            ("", "", 0),
            ("abc", "abc", 0),
            ("", "ab", 2),
            ("ab", "ba", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }
}
