//! What Go's `encoding/json` says of a text that is not JSON.
//!
//! Clients print these words, and people search for them. Reads the text once more, only after it was found unreadable.

use serde_json::Value;

/// The kind of a value, as Go's errors name it.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// What is wrong with `text`, in Go's words where this reader finds the place, else in serde's.
pub(crate) fn syntax_error(text: &[u8], error: &serde_json::Error) -> String {
    let mut reader = Reader { text, at: 0 };
    let found = reader.value().and_then(|()| {
        reader.skip_blanks();
        match reader.peek() {
            None => Ok(()),
            Some(_) => Err(reader.unexpected("after top-level value")),
        }
    });
    found.err().unwrap_or_else(|| error.to_string())
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
}

type Read = Result<(), String>;

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn skip_blanks(&mut self) {
        while self.peek().is_some_and(|byte| b" \t\r\n".contains(&byte)) {
            self.at += 1;
        }
    }

    /// The byte here does not belong here; or there is none.
    fn unexpected(&self, place: &str) -> String {
        match self.peek() {
            None => "unexpected end of JSON input".to_owned(),
            Some(byte @ (b'\'' | b'\\')) => format!("invalid character '\\{}' {place}", char::from(byte)),
            Some(byte @ 0x20..=0x7e) => format!("invalid character '{}' {place}", char::from(byte)),
            Some(byte @ 0x00..=0x9f) if byte != b'\n' && byte != b'\t' => {
                format!(
                    "invalid character '{}' {place}",
                    if byte < 0x80 { format!("\\x{byte:02x}") } else { format!("\\u{byte:04x}") }
                )
            }
            Some(b'\n') => format!("invalid character '\\n' {place}"),
            Some(b'\t') => format!("invalid character '\\t' {place}"),
            Some(byte) => format!("invalid character '{}' {place}", char::from(byte)),
        }
    }

    fn value(&mut self) -> Read {
        self.skip_blanks();
        match self.peek() {
            Some(b'{') => self.object(),
            Some(b'[') => self.list(),
            Some(b'"') => self.string(),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.literal("true"),
            Some(b'f') => self.literal("false"),
            Some(b'n') => self.literal("null"),
            _ => Err(self.unexpected("looking for beginning of value")),
        }
    }

    fn literal(&mut self, word: &str) -> Read {
        for expected in word.bytes() {
            if self.peek() != Some(expected) {
                return Err(self.unexpected(&format!("in literal {word} (expecting '{}')", char::from(expected))));
            }
            self.at += 1;
        }
        Ok(())
    }

    fn string(&mut self) -> Read {
        self.at += 1;
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => {
                    self.at += 1;
                    if !self.peek().is_some_and(|byte| b"\"\\/bfnrtu".contains(&byte)) {
                        return Err(self.unexpected("in string escape code"));
                    }
                    self.at += 1;
                }
                None | Some(0x00..=0x1f) => return Err(self.unexpected("in string literal")),
                Some(_) => self.at += 1,
            }
        }
    }

    fn number(&mut self) -> Read {
        if self.peek() == Some(b'-') {
            self.at += 1;
            if !self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
                return Err(self.unexpected("in numeric literal"));
            }
        }
        while self.peek().is_some_and(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte)) {
            self.at += 1;
        }
        Ok(())
    }

    fn list(&mut self) -> Read {
        self.at += 1;
        self.skip_blanks();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.value()?;
            self.skip_blanks();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(self.unexpected("after array element")),
            }
        }
    }

    fn object(&mut self) -> Read {
        self.at += 1;
        self.skip_blanks();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.skip_blanks();
            if self.peek() != Some(b'"') {
                return Err(self.unexpected("looking for beginning of object key string"));
            }
            self.string()?;
            self.skip_blanks();
            if self.peek() != Some(b':') {
                return Err(self.unexpected("after object key"));
            }
            self.at += 1;
            self.value()?;
            self.skip_blanks();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(self.unexpected("after object key:value pair")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_those_of_go() {
        for (text, said) in [
            ("", "unexpected end of JSON input"),
            ("{\"a\": 1", "unexpected end of JSON input"),
            ("nonsense", "invalid character 'o' in literal null (expecting 'u')"),
            ("{\"a\": oops}", "invalid character 'o' looking for beginning of value"),
            ("{a: 1}", "invalid character 'a' looking for beginning of object key string"),
            ("[1 2]", "invalid character '2' after array element"),
            ("{} {}", "invalid character '{' after top-level value"),
        ] {
            let error = serde_json::from_str::<Value>(text).unwrap_err();
            assert_eq!(syntax_error(text.as_bytes(), &error), said, "{text}");
        }
    }
}
