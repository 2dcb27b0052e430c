//! Taking this machine's paths out of what goes to others.
//!
//! Owns the words in their place. Failures and messages name files for whoever sits at the machine;
//! a front end or a caller of the API learns nothing by them but how the machine is laid out.

use super::site::Layout;

impl Layout {
    /// A text without the paths of the data directory, of the sealing key and of the user's home.
    pub fn without_paths(&self, text: &str) -> String {
        let home = self.home().to_string_lossy();
        let key = self.key_file().and_then(|file| file.parent());
        let key = key.map(|directory| directory.to_string_lossy().into_owned());
        let user = std::env::home_dir().map(|directory| directory.to_string_lossy().into_owned());
        let temporary = std::env::temp_dir().to_string_lossy().into_owned();
        let known = [
            Some((home.into_owned(), "DATA_DIRECTORY")),
            key.map(|it| (it, "KEY_DIRECTORY")),
            user.map(|it| (it, "HOME")),
            Some((temporary, "TMP")),
        ];
        let mut text = text.to_owned();
        for (path, word) in known.into_iter().flatten() {
            // "/" is part of everything.
            if path.len() > 1 && text.contains(&path) {
                text = text.replace(&path, word);
            }
        }
        text
    }
}
