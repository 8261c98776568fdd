//! How an input is damaged: as disks, broken downloads and people with intentions do it.

/// Inputs never grow beyond this many bytes.
const LONGEST: usize = 1 << 20;
/// Numbers at which readers' arithmetic breaks.
const NUMBERS: [u64; 16] = [
    0,
    1,
    2,
    0x7f,
    0x80,
    0xff,
    0x100,
    0x7fff,
    0xffff,
    0x1_0000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    0x7fff_ffff_ffff_ffff,
    0xffff_ffff_ffff_ffff,
];
/// The same for readers of text, and what their syntax makes of nothing and of too much.
const WORDS: [&[u8]; 14] = [
    b"0",
    b"-1",
    b"1e999",
    b"NaN",
    b"null",
    b"true",
    b"4294967296",
    b"18446744073709551616",
    b"0.0000000001",
    b"\"\"",
    b"[]",
    b"{}",
    b"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
    b"\xff\xfe",
];

/// Input number `round`: the corpus as it is, then damaged entries of it.
pub(crate) fn input(name: &str, corpus: &[Vec<u8>], round: u64) -> Vec<u8> {
    if let Some(whole) = usize::try_from(round).ok().and_then(|round| corpus.get(round)) {
        return whole.clone();
    }
    let seed = name.bytes().fold(round, |hash, byte| mix(hash ^ u64::from(byte)));
    let mut draw = Draw(seed);
    let mut input = draw.one_of(corpus).clone();
    // One wound mostly, several at times.
    loop {
        damage(&mut input, corpus, &mut draw);
        input.truncate(LONGEST);
        if draw.below(3) > 0 {
            return input;
        }
    }
}

fn damage(input: &mut Vec<u8>, corpus: &[Vec<u8>], draw: &mut Draw) {
    let range = draw.range(input.len());
    match draw.below(11) {
        0 => flip(input, draw),
        1 => input.get_mut(range.start).into_iter().for_each(|byte| *byte = draw.next() as u8),
        2..=4 => number(input, draw),
        5 => input.truncate(range.start),
        6 => drop(input.drain(range)),
        7 => {
            let copy = input[range.clone()].to_vec();
            let at = draw.below(input.len() + 1);
            drop(input.splice(at..at, copy.repeat(1 + draw.below(3))));
        }
        8 => {
            let other = draw.one_of(corpus);
            let piece = other[draw.range(other.len())].to_vec();
            drop(input.splice(range, piece));
        }
        9 => word(input, draw),
        _ => input[range].fill(if draw.below(2) == 0 { 0 } else { 0xff }),
    }
}

fn flip(input: &mut [u8], draw: &mut Draw) {
    let (at, bit) = (draw.below(input.len()), draw.below(8));
    input.get_mut(at).into_iter().for_each(|byte| *byte ^= 1 << bit);
}

/// Puts an interesting number, or one near the length, where a length may be: any width, either end first.
fn number(input: &mut [u8], draw: &mut Draw) {
    let width = [1, 2, 4, 8][draw.below(4)];
    let near = (input.len() as u64).wrapping_add(draw.below(17) as u64).wrapping_sub(8);
    let value = if draw.below(4) == 0 { near } else { *draw.one_of(&NUMBERS) };
    // Headers are where numbers are.
    let room = (input.len() + 1).saturating_sub(width);
    let at = if draw.below(2) == 0 { draw.below(room) } else { draw.below(room.min(64)) };
    let bytes =
        if draw.below(2) == 0 { value.to_le_bytes() } else { value.rotate_right(8 * width as u32).to_be_bytes() };
    if let Some(place) = input.get_mut(at..at + width) {
        place.copy_from_slice(&bytes[..width]);
    }
}

/// Puts a word in the place of a number or name that is written out.
fn word(input: &mut Vec<u8>, draw: &mut Draw) {
    let begin = draw.below(input.len());
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || b"-+._".contains(byte);
    let start = begin + input[begin..].iter().position(is_word).unwrap_or(0);
    let length = input[start..].iter().position(|byte| !is_word(byte)).unwrap_or(input.len() - start);
    drop(input.splice(start..start + length, draw.one_of(&WORDS).iter().copied()));
}

/// Steele, Lea and Flood's SplitMix64.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// Below `end`, or 0 when there is nothing.
    fn below(&mut self, end: usize) -> usize {
        (self.next() % (end.max(1) as u64)) as usize
    }

    fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    /// Some part of `0..length`, short ones more often than long ones.
    fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.below(length);
        let most = (length - start) >> self.below(8);
        start..start + self.below(most + 1)
    }
}

fn mix(value: u64) -> u64 {
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}
