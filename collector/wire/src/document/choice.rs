use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, MapAccess, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What is said of a source: nothing, `off` (or null), or its settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Choice<T> {
    /// Nothing. In a document the agent's own file decides then; in that file the source is off.
    #[default]
    Unsaid,
    /// It is off.
    Off,
    /// It is on, with these settings.
    On(T),
}

impl<T> Choice<T> {
    /// Whether nothing is said.
    pub fn is_unsaid(&self) -> bool {
        matches!(self, Self::Unsaid)
    }

    /// The settings, where it is on.
    pub fn on(self) -> Option<T> {
        match self {
            Self::On(settings) => Some(settings),
            Self::Unsaid | Self::Off => None,
        }
    }

    /// The settings, where it is on.
    pub fn as_on(&self) -> Option<&T> {
        match self {
            Self::On(settings) => Some(settings),
            Self::Unsaid | Self::Off => None,
        }
    }

    /// Whether it is on.
    pub fn is_on(&self) -> bool {
        self.as_on().is_some()
    }

    /// This, or the other where nothing is said.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        if self.is_unsaid() { other } else { self }
    }

    /// Turns it on, where it is not, and changes its settings.
    pub fn turn_on(&mut self, change: impl FnOnce(&mut T))
    where
        T: Default,
    {
        let mut settings = std::mem::take(self).on().unwrap_or_default();
        change(&mut settings);
        *self = Self::On(settings);
    }
}

/// Off is null, which an agent that merges no sources takes for the same.
impl<T: Serialize> Serialize for Choice<T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.as_on().serialize(to)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Choice<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(ChoiceVisitor(PhantomData))
    }
}

struct ChoiceVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> de::Visitor<'de> for ChoiceVisitor<T> {
    type Value = Choice<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the source's keys ({} for all defaults) or `off`")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Choice<T>, E> {
        Ok(Choice::Off)
    }

    fn visit_none<E: de::Error>(self) -> Result<Choice<T>, E> {
        Ok(Choice::Off)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Choice<T>, E> {
        if value { Err(E::invalid_value(de::Unexpected::Bool(true), &self)) } else { Ok(Choice::Off) }
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Choice<T>, E> {
        if text == "off" { Ok(Choice::Off) } else { Err(E::invalid_value(de::Unexpected::Str(text), &self)) }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Choice<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Choice::On)
    }
}
