//! Cron expressions as systemd says them.

/// As systemd calls them, in cron's order.
const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];

/// The calendar events
/// (<https://www.freedesktop.org/software/systemd/man/latest/systemd.time.html#Calendar%20Events>) of a
/// cron expression of five fields, or six with seconds first, as croner writes it: names are
/// numbers. Any one of them makes a timer due. `None` for what only cron can say, such as the last
/// Friday of a month.
pub(super) fn events(cron: &str) -> Option<Vec<String>> {
    let fields: Vec<&str> = cron.split_whitespace().collect();
    let (second, fields) = match fields.as_slice() {
        [second, rest @ ..] if rest.len() == 5 => (*second, rest),
        rest if rest.len() == 5 => ("0", rest),
        _ => return None,
    };
    let [minute, hour, date, month, day] = *fields else { return None };
    let time = format!("{}:{}:{}", field(hour, 0)?, field(minute, 0)?, field(second, 0)?);
    let month = field(month, 1)?;
    let on_date = |date: &str| format!("*-{month}-{date} {time}");
    let on_day = |day: &str| Some(format!("{} *-{month}-* {time}", days(day)?));
    let any = |field: &str| field == "*" || field == "?";
    Some(match (any(date), any(day)) {
        (_, true) => vec![on_date(&field(date, 1)?)],
        (true, false) => vec![on_day(day)?],
        // To cron, either of them is enough.
        (false, false) => vec![on_date(&field(date, 1)?), on_day(day)?],
    })
}

/// A field of numbers, of which the lowest is `low`.
fn field(field: &str, low: u32) -> Option<String> {
    let item = |item: &str| {
        let (range, step) = stepped(item)?;
        let step = step.map_or_else(String::new, |step| format!("/{step}"));
        Some(match range {
            Range::Any if step.is_empty() => "*".to_owned(),
            Range::Any => format!("{low}{step}"),
            Range::From(first) => format!("{first}{step}"),
            Range::To(first, last) => format!("{first}..{last}{step}"),
        })
    };
    field.split(',').map(item).collect::<Option<Vec<String>>>().map(|items| items.join(","))
}

/// Days of the week, each by its name: systemd's week begins on another day than cron's.
fn days(field: &str) -> Option<String> {
    let mut wanted = [false; 7];
    for item in field.split(',') {
        let (range, step) = stepped(item)?;
        let (first, last) = match range {
            Range::Any => (0, 6),
            Range::From(first) if step.is_some() => (first, 6),
            Range::From(first) => (first, first),
            Range::To(first, last) => (first, last),
        };
        for day in (first..=last.min(7)).step_by(usize::try_from(step.unwrap_or(1).max(1)).ok()?) {
            // Sunday is 0 and 7.
            *wanted.get_mut(usize::try_from(day % 7).ok()?)? = true;
        }
    }
    let named: Vec<&str> = DAYS.iter().zip(wanted).filter(|(_, wanted)| *wanted).map(|(name, _)| *name).collect();
    (!named.is_empty()).then(|| named.join(","))
}

enum Range {
    Any,
    From(u32),
    To(u32, u32),
}

/// One item of a list, with the step behind its slash.
fn stepped(item: &str) -> Option<(Range, Option<u32>)> {
    let (range, step) = match item.split_once('/') {
        Some((range, step)) => (range, Some(step.parse().ok()?)),
        None => (item, None),
    };
    let range = match range.split_once('-') {
        _ if range == "*" || range == "?" => Range::Any,
        Some((first, last)) => Range::To(first.parse().ok()?, last.parse().ok()?),
        None => Range::From(range.parse().ok()?),
    };
    Some((range, step))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each was compared with the next twenty moments that `systemd-analyze calendar` gives.
    #[test]
    fn a_cron_expression_is_said_as_systemd_says_it() {
        for (cron, expected) in [
            ("*/10 8-18 * * 1-5", &["Mon,Tue,Wed,Thu,Fri *-*-* 8..18:0/10:0"][..]),
            ("0 3 * * *", &["*-*-* 3:0:0"]),
            ("15,45 */2 1 * *", &["*-*-1 0/2:15,45:0"]),
            ("30 6 1-7/2 1,6 *", &["*-1,6-1..7/2 6:30:0"]),
            ("0 12 13 * 5", &["*-*-13 12:0:0", "Fri *-*-* 12:0:0"]),
            ("0 0 * * 0,6-7", &["Sun,Sat *-*-* 0:0:0"]),
            ("5/20 * * * *", &["*-*-* *:5/20:0"]),
            ("30 0 4 * * *", &["*-*-* 4:0:30"]),
            ("0 9 */10 * *", &["*-*-1/10 9:0:0"]),
        ] {
            assert_eq!(
                events(cron).as_deref(),
                Some(expected.iter().map(ToString::to_string).collect::<Vec<_>>().as_slice()),
                "{cron}"
            );
        }
        for cron in ["0 0 L * *", "0 0 * * 5#2", "0 0 15W * *", "0 0 * * 5L", "@daily", "* * *"] {
            assert_eq!(events(cron), None, "{cron}");
        }
    }
}
