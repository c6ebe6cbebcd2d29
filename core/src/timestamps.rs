//! Reads RFC 3339 date-times in the common form, `2026-11-23T09:13:07.412+08:00`. Every other text, valid or not, is
//! left to the strict reader (`stream/ingest/timestamps.py`).

pub const NANOSECONDS: i64 = 1_000_000_000;

/// Nanoseconds since 1970 and the digits of the second's fraction; only years 2001 to 2199.
pub fn read(text: &[u8]) -> Option<(i64, u8)> {
    if text.len() < 20 || text[4] != b'-' || text[7] != b'-' || text[10] != b'T' || text[13] != b':' || text[16] != b':'
    {
        return None;
    }
    let year = two(text, 0)? * 100 + two(text, 2)?;
    let (month, day) = (two(text, 5)?, two(text, 8)?);
    let (hour, minute, second) = (two(text, 11)?, two(text, 14)?, two(text, 17)?);
    if !(2001..=2199).contains(&year) || !is_date(year, month, day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (nanoseconds, digits, zone) = fraction(&text[19..])?;
    let seconds = ((days(year, month, day) * 24 + hour) * 60 + minute - offset_minutes(zone)?) * 60 + second;
    Some((seconds * NANOSECONDS + nanoseconds, digits))
}

fn two(text: &[u8], at: usize) -> Option<i64> {
    let (tens, ones) = (text[at].wrapping_sub(b'0'), text[at + 1].wrapping_sub(b'0'));
    (tens < 10 && ones < 10).then(|| i64::from(tens) * 10 + i64::from(ones))
}

fn is_date(year: i64, month: i64, day: i64) -> bool {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        _ => return false,
    };
    (1..=last).contains(&day)
}

/// Days since 1970 of a date of the Gregorian calendar (H. Hinnant, "chrono-compatible low-level date algorithms").
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year - era * 400;
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Nanoseconds, digits, and what follows them.
fn fraction(text: &[u8]) -> Option<(i64, u8, &[u8])> {
    if text[0] != b'.' {
        return Some((0, 0, text));
    }
    let digits = text[1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    if !(1..=9).contains(&digits) {
        return None;
    }
    let read = text[1..=digits].iter().fold(0i64, |sum, &byte| sum * 10 + i64::from(byte - b'0'));
    let scale = 10i64.pow(9 - digits as u32);
    Some((read * scale, digits as u8, &text[1 + digits..]))
}

fn offset_minutes(zone: &[u8]) -> Option<i64> {
    match zone {
        b"Z" | b"z" => Some(0),
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let (hours, minutes) = (two(zone, 1)?, two(zone, 4)?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            let ahead = hours * 60 + minutes;
            Some(if *sign == b'+' { ahead } else { -ahead })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn reads_the_usual_forms() {
        assert_eq!(read(b"2026-11-23T09:13:07.412+08:00"), Some((1_795_396_387_412_000_000, 3)));
        assert_eq!(read(b"2026-11-23T01:13:07Z"), Some((1_795_396_387_000_000_000, 0)));
        assert_eq!(read(b"2024-02-29T00:00:00.000000001-00:30"), Some((1_709_166_600_000_000_001, 9)));
    }

    #[test]
    fn leaves_the_rest_to_the_strict_reader() {
        let rest: [&[u8]; 9] = [
            b"2023-02-29T00:00:00Z",
            b"2026-11-23t09:13:07Z",
            b"2026-11-23T24:00:00Z",
            b"2026-11-23T09:13:60Z",
            b"2026-11-23T09:13:07.0000000001Z",
            b"2026-11-23T09:13:07.Z",
            b"2026-11-23T09:13:07",
            b"2000-12-31T23:00:00Z",
            b"2026-11-23T09:13:07+24:00",
        ];
        for text in rest {
            assert_eq!(read(text), None, "{}", text.escape_ascii());
        }
    }
}
