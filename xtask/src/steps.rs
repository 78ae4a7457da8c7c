//! Named steps, one after the other: each prints what it does and how long it took; a table at the end; the first that
//! fails ends the run and says what to do.

use std::time::{Duration, Instant};

use anyhow::bail;

use crate::process::seconds;

enum End {
    Done,
    Skipped(String),
    Failed,
}

struct Step {
    name: &'static str,
    took: Duration,
    end: End,
}

/// A run of steps.
#[must_use = "finish() prints the table and fails when something is missing in CI"]
pub(crate) struct Steps {
    begun: Instant,
    steps: Vec<Step>,
    strict: bool,
}

impl Steps {
    /// With `strict`, what is skipped fails the run in the end: CI must not pass by lacking a tool.
    pub(crate) fn new(strict: bool) -> Self {
        Self { begun: Instant::now(), steps: Vec::new(), strict }
    }

    /// Runs one. `advice` is printed when it fails.
    pub(crate) fn step<T>(
        &mut self,
        name: &'static str,
        advice: &str,
        work: impl FnOnce() -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        println!("\n==> {name}");
        let begun = Instant::now();
        let result = work();
        let took = begun.elapsed();
        let end = if result.is_ok() { End::Done } else { End::Failed };
        self.steps.push(Step { name, took, end });
        match result {
            Ok(value) => {
                println!("    {name}: done in {}", seconds(took));
                Ok(value)
            }
            Err(error) => {
                println!("\n    {name}: FAILED after {}\n    {error:#}\n    what to do: {advice}", seconds(took));
                self.print_table();
                bail!("step \"{name}\" failed");
            }
        }
    }

    /// Leaves one out, loudly: `why`, with the command that mends it.
    pub(crate) fn skip(&mut self, name: &'static str, why: impl Into<String>) {
        let why = why.into();
        println!("\n==> {name}\n    SKIPPED: {why}");
        self.steps.push(Step { name, took: Duration::ZERO, end: End::Skipped(why) });
    }

    /// Prints the table.
    ///
    /// # Errors
    /// When strict and something was skipped.
    pub(crate) fn finish(self) -> anyhow::Result<()> {
        self.print_table();
        let mut skipped = 0;
        for step in &self.steps {
            if let End::Skipped(why) = &step.end {
                println!("SKIPPED {}: {why}", step.name);
                skipped += 1;
            }
        }
        if self.strict && skipped > 0 {
            bail!("{skipped} of {} steps were skipped, and CI=true asks for all of them", self.steps.len());
        }
        Ok(())
    }

    fn print_table(&self) {
        print!("\n{}", self.table());
    }

    fn table(&self) -> String {
        let width = self.steps.iter().map(|step| step.name.len()).max().unwrap_or(0).max(5);
        let mut table = String::new();
        for Step { name, took, end } in &self.steps {
            let end = match end {
                End::Done => "ok",
                End::Skipped(_) => "SKIPPED",
                End::Failed => "FAILED",
            };
            table += &format!("  {name:width$}  {end:7}  {:>12}\n", seconds(*took));
        }
        table + &format!("  {:width$}  {:7}  {:>12}\n", "total", "", seconds(self.begun.elapsed()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_step_ends_the_run_and_is_in_the_table() {
        let mut steps = Steps::new(false);
        assert_eq!(steps.step("first", "", || Ok(7)).unwrap(), 7);
        let error =
            steps.step("second", "mend it", || anyhow::Result::<()>::Err(anyhow::anyhow!("broken"))).unwrap_err();
        assert_eq!(error.to_string(), "step \"second\" failed");
        let table = steps.table();
        assert!(table.contains("first   ok"), "{table}");
        assert!(table.contains("second  FAILED"), "{table}");
    }

    #[test]
    fn what_is_skipped_passes_for_a_person_and_fails_in_ci() {
        for strict in [false, true] {
            let mut steps = Steps::new(strict);
            steps.skip("kubectl", "no kubectl here");
            assert_eq!(steps.finish().is_err(), strict);
        }
    }
}
