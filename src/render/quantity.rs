//! Kubernetes quantities: reading, comparing and the one form in which the API server stores each.
//!
//! `0.5`, `500m` and `500000u` are one quantity, stored as `500m`. A rendered object that wrote another form than
//! the stored one would look changed for ever. Follows `k8s.io/apimachinery/pkg/api/resource`: three families of
//! suffixes, nothing finer than a billionth, rounding away from zero.

use std::cmp::Ordering;

const NANOS: i128 = 1_000_000_000;

/// A quantity. Two are equal when their amounts are, however they were written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quantity {
    nanos: i128,
    family: Family,
}

/// How a quantity was written, which its canonical form keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Decimal,
    Binary,
    Exponent,
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.nanos.cmp(&other.nanos))
    }
}

impl Quantity {
    /// Reads a quantity; `None` for anything that is none, or is beyond every machine.
    pub fn parse(text: &str) -> Option<Self> {
        let (negative, unsigned) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let number_len = unsigned
            .bytes()
            .take_while(|c| c.is_ascii_digit() || *c == b'.')
            .count();
        let (number, suffix) = unsigned.split_at_checked(number_len)?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) {
            return None;
        }
        let mut digits: i128 = 0;
        for digit in whole.bytes().chain(fraction.bytes()) {
            digits = digits
                .checked_mul(10)?
                .checked_add(i128::from(digit.checked_sub(b'0')?))?;
        }
        let (family, factor, power) = scale(suffix)?;
        let power = power
            .checked_add(9)?
            .checked_sub(i32::try_from(fraction.len()).ok()?)?;
        let amount = digits.checked_mul(factor)?;
        let ten = 10_i128.checked_pow(power.unsigned_abs())?;
        let nanos = if power >= 0 {
            amount.checked_mul(ten)?
        } else {
            rounded_up(amount, ten)
        };
        Some(Self {
            nanos: if negative { -nanos } else { nanos },
            family,
        })
    }

    /// Rounded up to a thousandth, as the API server does with every entry of `requests` and `limits`.
    pub fn in_thousandths(self) -> Self {
        let milli = NANOS / 1000;
        Self {
            nanos: self.nanos.signum() * rounded_up(self.nanos.abs(), milli) * milli,
            ..self
        }
    }

    /// Twice as much.
    pub fn doubled(self) -> Self {
        Self {
            nanos: self.nanos.saturating_mul(2),
            ..self
        }
    }

    /// The form in which the API server stores it.
    pub fn canonical(self) -> String {
        // A binary quantity that is small or has a fraction would be unreadable in powers of two.
        let binary =
            self.family == Family::Binary && self.nanos % NANOS == 0 && self.nanos.abs() >= 1024 * NANOS;
        if binary {
            let (mantissa, steps) = reduced(self.nanos / NANOS, 1024, 6);
            // Without a suffix it would be read as a decimal one the next time, and written otherwise.
            if steps > 0 {
                return format!(
                    "{mantissa}{}",
                    suffix_of(&["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"], steps)
                );
            }
        }
        let (mantissa, steps) = reduced(self.nanos, 1000, 9);
        if self.family == Family::Exponent {
            // Whole steps of 1000, counted from a billionth.
            return match i64::try_from(steps).map(|steps| steps * 3 - 9) {
                Ok(0) | Err(_) => mantissa.to_string(),
                Ok(exponent) => format!("{mantissa}e{exponent}"),
            };
        }
        format!(
            "{mantissa}{}",
            suffix_of(&["n", "u", "m", "", "k", "M", "G", "T", "P", "E"], steps)
        )
    }
}

/// The canonical form of an entry of `requests` or `limits`. What is no quantity stays, for the API server to name it.
pub(super) fn canonical_resource(text: &str) -> String {
    Quantity::parse(text).map_or_else(|| text.to_owned(), |q| q.in_thousandths().canonical())
}

/// The canonical form of any other quantity.
pub(super) fn canonical(text: &str) -> String {
    Quantity::parse(text).map_or_else(|| text.to_owned(), Quantity::canonical)
}

/// A suffix as family, factor and power of ten.
fn scale(suffix: &str) -> Option<(Family, i128, i32)> {
    let decimal = |power| Some((Family::Decimal, 1, power));
    let binary = |bits: u32| Some((Family::Binary, 1_i128 << bits, 0));
    match suffix {
        "n" => decimal(-9),
        "u" => decimal(-6),
        "m" => decimal(-3),
        "" => decimal(0),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(10),
        "Mi" => binary(20),
        "Gi" => binary(30),
        "Ti" => binary(40),
        "Pi" => binary(50),
        "Ei" => binary(60),
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E'])?;
            Some((Family::Exponent, 1, exponent.parse().ok()?))
        }
    }
}

/// `amount / by` of an amount that is not negative, rounded up.
fn rounded_up(amount: i128, by: i128) -> i128 {
    amount / by + i128::from(amount % by != 0)
}

/// Divides by `base` while nothing is lost, at most `most` times.
fn reduced(mut amount: i128, base: i128, most: usize) -> (i128, usize) {
    // Zero can be divided for ever and is written without a suffix; a billionth is three steps from one.
    if amount == 0 {
        return (0, if base == 1000 { 3 } else { 0 });
    }
    let mut steps = 0;
    while steps < most && amount % base == 0 {
        amount /= base;
        steps += 1;
    }
    (amount, steps)
}

fn suffix_of(suffixes: &[&'static str], steps: usize) -> &'static str {
    suffixes.get(steps).copied().unwrap_or("")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_quantity_has_one_form() {
        for (written, stored) in [
            ("0.5", "500m"),
            ("500m", "500m"),
            ("1000m", "1"),
            ("1024Mi", "1Gi"),
            ("1000Mi", "1000Mi"),
            ("1.5Gi", "1536Mi"),
            ("0.5Ki", "512"),
            ("1Ki", "1Ki"),
            ("1000k", "1M"),
            ("64Mi", "64Mi"),
            ("0", "0"),
            ("0Mi", "0"),
            ("1e3", "1e3"),
            ("100e1", "1e3"),
            ("1E", "1E"),
            ("128974848", "128974848"),
            ("0.1", "100m"),
            ("+2", "2"),
            ("-1500m", "-1500m"),
            ("1.25Ki", "1280"),
        ] {
            assert_eq!(canonical(written), stored, "{written}");
        }
    }

    #[test]
    fn requests_are_rounded_up_to_thousandths() {
        assert_eq!(canonical_resource("100u"), "1m");
        assert_eq!(canonical_resource("0.1001"), "101m");
    }

    #[test]
    fn what_is_no_quantity_stays() {
        for text in ["", "abc", "1.2.3", ".", "1x", "-", "1e", "é", "9e999", "1 Gi"] {
            assert!(Quantity::parse(text).is_none(), "{text:?}");
            assert_eq!(canonical(text), text);
        }
    }

    #[test]
    fn equal_amounts_are_equal() {
        for (a, b) in [
            ("1000m", "1"),
            ("0.5", "500m"),
            ("1024Mi", "1Gi"),
            ("1Ki", "1024"),
            ("1e3", "1k"),
        ] {
            assert_eq!(Quantity::parse(a), Quantity::parse(b));
        }
        assert_ne!(Quantity::parse("1G"), Quantity::parse("1Gi"));
        assert!(
            Quantity::parse("1G") < Quantity::parse("1Gi")
                && Quantity::parse("1.5") > Quantity::parse("1499m")
        );
    }

    proptest! {
        #[test]
        fn the_canonical_form_is_stable_and_says_the_same(text in "[0-9]{1,6}(\\.[0-9]{1,3})?(n|u|m||k|M|G|T|Ki|Mi|Gi|Ti|e3|e-3|E)") {
            let once = canonical(&text);
            prop_assert_eq!(Quantity::parse(&once), Quantity::parse(&text));
            prop_assert_eq!(canonical(&once), once);
        }

        #[test]
        fn any_text_is_a_quantity_or_is_none(text in "\\PC{0,12}") {
            let _ = canonical_resource(&text);
        }
    }
}
