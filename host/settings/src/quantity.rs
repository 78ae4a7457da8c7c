//! Durations and sizes as people write them. Knows no keys.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

/// A duration with its unit: `"5s"`, `"1m30s"`, `"500ms"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) Duration);

/// A size: `"32Mi"`, `"1500k"`, or a number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

/// A whole number that fits 32 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Count(pub(crate) u32);

/// A number of processors, in thousandths: `"500m"`, `"1.5"`, or a whole number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Processors(pub(crate) u32);

/// Units of a size, as Kubernetes' quantities have them.
const UNITS: [(&str, u64); 7] =
    [("Ki", 1 << 10), ("Mi", 1 << 20), ("Gi", 1 << 30), ("k", 1_000), ("M", 1_000_000), ("G", 1_000_000_000), ("", 1)];

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Span;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a duration with its unit in quotes, such as \"5s\" or \"500ms\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Span, E> {
                humantime::parse_duration(text)
                    .map(Span)
                    .map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Size;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a size such as \"32Mi\" (units Ki, Mi, Gi, k, M, G) or a number of bytes")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Size, E> {
                parse_size(text).map(Size).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }

            fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<Size, E> {
                u64::try_from(bytes).map(Size).map_err(|_| E::invalid_value(de::Unexpected::Signed(bytes), &self))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Count;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "a whole number from 1 to {}", u32::MAX)
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Count, E> {
                u32::try_from(number).map(Count).map_err(|_| E::invalid_value(de::Unexpected::Signed(number), &self))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl<'de> Deserialize<'de> for Processors {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Processors;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a number of processors such as \"500m\" (thousandths), \"1.5\" or 2")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Processors, E> {
                parse_processors(text).map(Processors).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Processors, E> {
                let thousandths = parse_processors(&number.to_string());
                thousandths.map(Processors).ok_or_else(|| E::invalid_value(de::Unexpected::Signed(number), &self))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// As Kubernetes writes processors; finer than a thousandth is none.
fn parse_processors(text: &str) -> Option<u32> {
    let number = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse::<u32>().ok())?;
    if let Some(thousandths) = text.strip_suffix('m') {
        return number(thousandths);
    }
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let thousandths = (1..=3).contains(&part.len()).then(|| number(&format!("{part:0<3}")))??;
    number(whole)?.checked_mul(1000)?.checked_add(thousandths)
}

/// `1` rather than `1000m`, where it is exact.
pub(crate) fn processors_text(thousandths: u32) -> String {
    if thousandths.is_multiple_of(1000) { (thousandths / 1000).to_string() } else { format!("{thousandths}m") }
}

fn parse_size(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor = UNITS.iter().find(|(name, _)| *name == unit)?.1;
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// `32Mi` rather than 33554432, where it is exact.
pub(crate) fn size_text(bytes: u64) -> String {
    [("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1_u64 << 10)]
        .into_iter()
        .find(|(_, factor)| bytes >= *factor && bytes.is_multiple_of(*factor))
        .map_or_else(|| bytes.to_string(), |(unit, factor)| format!("{}{unit}", bytes / factor))
}

/// As [`Span`] reads it.
pub(crate) fn duration_text(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_read_as_kubernetes_writes_them() {
        let good =
            [("500m", 500), ("1", 1000), ("1.5", 1500), ("0.25", 250), ("0.001", 1), ("64", 64_000), ("1000m", 1000)];
        for (text, thousandths) in good {
            assert_eq!(parse_processors(text), Some(thousandths), "{text}");
        }
        for text in ["", "m", ".5", "1.", "1.5m", "-1", "0.0001", "1e3", "+1", "99999999", "1.+1", "1 "] {
            assert_eq!(parse_processors(text), None, "{text}");
        }
        for thousandths in [1, 999, 1000, 1500, 3000] {
            assert_eq!(parse_processors(&processors_text(thousandths)), Some(thousandths));
        }
    }

    #[test]
    fn sizes_are_read_as_kubernetes_writes_them() {
        for (text, bytes) in [("32Mi", Some(32 << 20)), ("1k", Some(1000)), ("17", Some(17)), ("2Gi", Some(2 << 30))] {
            assert_eq!(parse_size(text), bytes, "{text}");
        }
        for text in ["", "Mi", "1.5Mi", "-1", "1 Mi", "1mi", "99999999999Gi"] {
            assert_eq!(parse_size(text), None, "{text}");
        }
        for bytes in [0, 1, 1023, 1024, 3 << 20, (1 << 30) + 1] {
            assert_eq!(parse_size(&size_text(bytes)), Some(bytes));
        }
    }
}
