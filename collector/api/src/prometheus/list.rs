//! Lists as JSON, an entry at a time. Their memory is the query's until they are written.

use std::sync::Arc;

use tenantscope_model::{Exemplar, Labels, Metadata, QueryBudget, SelectError};

use super::body::Pieces;
use super::numbers;
use super::write::{metric, notes, quoted, string};

/// Entries between two looks at how long the frame is.
const ENTRIES: usize = 128;

/// Entries that are longer are fewer.
const PIECE_BYTES: usize = 16 << 10;

/// Something that a list is made of.
pub(super) trait Entry: Send + 'static {
    /// Writes it.
    fn write(&self, out: &mut Vec<u8>);

    /// About how many bytes it holds.
    fn held_bytes(&self) -> usize;
}

/// What is around the entries.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    before: &'static [u8],
    after: Vec<u8>,
}

impl Frame {
    /// `[…]`
    pub(super) fn array() -> Self {
        Self { before: b"[", after: b"]".to_vec() }
    }

    /// `{…}`, for entries that begin with their names.
    pub(super) fn object() -> Self {
        Self { before: b"{", after: b"}".to_vec() }
    }

    /// `{"name":[…]}`, given up to the first entry and from the last one on.
    pub(super) fn within(before: &'static [u8], after: Vec<u8>) -> Self {
        Self { before, after }
    }
}

/// A whole answer: `{"status":"success","data":[…]}`.
pub(super) struct ListPieces<T> {
    entries: std::vec::IntoIter<T>,
    frame: Frame,
    warnings: Vec<String>,
    state: State,
    budget: Arc<QueryBudget>,
    /// What the entries that are left hold.
    held_bytes: usize,
}

#[derive(PartialEq)]
enum State {
    Start,
    Entries,
    End,
}

impl<T: Entry> ListPieces<T> {
    /// These entries, if there is memory for them, and what a reader should know about them.
    pub(super) fn try_new(
        entries: Vec<T>,
        frame: Frame,
        warnings: Vec<String>,
        budget: Arc<QueryBudget>,
    ) -> Result<Self, SelectError> {
        let held_bytes = entries.iter().map(T::held_bytes).sum();
        budget.take_bytes(held_bytes)?;
        Ok(Self { entries: entries.into_iter(), frame, warnings, state: State::Start, budget, held_bytes })
    }

    /// Gives back what as many entries hold on average: each by itself may hold less by now than it did.
    fn give_back(&mut self, written: usize) {
        let all = self.entries.len() + written;
        let bytes = if self.entries.len() == 0 { self.held_bytes } else { self.held_bytes / all * written };
        self.held_bytes -= bytes;
        self.budget.give_back_bytes(bytes);
    }
}

impl<T: Entry> Pieces for ListPieces<T> {
    fn next_piece(&mut self, out: &mut Vec<u8>) -> bool {
        match self.state {
            State::End => return false,
            State::Start => {
                out.extend_from_slice(br#"{"status":"success","data":"#);
                out.extend_from_slice(self.frame.before);
                self.state = State::Entries;
            }
            State::Entries => {}
        }
        let (begin, mut written) = (out.len(), 0);
        while written < ENTRIES && out.len() - begin < PIECE_BYTES {
            let Some(entry) = self.entries.next() else { break };
            entry.write(out);
            written += 1;
            if self.entries.len() > 0 {
                out.push(b',');
            }
        }
        self.give_back(written);
        if self.entries.len() == 0 {
            out.append(&mut self.frame.after);
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

    fn held_bytes(&self) -> usize {
        self.held_bytes()
    }
}

impl Entry for Arc<str> {
    fn write(&self, out: &mut Vec<u8>) {
        string(out, self);
    }

    fn held_bytes(&self) -> usize {
        self.len() + 4 * size_of::<usize>()
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

    fn held_bytes(&self) -> usize {
        let exemplar = |exemplar: &Exemplar| size_of::<Exemplar>() + exemplar.labels.held_bytes();
        self.0.held_bytes() + self.1.iter().map(exemplar).sum::<usize>()
    }
}

/// What a family's senders say of it: a member of an object.
impl Entry for (Arc<str>, Vec<Metadata>) {
    fn write(&self, out: &mut Vec<u8>) {
        string(out, &self.0);
        for (at, metadata) in self.1.iter().enumerate() {
            out.extend_from_slice(if at == 0 { b":[{\"type\":\"" } else { b",{\"type\":\"" });
            out.extend_from_slice(metadata.kind.to_string().as_bytes());
            out.extend_from_slice(b"\",\"unit\":");
            string(out, &metadata.unit);
            out.extend_from_slice(b",\"help\":");
            string(out, &metadata.help);
            out.push(b'}');
        }
        out.push(b']');
    }

    /// The texts are the store's.
    fn held_bytes(&self) -> usize {
        size_of::<Self>() + size_of_val(self.1.as_slice())
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use tenantscope_model::{MetricKind, QueryBounds, QueryMemory};

    use super::*;

    fn budget(max_bytes: u64, memory: &Arc<QueryMemory>) -> Arc<QueryBudget> {
        let bounds = QueryBounds { max_bytes, ..QueryBounds::NONE };
        QueryBudget::bounded(Instant::now() + Duration::from_secs(60), bounds, Some(Arc::clone(memory))).into()
    }

    fn text<T: Entry>(entries: Vec<T>, warnings: &[&str]) -> String {
        framed(entries, Frame::array(), warnings)
    }

    fn framed<T: Entry>(entries: Vec<T>, frame: Frame, warnings: &[&str]) -> String {
        let budget = budget(u64::MAX, &Arc::new(QueryMemory::new(u64::MAX)));
        let warnings = warnings.iter().map(ToString::to_string).collect();
        let mut pieces = ListPieces::try_new(entries, frame, warnings, budget).unwrap();
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
    fn a_list_holds_memory_until_it_is_written() {
        let memory = Arc::new(QueryMemory::new(u64::MAX));
        let entries: Vec<Arc<str>> = (0..10 * ENTRIES).map(|at| format!("entry {at}").into()).collect();
        let whole: usize = entries.iter().map(Entry::held_bytes).sum();
        let refused = ListPieces::try_new(entries.clone(), Frame::array(), Vec::new(), budget(100, &memory));
        assert_eq!(refused.err(), Some(SelectError::TooMuchMemory { limit_bytes: 100 }));
        let mut pieces = ListPieces::try_new(entries, Frame::array(), Vec::new(), budget(u64::MAX, &memory)).unwrap();
        assert_eq!(memory.used_bytes(), whole as u64);
        (0..5).for_each(|_| assert!(pieces.next_piece(&mut Vec::new())));
        assert!((1..whole as u64 * 6 / 10).contains(&memory.used_bytes()), "{} of {whole}", memory.used_bytes());
        while pieces.next_piece(&mut Vec::new()) {}
        assert_eq!(memory.used_bytes(), 0);
    }

    #[test]
    fn families_are_members_of_an_object() {
        let said = |kind, help: &str| Metadata { kind, unit: "".into(), help: help.into() };
        let up = vec![said(MetricKind::Gauge, "whether \"up\""), said(MetricKind::Unknown, "")];
        let families = vec![(Arc::from("requests"), vec![said(MetricKind::Counter, "asked")]), (Arc::from("up"), up)];
        let expected = concat!(
            r#"{"status":"success","data":{"requests":[{"type":"counter","unit":"","help":"asked"}],"#,
            r#""up":[{"type":"gauge","unit":"","help":"whether \"up\""},{"type":"unknown","unit":"","help":""}]}}"#
        );
        assert_eq!(framed(families, Frame::object(), &[]), expected);
        assert_eq!(framed::<Arc<str>>(Vec::new(), Frame::object(), &[]), r#"{"status":"success","data":{}}"#);
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
