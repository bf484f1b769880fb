//! The plot of a report: what was left of the budget, and where it went.

use maud::{Markup, html};

use crate::report::{Point, time_text};

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 28.0;

/// An SVG of the budget's course. `title` is what a screen reader says.
pub(crate) fn budget_chart(points: &[Point], from_ms: i64, to_ms: i64, title: &str) -> Markup {
    let lowest = points.iter().map(|point| point.budget_remaining).fold(0.0, f64::min);
    let floor = if lowest < 0.0 { -nice(-lowest) } else { 0.0 };
    #[expect(clippy::cast_precision_loss, reason = "milliseconds are far below 2^53")]
    let x = |at_ms: i64| {
        let share = (at_ms - from_ms) as f64 / ((to_ms - from_ms).max(1)) as f64;
        LEFT + share * (WIDTH - LEFT - RIGHT)
    };
    let y = |remaining: f64| TOP + (1.0 - remaining) / (1.0 - floor) * (HEIGHT - TOP - BOTTOM);
    let mut line = format!("M{:.1},{:.1}", x(from_ms), y(1.0));
    for point in points {
        line.push_str(&format!(" L{:.1},{:.1}", x(point.t_ms), y(point.budget_remaining.max(floor))));
    }
    let last_x = points.last().map_or(LEFT, |point| x(point.t_ms));
    let area = format!("{line} L{last_x:.1},{:.1} L{:.1},{:.1} Z", y(0.0), x(from_ms), y(0.0));
    let ticks = if floor < 0.0 { vec![1.0, 0.0, floor] } else { vec![1.0, 0.5, 0.0] };
    html! {
        svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label=(title) class="chart" {
            title { (title) }
            @for tick in ticks {
                line class=(if tick == 0.0 { "zero" } else { "grid" }) x1=(LEFT) x2=(WIDTH - RIGHT)
                    y1=(round(y(tick))) y2=(round(y(tick))) {}
                text class="axis" x=(LEFT - 8.0) y=(round(y(tick) + 4.0)) text-anchor="end" { (format!("{:.0} %", tick * 100.0)) }
            }
            path class="area" d=(area) {}
            path class="line" d=(line) {}
            text class="axis" x=(LEFT) y=(HEIGHT - 8.0) { (time_text(from_ms)) }
            text class="axis" x=(WIDTH - RIGHT) y=(HEIGHT - 8.0) text-anchor="end" { (time_text(to_ms)) }
        }
    }
}

fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// The next 1, 2 or 5 times a power of ten that is not below a positive number.
fn nice(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0];
    steps.into_iter().map(|step| step * power).find(|step| *step >= value).unwrap_or(value)
}
