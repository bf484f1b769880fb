//! `load`: series, their values, and when their counting began.

use tenantscope_model::Labels;

use super::script::duration_ms;
use super::series::{self, Point};

/// A series with its values.
#[derive(Debug, Clone)]
pub(crate) struct LoadedSeries {
    pub(crate) labels: Labels,
    pub(crate) points: Vec<Point>,
    /// For each value, how far from its time its counting began, in milliseconds; empty where nothing is told.
    pub(crate) starts_ms: Vec<Option<i64>>,
}

/// Series to load.
pub(crate) struct Load {
    pub(crate) interval_ms: i64,
    pub(crate) series: Vec<LoadedSeries>,
    pub(crate) with_nhcb: bool,
}

/// Reads a `load` and the lines below it.
pub(crate) fn parse(line: &str, word: &str, block: &[&str]) -> Result<Load, String> {
    let interval = line.split_whitespace().nth(1).ok_or("interval missing")?;
    let mut series: Vec<LoadedSeries> = Vec::new();
    let mut starts: Option<SeriesStarts> = None;
    for line in block {
        if let Some(of_next) = starts_line(line)? {
            if starts.replace(of_next).is_some() {
                return Err(format!("no samples follow the starts before {line:?}"));
            }
            continue;
        }
        let (labels, points) = series::parse_line(line)?;
        let starts_ms = match starts.take() {
            Some((of, starts_ms)) if of == labels && starts_ms.len() == points.len() => starts_ms,
            Some(_) => return Err(format!("the starts before {line:?} are of other samples")),
            None => Vec::new(),
        };
        // Of a series that comes twice, the last line counts.
        series.retain(|known| known.labels != labels);
        series.push(LoadedSeries { labels, points, starts_ms });
    }
    if starts.is_some() {
        return Err("no samples follow the last starts".to_owned());
    }
    Ok(Load { interval_ms: duration_ms(interval)?, series, with_nhcb: word.ends_with("with_nhcb") })
}

/// A series, and for each of its values how far from its time its counting began.
type SeriesStarts = (Labels, Vec<Option<i64>>);

/// `name{labels}@st starts`.
fn starts_line(line: &str) -> Result<Option<SeriesStarts>, String> {
    let Some((metric, starts)) = line.split_once(char::is_whitespace) else { return Ok(None) };
    let Some(metric) = metric.strip_suffix("@st") else { return Ok(None) };
    let mut starts_ms = Vec::new();
    for item in starts.split_whitespace() {
        expand(item, &mut starts_ms).ok_or_else(|| format!("cannot read start {item:?}"))?;
    }
    Ok(Some((series::labels(metric)?, starts_ms)))
}

/// `_`, `_x3`, `-1m`, `-1mx3`, `-30s-1mx2`.
fn expand(item: &str, starts_ms: &mut Vec<Option<i64>>) -> Option<()> {
    if let Some(rest) = item.strip_prefix('_') {
        let times = if rest.is_empty() { 1 } else { rest.strip_prefix('x')?.parse().ok()? };
        starts_ms.extend(std::iter::repeat_n(None, times));
        return Some(());
    }
    let (item, times) = match item.split_once('x') {
        Some((item, times)) => (item, times.parse::<usize>().ok()?),
        None => (item, 0),
    };
    let step_at = item.char_indices().skip(1).find(|(_, c)| matches!(c, '+' | '-')).map(|(at, _)| at);
    let (first, step) = step_at.map_or((item, "0"), |at| item.split_at(at));
    let mut start_ms = duration_ms(first).ok()?;
    for _ in 0..=times {
        starts_ms.push(Some(start_ms));
        start_ms += duration_ms(step).ok()?;
    }
    Some(())
}
