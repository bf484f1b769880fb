//! As much of JSON as our own columns have, with numbers read exactly: to the nearest double.

use crate::chunk::Damaged;

/// Values within values, at most.
const MAX_DEPTH: usize = 8;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Json {
    Number(f64),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        let Self::Object(entries) = self else { return None };
        entries.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    pub(crate) fn number(&self) -> Option<f64> {
        let Self::Number(number) = self else { return None };
        Some(*number)
    }

    pub(crate) fn text(&self) -> Option<&str> {
        let Self::Text(text) = self else { return None };
        Some(text)
    }

    pub(crate) fn list(&self) -> Option<&[Self]> {
        let Self::List(list) = self else { return None };
        Some(list)
    }
}

/// Reads one value that is all of the text. Texts with escapes are not among what our columns have.
pub(crate) fn parse(text: &[u8]) -> Result<Json, Damaged> {
    let mut rest = Rest(text);
    let value = rest.value(MAX_DEPTH)?;
    if rest.peek().is_some() {
        return Err(Damaged("JSON goes on after its value"));
    }
    Ok(value)
}

struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn peek(&mut self) -> Option<u8> {
        while let [b' ' | b'\n' | b'\t' | b'\r', rest @ ..] = self.0 {
            self.0 = rest;
        }
        self.0.first().copied()
    }

    fn take_if(&mut self, wanted: u8) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.0 = self.0.split_first().map_or(&[], |(_, rest)| rest);
        }
        found
    }

    fn expect(&mut self, wanted: u8) -> Result<(), Damaged> {
        if self.take_if(wanted) { Ok(()) } else { Err(Damaged("JSON is not well formed")) }
    }

    fn take_while(&mut self, wanted: impl Fn(u8) -> bool) -> &'a [u8] {
        let end = self.0.iter().position(|byte| !wanted(*byte)).unwrap_or(self.0.len());
        let (taken, rest) = self.0.split_at(end);
        self.0 = rest;
        taken
    }

    fn value(&mut self, depth: usize) -> Result<Json, Damaged> {
        let depth = depth.checked_sub(1).ok_or(Damaged("JSON is too deep"))?;
        match self.peek() {
            Some(b'"') => self.text().map(Json::Text),
            Some(b'[') => {
                let mut list = Vec::new();
                self.each(b'[', b']', |rest| {
                    list.push(rest.value(depth)?);
                    Ok(())
                })?;
                Ok(Json::List(list))
            }
            Some(b'{') => {
                let mut entries = Vec::new();
                self.each(b'{', b'}', |rest| {
                    let name = rest.text()?;
                    rest.expect(b':')?;
                    entries.push((name, rest.value(depth)?));
                    Ok(())
                })?;
                Ok(Json::Object(entries))
            }
            _ => self.number(),
        }
    }

    fn each(
        &mut self,
        open: u8,
        close: u8,
        mut item: impl FnMut(&mut Self) -> Result<(), Damaged>,
    ) -> Result<(), Damaged> {
        self.expect(open)?;
        if self.take_if(close) {
            return Ok(());
        }
        loop {
            item(self)?;
            if self.take_if(close) {
                return Ok(());
            }
            self.expect(b',')?;
        }
    }

    fn text(&mut self) -> Result<String, Damaged> {
        self.expect(b'"')?;
        let text = self.take_while(|byte| byte != b'"' && byte != b'\\');
        self.expect(b'"')?;
        String::from_utf8(text.to_vec()).map_err(|_| Damaged("text is not UTF-8"))
    }

    fn number(&mut self) -> Result<Json, Damaged> {
        let digits = self.take_while(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E'));
        let digits = std::str::from_utf8(digits).map_err(|_| Damaged("text is not UTF-8"))?;
        digits.parse().map(Json::Number).map_err(|_| Damaged("number in JSON"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_within_values() {
        let json = parse(br#"{"a": [1, -2.5e-3, "+Inf"], "b": {}}"#).unwrap();
        assert_eq!(json.get("a").and_then(Json::list).map(<[Json]>::len), Some(3));
        assert_eq!(json.get("b"), Some(&Json::Object(Vec::new())));
        assert!(parse(b"[1,]").is_err());
        assert!(parse("[".repeat(100).as_bytes()).is_err());
    }
}
