use std::fmt;

/// The way to a value of the configuration: `readers[0].token_file`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct At(String);

impl At {
    /// Of a section, or of a key in it: `identity.sts`.
    pub fn key_of(key: &str) -> Self {
        Self(key.to_owned())
    }

    /// Of a key in it.
    pub fn key(&self, key: impl fmt::Display) -> Self {
        Self(format!("{self}.{key}"))
    }

    /// Of an entry of a list, from 0.
    pub fn item(&self, item: usize) -> Self {
        Self(format!("{self}[{item}]"))
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
