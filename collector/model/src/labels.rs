use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, OnceLock};

/// The label that holds a series' metric name.
pub const METRIC_NAME: &str = "__name__";

/// One label. Strings are shared, so that a clone costs two counters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label {
    /// The label's name; any UTF-8, not empty.
    pub name: Arc<str>,
    /// The label's value; any UTF-8, not empty (an empty value is an absent label).
    pub value: Arc<str>,
}

/// A series' identity: labels sorted by name, without duplicates or empty values. Cloning is cheap.
///
/// Labels of a batch may be unmade: their text is then still in the batch, and becomes labels when it is first asked
/// for. A store that knows the series by its [`Fingerprint`] never asks.
#[derive(Clone)]
pub struct Labels(Form);

#[derive(Clone)]
enum Form {
    Made(Arc<[Label]>),
    Unmade(Arc<Unmade>),
}

struct Unmade {
    fingerprint: Fingerprint,
    source: Arc<dyn LabelSource>,
    number: u32,
    made: OnceLock<Arc<[Label]>>,
}

/// Stands for labels as one sender writes them: equal fingerprints mean equal labels, different ones mean nothing.
///
/// 128 bits under keys that are drawn anew in each process, so that they are never written down, two series do not get
/// the same one by chance, and nobody outside can look for two that do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub u128);

/// What can make the labels of a batch's series from its text.
pub trait LabelSource: Send + Sync {
    /// The labels of the series with this number, always the same.
    fn labels(&self, number: u32) -> Labels;
}

/// A name that was given twice.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("label {0:?} is given twice")]
pub struct DuplicateLabel(pub Arc<str>);

impl Labels {
    /// Sorts the labels, leaves out empty values, and refuses a name that comes twice.
    pub fn try_new(mut labels: Vec<Label>) -> Result<Self, DuplicateLabel> {
        // A store has them in order.
        if labels.is_sorted_by(|a, b| a.name < b.name) && labels.iter().all(|label| !label.value.is_empty()) {
            return Ok(Self(Form::Made(labels.into())));
        }
        labels.retain(|label| !label.value.is_empty());
        labels.sort_unstable();
        if let Some(pair) = labels.windows(2).find(|pair| pair[0].name == pair[1].name) {
            return Err(DuplicateLabel(Arc::clone(&pair[0].name)));
        }
        Ok(Self(Form::Made(labels.into())))
    }

    /// Labels that `source` makes when they are asked for.
    pub fn unmade(fingerprint: Fingerprint, source: Arc<dyn LabelSource>, number: u32) -> Self {
        Self(Form::Unmade(Arc::new(Unmade { fingerprint, source, number, made: OnceLock::new() })))
    }

    /// By what the series can be known without making its labels; absent where they were made from the start.
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        match &self.0 {
            Form::Made(_) => None,
            Form::Unmade(unmade) => Some(unmade.fingerprint),
        }
    }

    fn made(&self) -> &Arc<[Label]> {
        match &self.0 {
            Form::Made(labels) => labels,
            Form::Unmade(unmade) => unmade.made.get_or_init(|| Arc::clone(unmade.source.labels(unmade.number).made())),
        }
    }

    /// From pairs; of a name that comes twice the last value counts.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut builder = LabelsBuilder::default();
        for (name, value) in pairs {
            builder.set(name, value);
        }
        builder.build()
    }

    /// The value of a label; `None` where it is absent.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.shared(name).map(|value| &**value)
    }

    /// The value of a label, shared.
    pub fn shared(&self, name: &str) -> Option<&Arc<str>> {
        let labels = self.made();
        let at = labels.binary_search_by(|label| (*label.name).cmp(name)).ok()?;
        labels.get(at).map(|label| &label.value)
    }

    /// The metric name; empty where there is none.
    pub fn metric_name(&self) -> &str {
        self.get(METRIC_NAME).unwrap_or("")
    }

    /// The labels in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Label> {
        self.made().iter()
    }

    /// How many labels there are.
    pub fn len(&self) -> usize {
        self.made().len()
    }

    /// Whether there is no label.
    pub fn is_empty(&self) -> bool {
        self.made().is_empty()
    }

    /// About how many bytes the labels hold, without the texts that others hold too.
    pub fn held_bytes(&self) -> usize {
        let own = self.iter().filter(|label| Arc::strong_count(&label.value) == 1);
        let texts: usize = own.map(|label| label.value.len() + 2 * size_of::<usize>()).sum();
        size_of::<Self>() + 2 * size_of::<usize>() + size_of_val(&**self.made()) + texts
    }

    /// Those labels that the predicate keeps.
    pub fn filter(&self, mut keep: impl FnMut(&Label) -> bool) -> Self {
        Self(Form::Made(self.iter().filter(|label| keep(label)).cloned().collect()))
    }

    /// A builder that starts from these labels.
    pub fn to_builder(&self) -> LabelsBuilder {
        LabelsBuilder(self.made().to_vec())
    }
}

impl Default for Labels {
    fn default() -> Self {
        Self(Form::Made(Arc::default()))
    }
}

impl PartialEq for Labels {
    fn eq(&self, other: &Self) -> bool {
        self.made() == other.made()
    }
}

impl Eq for Labels {}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Labels {
    fn cmp(&self, other: &Self) -> Ordering {
        self.made().cmp(other.made())
    }
}

impl Hash for Labels {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.made().hash(state);
    }
}

impl<'a> IntoIterator for &'a Labels {
    type Item = &'a Label;
    type IntoIter = std::slice::Iter<'a, Label>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Written as in a selector: `name{a="b"}`.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.metric_name())?;
        let mut rest = self.iter().filter(|label| &*label.name != METRIC_NAME).peekable();
        if rest.peek().is_none() && !self.metric_name().is_empty() {
            return Ok(());
        }
        f.write_str("{")?;
        for (i, label) in rest.enumerate() {
            let comma = if i > 0 { ", " } else { "" };
            write!(f, "{comma}{}={:?}", label.name, label.value)?;
        }
        f.write_str("}")
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Builds [`Labels`] a label at a time; keeps them sorted.
#[derive(Debug, Clone, Default)]
pub struct LabelsBuilder(Vec<Label>);

impl LabelsBuilder {
    /// Sets a label, replacing its value; an empty value removes it.
    pub fn set(
        &mut self,
        name: impl AsRef<str> + Into<Arc<str>>,
        value: impl AsRef<str> + Into<Arc<str>>,
    ) -> &mut Self {
        let found = self.0.binary_search_by(|label| (*label.name).cmp(name.as_ref()));
        match (found, value.as_ref().is_empty()) {
            (Ok(at), true) => drop(self.0.remove(at)),
            (Err(_), true) => {}
            (Ok(at), false) => {
                if let Some(label) = self.0.get_mut(at) {
                    label.value = value.into();
                }
            }
            (Err(at), false) => self.0.insert(at, Label { name: name.into(), value: value.into() }),
        }
        self
    }

    /// Removes a label.
    pub fn remove(&mut self, name: &str) -> &mut Self {
        self.0.retain(|label| &*label.name != name);
        self
    }

    /// The value of a label.
    pub fn get(&self, name: &str) -> Option<&str> {
        let at = self.0.binary_search_by(|label| (*label.name).cmp(name)).ok()?;
        self.0.get(at).map(|label| &*label.value)
    }

    /// The labels.
    pub fn build(self) -> Labels {
        Labels(Form::Made(self.0.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_of_setting_does_not_matter() {
        let a = Labels::from_pairs([("b", "2"), ("a", "1"), (METRIC_NAME, "up")]);
        let b = Labels::from_pairs([(METRIC_NAME, "up"), ("a", "1"), ("b", "2"), ("c", "")]);
        assert_eq!(a, b);
        assert_eq!(a.to_string(), r#"up{a="1", b="2"}"#);
    }

    #[test]
    fn unmade_labels_are_made_once_and_equal_made_ones() {
        struct Counted(std::sync::atomic::AtomicU32);
        impl LabelSource for Counted {
            fn labels(&self, number: u32) -> Labels {
                self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                Labels::from_pairs([(METRIC_NAME, "up"), ("number", &number.to_string())])
            }
        }
        let source = Arc::new(Counted(Default::default()));
        let unmade = Labels::unmade(Fingerprint(7), Arc::clone(&source) as Arc<dyn LabelSource>, 3);
        let copy = unmade.clone();
        assert_eq!((unmade.fingerprint(), copy.fingerprint()), (Some(Fingerprint(7)), Some(Fingerprint(7))));
        assert_eq!(source.0.load(std::sync::atomic::Ordering::Relaxed), 0);
        let made = Labels::from_pairs([(METRIC_NAME, "up"), ("number", "3")]);
        assert_eq!((&unmade, copy.get("number"), made.fingerprint()), (&made, Some("3"), None));
        assert_eq!(source.0.load(std::sync::atomic::Ordering::Relaxed), 1);
    }

    #[test]
    fn a_name_given_twice_is_refused() {
        let label = |name: &str, value: &str| Label { name: name.into(), value: value.into() };
        assert!(Labels::try_new(vec![label("a", "1"), label("a", "2")]).is_err());
        assert_eq!(Labels::try_new(vec![label("a", "")]).unwrap(), Labels::default());
    }
}
