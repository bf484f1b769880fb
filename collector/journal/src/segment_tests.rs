use tenantscope_fuzz::fuzz;

use super::*;

const ID: u128 = 7;
const FIRST: u64 = 5;

/// Records as a journal writes them, of the lengths and bytes that the input has up to its first 0xff.
fn written(input: &[u8]) -> (Vec<u8>, Vec<usize>) {
    let mut bytes = header(ID, FIRST).to_vec();
    let mut ends = Vec::new();
    let mut rest = input;
    let mut position = FIRST;
    while let Some((length, behind)) = rest.split_first() {
        let (payload, behind) = behind.split_at(behind.len().min(usize::from(*length)));
        encode_record(&mut bytes, ID, position, payload);
        ends.push(bytes.len());
        (rest, position) = (behind, position + 1);
    }
    (bytes, ends)
}

/// Pairs of a place and a byte that is put there; a place at the end cuts.
fn damage(bytes: &mut Vec<u8>, input: &[u8]) -> usize {
    let mut first = bytes.len();
    for pair in input.as_chunks::<2>().0 {
        let at = HEADER_BYTES + usize::from(pair[0]);
        match bytes.get_mut(at) {
            Some(_) if pair[1] == 0xfe => {
                bytes.truncate(at);
                first = first.min(at);
            }
            Some(byte) if *byte != pair[1] => {
                *byte = pair[1];
                first = first.min(at);
            }
            _ => {}
        }
    }
    first
}

fn judge(input: &[u8]) {
    // Whatever the bytes are.
    let _ = judge_header(input, ID, FIRST);
    check(input, FIRST);
    // Records with damage among them: what stands before the first damaged byte is found, whole.
    let (records, changes) = input.split_at(input.iter().position(|byte| *byte == 0xff).unwrap_or(input.len()));
    let (mut bytes, ends) = written(records);
    let first_damage = damage(&mut bytes, changes.get(1..).unwrap_or_default());
    let found = check(&bytes, FIRST);
    let unharmed = ends.iter().filter(|end| **end <= first_damage).count() as u64;
    assert!(found.last.map_or(0, |last| last + 1 - FIRST) >= unharmed, "{unharmed} records are unharmed: {found:?}");
    assert!(found.last.is_none_or(|last| last < FIRST + ends.len() as u64), "none is found that was not written");
    if first_damage == bytes.len() && bytes.len() == ends.last().copied().unwrap_or(HEADER_BYTES) {
        assert_eq!(found.valid_bytes, bytes.len() as u64);
        assert_eq!(found.damage, []);
    }
}

/// What holds for every scan: damage lies in order within what is valid, and each says which records it took.
fn check(bytes: &[u8], first: u64) -> Scan {
    let scan = scan(bytes, first, ID);
    assert!(scan.valid_bytes <= bytes.len().max(HEADER_BYTES) as u64);
    let mut end = HEADER_BYTES as u64;
    for damage in &scan.damage {
        assert!(damage.bytes > 0 && damage.offset >= end);
        end = damage.offset + damage.bytes;
        let lost = damage.lost().map_or(0, |(first, last)| last + 1 - first);
        assert!(lost <= damage.bytes / RECORD_HEADER_BYTES as u64 + 1, "no more is lost than there was room for");
    }
    assert!(end <= scan.valid_bytes, "valid records follow the damage");
    scan
}

#[test]
fn segment() {
    fuzz!("segment", judge);
}

/// Of so many bytes a sender's payload that has a header every 16 bytes, each of a record to the payload's end.
fn headers(payload_bytes: u32) -> Vec<u8> {
    let left = (0..payload_bytes / 16).map(|header| payload_bytes - 16 * (header + 1));
    left.flat_map(|left| [&left.to_le_bytes()[..], &[1; 4], &(FIRST + 1).to_le_bytes()].concat()).collect()
}

#[test]
fn headers_in_a_payload_cost_some_readings_of_the_segment_and_not_one_each() {
    let mut bytes = header(ID, FIRST).to_vec();
    let payloads = [b"first".to_vec(), headers(1 << 20), headers(1 << 20), b"last".to_vec()];
    for (position, payload) in (FIRST..).zip(payloads) {
        encode_record(&mut bytes, ID, position, &payload);
    }
    for damaged in [HEADER_BYTES + 21, HEADER_BYTES + 21 + 16 + (1 << 20)] {
        bytes[damaged] ^= 1; // a length
    }
    let mut search = Search::default();
    let (offset, found) = search.find_record(&bytes, HEADER_BYTES + 21, FIRST, ID).unwrap();
    assert_eq!((found.position, found.length, offset + RECORD_HEADER_BYTES + 4), (FIRST + 3, 4, bytes.len()));
    let times = search.checksummed_bytes as f64 / bytes.len() as f64;
    assert!(times < 30.0, "the segment's bytes were checksummed {times} times");
    assert_eq!(scan(&bytes, FIRST, ID).last, Some(FIRST + 3));
    // The same search goes on, over the bytes that it has read already.
    let before = search.checksummed_bytes;
    assert_eq!(search.find_record(&bytes, bytes.len(), FIRST + 3, ID), None);
    assert_eq!(search.find_record(&bytes, offset, FIRST + 2, ID), Some((offset, found)));
    assert!(search.checksummed_bytes - before < 1024);
}

#[test]
fn a_record_of_any_length_is_found_behind_damage() {
    for length in (0..40).chain(200..300).chain(500..530) {
        for damage in [1, 15, 16, 17, 255, 256, 257] {
            let mut bytes = vec![0xee; damage];
            encode_record(&mut bytes, ID, FIRST, &vec![7; length]);
            let mut search = Search::default();
            let (offset, found) = search.find_record(&bytes, 0, FIRST - 1, ID).unwrap();
            assert_eq!((offset, found.length), (damage, length));
            *bytes.last_mut().unwrap() ^= 1;
            assert_eq!(Search::default().find_record(&bytes, 0, FIRST - 1, ID), None, "{length} behind {damage}");
        }
    }
}
