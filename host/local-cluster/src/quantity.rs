//! Quantities such as `500m` and `1Gi`: read and written in their canonical form (apimachinery `api/resource`).
//!
//! Exact decimal arithmetic on a mantissa and a power of ten; knows no field.

/// What apimachinery says of anything else.
pub(crate) const INVALID: &str =
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";

/// Powers of 1024.
const BINARY: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
/// Powers of 1000, from the smallest that can be written.
const DECIMAL: [(&str, i32); 10] =
    [("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];

/// The notation a quantity was written in, which its canonical form keeps.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Notation {
    Binary(u32),
    Decimal,
    Exponent,
}

/// The canonical form of a quantity; `None` for what is none, or cannot be held exactly.
pub(crate) fn canonical(text: &str) -> Option<String> {
    let (mut mantissa, mut exponent, notation) = parse(text)?;
    if mantissa == 0 {
        return Some("0".to_owned());
    }
    if let Notation::Binary(power) = notation {
        if exponent == 0 {
            return binary(mantissa.checked_mul(1024_i128.checked_pow(power)?)?);
        }
        // A fraction of a binary unit: whole bytes where it comes out so, else rounded up to thousandths.
        mantissa = mantissa.checked_mul(1024_i128.checked_pow(power)?)?;
        while exponent < 0 && mantissa % 10 == 0 {
            mantissa /= 10;
            exponent += 1;
        }
        if exponent == 0 {
            return binary(mantissa);
        }
    }
    while mantissa % 10 == 0 {
        mantissa /= 10;
        exponent += 1;
    }
    // Nothing finer than a billionth is kept; it is rounded away from zero.
    while exponent < -9 {
        let rounds_up = mantissa % 10 != 0;
        mantissa = mantissa / 10 + if rounds_up { mantissa.signum() } else { 0 };
        exponent += 1;
    }
    decimal(mantissa, exponent, notation)
}

fn binary(bytes: i128) -> Option<String> {
    if bytes.abs() < 1024 {
        return Some(bytes.to_string());
    }
    let mut rest = bytes;
    let mut power = 0;
    while rest % 1024 == 0 && power + 1 < BINARY.len() {
        rest /= 1024;
        power += 1;
    }
    Some(format!("{rest}{}", BINARY[power]))
}

fn decimal(mut mantissa: i128, mut exponent: i32, notation: Notation) -> Option<String> {
    while exponent.rem_euclid(3) != 0 {
        mantissa = mantissa.checked_mul(10)?;
        exponent -= 1;
    }
    if notation == Notation::Exponent {
        return Some(if exponent == 0 { mantissa.to_string() } else { format!("{mantissa}e{exponent}") });
    }
    while exponent > 18 {
        mantissa = mantissa.checked_mul(1000)?;
        exponent -= 3;
    }
    let (suffix, _) = DECIMAL.iter().find(|(_, power)| *power == exponent)?;
    Some(format!("{mantissa}{suffix}"))
}

/// Mantissa, power of ten and notation.
fn parse(text: &str) -> Option<(i128, i32, Notation)> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let number_end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(number_end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    let digits: String = [whole, fraction].concat();
    let mantissa: i128 = digits.parse().ok()?;
    let mantissa = if text.starts_with('-') { -mantissa } else { mantissa };
    let exponent = -i32::try_from(fraction.len()).ok()?;
    if let Some(power) = BINARY.iter().position(|binary| !suffix.is_empty() && *binary == suffix) {
        return Some((mantissa, exponent, Notation::Binary(u32::try_from(power).ok()?)));
    }
    if let Some((_, power)) = DECIMAL.iter().find(|(decimal, _)| *decimal == suffix) {
        return Some((mantissa, exponent + power, Notation::Decimal));
    }
    let power: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    // Further than this no quantity reaches.
    (power.abs() <= 30).then_some((mantissa, exponent + power, Notation::Exponent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_written_with_the_largest_suffix_that_leaves_no_fraction() {
        for (given, expected) in [
            ("1000m", "1"),
            ("0.5", "500m"),
            ("1500m", "1500m"),
            ("100m", "100m"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("128974848", "128974848"),
            ("129e6", "129e6"),
            ("1000k", "1M"),
            ("0", "0"),
            ("0Mi", "0"),
            ("-1000", "-1k"),
            ("1e3", "1e3"),
            ("0.0000000001", "1n"),
            ("512Ki", "512Ki"),
        ] {
            assert_eq!(canonical(given).as_deref(), Some(expected), "{given}");
        }
        for given in ["", "abc", "1..2", "1GiB", "one"] {
            assert_eq!(canonical(given), None, "{given}");
        }
    }
}
