//! Lists as JSON, an entry at a time.

use std::sync::Arc;

use tenantscope_model::{Exemplar, Labels};

use super::body::Pieces;
use super::numbers;
use super::write::{metric, notes, quoted, string};

/// Entries between two looks at how long the frame is.
const ENTRIES: usize = 128;

/// Something that a list is made of.
pub(super) trait Entry: Send + 'static {
    /// Writes it.
    fn write(&self, out: &mut Vec<u8>);
}

/// A whole answer: `{"status":"success","data":[…]}`.
pub(super) struct ListPieces<T> {
    entries: std::vec::IntoIter<T>,
    warnings: Vec<String>,
    state: State,
}

#[derive(PartialEq)]
enum State {
    Start,
    Entries,
    End,
}

impl<T: Entry> ListPieces<T> {
    /// These entries, and what a reader should know about them.
    pub(super) fn new(entries: Vec<T>, warnings: Vec<String>) -> Self {
        Self { entries: entries.into_iter(), warnings, state: State::Start }
    }
}

impl<T: Entry> Pieces for ListPieces<T> {
    fn next_piece(&mut self, out: &mut Vec<u8>) -> bool {
        match self.state {
            State::End => return false,
            State::Start => {
                out.extend_from_slice(br#"{"status":"success","data":["#);
                self.state = State::Entries;
            }
            State::Entries => {}
        }
        for _ in 0..ENTRIES {
            let Some(entry) = self.entries.next() else { break };
            entry.write(out);
            if self.entries.len() > 0 {
                out.push(b',');
            }
        }
        if self.entries.len() == 0 {
            out.push(b']');
            notes(out, "warnings", "warning", &self.warnings);
            out.push(b'}');
            self.state = State::End;
        }
        true
    }
}

impl Entry for Labels {
    fn write(&self, out: &mut Vec<u8>) {
        metric(out, self);
    }
}

impl Entry for Arc<str> {
    fn write(&self, out: &mut Vec<u8>) {
        string(out, self);
    }
}

/// A series' exemplars.
impl Entry for (Labels, Vec<Exemplar>) {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"seriesLabels\":");
        metric(out, &self.0);
        out.extend_from_slice(b",\"exemplars\":[");
        for (at, exemplar) in self.1.iter().enumerate() {
            out.extend_from_slice(if at == 0 { b"{\"labels\":" } else { b",{\"labels\":" });
            metric(out, &exemplar.labels);
            out.extend_from_slice(b",\"value\":");
            quoted(out, exemplar.value);
            out.extend_from_slice(b",\"timestamp\":");
            numbers::point_time(out, exemplar.t_ms);
            out.push(b'}');
        }
        out.extend_from_slice(b"]}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text<T: Entry>(entries: Vec<T>, warnings: &[&str]) -> String {
        let mut pieces = ListPieces::new(entries, warnings.iter().map(ToString::to_string).collect());
        let mut out = Vec::new();
        while pieces.next_piece(&mut out) {}
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lists_of_every_length_are_json() {
        for length in [0, 1, ENTRIES, ENTRIES + 1, 3 * ENTRIES] {
            let entries: Vec<Arc<str>> = (0..length).map(|at| at.to_string().into()).collect();
            let read: serde_json::Value = serde_json::from_str(&text(entries, &[])).unwrap();
            assert_eq!(read["data"].as_array().unwrap().len(), length);
        }
    }

    #[test]
    fn exemplars_are_beside_their_series() {
        let exemplar = Exemplar { t_ms: 1500, value: 0.5, labels: Labels::from_pairs([("trace_id", "a")]) };
        let entry = (Labels::from_pairs([("__name__", "m")]), vec![exemplar.clone(), exemplar]);
        let one = r#"{"labels":{"trace_id":"a"},"value":"0.5","timestamp":1.500}"#;
        let expected = format!(
            r#"{{"status":"success","data":[{{"seriesLabels":{{"__name__":"m"}},"exemplars":[{one},{one}]}}],"warnings":["w"]}}"#
        );
        assert_eq!(text(vec![entry], &["w"]), expected);
    }
}
