//! Line plots as SVG, drawn on the server.

use maud::{Markup, html};
use tenantscope_model::Sample;

use super::layout::{clock, short};

/// One line of a plot.
#[derive(Debug, Clone)]
pub(super) struct Line {
    /// What the legend calls it.
    pub(super) name: String,
    /// Its points in time order.
    pub(super) points: Vec<Sample>,
}

/// The time that a plot shows, and the distance of its points.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) start_ms: i64,
    pub(super) end_ms: i64,
    pub(super) step_ms: i64,
}

const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 170.0;
const LEFT: f64 = 58.0;
const BOTTOM: f64 = 22.0;
const TOP: f64 = 8.0;
const RIGHT: f64 = 6.0;
/// More lines than colours can't be told apart.
const MAX_LINES: usize = 6;

/// A plot with its legend; `unit` stands behind the axis' numbers.
pub(super) fn plot(title: &str, unit: &str, lines: &[Line], span: Span) -> Markup {
    let shown = lines.get(..lines.len().min(MAX_LINES)).unwrap_or(lines);
    let highest =
        shown.iter().flat_map(|line| &line.points).map(|p| p.value).filter(|v| v.is_finite()).fold(0.0, f64::max);
    let top = round_up(highest);
    let y = |value: f64| TOP + (HEIGHT - TOP - BOTTOM) * (1.0 - value / top);
    let length = (span.end_ms - span.start_ms).max(1) as f64;
    let x = |t_ms: i64| LEFT + (WIDTH - LEFT - RIGHT) * ((t_ms - span.start_ms) as f64 / length);
    html! {
        section.card aria-label=(title) {
            h2 { (title) }
            @if shown.iter().all(|line| line.points.is_empty()) {
                p.soft { "no data in this time" }
            } @else {
                svg.plot viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" aria-label={ (title) ", highest " (short(highest)) (unit) } {
                    @for part in [0.0, 0.5, 1.0] {
                        line.grid x1=(LEFT) x2=(WIDTH - RIGHT) y1=(y(top * part)) y2=(y(top * part)) {}
                        text x=(LEFT - 5.0) y=(y(top * part) + 4.0) text-anchor="end" { (short(top * part)) (unit) }
                    }
                    @for part in 0..4 {
                        @let t_ms = span.start_ms + (span.end_ms - span.start_ms) * part / 3;
                        @let anchor = match part { 0 => "start", 3 => "end", _ => "middle" };
                        text x=(x(t_ms)) y=(HEIGHT - 6.0) text-anchor=(anchor) { (clock(t_ms).get(..5).unwrap_or("")) }
                    }
                    @for (number, line) in shown.iter().enumerate() {
                        @for run in runs(&line.points, span.step_ms) {
                            polyline class={ "c" (number + 1) } points=(coordinates(run, &x, &y)) { title { (line.name) } }
                        }
                    }
                }
                ul.legend {
                    @for (number, line) in shown.iter().enumerate() {
                        li { i class={ "c" (number + 1) } {} (line.name) }
                    }
                    @if lines.len() > shown.len() { li { "and " (lines.len() - shown.len()) " more" } }
                }
            }
        }
    }
}

/// Runs of points without a gap between them: a missing point is not drawn over.
fn runs(points: &[Sample], step_ms: i64) -> Vec<&[Sample]> {
    points.chunk_by(|a, b| b.t_ms - a.t_ms <= step_ms * 3 / 2).collect()
}

fn coordinates(points: &[Sample], x: &impl Fn(i64) -> f64, y: &impl Fn(f64) -> f64) -> String {
    let finite = points.iter().filter(|point| point.value.is_finite());
    let mut pairs: Vec<String> = finite.map(|p| format!("{:.1},{:.1}", x(p.t_ms), y(p.value))).collect();
    if let [only] = pairs.as_slice() {
        // A polyline needs two ends to be seen.
        pairs.push(only.clone());
    }
    pairs.join(" ")
}

/// The next of 1, 2, 5 × a power of ten: an axis' end that reads well.
fn round_up(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let power = 10f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0];
    steps.iter().map(|step| step * power).find(|end| *end >= value).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_not_drawn_over() {
        let points = [0, 1000, 5000, 6000].map(|t_ms| Sample { t_ms, value: 1.0 });
        assert_eq!(runs(&points, 1000).len(), 2);
    }

    #[test]
    fn axes_end_at_round_numbers() {
        assert_eq!([round_up(0.0), round_up(0.03), round_up(7.0), round_up(100.0)], [1.0, 0.05, 10.0, 100.0]);
    }

    #[test]
    fn names_are_escaped() {
        let line = Line { name: "<script>".into(), points: vec![Sample { t_ms: 0, value: 1.0 }] };
        let drawn = plot("t", "", &[line], Span { start_ms: 0, end_ms: 1000, step_ms: 1000 }).into_string();
        assert!(!drawn.contains("<script>"));
    }
}
