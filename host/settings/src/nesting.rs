//! How deep a TOML text nests, told from the text alone: what reads it afterwards goes down level by level, and so does
//! what drops the result. Judges no syntax.

/// Levels below the top: no table of ours has more than three, and a plugin's own settings hardly need ten.
pub(crate) const LEVELS_MAX: usize = 32;

/// Where the text goes deeper than [`LEVELS_MAX`], in bytes from its start; `None` if it does not. Each bracket is a level,
/// and each dot in a key: a parser's own limits count only one of the two, and together they multiply.
pub(crate) fn too_deep_at(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    // Dots of the keys around each open bracket, and their sum.
    let (mut around, mut sum): (Vec<usize>, usize) = (Vec::new(), 0);
    let (mut dots, mut at) = (0, 0);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'#' => at += bytes[at..].iter().take_while(|byte| **byte != b'\n').count(),
            b'"' | b'\'' => at = end_of_string(bytes, at),
            b'.' => (dots, at) = (dots + 1, at + 1),
            b'[' | b'{' => {
                around.push(dots);
                (sum, dots, at) = (sum + dots, 0, at + 1);
            }
            b']' | b'}' => {
                let outer = around.pop().unwrap_or_default();
                (sum, dots, at) = (sum - outer, outer, at + 1);
            }
            b',' | b'\n' => (dots, at) = (0, at + 1),
            _ => at += 1,
        }
        if around.len() + sum + dots > LEVELS_MAX {
            return Some(at.min(bytes.len()));
        }
    }
    None
}

/// Past the string that begins at `start`, or past the text.
fn end_of_string(bytes: &[u8], start: usize) -> usize {
    let quote = bytes[start];
    let is_long = bytes[start..].starts_with(&[quote; 3]);
    let (end, mut at) = if is_long { (&[quote; 3][..], start + 3) } else { (&[quote][..], start + 1) };
    while at < bytes.len() {
        if bytes[at..].starts_with(end) {
            return at + end.len();
        }
        // A string on one line that has no end is an error, and none of ours: the parser tells it.
        if bytes[at] == b'\n' && !is_long {
            return at;
        }
        at += if bytes[at] == b'\\' && quote == b'"' { 2 } else { 1 };
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_and_dots_in_keys_count_together() {
        let dotted = |keys: usize| vec!["a"; keys].join(".");
        for (deep, text) in [
            (false, format!("{} = 1", dotted(LEVELS_MAX))),
            (true, format!("{} = 1", dotted(LEVELS_MAX + 2))),
            (false, format!("a = {}{}", "[".repeat(LEVELS_MAX), "]".repeat(LEVELS_MAX))),
            (true, format!("a = {}{}", "[".repeat(LEVELS_MAX + 1), "]".repeat(LEVELS_MAX + 1))),
            (true, format!("{0} = {{ {0} = {{ {0} = 1 }} }}", dotted(LEVELS_MAX / 2))),
            (false, format!("{0} = 1\n{0} = 1\nb = [{0}, {0}]", dotted(LEVELS_MAX - 2))),
        ] {
            assert_eq!(too_deep_at(&text).is_some(), deep, "{text}");
        }
    }

    #[test]
    fn what_stands_in_strings_and_comments_is_no_nesting() {
        let many = "[{.".repeat(LEVELS_MAX);
        for text in [
            format!("a = \"{many}\\\"{many}\""),
            format!("a = '{many}\\'"),
            format!("a = \"\"\"\n{many}\"{many}\n\"\"\""),
            format!("a = '''\n{many}'{many}\n'''"),
            format!("# {many}\na = 1 # {many}"),
        ] {
            assert_eq!(too_deep_at(&text), None, "{text}");
            assert!(too_deep_at(&format!("{text}\nb = {many}")).is_some(), "{text}");
        }
    }

    #[test]
    fn a_text_that_is_no_toml_ends_too() {
        for text in ["\"", "'''", "\"\\", "]]}}", "a = \"\n", "#"] {
            assert_eq!(too_deep_at(text), None, "{text:?}");
        }
    }
}
