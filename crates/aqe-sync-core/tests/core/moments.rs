//! Timestamps: what counts as one, and that nothing is cut.

use aqe_sync_core::Timestamp;
use proptest::prelude::*;

use crate::support::cases;

#[test]
fn the_forms_that_agents_write_are_read() {
    let second = 1_768_136_468_000_000;
    for (text, micros) in [
        ("2026-01-11 13:01:08", second),
        ("2026-01-11T13:01:08", second),
        ("2026-01-11T13:01:08Z", second),
        ("2026-01-11t13:01:08z", second),
        ("2026-01-11T14:01:08+01:00", second),
        ("2026-01-11 14:01:08+01:00", second),
        ("2026-01-11 14:01:08+0100", second),
        ("2026-01-11 14:01:08+01", second),
        ("2026-01-11 13:01:08.393", second + 393_000),
        ("2026-01-11T13:01:08.393001Z", second + 393_001),
        (" 2026-01-11 13:01:08\n", second),
        ("2026-01-11 13:01", second - 8_000_000),
        ("2026-01-11", 1_768_089_600_000_000),
        ("1768136468", second),
        ("1768136468393", second + 393_000),
        ("1768136468393001", second + 393_001),
        ("0001-01-01T00:00:00Z", -62_135_596_800_000_000),
    ] {
        assert_eq!(Timestamp::parse(text).map(Timestamp::as_micros), Some(micros), "{text:?}");
    }
}

#[test]
fn what_only_resembles_a_moment_is_none() {
    for text in [
        "1-2-3",
        "26-01-11",
        "2026-1-11",
        "2026-01-1113:01:08",
        "+2026-01-11",
        "12026-01-11",
        "2026-01-11 ",
        "0000-01-01",
        "2026-02-30",
        "2026-01-11T25:00:00Z",
        "2026-01-11T13:01:60Z",
        "2026-01-11 13:01:08 x",
        "2026-01-11T13:01:08.Z",
        "2026-01-11T13:01:08.1234567Z",
        "2026-01-11T13:01:08.1234560001Z",
        "2026-01-11 13:01:08.0000000000001",
        "12345678",
        "2026/01/11",
        "Sun, 11 Jan 2026 13:01:08 GMT",
        "99999999999999999999",
        "-",
        "--1",
        "２０２６-01-11",
    ] {
        let trimmed_date = text.trim() == "2026-01-11";
        assert_eq!(Timestamp::parse(text).is_some(), trimmed_date, "{text:?}");
    }
}

proptest! {
    #![proptest_config(cases(512))]

    #[test]
    fn every_moment_reads_back_and_sorts_as_its_text(
        one in -62_135_596_800_000_000..=253_402_300_799_999_999_i64,
        other in -62_135_596_800_000_000..=253_402_300_799_999_999_i64,
    ) {
        let moment = |micros| Timestamp::from_micros(micros).expect("in range");
        let (one, other) = (moment(one), moment(other));
        prop_assert_eq!(Timestamp::parse(&one.to_string()), Some(one));
        prop_assert_eq!(one.to_string().len(), 27);
        prop_assert_eq!(one.cmp(&other), one.to_string().cmp(&other.to_string()));
    }

    #[test]
    fn no_number_and_no_text_makes_it_panic(number: i64, text in "[0-9TZ:+ .-]{0,40}|\\PC{0,20}") {
        if let Some(moment) = Timestamp::from_magnitude(number) {
            prop_assert_eq!(Timestamp::from_micros(moment.as_micros()), Some(moment));
        }
        if let Some(moment) = Timestamp::parse(&text) {
            prop_assert_eq!(Timestamp::parse(&moment.to_string()), Some(moment));
        }
    }
}
