use std::path::{Path, PathBuf};

use tenantscope_wire::document::yaml;

use super::Options;

/// What is wrong with the configuration. The text names file and line where there are any.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not what was expected.
    #[error("{}: {message}", yaml::place(path, *line))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The line, from 1; 0 where none is known.
        line: u64,
        /// What was expected.
        message: String,
    },
    /// A key has a wrong value or is missing; the value is an option's or an environment variable's, or there is no file.
    #[error("{option}: {message}")]
    Option {
        /// The option's configuration key.
        option: &'static str,
        /// What was expected.
        message: String,
    },
    /// What is to be collected makes no sense.
    #[error(transparent)]
    Document(#[from] tenantscope_wire::document::InvalidDocument),
}

impl ConfigError {
    /// An option with a wrong value.
    pub fn option(option: &'static str, message: impl Into<String>) -> Self {
        Self::Option { option, message: message.into() }
    }

    /// With where the key stands: its line in the file, or the option or variable that counted before it.
    pub(super) fn placed(self, path: &Path, text: &str, options: &Options) -> Self {
        let (key, message) = match self {
            Self::Option { option, message } => (option, format!("{option}: {message}")),
            Self::Document(invalid) => (invalid.key(), invalid.to_string()),
            other => return other,
        };
        match options.source_of(key) {
            Some((option, variable)) => {
                let message = message.strip_prefix(&format!("{key}: ")).unwrap_or(&message);
                Self::option(key, format!("{message} (--{option} or {variable})"))
            }
            None => Self::Invalid { path: path.to_path_buf(), line: yaml::line_of(text, key), message },
        }
    }
}
