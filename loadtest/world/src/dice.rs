//! The only source of chance: one `ChaCha8` stream for each seed, equal on every machine.

use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A seeded source of chance. Equal seeds give equal draws on every platform.
#[derive(Clone, Debug)]
pub struct Dice(ChaCha8Rng);

impl Dice {
    /// The stream of `seed`.
    pub fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number in `0..bound`; zero when `bound` is zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(bound)) >> 64) as u64
    }

    /// A number in `low..=high`; `low` when the range is empty.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        low + self.below((high - low).max(0) as u64 + 1) as i64
    }

    /// True in `share` of all draws; `share` is from 0 to 1.
    pub fn chance(&mut self, share: f64) -> bool {
        ((self.bits() >> 11) as f64) < share * (1_u64 << 53) as f64
    }

    /// One of `items`; `None` when there are none.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.below(items.len() as u64) as usize)
    }

    /// A random UUID (version 4) as its 128 bits.
    pub fn uuid(&mut self) -> u128 {
        let bits = u128::from(self.bits()) << 64 | u128::from(self.bits());
        bits & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62
    }

    /// Appends `len` symbols of `alphabet` (ASCII, at most 64 symbols).
    pub fn push(&mut self, out: &mut String, alphabet: &[u8], len: usize) {
        push_symbols(out, alphabet, len, || self.0.next_u64());
    }
}

/// Digits and lower-case letters: the alphabet of session ids.
pub const BASE36: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz";
/// Lower-case hexadecimal digits.
pub const HEX: &[u8] = b"0123456789abcdef";
/// Decimal digits.
pub const DIGITS: &[u8] = b"0123456789";
/// The alphabet of access keys and unique ids.
pub const BASE32: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
/// The alphabet of tokens.
pub const BASE64: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Appends `len` symbols of `alphabet` (ASCII, at most 64 symbols), drawing 64 bits for each ten.
pub fn push_symbols(out: &mut String, alphabet: &[u8], len: usize, mut bits: impl FnMut() -> u64) {
    let size = alphabet.len() as u64;
    let mut word = 0;
    for at in 0..len {
        if at % 10 == 0 {
            word = bits();
        }
        out.push(char::from(alphabet[(word % size) as usize]));
        word /= size;
    }
}

/// Appends a UUID in its usual form.
pub fn push_uuid(out: &mut String, uuid: u128) {
    for at in 0..32 {
        if matches!(at, 8 | 12 | 16 | 20) {
            out.push('-');
        }
        out.push(char::from(HEX[(uuid >> (124 - 4 * at) & 0xf) as usize]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_draw_equally_and_on_every_machine() {
        let draw = |seed| {
            let mut dice = Dice::new(seed);
            let mut text = String::new();
            push_uuid(&mut text, dice.uuid());
            dice.push(&mut text, BASE36, 12);
            (text, dice.below(1000), dice.between(-5, 5))
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        insta::assert_debug_snapshot!(draw(7));
    }

    #[test]
    fn bounds_hold() {
        let mut dice = Dice::new(1);
        assert_eq!(dice.below(0), 0);
        assert_eq!(dice.between(3, 3), 3);
        assert!((0..1000).all(|_| (-2..=2).contains(&dice.between(-2, 2))));
        assert!((0..1000).all(|_| !dice.chance(0.0) && dice.chance(1.0)));
    }
}
