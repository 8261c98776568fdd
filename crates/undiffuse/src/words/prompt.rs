//! How people write a prompt: words, some of which count more, in the notation of AUTOMATIC1111's web UI.
//!
//! | written | means |
//! |---|---|
//! | `(a)` | `a` counts 1.1 times as much; brackets multiply |
//! | `[a]` | 1.1 times less |
//! | `(a:1.3)` | 1.3 times as much |
//! | `\(`, `\)`, `\[`, `\]`, `\\` | these characters themselves |
//! | `a BREAK b` | `b` begins in the next chunk of tokens |
//! | `<lora:x:0.8>` | no words: the LoRA called `x` is added 0.8 times, once where no number is given ([`loras`]) |
//!
//! A bracket that is never closed reaches to the end; one that was never opened stands for itself.

/// How much more a pair of brackets makes its words count.
const BRACKET: f64 = 1.1;
/// Words count no more than this, however many brackets there are.
const LARGEST: f64 = 1e3;
/// The word that ends a chunk.
const BREAK: &str = "BREAK";

/// A piece of a prompt.
#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    /// Words, and how much they count.
    Words(String, f64),
    /// The end of a chunk of tokens.
    Break,
}

/// The pieces of a prompt, neighbours that count the same joined.
pub fn parse(prompt: &str) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    let [mut round, mut square] = [Brackets::default(), Brackets::default()];
    let mut rest = prompt;
    while let Some(first) = rest.chars().next() {
        let mut end = first.len_utf8();
        let weight = (first == ':' && round.is_open()).then(|| weight(rest)).flatten();
        let closed = match (first, weight) {
            (_, Some((weight, past))) => {
                end = past;
                round.close(pieces.len(), weight)
            }
            (')', None) => round.close(pieces.len(), BRACKET),
            (']', None) => square.close(pieces.len(), 1.0 / BRACKET),
            _ => false,
        };
        match first {
            _ if closed => {}
            '(' => round.open(pieces.len()),
            '[' => square.open(pieces.len()),
            '\\' => {
                let next = rest[1..].chars().next().filter(|c| "()[]\\".contains(*c));
                pieces.extend(next.map(|c| Piece::Words(c.into(), 1.0)));
                end += next.map_or(0, char::len_utf8);
            }
            _ => {
                end = rest[end..].find(['\\', '(', ')', '[', ']', ':']).map_or(rest.len(), |more| end + more);
                words(&rest[..end], &mut pieces);
            }
        }
        rest = &rest[end..];
    }
    round.weigh(&mut pieces, BRACKET);
    square.weigh(&mut pieces, 1.0 / BRACKET);
    joined(pieces)
}

/// The pairs of brackets of one kind, in the order in which they open: one is within another, or behind it.
#[derive(Default)]
struct Brackets {
    pairs: Vec<Pair>,
    /// Those that are still open, by their place in `pairs`.
    open: Vec<usize>,
}

/// The pieces between two brackets, and how much these make them count.
struct Pair {
    from: usize,
    closed: Option<(usize, f64)>,
}

impl Brackets {
    fn is_open(&self) -> bool {
        !self.open.is_empty()
    }

    fn open(&mut self, from: usize) {
        self.open.push(self.pairs.len());
        self.pairs.push(Pair { from, closed: None });
    }

    /// Closes the last one that is open, if any is.
    fn close(&mut self, to: usize, factor: f64) -> bool {
        let last = self.open.pop();
        last.map(|at| self.pairs[at].closed = Some((to, factor))).is_some()
    }

    /// Multiplies what the pieces count, in one walk over them; brackets that are still open reach to the end, with `factor`.
    fn weigh(self, pieces: &mut [Piece], factor: f64) {
        let mut pairs = self.pairs.into_iter().peekable();
        // Where the pairs around a piece end, and what they and those around them make it count.
        let mut around: Vec<(usize, f64)> = Vec::new();
        for (at, piece) in pieces.iter_mut().enumerate() {
            while around.pop_if(|(to, _)| *to <= at).is_some() {}
            while let Some(pair) = pairs.next_if(|pair| pair.from <= at) {
                let (to, factor) = pair.closed.unwrap_or((usize::MAX, factor));
                if to > at {
                    let outer = around.last().map_or(1.0, |&(_, product)| product);
                    around.push((to, (outer * factor).clamp(-LARGEST, LARGEST)));
                }
            }
            if let (Piece::Words(_, weight), Some((_, product))) = (piece, around.last()) {
                *weight = (*weight * product).clamp(-LARGEST, LARGEST);
            }
        }
    }
}

/// The words of a prompt without the LoRAs that are asked for in it, and these, each with its name and how many times it is added.
pub fn loras(prompt: &str) -> (String, Vec<(String, f64)>) {
    const BEGIN: &str = "<lora:";
    let (mut words, mut found, mut rest) = (String::new(), Vec::new(), prompt);
    while let Some(at) = rest.find(BEGIN) {
        let (before, tag) = rest.split_at(at);
        words.push_str(before);
        let inside = &tag[BEGIN.len()..];
        let end = inside.find(['<', '>']).filter(|&end| inside[end..].starts_with('>'));
        match end.and_then(|end| Some((lora(&inside[..end])?, end))) {
            Some((lora, end)) => {
                found.push(lora);
                rest = &inside[end + 1..];
            }
            None => {
                words.push_str(BEGIN);
                rest = inside;
            }
        }
    }
    words.push_str(rest);
    (words, found)
}

/// `x:0.8`, or `x` alone.
fn lora(text: &str) -> Option<(String, f64)> {
    let (name, times) = match text.split_once(':') {
        Some((name, times)) => (name, times.trim().parse().ok().filter(|times: &f64| times.is_finite())?),
        None => (text, 1.0),
    };
    let name = name.trim();
    (!name.is_empty()).then(|| (name.to_owned(), times))
}

/// The number in a text that begins like `:1.3)`, and where that ends.
fn weight(text: &str) -> Option<(f64, usize)> {
    let end = 1 + text[1..].find(|c: char| !(c.is_whitespace() || c.is_ascii_digit() || "+-.".contains(c)))?;
    let weight = text[1..end].trim().parse().ok().filter(|_| text[end..].starts_with(')'))?;
    Some((weight, end + 1))
}

/// Adds words without notation, but for breaks.
fn words(text: &str, pieces: &mut Vec<Piece>) {
    let inside = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let (mut from, mut rest) = (0, 0);
    while let Some(at) = text[rest..].find(BREAK).map(|at| rest + at) {
        let end = at + BREAK.len();
        rest = end;
        if inside(text[..at].chars().next_back()) || inside(text[end..].chars().next()) {
            continue;
        }
        pieces.extend([Piece::Words(text[from..at].trim_end().into(), 1.0), Piece::Break]);
        from = text.len() - text[end..].trim_start().len();
        rest = from;
    }
    pieces.push(Piece::Words(text[from..].into(), 1.0));
}

fn joined(pieces: Vec<Piece>) -> Vec<Piece> {
    let mut all: Vec<Piece> = Vec::new();
    for piece in pieces {
        match (all.last_mut(), &piece) {
            (Some(Piece::Words(text, weight)), Piece::Words(more, same)) if weight == same => text.push_str(more),
            _ => all.push(piece),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(pieces: &[(&str, f64)]) -> Vec<Piece> {
        pieces.iter().map(|&(text, weight)| Piece::Words(text.into(), weight)).collect()
    }

    /// The examples that the web UI's own documentation of its parser gives.
    #[test]
    fn prompts_are_read_as_in_the_web_ui() {
        let round = |pieces: Vec<Piece>| -> Vec<Piece> {
            let digits = |weight: f64| (weight * 1e9).round() / 1e9;
            let piece = |piece| match piece {
                Piece::Words(text, weight) => Piece::Words(text, digits(weight)),
                Piece::Break => Piece::Break,
            };
            pieces.into_iter().map(piece).collect()
        };
        let house = "a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).";
        let parts = [
            ("a ", 1.0),
            ("house", 1.573),
            (" ", 1.1),
            ("on", 1.0),
            (" a ", 1.1),
            ("hill", 0.55),
            (", sun, ", 1.1),
            ("sky", 1.4641),
            (".", 1.1),
        ];
        for (prompt, expected) in [
            ("normal text", &[("normal text", 1.0)][..]),
            ("an (important) word", &[("an ", 1.0), ("important", 1.1), (" word", 1.0)]),
            ("(unbalanced", &[("unbalanced", 1.1)]),
            (r"\(literal\]", &[("(literal]", 1.0)]),
            ("(unnecessary)(parens)", &[("unnecessaryparens", 1.1)]),
            (house, &parts),
        ] {
            assert_eq!(round(parse(prompt)), words(expected), "{prompt}");
        }
    }

    #[test]
    fn what_is_no_notation_stands_for_itself() {
        for (prompt, expected) in [
            ("", &[][..]),
            ("a) b] 10:30", &[("a) b] 10:30", 1.0)]),
            ("(a:b:2)", &[("a:b", 2.0)]),
            ("(a: +1.5 )", &[("a", 1.5)]),
            ("(a:1.2.3)", &[("a:1.2.3", 1.1)]),
            ("(a:1e999)", &[("a:1e999", 1.1)]),
            (r"c:\temp \\ \", &[(r"c:temp \ ", 1.0)]),
            ("OUTBREAK BREAKS", &[("OUTBREAK BREAKS", 1.0)]),
        ] {
            assert_eq!(parse(prompt), words(expected), "{prompt}");
        }
    }

    #[test]
    fn brackets_of_two_kinds_may_cross() {
        assert_eq!(parse("(a [b) c]"), words(&[("a ", 1.1), ("b", 1.1 * (1.0 / 1.1)), (" c", 1.0 / 1.1)]));
        assert_eq!(parse("(((a:0)))"), words(&[("a", 0.0)]));
        assert_eq!(parse("()a[]"), words(&[("a", 1.0)]));
    }

    /// Half a million brackets, with as many words between them, are read in a moment.
    #[test]
    fn many_brackets_take_no_longer() {
        let begun = std::time::Instant::now();
        for (open, close) in
            [("(a", "b)"), ("[a", "b]"), ("(a", ""), ("(a", "b:1.1)"), ("a:(", ")"), ("<lora:", "<lora:x:")]
        {
            let prompt = open.repeat(250_000) + &close.repeat(250_000);
            assert!(!parse(&prompt).is_empty() && loras(&prompt).1.is_empty());
            for piece in parse(&prompt) {
                assert!(matches!(piece, Piece::Words(_, weight) if weight.abs() <= LARGEST));
            }
        }
        assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
    }

    #[test]
    fn loras_are_no_words() {
        let named =
            |found: &[(&str, f64)]| found.iter().map(|&(name, times)| (name.to_owned(), times)).collect::<Vec<_>>();
        for (prompt, left, found) in [
            ("a cat", "a cat", &[][..]),
            ("a cat <lora:ink:0.8>, <lora:more ink> (b:2)", "a cat ,  (b:2)", &[("ink", 0.8), ("more ink", 1.0)]),
            ("<lora:a:-1><lora:b:0>", "", &[("a", -1.0), ("b", 0.0)]),
            ("<lora:a:much> <lora::1> <lora:a <lora:b:2>", "<lora:a:much> <lora::1> <lora:a ", &[("b", 2.0)]),
            ("<lora:a:inf> <lora:a", "<lora:a:inf> <lora:a", &[]),
        ] {
            assert_eq!(loras(prompt), (left.to_owned(), named(found)), "{prompt}");
        }
    }

    #[test]
    fn a_break_takes_the_spaces_around_it() {
        let [a, b, none] = ["a", "b", ""].map(|text| Piece::Words(text.into(), 1.0));
        assert_eq!(parse("a  BREAK\n b"), [a.clone(), Piece::Break, b.clone()]);
        assert_eq!(parse("BREAK BREAK"), [none.clone(), Piece::Break, none.clone(), Piece::Break, none]);
        let heavy = |text: &str| Piece::Words(text.into(), 2.0);
        assert_eq!(parse("(a BREAK b:2)"), [heavy("a"), Piece::Break, heavy("b")]);
    }
}
