//! Protobuf's wire form, field by field, without copying.

/// The fields of one message, in the order in which they stand.
#[derive(Debug, Clone)]
pub(crate) struct Fields<'a> {
    whole_bytes: usize,
    rest: &'a [u8],
}

/// A field's value as the wire has it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32,
    Bytes(&'a [u8]),
}

/// Why bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("a field ends early")]
    EndsEarly,
    #[error("a number is longer than ten bytes")]
    LongNumber,
    #[error("a field has wire type {0}")]
    WireType(u8),
    #[error("field {0} has another type than it should")]
    Type(u64),
}

impl<'a> Fields<'a> {
    pub(crate) fn new(message: &'a [u8]) -> Self {
        Self { whole_bytes: message.len(), rest: message }
    }

    /// Where the next field begins, in bytes from the message's start.
    #[inline]
    pub(crate) fn offset(&self) -> usize {
        self.whole_bytes - self.rest.len()
    }

    #[inline]
    fn field(&mut self) -> Result<(u64, Value<'a>), Malformed> {
        let key = varint(&mut self.rest)?;
        let value = match key & 7 {
            0 => Value::Varint(varint(&mut self.rest)?),
            1 => {
                let (bytes, behind) = self.rest.split_first_chunk::<8>().ok_or(Malformed::EndsEarly)?;
                self.rest = behind;
                Value::Fixed64(u64::from_le_bytes(*bytes))
            }
            2 => {
                let length = usize::try_from(varint(&mut self.rest)?).map_err(|_| Malformed::EndsEarly)?;
                let (bytes, behind) = self.rest.split_at_checked(length).ok_or(Malformed::EndsEarly)?;
                self.rest = behind;
                Value::Bytes(bytes)
            }
            5 => {
                self.rest = self.rest.get(4..).ok_or(Malformed::EndsEarly)?;
                Value::Fixed32
            }
            other => return Err(Malformed::WireType(u8::try_from(other).unwrap_or(u8::MAX))),
        };
        Ok((key >> 3, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>), Malformed>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

/// Reads a number of up to ten bytes; nearly all have one.
#[inline]
pub(crate) fn varint(rest: &mut &[u8]) -> Result<u64, Malformed> {
    match rest.split_first() {
        Some((byte, behind)) if *byte < 0x80 => {
            *rest = behind;
            Ok(u64::from(*byte))
        }
        _ => long_varint(rest),
    }
}

fn long_varint(rest: &mut &[u8]) -> Result<u64, Malformed> {
    let mut value = 0u64;
    for shift in (0..70).step_by(7) {
        let (byte, behind) = rest.split_first().ok_or(Malformed::EndsEarly)?;
        *rest = behind;
        value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Malformed::LongNumber)
}

/// A number of the type int64: its two's complement.
#[inline]
pub(crate) fn int64(value: u64) -> i64 {
    value.cast_signed()
}
