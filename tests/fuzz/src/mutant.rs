//! Inputs made of others, as a fuzzer does that sees nothing.

/// `SplitMix64`.
pub(crate) struct Random(u64);

/// What stands at the edges of decoders: lengths that lie, the ends of numbers, what opens and closes.
const EDGES: [&[u8]; 24] = [
    b"\x00",
    b"\xff\xff\xff\xff\x0f",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
    b"\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"\x00\x00\x00\x00\x00\x00\xf8\x7f",
    b"\x7f",
    b"\x80",
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b"\\u0000",
    b"\xed\xa0\x80",
    b"\xe2\x80\xae",
    b"18446744073709551615",
    b"-9223372036854775808",
    b"9223372036854775807",
    b"1e309",
    b"NaN",
    b"null",
    b"tenant",
    b"tenant.id",
];

impl Random {
    /// A fixed seed for each name.
    pub(crate) fn seeded(name: &str) -> Self {
        Self(
            name.bytes()
                .fold(0x9e37_79b9_7f4a_7c15, |seed, byte| (seed ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)),
        )
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `end`; 0 where there is nothing below.
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % (end.max(1) as u64)).unwrap_or(0)
    }

    fn of<'a, T>(&mut self, among: &'a [T]) -> Option<&'a T> {
        among.get(self.below(among.len()))
    }
}

/// One of the inputs with one to four changes.
pub(crate) fn of(inputs: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut bytes = random.of(inputs).cloned().unwrap_or_default();
    for _ in 0..=random.below(4) {
        change(&mut bytes, inputs, random);
    }
    bytes
}

fn change(bytes: &mut Vec<u8>, inputs: &[Vec<u8>], random: &mut Random) {
    let from = random.below(bytes.len() + 1);
    let to = (from + random.below(24)).min(bytes.len());
    match random.below(7) {
        0 => {
            if let Some(byte) = bytes.get_mut(from) {
                *byte ^= 1 << random.below(8);
            }
        }
        1 => {
            let with = random.next().to_le_bytes()[0];
            if let Some(byte) = bytes.get_mut(from) {
                *byte = with;
            }
        }
        2 => bytes.truncate(from),
        3 => drop(bytes.drain(from..to)),
        4 => {
            let part = bytes.get(from..to).unwrap_or_default().to_vec();
            bytes.splice(from..from, part);
        }
        5 => {
            let edge = random.of(&EDGES).copied().unwrap_or_default();
            let end = if random.below(2) == 0 { from } else { (from + edge.len()).min(bytes.len()) };
            bytes.splice(from..end, edge.iter().copied());
        }
        _ => {
            let other = random.of(inputs).map(Vec::as_slice).unwrap_or_default();
            let behind = random.below(other.len() + 1);
            bytes.truncate(from);
            bytes.extend_from_slice(other.get(behind..).unwrap_or_default());
        }
    }
}
