//! Taking this machine's paths out of what goes to others, and putting them in again.
//!
//! Owns the words in their place. Failures and messages name files for whoever sits at the machine;
//! a front end or a caller of the API learns nothing by them but how the machine is laid out.

use super::site::Layout;

/// What stands in the place of the data directory.
const DATA: &str = "DATA_DIRECTORY";
/// What stands in the place of the sealing key's directory.
const KEY: &str = "KEY_DIRECTORY";

impl Layout {
    /// A text without the paths of the data directory, of the sealing key and of the user's home.
    pub fn without_paths(&self, text: &str) -> String {
        let user = std::env::home_dir().map(|directory| directory.to_string_lossy().into_owned());
        let temporary = std::env::temp_dir().to_string_lossy().into_owned();
        let others = [user.map(|it| (it, "HOME")), Some((temporary, "TMP"))];
        let mut text = text.to_owned();
        for (path, word) in self.own_paths().into_iter().chain(others.into_iter().flatten()) {
            // "/" is part of everything.
            if path.len() > 1 && text.contains(&path) {
                text = text.replace(&path, word);
            }
        }
        text
    }

    /// The same text for whoever sits at the machine: with its own paths in it again.
    pub fn with_paths(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (path, word) in self.own_paths() {
            text = text.replace(word, &path);
        }
        text
    }

    /// The directories that are the product's own, and the word for each.
    fn own_paths(&self) -> Vec<(String, &'static str)> {
        let home = (self.home().to_string_lossy().into_owned(), DATA);
        let key = self.key_file().and_then(|file| file.parent());
        let key = key.map(|directory| (directory.to_string_lossy().into_owned(), KEY));
        std::iter::once(home).chain(key).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_hidden_and_found_again() {
        let layout = Layout::new("/srv/data").sealed_by("/srv/key/sealing.key");
        let told = "removed /srv/data/deployments/main; its key is in /srv/key";
        let hidden = layout.without_paths(told);
        assert_eq!(hidden, "removed DATA_DIRECTORY/deployments/main; its key is in KEY_DIRECTORY");
        assert_eq!(layout.with_paths(&hidden), told);
    }
}
