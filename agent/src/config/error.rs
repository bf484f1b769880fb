use std::path::PathBuf;

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
    #[error("{}:{line}: {message}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The line, from 1; 0 where none is known.
        line: u64,
        /// What was expected.
        message: String,
    },
    /// An option, from whatever source, has a wrong value or is missing.
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
}
