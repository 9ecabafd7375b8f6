//! Durations as people write them: `90s`, `10m`, `1h30m`.

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A span of whole seconds between 0 s and 7 days, written like Go's durations with the units `h`, `m`, `s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Duration(u32);

/// No timer of a release is longer than a week; a longer one is a typing error.
const MAX_SECONDS: u64 = 7 * 24 * 3600;

impl Duration {
    /// A duration of `seconds`, capped at 7 days.
    #[must_use]
    pub const fn from_secs(seconds: u32) -> Self {
        Self(if seconds as u64 > MAX_SECONDS {
            7 * 24 * 3600
        } else {
            seconds
        })
    }

    /// Whole seconds.
    #[must_use]
    pub const fn as_secs(self) -> u32 {
        self.0
    }

    /// As the standard library's type.
    #[must_use]
    pub const fn to_std(self) -> std::time::Duration {
        std::time::Duration::from_secs(self.0 as u64)
    }
}

impl FromStr for Duration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let error = || {
            format!("{text:?} is not a duration: write whole numbers with h, m or s, such as 90s or 1h30m")
        };
        let mut rest = text;
        let mut total: u64 = 0;
        let mut last_unit = u64::MAX;
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, tail) = rest.split_at_checked(digits).ok_or_else(error)?;
            let unit = match tail.bytes().next() {
                Some(b'h') => 3600,
                Some(b'm') => 60,
                Some(b's') => 1,
                _ => return Err(error()),
            };
            if unit >= last_unit {
                return Err(error());
            }
            last_unit = unit;
            let number: u64 = number.parse().map_err(|_| error())?;
            total = number
                .checked_mul(unit)
                .and_then(|n| total.checked_add(n))
                .ok_or_else(error)?;
            rest = tail.get(1..).unwrap_or("");
        }
        if text.is_empty() {
            return Err(error());
        }
        u32::try_from(total)
            .ok()
            .filter(|_| total <= MAX_SECONDS)
            .map(Self)
            .ok_or_else(|| format!("{text:?} is longer than 7 days"))
    }
}

impl TryFrom<String> for Duration {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Duration> for String {
    fn from(duration: Duration) -> String {
        duration.to_string()
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (h, m, s) = (self.0 / 3600, self.0 / 60 % 60, self.0 % 60);
        match (h, m, s) {
            (0, 0, s) => write!(f, "{s}s"),
            (0, m, 0) => write!(f, "{m}m"),
            (0, m, s) => write!(f, "{m}m{s}s"),
            (h, 0, 0) => write!(f, "{h}h"),
            (h, m, 0) => write!(f, "{h}h{m}m"),
            (h, m, s) => write!(f, "{h}h{m}m{s}s"),
        }
    }
}

impl JsonSchema for Duration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "maxLength": 16,
            "pattern": "^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?$",
            "minLength": 2,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_and_print_alike() {
        for (text, seconds) in [
            ("90s", 90),
            ("10m", 600),
            ("1h30m", 5400),
            ("0s", 0),
            ("1h0m1s", 3601),
        ] {
            assert_eq!(
                text.parse::<Duration>().map(Duration::as_secs),
                Ok(seconds),
                "{text}"
            );
        }
        assert_eq!(Duration::from_secs(5400).to_string(), "1h30m");
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in ["", "5", "-1s", "1e30s", "9999999h", "1s1m", "1d", " 1s", "m"] {
            assert!(bad.parse::<Duration>().is_err(), "{bad:?}");
        }
    }
}
