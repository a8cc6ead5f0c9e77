//! What conditions compare beside text: numbers, times, addresses, binary values.

use std::{cmp::Ordering, net::IpAddr};

/// How many characters a number may have.
const NUMBER_CHARS_MAX: usize = 400;

/// A decimal number, exact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Decimal {
    negative: bool,
    /// Without zeros in front.
    whole: Box<str>,
    /// Without zeros behind.
    fraction: Box<str>,
}

impl Decimal {
    /// Reads digits with an optional sign and fraction; no exponent.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
        let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if text.len() > NUMBER_CHARS_MAX || !all_digits(whole) || !all_digits(fraction) {
            return None;
        }
        let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
        let zero = whole.is_empty() && fraction.is_empty();
        Some(Self { negative: negative && !zero, whole: whole.into(), fraction: fraction.into() })
    }

    fn size(&self) -> (usize, &str, &str) {
        (self.whole.len(), &self.whole, &self.fraction)
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.negative, other.negative) {
            (false, true) => Ordering::Greater,
            (true, false) => Ordering::Less,
            (false, false) => self.size().cmp(&other.size()),
            (true, true) => other.size().cmp(&self.size()),
        }
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// An instant in nanoseconds since 1970 (UTC), from a W3C form of ISO 8601 or from whole seconds since 1970.
///
/// Four digits are a year. Source: "IAM JSON policy elements: Condition operators", date condition operators.
pub(super) fn instant(text: &str) -> Option<i128> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    if digits && text.len() > 4 && text.len() <= 15 {
        return text.parse::<i128>().ok().map(|seconds| seconds * 1_000_000_000);
    }
    let shape = text.bytes().take(10).enumerate().all(|(at, byte)| match at {
        4 | 7 => byte == b'-',
        _ => byte.is_ascii_digit(),
    });
    if !shape || text.len() > 40 || !text.bytes().all(|byte| byte.is_ascii_digit() || b"-+:.TZ".contains(&byte)) {
        return None;
    }
    let full = match text.len() {
        4 => format!("{text}-01-01T00:00:00Z"),
        7 => format!("{text}-01T00:00:00Z"),
        10 => format!("{text}T00:00:00Z"),
        16.. => text.to_owned(),
        _ => return None,
    };
    full.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_nanosecond)
}

/// A range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cidr {
    address: IpAddr,
    bits: u8,
}

impl Cidr {
    /// Reads an address with or without a prefix length; without one it is a range of one address.
    ///
    /// Source: "IAM JSON policy elements: Condition operators", IP address condition operators.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => width,
            Some(bits) if !bits.is_empty() && bits.len() <= 3 && bits.bytes().all(|byte| byte.is_ascii_digit()) => {
                bits.parse().ok()?
            }
            Some(_) => return None,
        };
        (bits <= width).then_some(Self { address, bits })
    }

    /// Whether it holds `address`. A range of one family holds no address of the other.
    pub(super) fn contains(self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(range), IpAddr::V4(address)) => {
                let differ = range.to_bits() ^ address.to_bits();
                self.bits == 0 || differ >> (32 - self.bits) == 0
            }
            (IpAddr::V6(range), IpAddr::V6(address)) => {
                let differ = range.to_bits() ^ address.to_bits();
                self.bits == 0 || differ >> (128 - self.bits) == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

/// Whether this is base64 with padding, so that equal bytes have equal texts.
pub(super) fn is_base64(text: &str) -> bool {
    let digits = text.trim_end_matches('=');
    let value = |byte: u8| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    if !text.len().is_multiple_of(4) || digits.bytes().any(|byte| value(byte).is_none()) {
        return false;
    }
    let last = digits.bytes().last().and_then(value).unwrap_or(0);
    match text.len() - digits.len() {
        0 => true,
        1 => last.trailing_zeros() >= 2,
        2 => last.trailing_zeros() >= 4,
        _ => false,
    }
}
