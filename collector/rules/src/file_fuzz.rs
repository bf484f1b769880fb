use tenantscope_fuzz::fuzz;

use super::*;

const NOW_MS: i64 = 1_700_000_000_000;

/// A file is read, or each mistake told at a line that it has; what is read can be evaluated without a further look.
fn judge(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let lines = text.lines().count() as u64 + 1;
    match parse("r.yaml", text, GroupDefaults::default()) {
        Ok(groups) => {
            let names: HashSet<&str> = groups.iter().map(|group| group.name.as_str()).collect();
            assert_eq!(names.len(), groups.len(), "no name is given twice");
            for group in &groups {
                assert!(!group.name.is_empty() && !group.interval.is_zero());
                assert_eq!(group.check(), []);
                let due_ms = group.aligned_at_or_before(NOW_MS);
                assert!((0..group.interval_ms()).contains(&(NOW_MS - due_ms)), "due at {due_ms}");
            }
        }
        Err(mistakes) => {
            assert!(!mistakes.is_empty());
            for mistake in mistakes {
                assert!(mistake.line.is_none_or(|line| (1..=lines).contains(&line)), "{mistake} of {lines} lines");
                assert!(!mistake.message.is_empty());
            }
        }
    }
}

#[test]
fn rule_file() {
    fuzz!("rule_file", judge);
}
