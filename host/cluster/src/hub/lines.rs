//! Splits a watch's body into the lines it is made of.

use bytes::{Buf as _, Bytes, BytesMut};

/// One event holds one object, and etcd takes none above 1.5 MiB; JSON may blow that up, but not to this.
const LINE_BYTES_MAX: usize = 32 << 20;

/// A line that has no end in sight.
#[derive(Debug, thiserror::Error)]
#[error("an event of the watch is longer than {LINE_BYTES_MAX} bytes")]
pub(crate) struct LineTooLong;

/// Bytes that came and are not yet a line.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    pending: BytesMut,
    /// Bytes of `pending` known to hold no end of line.
    searched: usize,
}

impl Lines {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// The next whole line, without its end; empty lines are left out.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>, LineTooLong> {
        while let Some(at) = self.pending[self.searched..].iter().position(|byte| *byte == b'\n') {
            let line = self.pending.split_to(self.searched + at);
            self.pending.advance(1);
            self.searched = 0;
            if !line.iter().all(u8::is_ascii_whitespace) {
                return Ok(Some(line.freeze()));
            }
        }
        self.searched = self.pending.len();
        if self.searched > LINE_BYTES_MAX { Err(LineTooLong) } else { Ok(None) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_out_whole_however_they_came_in() {
        let mut lines = Lines::default();
        let mut out = Vec::new();
        for piece in ["{\"a\"", ":1}\n{\"b\":", "2}\n\n", "{\"c\":3}", "\n{"] {
            lines.push(piece.as_bytes());
            while let Some(line) = lines.next().unwrap() {
                out.push(String::from_utf8(line.to_vec()).unwrap());
            }
        }
        assert_eq!(out, [r#"{"a":1}"#, r#"{"b":2}"#, r#"{"c":3}"#]);
    }

    #[test]
    fn a_line_without_an_end_is_given_up() {
        let mut lines = Lines::default();
        lines.push(&vec![b'x'; LINE_BYTES_MAX + 1]);
        assert!(lines.next().is_err());
    }
}
