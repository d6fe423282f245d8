//! Random changes of an input, of the kinds that break decoders: flipped bits, lengths that lie, cuts and splices.

use rand::{Rng, RngExt as _};

/// Values that lengths and counts are compared with.
const ODD_NUMBERS: [u32; 10] = [0, 1, 0x7f, 0x80, 0xff, 0xffff, 0x1_0000, 0x7fff_ffff, 0x8000_0000, u32::MAX];

/// An input that some changes made of others.
pub fn mutated(inputs: &[Vec<u8>], rng: &mut impl Rng) -> Vec<u8> {
    let pick = |rng: &mut dyn Rng| &inputs[rng.random_range(0..inputs.len())];
    let mut bytes = pick(rng).clone();
    for _ in 0..1 << rng.random_range(0..4) {
        let at = rng.random_range(0..=bytes.len());
        match rng.random_range(0..8) {
            0 if at < bytes.len() => bytes[at] ^= 1 << rng.random_range(0..8),
            1 if at < bytes.len() => bytes[at] = rng.random(),
            2 => bytes.truncate(at),
            3 => bytes.insert(at, rng.random()),
            4 if at < bytes.len() => {
                let end = at + rng.random_range(0..=(bytes.len() - at).min(64));
                bytes.drain(at..end);
            }
            5 => {
                let other = pick(rng);
                let from = rng.random_range(0..=other.len());
                let to = from + rng.random_range(0..=(other.len() - from).min(256));
                bytes.splice(at..at, other[from..to].iter().copied());
            }
            6 => {
                let odd = ODD_NUMBERS[rng.random_range(0..ODD_NUMBERS.len())].to_le_bytes();
                let width = [1, 2, 4][rng.random_range(0..3)];
                let end = (at + width).min(bytes.len());
                bytes[at..end].copy_from_slice(&odd[..end - at]);
            }
            _ => bytes.extend((0..rng.random_range(0..16)).map(|_| rng.random::<u8>())),
        }
    }
    bytes
}
