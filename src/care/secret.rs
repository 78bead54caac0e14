//! A secret as one value: what was written beside what it expands to.

use std::fmt;

/// A string that may contain secrets: it is shown only as written in the file, with `${env:NAME}` unexpanded.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    template: String,
    value: String,
}

impl Secret {
    /// Pairs the text as written with its expansion.
    #[must_use]
    pub fn new(template: impl Into<String>, value: impl Into<String>) -> Self {
        Self { template: template.into(), value: value.into() }
    }

    /// The expanded text, for the wire only.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.value
    }

    /// The text as written, for reports.
    #[must_use]
    pub fn template(&self) -> &str {
        &self.template
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_neither_the_value_nor_the_template() {
        let secret = Secret::new("Bearer ${env:TOKEN}", "Bearer hunter2");
        assert_eq!(format!("{secret:?}"), "[redacted]");
        assert_eq!(secret.reveal(), "Bearer hunter2");
        assert_eq!(secret.template(), "Bearer ${env:TOKEN}");
    }
}
