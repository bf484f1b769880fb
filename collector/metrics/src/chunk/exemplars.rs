//! Exemplars of one series, in time order.

use tenantscope_model::{Exemplar, Labels};

use super::Damaged;
use super::varint::{Bytes, put, put_signed, put_text};
use crate::columns::TimeRange;

pub(crate) fn write(exemplars: &[Exemplar]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut last_ms = 0_i64;
    for exemplar in exemplars {
        put_signed(&mut out, exemplar.t_ms.wrapping_sub(last_ms));
        last_ms = exemplar.t_ms;
        out.extend_from_slice(&exemplar.value.to_bits().to_le_bytes());
        put(&mut out, exemplar.labels.len() as u64);
        for label in &exemplar.labels {
            put_text(&mut out, &label.name);
            put_text(&mut out, &label.value);
        }
    }
    out
}

pub(crate) fn read(bytes: &[u8], count: u32, range: TimeRange, out: &mut Vec<Exemplar>) -> Result<(), Damaged> {
    let mut bytes = Bytes(bytes);
    let mut t_ms = 0_i64;
    for _ in 0..count {
        t_ms = t_ms.wrapping_add(bytes.signed()?);
        let value = bytes.float()?;
        let labels = bytes.count()?;
        let pairs = (0..labels).map(|_| Ok((bytes.text()?, bytes.text()?))).collect::<Result<Vec<_>, Damaged>>()?;
        if (range.min_ms..=range.max_ms).contains(&t_ms) {
            out.push(Exemplar { t_ms, value, labels: Labels::from_pairs(pairs) });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_exemplar_comes_back(
            given in prop::collection::vec((any::<i64>(), -1e9_f64..1e9, "[a-z]{1,8}", "\\PC{1,12}"), 0..20),
        ) {
            let exemplars: Vec<Exemplar> = given
                .iter()
                .map(|(t_ms, value, name, text)| Exemplar {
                    t_ms: *t_ms,
                    value: *value,
                    labels: Labels::from_pairs([(name.as_str(), text.as_str())]),
                })
                .collect();
            let mut out = Vec::new();
            read(&write(&exemplars), exemplars.len() as u32, TimeRange::ALL, &mut out).unwrap();
            prop_assert_eq!(out, exemplars);
        }

        #[test]
        fn damaged_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), count in 0_u32..50) {
            let _ = read(&bytes, count, TimeRange::ALL, &mut Vec::new());
        }
    }

    #[test]
    fn exemplar_chunk() {
        tenantscope_fuzz::fuzz!("exemplar_chunk", |input| {
            let Some((count, bytes)) = input.split_first() else { return };
            let mut exemplars = Vec::new();
            if read(bytes, u32::from(*count), TimeRange::ALL, &mut exemplars).is_err() {
                return;
            }
            let mut again = Vec::new();
            read(&write(&exemplars), exemplars.len() as u32, TimeRange::ALL, &mut again).unwrap();
            assert_eq!(format!("{again:?}"), format!("{exemplars:?}"));
        });
    }
}
