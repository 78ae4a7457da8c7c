//! Words of a plugin, made fit to be shown: in a log line, a status row, a terminal. Knows no host and no limits of plugins.

/// Characters of a sentence that quotes a plugin. What it has to say stands at its beginning.
pub(crate) const SENTENCE_CHARS_MAX: usize = 4096;
/// Characters of one name that a plugin gave: an import, an export.
pub(crate) const NAME_CHARS_MAX: usize = 120;

/// On one line, without control characters, and cut: a plugin forges no line of ours, moves no cursor, and fills no disk.
pub(crate) fn readable(text: &str, chars_max: usize) -> String {
    let Some((end, _)) = text.char_indices().nth(chars_max) else { return on_one_line(text.to_owned()) };
    let cut = text[end..].chars().count();
    format!("{} ... ({cut} characters cut)", on_one_line(text[..end].to_owned()))
}

/// The text with a space for each control character.
pub(crate) fn on_one_line(text: String) -> String {
    if text.contains(char::is_control) { text.replace(char::is_control, " ") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_plugin_cannot_break_a_line_or_move_a_cursor() {
        assert_eq!(readable("a\nb\u{1b}[31m\u{9b}c", 100), "a b [31m c");
        assert_eq!(on_one_line("a\r\nb".into()), "a  b");
    }

    #[test]
    fn words_of_a_plugin_are_cut_between_characters_and_say_so() {
        assert_eq!(readable("äöü", 3), "äöü");
        assert_eq!(readable("äöüß", 3), "äöü ... (1 characters cut)");
    }
}
