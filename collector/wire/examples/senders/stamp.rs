//! Requests whose times are set anew each time they are sent, where they stand.

use std::time::SystemTime;

use serde::Deserialize;

/// In which form a request holds its times.
#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Stamp {
    /// Nanoseconds in eight bytes, the last first.
    Ns,
    /// Milliseconds as a varint of six bytes.
    Ms,
}

const NS_MARK: [u8; 8] = 0x1122_3344_5566_7788_u64.to_le_bytes();
const MS_MARK: u64 = 1_111_111_111_111;

/// A request and the places of its times.
pub(crate) struct Stamped {
    bytes: Vec<u8>,
    stamp: Option<Stamp>,
    places: Vec<usize>,
}

impl Stamped {
    pub(crate) fn new(bytes: Vec<u8>, stamp: Option<Stamp>) -> Self {
        let mark = match stamp {
            None => Vec::new(),
            Some(Stamp::Ns) => NS_MARK.to_vec(),
            Some(Stamp::Ms) => varint(MS_MARK),
        };
        let is_mark = |(place, window): (usize, &[u8])| (window == mark).then_some(place);
        let places = match stamp {
            None => Vec::new(),
            Some(_) => bytes.windows(mark.len()).enumerate().filter_map(is_mark).collect(),
        };
        Self { bytes, stamp, places }
    }

    /// The request with the time that it is now.
    pub(crate) fn now(&self) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let time = match self.stamp {
            None => return bytes,
            Some(Stamp::Ns) => u64::try_from(since.as_nanos()).unwrap_or(u64::MAX).to_le_bytes().to_vec(),
            Some(Stamp::Ms) => varint(u64::try_from(since.as_millis()).unwrap_or(u64::MAX)),
        };
        for place in &self.places {
            if let Some(old) = bytes.get_mut(*place..*place + time.len()) {
                old.copy_from_slice(&time);
            }
        }
        bytes
    }
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push((number & 0x7F) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}
