//! What a row of the table says.

use super::Variable;

/// What the value of a variable is when nobody gives one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DefaultValue {
    /// This text.
    Text(&'static str),
    /// Nothing; the text says what happens then, where that is not plain.
    Unset(&'static str),
    /// Something that depends on the machine; the text says what.
    Computed(&'static str),
}

/// A row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Definition {
    /// The variable.
    pub variable: Variable,
    /// Its name.
    pub name: &'static str,
    /// Another spelling of it, which wins over the name where both are set.
    pub alias: Option<&'static str>,
    /// Whether its value is a secret.
    pub secret: bool,
    /// Its default.
    pub default: DefaultValue,
    /// What it means, in a line.
    pub doc: &'static str,
    /// The heading that it stands under.
    pub group: &'static str,
}
