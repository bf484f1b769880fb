//! What the starts of counting say of two samples in a row. A start of 0 is not known; each pair is a start and the
//! sample's own time, in milliseconds.

/// Whether counting began anew between two samples.
///
/// A start at the sample's own time is OpenTelemetry's "not known". A start at the previous sample's time is a delta,
/// unless the previous sample's start was not known (or impossible), for then both are of one count.
pub(crate) fn is_restart(before: (i64, i64), after: (i64, i64)) -> bool {
    let ((before_start, before_time), (start, time)) = (before, after);
    if start == 0 || start >= time || start < before_time {
        return false;
    }
    start > before_time || (before_start != 0 && before_start < before_time)
}

/// Whether a sample says that its counting began before the previous sample, whose counting began at another time.
pub(crate) fn overlaps(before: (i64, i64), start: i64) -> bool {
    let (before_start, before_time) = before;
    start != 0 && start < before_time && start != before_start
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_tell_restarts_from_what_goes_on() {
        assert!(is_restart((10, 60), (90, 120)), "a start between the samples");
        assert!(!is_restart((10, 60), (10, 120)), "the same count");
        assert!(is_restart((1, 60), (60, 120)), "deltas");
        assert!(!is_restart((0, 60), (60, 120)) && !is_restart((60, 60), (60, 120)), "a count of unknown start");
        assert!(!is_restart((90, 60), (60, 120)), "an impossible start before");
        assert!(!is_restart((10, 60), (120, 120)) && !is_restart((10, 60), (130, 120)), "no start");
        assert!(overlaps((10, 60), 30) && !overlaps((30, 60), 30) && !overlaps((10, 60), 60));
    }
}
