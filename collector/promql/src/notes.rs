//! The notes that an evaluation collects, each once, with the place that it is about.

use std::collections::BTreeMap;

use crate::ast::Position;
use crate::dates::rfc3339;
use crate::float_text::{general, two_digits};
use crate::note::{Forced, Note, Severity};

/// How many notes of a kind a query keeps; more would only repeat them for other metric names.
const MAX_KEPT: usize = 1000;

/// How many notes of a kind a query's answer has, as in Prometheus's API.
const MAX_SHOWN: usize = 10;

/// The notes of one evaluation.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    warnings: Kept,
    infos: Kept,
}

/// By what they say: of notes that say the same, the last one's place counts.
type Kept = BTreeMap<String, Detail>;

#[derive(Debug)]
struct Detail {
    position: Position,
    count: Count,
}

/// What is counted over notes that say the same.
#[derive(Debug, Clone, Copy)]
enum Count {
    Nothing,
    Occurrences(u64),
    Forced(Forced),
}

impl Count {
    fn of(note: &Note<'_>) -> Self {
        match note {
            Note::StartsOverlap(_) => Self::Occurrences(1),
            Note::ForcedMonotonicity { forced, .. } => Self::Forced(*forced),
            _ => Self::Nothing,
        }
    }

    fn joined(self, other: Self) -> Self {
        match (self, other) {
            (Self::Occurrences(a), Self::Occurrences(b)) => Self::Occurrences(a.saturating_add(b)),
            (Self::Forced(a), Self::Forced(b)) => Self::Forced(a.joined(b)),
            (_, other) => other,
        }
    }
}

impl Notes {
    /// Keeps a note.
    pub(crate) fn add(&mut self, note: Note<'_>, position: Position) {
        let kept = match note.severity() {
            Severity::Warning => &mut self.warnings,
            Severity::Info => &mut self.infos,
        };
        let text = note.text();
        let count = Count::of(&note);
        if let Some(known) = kept.get_mut(&text) {
            *known = Detail { position, count: known.count.joined(count) };
        } else if kept.len() < MAX_KEPT {
            kept.insert(text, Detail { position, count });
        }
    }

    /// Takes in the notes of a part of the evaluation.
    pub(crate) fn join(&mut self, other: Self) {
        for (kept, others) in [(&mut self.warnings, other.warnings), (&mut self.infos, other.infos)] {
            for (text, Detail { position, count }) in others {
                if let Some(known) = kept.get_mut(&text) {
                    *known = Detail { position, count: known.count.joined(count) };
                } else if kept.len() < MAX_KEPT {
                    kept.insert(text, Detail { position, count });
                }
            }
        }
    }

    /// Warnings and infos as Prometheus's API gives them, each sorted, with line and column in the query.
    pub(crate) fn into_parts(self, query: &str) -> (Vec<String>, Vec<String>) {
        (shown(self.warnings, "warning", query), shown(self.infos, "info", query))
    }
}

fn shown(kept: Kept, kind: &str, query: &str) -> Vec<String> {
    let omitted = kept.len().saturating_sub(MAX_SHOWN);
    let one = |(text, detail): (String, Detail)| format!("PromQL {kind}: {text}{}", suffix(&detail, query));
    let mut shown: Vec<String> = kept.into_iter().take(MAX_SHOWN).map(one).collect();
    if omitted > 0 {
        shown.push(format!("{omitted} more {kind} annotations omitted"));
    }
    shown
}

fn suffix(detail: &Detail, query: &str) -> String {
    if query.is_empty() {
        return String::new();
    }
    let counted = match detail.count {
        Count::Occurrences(count) if count > 1 => format!(" ({count} occurrences)"),
        Count::Nothing | Count::Occurrences(_) => String::new(),
        Count::Forced(Forced { times_ms, buckets, max_difference, samples }) => format!(
            ", from buckets {} to {}, with a max diff of {}, over {samples} samples from {} to {}",
            general(buckets.0),
            general(buckets.1),
            two_digits(max_difference),
            rfc3339(times_ms.0.div_euclid(1000)),
            rfc3339(times_ms.1.div_euclid(1000)),
        ),
    };
    format!("{counted} ({})", detail.position.line_and_column(query))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: usize) -> Position {
        Position { start, end: start }
    }

    #[test]
    fn a_note_is_shown_once_with_its_last_place() {
        let mut notes = Notes::default();
        notes.add(Note::PossibleNonCounter("up"), at(5));
        notes.add(Note::PossibleNonCounter("up"), at(17));
        let (warnings, infos) = notes.into_parts("rate(up[5m]) +\nrate(up[5m])");
        assert!(warnings.is_empty());
        let [info] = infos.as_slice() else { panic!("{infos:?}") };
        assert!(
            info.starts_with("PromQL info: metric might not be a counter") && info.ends_with("\"up\" (2:3)"),
            "{info}"
        );
    }

    #[test]
    fn notes_beyond_ten_are_counted() {
        let mut notes = Notes::default();
        for metric in 0..13 {
            notes.add(Note::HistogramNotGauge(&metric.to_string()), at(0));
        }
        let (warnings, _) = notes.into_parts("delta(x[5m])");
        assert_eq!((warnings.len(), warnings[10].as_str()), (11, "3 more warning annotations omitted"));
    }

    #[test]
    fn what_was_forced_is_told_over_all_times() {
        let mut notes = Notes::default();
        for (t_ms, bound) in [(60_000, 0.5), (0, 2.0)] {
            let forced = Forced { times_ms: (t_ms, t_ms), buckets: (bound, bound), max_difference: 3.25, samples: 1 };
            notes.add(Note::ForcedMonotonicity { metric: "b", forced }, at(0));
        }
        let (_, infos) = notes.into_parts("histogram_quantile(0.5, b)");
        let wanted = "for metric name \"b\", from buckets 0.5 to 2, with a max diff of 3.2, over 2 samples from \
                      1970-01-01T00:00:00Z to 1970-01-01T00:01:00Z (1:1)";
        assert!(infos[0].ends_with(wanted), "{infos:?}");
    }
}
