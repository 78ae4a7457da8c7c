//! Figures, and the table they make.

use std::time::Duration;

/// One line of the table.
#[derive(Debug, Clone)]
pub(crate) struct Figure {
    what: String,
    value: String,
}

impl Figure {
    /// Smallest, middle and largest of several.
    pub(crate) fn spread(what: &str, mut took: Vec<Duration>) -> Self {
        took.sort_unstable();
        let at = |index: usize| took.get(index).copied().map_or_else(|| "-".to_owned(), shown);
        let last = took.len().saturating_sub(1);
        let value = format!("{} / {} / {} (min / p50 / max of {})", at(0), at(took.len() / 2), at(last), took.len());
        Self { what: what.to_owned(), value }
    }

    /// Measured once.
    pub(crate) fn once(what: &str, took: Duration) -> Self {
        Self { what: what.to_owned(), value: shown(took) }
    }

    /// As somebody else put it.
    pub(crate) fn said(what: &str, value: String) -> Self {
        Self { what: what.to_owned(), value }
    }

    /// Memory.
    pub(crate) fn kib(what: &str, kib: u64) -> Self {
        Self {
            what: what.to_owned(),
            value: if kib < 10_240 { format!("{kib} KiB") } else { format!("{} MiB", kib / 1024) },
        }
    }
}

/// All figures of one run.
#[derive(Debug, Default)]
pub(crate) struct Figures(Vec<Figure>);

impl Figures {
    /// Adds some.
    pub(crate) fn extend(&mut self, figures: Vec<Figure>) {
        self.0.extend(figures);
    }

    /// As Markdown, below what was measured on what.
    pub(crate) fn table(&self, machine: &str) -> String {
        let rows = self.0.iter().map(|Figure { what, value }| format!("| {what} | {value} |\n"));
        format!("{machine}\n\n| what | figure |\n|---|---|\n{}", rows.collect::<String>())
    }
}

fn shown(took: Duration) -> String {
    let nanoseconds = took.as_secs_f64() * 1e9;
    match nanoseconds {
        it if it < 1e4 => format!("{it:.0} ns"),
        it if it < 1e6 => format!("{:.1} µs", it / 1e3),
        it if it < 1e7 => format!("{:.2} ms", it / 1e6),
        it if it < 1e9 => format!("{:.0} ms", it / 1e6),
        it => format!("{:.2} s", it / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn a_table_is_markdown() {
        let mut figures = Figures::default();
        let took = [30, 10, 20].map(Duration::from_millis).to_vec();
        figures.extend(vec![Figure::spread("a", took), Figure::kib("b", 51_200), Figure::said("c", "31".to_owned())]);
        figures.extend(vec![Figure::once("d", Duration::from_nanos(12_345)), Figure::spread("e", Vec::new())]);
        expect![[r#"
            A machine.

            | what | figure |
            |---|---|
            | a | 10 ms / 20 ms / 30 ms (min / p50 / max of 3) |
            | b | 50 MiB |
            | c | 31 |
            | d | 12.3 µs |
            | e | - / - / - (min / p50 / max of 0) |
        "#]]
        .assert_eq(&figures.table("A machine."));
    }
}
