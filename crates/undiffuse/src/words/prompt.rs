//! How people write a prompt: words, some of which count more, in the notation of AUTOMATIC1111's web UI.
//!
//! | written | means |
//! |---|---|
//! | `(a)` | `a` counts 1.1 times as much; brackets multiply |
//! | `[a]` | 1.1 times less |
//! | `(a:1.3)` | 1.3 times as much |
//! | `\(`, `\)`, `\[`, `\]`, `\\` | these characters themselves |
//! | `a BREAK b` | `b` begins in the next chunk of tokens |
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
    // Where brackets that are still open began.
    let [mut round, mut square] = [Vec::new(), Vec::new()];
    let mut rest = prompt;
    while let Some(first) = rest.chars().next() {
        let mut end = first.len_utf8();
        let weight = (first == ':' && !round.is_empty()).then(|| weight(rest)).flatten();
        let (open, factor) = match (first, weight) {
            (_, Some((weight, past))) => {
                end = past;
                (round.pop(), weight)
            }
            (')', None) => (round.pop(), BRACKET),
            (']', None) => (square.pop(), 1.0 / BRACKET),
            _ => (None, 1.0),
        };
        match (first, open) {
            (_, Some(from)) => multiply(&mut pieces[from..], factor),
            ('(', None) => round.push(pieces.len()),
            ('[', None) => square.push(pieces.len()),
            ('\\', None) => {
                let next = rest[1..].chars().next().filter(|c| "()[]\\".contains(*c));
                pieces.extend(next.map(|c| Piece::Words(c.into(), 1.0)));
                end += next.map_or(0, char::len_utf8);
            }
            (_, None) => {
                end = rest[end..].find(['\\', '(', ')', '[', ']', ':']).map_or(rest.len(), |more| end + more);
                words(&rest[..end], &mut pieces);
            }
        }
        rest = &rest[end..];
    }
    round.into_iter().for_each(|from| multiply(&mut pieces[from..], BRACKET));
    square.into_iter().for_each(|from| multiply(&mut pieces[from..], 1.0 / BRACKET));
    joined(pieces)
}

fn multiply(pieces: &mut [Piece], factor: f64) {
    for piece in pieces {
        if let Piece::Words(_, weight) = piece {
            *weight = (*weight * factor).clamp(-LARGEST, LARGEST);
        }
    }
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
    fn a_break_takes_the_spaces_around_it() {
        let [a, b, none] = ["a", "b", ""].map(|text| Piece::Words(text.into(), 1.0));
        assert_eq!(parse("a  BREAK\n b"), [a.clone(), Piece::Break, b.clone()]);
        assert_eq!(parse("BREAK BREAK"), [none.clone(), Piece::Break, none.clone(), Piece::Break, none]);
        let heavy = |text: &str| Piece::Words(text.into(), 2.0);
        assert_eq!(parse("(a BREAK b:2)"), [heavy("a"), Piece::Break, heavy("b")]);
    }
}
