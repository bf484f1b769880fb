//! Parts of a time, in UTC, by the proleptic Gregorian calendar.

/// Takes seconds since the epoch, gives a part.
pub(crate) type Part = fn(f64) -> f64;

/// The part of a name.
pub(crate) fn part(name: &str) -> Option<Part> {
    Some(match name {
        "minute" => |s| whole(s).rem_euclid(3600).div_euclid(60) as f64,
        "hour" => |s| whole(s).rem_euclid(86_400).div_euclid(3600) as f64,
        "day_of_week" => |s| (days(s) + 4).rem_euclid(7) as f64,
        "day_of_month" => |s| date(days(s)).2 as f64,
        "day_of_year" => |s| (days(s) - first_day(date(days(s)).0, 1) + 1) as f64,
        "days_in_month" => |s| {
            let (year, month, _) = date(days(s));
            let (next_year, next_month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
            (first_day(next_year, next_month) - first_day(year, month)) as f64
        },
        "month" => |s| date(days(s)).1 as f64,
        "year" => |s| date(days(s)).0 as f64,
        _ => return None,
    })
}

/// A little more than Go's years reach; keeps the arithmetic within `i64`.
const FARTHEST_SECONDS: f64 = 1e15;

fn whole(seconds: f64) -> i64 {
    seconds.clamp(-FARTHEST_SECONDS, FARTHEST_SECONDS) as i64
}

fn days(seconds: f64) -> i64 {
    whole(seconds).div_euclid(86_400)
}

/// Year, month and day of a day since the epoch (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn date(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// A time as RFC 3339 writes it, to the second.
pub(crate) fn rfc3339(seconds: i64) -> String {
    let (year, month, day) = date(seconds.div_euclid(86_400));
    let (hour, minute) = (seconds.rem_euclid(86_400) / 3600, seconds.rem_euclid(3600) / 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}Z", seconds.rem_euclid(60))
}

/// The day since the epoch on which a month begins.
fn first_day(year: i64, month: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * month_from_march + 2) / 5;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leap_days_count() {
        let at = |name: &str, seconds: f64| part(name).unwrap()(seconds);
        let leap_day = 1_456_704_000.0; // 2016-02-29
        assert_eq!(at("year", leap_day), 2016.0);
        assert_eq!(at("month", leap_day), 2.0);
        assert_eq!(at("day_of_month", leap_day), 29.0);
        assert_eq!(at("day_of_year", leap_day), 60.0);
        assert_eq!(at("day_of_week", leap_day), 1.0);
        assert_eq!(at("days_in_month", leap_day), 29.0);
        assert_eq!(at("hour", -1.0), 23.0);
    }
}
