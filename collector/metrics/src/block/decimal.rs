//! Values as decimal fractions: a value is `mantissa / 10^scale` where that gives back its very bits.
//!
//! What people and programs measure has mostly few decimals, and whole numbers close to each other pack far better than
//! the bits of doubles.

use tenantscope_model::Sample;

/// The largest scale: powers of ten up to here are exact doubles.
pub(crate) const MAX_SCALE: u8 = 22;
/// Mantissas stay below 2^53, so that each is an exact double.
const MAX_MANTISSA: f64 = 9_007_199_254_740_992.0;
/// Scales that are tried: with 53 bits of mantissa more digits than this are noise.
const TRIED_SCALES: u8 = 15;

/// Powers of ten that are exact doubles.
const POWERS: [f64; MAX_SCALE as usize + 1] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];

/// `10^scale`; 1 for a scale that no file of ours has.
pub(crate) fn power(scale: u8) -> f64 {
    POWERS.get(usize::from(scale)).copied().unwrap_or(1.0)
}

/// The value of a mantissa.
pub(crate) fn value(mantissa: i64, power: f64) -> f64 {
    mantissa as f64 / power
}

/// The mantissa of a value, if it has one at this scale.
pub(crate) fn mantissa(value: f64, scale: u8) -> Option<i64> {
    let power = power(scale);
    let scaled = (value * power).round();
    let mantissa = scaled as i64;
    // Bits are compared, so that -0.0 is not taken for 0; NaNs and infinities fail the first test.
    let is_exact = scaled.abs() < MAX_MANTISSA && self::value(mantissa, power).to_bits() == value.to_bits();
    is_exact.then_some(mantissa)
}

/// The scale at which the most of a series' samples have a mantissa; `None` where most have none at any scale.
pub(crate) fn scale_of(samples: &[Sample]) -> Option<u8> {
    let mut scale = 0;
    let mut failed = 0_usize;
    // Past this many the series is one of plain doubles.
    let allowed = samples.len() / 8;
    for sample in samples.iter().filter(|sample| sample.value.is_finite()) {
        if mantissa(sample.value, scale).is_some() {
            continue;
        }
        match (scale + 1..=TRIED_SCALES).find(|scale| mantissa(sample.value, *scale).is_some()) {
            Some(larger) => scale = larger,
            None => failed += 1,
        }
        if failed > allowed {
            return None;
        }
    }
    // A larger scale may be too large for values that came before.
    let has_none = |sample: &&Sample| sample.value.is_finite() && mantissa(sample.value, scale).is_none();
    (samples.iter().filter(has_none).count() <= allowed).then_some(scale)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_mantissa_gives_back_the_bits(bits in any::<u64>(), scale in 0_u8..=MAX_SCALE) {
            let given = f64::from_bits(bits);
            if let Some(mantissa) = mantissa(given, scale) {
                prop_assert_eq!(value(mantissa, power(scale)).to_bits(), bits);
            }
        }

        #[test]
        fn a_decimal_has_a_mantissa_at_its_scale(n in -1_000_000_000_i64..1_000_000_000, scale in 0_u8..9) {
            let given: f64 = format!("{n}e-{scale}").parse().unwrap();
            prop_assert!(mantissa(given, scale).is_some());
        }
    }

    #[test]
    fn a_series_gets_the_scale_of_its_finest_value() {
        let samples = |values: &[f64]| values.iter().map(|value| Sample { t_ms: 0, value: *value }).collect::<Vec<_>>();
        assert_eq!(scale_of(&samples(&[1.0, 2.5, 0.25, f64::NAN])), Some(2));
        assert_eq!(scale_of(&samples(&[1e5 / 3.0, 2e9 / 7.0, 1e300])), None);
        assert_eq!(mantissa(-0.0, 0), None);
    }
}
