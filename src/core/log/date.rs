//! The date inside a line, as civil milliseconds: what the clock on the wall of the HAProxy host
//! showed, without a time zone, because HAProxy writes none.
//!
//! In: `21/Nov/2026:09:31:50.191` (httplog, tcplog), the same without milliseconds or with a
//! zone behind it (CLF), ISO 8601, or seconds since 1970. Out: a number that grows with time
//! and is good for differences only. [`Clock`](super::clock::Clock) makes an `Instant` of it.

/// A date as written in a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Date<'a> {
    /// As HAProxy wrote it, brackets left out.
    pub text: &'a [u8],
    /// Milliseconds from the civil 1970-01-01 00:00, zone ignored.
    pub millis: i64,
}

const MS_A_DAY: i64 = 86_400_000;

impl<'a> Date<'a> {
    /// Bytes of `21/Nov/2026:09:31:50.191`.
    pub(super) const HAPROXY_LENGTH: usize = 24;

    /// Reads `21/Nov/2026:09:31:50.191`, HAProxy's `%t` and `%tr`. The milliseconds may be
    /// missing (HAProxy 1.2, CLF), and whatever follows a blank (a zone) is ignored.
    pub fn from_haproxy(text: &'a [u8]) -> Option<Self> {
        let (date, rest) = text.split_at_checked(20)?;
        let &[d1, d2, b'/', m1, m2, m3, b'/', y1, y2, y3, y4, b':', h1, h2, b':', n1, n2, b':', s1, s2] =
            date
        else {
            return None;
        };
        let year = number([y1, y2])? * 100 + number([y3, y4])?;
        let days = days_from_civil(year, month([m1, m2, m3])?, number([d1, d2])?)?;
        let time = millis_of_day(number([h1, h2])?, number([n1, n2])?, number([s1, s2])?)?;
        let fraction = match rest {
            &[b'.', a, b, c] => number([b'0', a])? * 100 + number([b, c])?,
            [] | [b' ', ..] => 0,
            _ => return None,
        };
        Some(Self { text, millis: days * MS_A_DAY + time + fraction })
    }

    /// Reads whichever form a configured regex may have found: HAProxy's own, ISO 8601 (blank or
    /// `T` between date and time, fraction and zone optional), or seconds since 1970, perhaps with a fraction.
    pub fn from_any(text: &'a [u8]) -> Option<Self> {
        Self::from_haproxy(text).or_else(|| Self::from_iso(text)).or_else(|| Self::from_epoch(text))
    }

    fn from_iso(text: &'a [u8]) -> Option<Self> {
        let (date, rest) = text.split_at_checked(19)?;
        let &[y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, b'T' | b' ', h1, h2, b':', n1, n2, b':', s1, s2] =
            date
        else {
            return None;
        };
        let year = number([y1, y2])? * 100 + number([y3, y4])?;
        let days = days_from_civil(year, number([m1, m2])?, number([d1, d2])?)?;
        let time = millis_of_day(number([h1, h2])?, number([n1, n2])?, number([s1, s2])?)?;
        let fraction = rest.strip_prefix(b".").map_or(0, fraction_millis);
        Some(Self { text, millis: days * MS_A_DAY + time + fraction })
    }

    fn from_epoch(text: &'a [u8]) -> Option<Self> {
        let (seconds, fraction) = match text.iter().position(|&byte| byte == b'.') {
            Some(dot) => (&text[..dot], &text[dot + 1..]),
            None => (text, &b""[..]),
        };
        // Twelve digits reach beyond the year 30000; more would be some other number.
        let is_number = !seconds.is_empty() && seconds.iter().chain(fraction).all(u8::is_ascii_digit);
        if !is_number || seconds.len() > 12 {
            return None;
        }
        let seconds = seconds.iter().fold(0, |sum, &digit| sum * 10 + i64::from(digit - b'0'));
        Some(Self { text, millis: seconds * 1000 + fraction_millis(fraction) })
    }
}

/// The first three digits of a fraction of a second, whatever follows them.
fn fraction_millis(digits: &[u8]) -> i64 {
    let digits = digits.iter().copied().take_while(u8::is_ascii_digit).chain(std::iter::repeat(b'0'));
    digits.take(3).fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'))
}

fn number(digits: [u8; 2]) -> Option<i64> {
    let [tens, ones] = digits.map(|digit| digit.wrapping_sub(b'0'));
    (tens < 10 && ones < 10).then(|| i64::from(tens) * 10 + i64::from(ones))
}

/// 1 to 12; HAProxy writes English names whatever the locale.
fn month(name: [u8; 3]) -> Option<i64> {
    Some(match &name {
        b"Jan" => 1,
        b"Feb" => 2,
        b"Mar" => 3,
        b"Apr" => 4,
        b"May" => 5,
        b"Jun" => 6,
        b"Jul" => 7,
        b"Aug" => 8,
        b"Sep" => 9,
        b"Oct" => 10,
        b"Nov" => 11,
        b"Dec" => 12,
        _ => return None,
    })
}

/// `None` if it is not a time of day; 60 is a leap second.
fn millis_of_day(hour: i64, minute: i64, second: i64) -> Option<i64> {
    (hour < 24 && minute < 60 && second <= 60).then_some(((hour * 60 + minute) * 60 + second) * 1000)
}

/// Days since 1970-01-01 in the Gregorian calendar; `None` if the month or the day cannot be.
///
/// Years are counted from March, so that the leap day is the last day of its year.
fn days_from_civil(year: i64, month: i64, day: i64) -> Option<i64> {
    /// Days from the first of March to the first of this month, March first.
    const DAYS_SINCE_MARCH: [i64; 12] = [0, 31, 61, 92, 122, 153, 184, 214, 245, 275, 306, 337];
    if !(1..=31).contains(&day) {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let months = DAYS_SINCE_MARCH.get(usize::try_from((month + 9) % 12).ok()?)?;
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    /// From the first of March of year 0 to 1970-01-01.
    const TO_1970: i64 = 719_468;
    (1..=12).contains(&month).then_some(year * 365 + leap_days + months + day - 1 - TO_1970)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<i64>) {
        assert_eq!(Date::from_any(text.as_bytes()).map(|date| date.millis), expected, "{text}");
    }

    /// Expected values from `date -u -d ... +%s`.
    #[test]
    fn the_same_moment_is_the_same_number_in_every_form() {
        let expected = Some(1_795_253_510_191);
        check("21/Nov/2026:09:31:50.191", expected);
        check("2026-11-21T09:31:50.191+02:00", expected);
        check("2026-11-21 09:31:50.191234", expected);
        check("1795253510.191", expected);
        check("21/Nov/2026:09:31:50", Some(1_795_253_510_000));
        check("21/Nov/2026:09:31:50 +0000", Some(1_795_253_510_000));
        check("29/Feb/2024:23:59:59.999", Some(1_709_251_199_999));
        check("01/Mar/2024:00:00:00.000", Some(1_709_251_200_000));
        check("31/Dec/1999:23:59:60.000", Some(946_684_800_000));
        check("01/Jan/1970:00:00:00.000", Some(0));
    }

    #[test]
    fn what_is_no_date_is_none() {
        for text in [
            "",
            "21/Nov/2026",
            "21/Nov/2026:09:31:50.",
            "21/Nov/2026:09:31:50.19",
            "21/Nov/2026:09:31:50.1x1",
            "21/Nov/2026:24:00:00.000",
            "32/Nov/2026:09:31:50.191",
            "00/Nov/2026:09:31:50.191",
            "21/nov/2026:09:31:50.191",
            "2026-13-21T09:31:50",
            "1.2.3",
            "1234567890123",
            "-5",
        ] {
            check(text, None);
        }
    }
}
