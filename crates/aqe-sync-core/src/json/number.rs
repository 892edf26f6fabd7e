//! Numbers by value: `1`, `1.0`, `10e-1` are one and the same.

/// The largest power of ten, up or down, that is kept as a number. PostgreSQL's
/// `numeric` goes further; nothing an agent measures does.
const MAX_EXPONENT: i64 = 1_000;

/// Appends the canonical spelling of a valid JSON number literal.
/// `false` when its exponent is out of every sensible range.
pub(super) fn canonical_number(literal: &str, out: &mut Vec<u8>) -> bool {
    let (negative, unsigned) = match literal.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, literal),
    };
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()),
        None => (unsigned, Some(0)),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
    let Some(first) = digits.iter().position(|digit| *digit != b'0') else {
        out.push(b'0');
        return true;
    };
    let last = digits.iter().rposition(|digit| *digit != b'0').unwrap_or(first);
    let trailing = i64::try_from(digits.len() - 1 - last).unwrap_or(i64::MAX);
    let fraction = i64::try_from(fraction.len()).unwrap_or(i64::MAX);
    let Some(exponent) = exponent.and_then(|exponent| exponent.checked_sub(fraction)?.checked_add(trailing)) else {
        return false;
    };
    let magnitude = exponent.saturating_add(i64::try_from(last - first).unwrap_or(i64::MAX));
    if exponent < -MAX_EXPONENT || magnitude > MAX_EXPONENT {
        return false;
    }
    if negative {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[first..=last]);
    out.push(b'e');
    out.extend_from_slice(exponent.to_string().as_bytes());
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(literal: &str) -> Option<String> {
        let mut out = Vec::new();
        canonical_number(literal, &mut out).then(|| String::from_utf8(out).expect("ASCII"))
    }

    #[test]
    fn spelling_does_not_count_but_every_digit_does() {
        for same in ["1", "1.0", "10e-1", "0.1E+1", "1e0", "1.000"] {
            assert_eq!(canonical(same).as_deref(), Some("1e0"), "{same}");
        }
        assert_eq!(canonical("12345678901234567890").as_deref(), Some("1234567890123456789e1"));
        assert_ne!(canonical("12345678901234567890"), canonical("12345678901234567891"));
        assert_eq!(canonical("-0.0").as_deref(), Some("0"));
        assert_eq!(canonical("-1.50").as_deref(), Some("-15e-1"));
        assert_eq!(canonical("1e99999999999999999999"), None);
        assert_eq!(canonical("1e1001"), None);
        for at_the_limit in ["1e1000", "12e999", "1e-1000", "-12e-1000"] {
            assert_eq!(canonical(at_the_limit).as_deref(), Some(at_the_limit));
        }
        assert_eq!(canonical("0.0010e1003").as_deref(), Some("1e1000"));
        assert_eq!(canonical("100.0100").as_deref(), Some("10001e-2"));
        for beyond in ["12e1000", "1e-1001", "-0.1e-1000"] {
            assert_eq!(canonical(beyond), None, "{beyond}");
        }
        assert_eq!(canonical("0e99999999999999999999").as_deref(), Some("0"));
    }
}
