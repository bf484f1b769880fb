//! Which keys a type takes: it is deserialized along each way to a key, and what it asks for there is noted. Nothing but the
//! type itself says what the keys are, so the list can't fall behind the program.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{self, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

/// What a value is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Keys of its own.
    Keys(Vec<&'static str>),
    /// A list.
    List,
    /// Keys that whoever writes the file chooses.
    Map,
    /// One of these words.
    Words(Vec<&'static str>),
    /// Something else.
    Value,
}

/// Every way to a key (`readers[].name`, `limits.tiers.*.active_series`), and what stands there.
pub(crate) fn keys_of<T: de::DeserializeOwned>() -> BTreeMap<String, Kind> {
    let (mut keys, mut ways) = (BTreeMap::new(), vec![Vec::new()]);
    while let Some(way) = ways.pop() {
        let kind = kind_of::<T>(&way);
        let steps: Vec<&str> = match &kind {
            Kind::Keys(keys) => keys.clone(),
            Kind::List => vec!["[]"],
            Kind::Map => vec!["*"],
            Kind::Words(_) | Kind::Value => Vec::new(),
        };
        ways.extend(steps.into_iter().map(|step| [&way[..], &[step]].concat()));
        keys.insert(way.join(".").replace(".[]", "[]"), kind);
    }
    keys.remove("");
    keys
}

fn kind_of<T: de::DeserializeOwned>(way: &[&'static str]) -> Kind {
    let found = RefCell::new(Kind::Value);
    // It never succeeds: only one key is ever given.
    drop(T::deserialize(Probe { way, found: &found }));
    found.into_inner()
}

#[derive(Clone, Copy)]
struct Probe<'a> {
    way: &'a [&'static str],
    found: &'a RefCell<Kind>,
}

impl Probe<'_> {
    fn note(&self, kind: Kind) -> Nothing {
        *self.found.borrow_mut() = kind;
        Nothing(None)
    }
}

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = Nothing;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Nothing> {
        if self.way.is_empty() {
            // Whoever takes keys names them where it is given another.
            let refused = visitor.visit_map(One { step: Some("no such key"), probe: None }).err();
            return Err(match refused.and_then(|refused| refused.0) {
                Some(keys) => self.note(Kind::Keys(keys.to_vec())),
                None => self.note(Kind::Value),
            });
        }
        self.deserialize_map(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Nothing> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Nothing> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Nothing> {
        if self.way.is_empty() {
            return Err(self.note(Kind::Keys(fields.to_vec())));
        }
        self.deserialize_map(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Nothing> {
        let Some((step, way)) = self.way.split_first() else { return Err(self.note(Kind::Map)) };
        visitor.visit_map(One { step: Some(step), probe: Some(Probe { way, ..self }) })
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Nothing> {
        let Some((step, way)) = self.way.split_first() else { return Err(self.note(Kind::List)) };
        visitor.visit_seq(One { step: Some(step), probe: Some(Probe { way, ..self }) })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        words: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Nothing> {
        Err(self.note(Kind::Words(words.to_vec())))
    }

    fn deserialize_str<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Nothing> {
        Err(self.note(Kind::Value))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char string bytes byte_buf unit unit_struct tuple tuple_struct
        identifier ignored_any
    }
}

/// One key, or one entry of a list.
struct One<'a> {
    step: Option<&'static str>,
    /// Its value, if anybody takes it.
    probe: Option<Probe<'a>>,
}

impl<'de> MapAccess<'de> for One<'_> {
    type Error = Nothing;

    fn next_key_seed<K: de::DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Nothing> {
        let key: Option<StrDeserializer<'_, Nothing>> = self.step.take().map(IntoDeserializer::into_deserializer);
        key.map(|key| seed.deserialize(key)).transpose()
    }

    fn next_value_seed<V: de::DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Nothing> {
        seed.deserialize(self.probe.take().ok_or(Nothing(None))?)
    }
}

impl<'de> SeqAccess<'de> for One<'_> {
    type Error = Nothing;

    fn next_element_seed<T: de::DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Nothing> {
        self.probe.take().map(|probe| seed.deserialize(probe)).transpose()
    }
}

/// No value comes of it; of a key that was refused, those that are not.
#[derive(Debug)]
struct Nothing(Option<&'static [&'static str]>);

impl de::Error for Nothing {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self(None)
    }

    fn unknown_field(_: &str, expected: &'static [&'static str]) -> Self {
        Self(Some(expected))
    }
}

impl fmt::Display for Nothing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("only asked for its keys")
    }
}

impl std::error::Error for Nothing {}
