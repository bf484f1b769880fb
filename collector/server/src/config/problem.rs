use std::fmt;
use std::path::{Path, PathBuf};

/// What is wrong with a file: `file:line: message`.
#[derive(Debug)]
pub struct Problem {
    file: PathBuf,
    line: u64,
    message: String,
}

impl Problem {
    /// The file as a whole is wrong, or can't be read.
    pub fn file(file: &Path, message: &impl ToString) -> Self {
        Self { file: file.to_path_buf(), line: 0, message: message.to_string() }
    }

    /// The file's YAML is not what was expected.
    pub fn yaml(file: &Path, error: &serde_saphyr::Error) -> Self {
        let (line, column) = error.location().map_or((0, 0), |at| (at.line(), at.column()));
        let rendered = error.render_with_options(serde_saphyr::render_options! {
            formatter: &serde_saphyr::UserMessageFormatter,
            snippets: serde_saphyr::SnippetMode::Off,
        });
        // The line goes in front, once.
        let suffix = format!(" at line {line}, column {column}");
        let message = rendered.strip_suffix(&suffix).unwrap_or(&rendered).to_owned();
        Self { file: file.to_path_buf(), line, message }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file.display(), self.message),
            line => write!(f, "{}:{line}: {}", self.file.display(), self.message),
        }
    }
}

impl std::error::Error for Problem {}
