//! Weeks and months in UTC, as milliseconds since 1970.

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// How much time one partition, and one archive, holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Period {
    /// From Monday to Sunday.
    Week,
    /// A month of the calendar.
    Month,
}

/// One week or month.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    period: Period,
    pub start_ms: i64,
    /// Not part of it any more.
    pub end_ms: i64,
}

impl Period {
    /// The span that a moment is in.
    pub(super) fn span_of(self, at_ms: i64) -> Span {
        let day = at_ms.div_euclid(DAY_MS);
        let (start, end) = match self {
            Self::Week => {
                // 1970-01-01 was a Thursday.
                let monday = day - (day + 3).rem_euclid(7);
                (monday, monday + 7)
            }
            Self::Month => {
                let (year, month, _) = date(day);
                let next = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
                (days_before(year, month), days_before(next.0, next.1))
            }
        };
        Span { period: self, start_ms: start * DAY_MS, end_ms: end * DAY_MS }
    }
}

impl Span {
    /// The one after it.
    pub fn next(self) -> Self {
        self.period.span_of(self.end_ms)
    }

    /// Its name: `2026_11`, or `2026_11_16` for the week that begins then.
    pub fn label(self) -> String {
        let (year, month, day) = date(self.start_ms.div_euclid(DAY_MS));
        match self.period {
            Period::Week => format!("{year:04}_{month:02}_{day:02}"),
            Period::Month => format!("{year:04}_{month:02}"),
        }
    }
}

/// Year, month and day of a day counted from 1970-01-01, in the Gregorian calendar
/// (<https://howardhinnant.github.io/date_algorithms.html>, `civil_from_days`).
fn date(day: i64) -> (i64, i64, i64) {
    let shifted = day + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Counted from March, so that the day that leap years add is the last.
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// The day on which a month begins (`days_from_civil`, there).
fn days_before(year: i64, month: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_moments_are_in_known_spans() {
        let check = |at_ms: i64, month: &str, week: &str| {
            assert_eq!(Period::Month.span_of(at_ms).label(), month, "{at_ms}");
            assert_eq!(Period::Week.span_of(at_ms).label(), week, "{at_ms}");
        };
        check(0, "1970_01", "1969_12_29");
        check(-1, "1969_12", "1969_12_29");
        check(951_782_399_999, "2000_02", "2000_02_28");
        check(951_782_400_000, "2000_02", "2000_02_28");
        check(951_868_800_000, "2000_03", "2000_02_28");
        check(1_795_219_200_000, "2026_11", "2026_11_16");
        check(1_798_761_599_999, "2026_12", "2026_12_28");
        assert_eq!(Period::Month.span_of(1_798_761_599_999).next().label(), "2027_01");
    }

    proptest! {
        /// Within 10,000 years.
        #[test]
        fn spans_hold_their_moments_and_leave_no_gap(at_ms in -62_000_000_000_000_i64..253_000_000_000_000) {
            for (period, days) in [(Period::Week, 7..=7), (Period::Month, 28..=31)] {
                let span = period.span_of(at_ms);
                prop_assert!((span.start_ms..span.end_ms).contains(&at_ms));
                prop_assert!(days.contains(&((span.end_ms - span.start_ms) / DAY_MS)));
                prop_assert_eq!(span.next().start_ms, span.end_ms);
                prop_assert_eq!(period.span_of(span.start_ms), span);
                prop_assert_eq!(period.span_of(span.end_ms - 1), span);
            }
        }
    }
}
